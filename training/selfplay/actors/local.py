"""Actors in the process that owns them.

An actor reads a checkpoint from the run directory and writes shards of games into it as they are
finished. A run of several variants has an actor for each of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.network.checkpoint import load_checkpoint
from engine.rules.compilation.compile_time import working_time
from engine.rules.variant import Variant
from search.evaluator import UniformEvaluator
from search.exact.tablebase.tables import Tablebases
from training.config import SelfPlayConfig
from training.data.shards import GameRows, load_games, newest_file, save_games, shard_name
from training.selfplay.acting_evaluator import ActingEvaluator
from training.selfplay.actors.protocol import Progress, SelfPlayRequest, Source
from training.selfplay.games import SelfPlay, Statistics

_CALIBRATION: Final = 512
"""Positions on which int8 finds its scales."""
_FEWEST_AT_ONCE: Final = 32
"""Games in progress of each of several variants: smaller batches are slow."""


class LocalActors:
    """Actors in the process that owns them: one source of positions for each variant."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        """`sources` by the names of their variants."""
        self._sources = sources

    def prepare(self, requests: Sequence[SelfPlayRequest], chosen: Sequence[str]) -> list[str]:
        """See `Actors`."""
        each = chosen or [""] * len(requests)
        return [
            self._sources[request.variant].prepare(request, choice)
            for request, choice in zip(requests, each, strict=True)
        ]

    def play(self, requests: Sequence[SelfPlayRequest], progress: Progress) -> list[str]:
        """See `Actors`."""
        names: list[str] = []
        for request in requests:
            names += self._sources[request.variant].play(request, progress)
        return names


def make_local_actors(
    variants: Sequence[Variant],
    config: SelfPlayConfig,
    *,
    seed: int,
    first_round: int,
    number: int,
    first_parts: Sequence[int],
) -> LocalActors:
    """An actor for each variant; the keywords are those of `Actor`, `first_parts` one for each."""
    several = len(variants) > 1
    if several:
        config = replace(
            config,
            games=max(min(config.games, _FEWEST_AT_ONCE), config.games // len(variants)),
            cache_megabytes=config.cache_megabytes / len(variants),
        )
    return LocalActors(
        {
            variant.name: Actor(
                variant, config, seed, first_round, number, part, game if several else None
            )
            for game, (variant, part) in enumerate(zip(variants, first_parts, strict=True))
        }
    )


class Actor:
    """Plays one variant in the process that owns it. Unfinished games continue with the next
    request."""

    def __init__(
        self,
        variant: Variant,
        config: SelfPlayConfig,
        seed: int,
        first_round: int,
        number: int,
        first_part: int = 0,
        game: int | None = None,
    ) -> None:
        """`first_part` counts the shards that an earlier session wrote of an unfinished round: it
        changes the random numbers, so that their games are not played again. `game` is the number
        of the variant in a run of several. Raises InputError, OSError for tablebases that cannot be
        used.
        """
        self._variant = variant
        self._config = config
        self._number = number
        self._part = first_part
        self._game = game
        key = [seed, first_round, number, first_part]
        generator = np.random.default_rng(key if game is None else [*key, game + 1])
        searched = variant
        if config.tablebases:
            searched = Tablebases.load(Path(config.tablebases), variant).attached
        self._self_play = SelfPlay(searched, config, generator)
        self._folder = Path()
        self._evaluator = ActingEvaluator(variant, config, self._calibration)

    def prepare(self, request: SelfPlayRequest, chosen: str) -> str:
        """See `Source`."""
        self._folder = request.folder
        network = load_checkpoint(request.checkpoint, variant=self._variant).network
        return self._evaluator.prepare(network, chosen)

    def play(self, request: SelfPlayRequest, progress: Progress) -> list[str]:
        """See `Source`; raises OSError, InputError."""
        self._folder = request.folder
        self._evaluator.update(load_checkpoint(request.checkpoint, variant=self._variant).network)
        self._self_play.simulations = self._config.simulations_in(request.round)
        names: list[str] = []
        missing = request.positions
        while missing > 0:
            begun = working_time()
            wanted = min(missing, self._config.shard_positions)
            rows = self._self_play.play(self._evaluator.cached, wanted, progress)
            names.append(self._write(request, rows, working_time() - begun))
            missing -= len(rows)
        self._part = 0
        return names

    def _write(self, request: SelfPlayRequest, rows: GameRows, seconds: float) -> str:
        """One shard, with an account of how it was made."""
        name = shard_name(request.round, self._number, self._part, self._game)
        statistics, self._self_play.statistics = self._self_play.statistics, Statistics()
        source = {
            "round": request.round,
            "actor": self._number,
            "checkpoint": request.checkpoint.name,
            "seconds": round(seconds, 4),
            **self._evaluator.account(),
            **asdict(statistics),
        }
        save_games(request.folder / name, rows, self._variant, source)
        self._part += 1
        return name

    def _calibration(self) -> npt.NDArray[np.uint8]:
        """Positions of the newest games, or of random games where there are none."""
        shard = newest_file(self._folder, self._variant)
        if shard is not None:
            return load_games(shard, self._variant).positions[-_CALIBRATION:]
        config = SelfPlayConfig(simulations=1, noise_fraction=1.0, varied_starts=1.0)
        games = SelfPlay(self._variant, config, np.random.default_rng(0))
        return games.play(UniformEvaluator(), _CALIBRATION).positions
