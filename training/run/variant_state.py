"""One game of a training run: its positions in the window, who knows its truth, its curve."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from engine.rules.errors import InputError
from engine.rules.variant import Variant
from search.exact.solver import Solution
from training.config import TrainingConfig
from training.data.index import Shard
from training.data.replay import ReplayWindow, share_out, window_size
from training.data.rescoring import Oracle, rescore
from training.data.run_directory import RunError
from training.data.shards import GameRows, describe_games, load_games
from training.evaluation.truth import load_solution
from training.run.setup import find_oracle, make_curve


class RunGame:
    """What a run holds of each of its games; one of several takes an equal share of everything."""

    def __init__(
        self,
        variant: Variant,
        config: TrainingConfig,
        *,
        number: int = 0,
        games: int = 1,
        solution: Solution | None = None,
        oracle: Oracle | None = None,
    ) -> None:
        """The game of that number, from 0, among so many. `solution` and `oracle` as `TrainingRun`
        has them. Raises RunError, InputError, OSError as `find_oracle` does."""
        self.variant = variant
        # As it stands in the names of shards; None where the run has no other game.
        self.number = number if games > 1 else None
        self.solution = solution or load_solution(variant)
        self.curve = make_curve(variant, self.solution, config, games)
        # Positions of finished games that a round brings.
        self.quota = share_out(config.self_play.positions, games)[number]
        # Positions and games played so far.
        self.positions, self.games = 0, 0
        self._oracle = oracle or find_oracle(variant, self.solution, config)
        learning = config.learning
        self._learning = replace(learning, window=max(1, share_out(learning.window, games)[number]))
        self.window = ReplayWindow(self._learning)

    def take_up(self, counts: dict[str, int]) -> None:
        """The counters of an earlier session."""
        self.positions, self.games = counts["positions"], counts["games"]

    def counts(self) -> dict[str, int]:
        """The inverse of `take_up`."""
        return {"positions": self.positions, "games": self.games}

    def add(self, folder: Path, shards: list[Shard]) -> None:
        """Take in the shards of a round; raises ShardError, CheckpointError, OSError."""
        self.positions += sum(shard.positions for shard in shards)
        self.games += sum(shard.games for shard in shards)
        for shard in shards:
            self.window.add(self._load(folder / shard.name), self._capacity())

    def fill(self, folder: Path, shards: list[Shard], log: Callable[[str], None]) -> None:
        """As many of the newest of all these shards, oldest first, as the window holds."""
        chosen, total = [], 0
        capacity = self._capacity()
        for shard in reversed(shards):
            if total < capacity:
                chosen.append(shard)
                total += shard.positions
        for shard in reversed(chosen):
            # A damaged file of old games is no reason not to go on without it.
            try:
                rows = self._load(folder / shard.name)
            except InputError as problem:
                log(f"left out: {problem}")
                continue
            self.window.add(rows, capacity)

    def lessons(self, paths: list[Path]) -> ReplayWindow:
        """A window of a teacher's games; raises as `add`."""
        window = ReplayWindow(self._learning)
        for path in paths:
            window.add(load_games(path, self.variant), self._learning.window)
        return window

    def _capacity(self) -> int:
        return window_size(self._learning, self.positions)

    def _load(self, path: Path) -> GameRows:
        """The rows of a shard as they are learned."""
        rows = load_games(path, self.variant)
        if self._oracle is None:
            return rows
        return rescore(self.variant, rows, self._oracle, self._learning.rescore)


def teacher_windows(games: Sequence[RunGame], source: Path) -> list[ReplayWindow]:
    """A window of a teacher's games for each game, from a file or a folder of them.

    Raises RunError where there are none; otherwise as `RunGame.add`.
    """
    paths = sorted(source.glob("*.safetensors")) if source.is_dir() else [source]
    if not paths:
        raise RunError(f"warm_start = {str(source)!r}: no games there")
    if len(games) == 1:
        return [games[0].lessons(paths)]
    windows = []
    for game in games:
        digest = game.variant.digest
        own = [path for path in paths if describe_games(path)["variant"]["digest"] == digest]
        if not own:
            raise RunError(f"warm_start = {str(source)!r}: no games of {game.variant.name} there")
        windows.append(game.lessons(own))
    return windows
