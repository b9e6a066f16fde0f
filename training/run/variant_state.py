"""One variant of a training run: its positions in the window, its exact values, its truth curve."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from engine.rules.errors import InputError
from engine.rules.variant import Variant
from search.exact.solution import Solution
from search.exact.tablebase.tables import Tablebases
from training.config import SAMPLING, TrainingConfig
from training.data.index import Shard
from training.data.replay import ReplayWindow, share_out, window_size
from training.data.rescoring import Oracle, exact_values, rescore
from training.data.run_directory import RunError
from training.data.shards import GameRows, describe_games, game_files, load_parts
from training.evaluation.truth import Truth, TruthCurve, load_solution
from training.selfplay.teacher import divide


class VariantState:
    """One variant of a run; each of several has an equal share of everything."""

    def __init__(
        self, variant: Variant, config: TrainingConfig, *, number: int, variants: int
    ) -> None:
        """The variant of that number, from 0, among so many. Raises RunError, InputError, OSError
        as `find_oracle` does."""
        self.variant = variant
        # The number in the names of its shards; None where the run has no other variant.
        self.number = number if variants > 1 else None
        self.solution = load_solution(variant)
        self.curve = make_curve(variant, self.solution, config, variants)
        # Positions of finished games that a round brings.
        self.quota = share_out(config.self_play.positions, variants)[number]
        # How many were played so far.
        self.played = {"positions": 0, "games": 0}
        self._oracle = find_oracle(variant, self.solution, config)
        window = share_out(config.learning.window, variants)[number]
        self._learning = replace(config.learning, window=window)
        self.window = ReplayWindow(self._learning)

    def add(self, folder: Path, shards: list[Shard]) -> None:
        """Add the shards of a round; raises ShardError, CheckpointError, OSError."""
        self.played["positions"] += sum(shard.positions for shard in shards)
        self.played["games"] += sum(shard.games for shard in shards)
        for shard in shards:
            (rows,) = self._load(folder / shard.file).values()
            self.window.add(rows, self._capacity())

    def fill(self, folder: Path, shards: list[Shard], log: Callable[[str], None]) -> None:
        """Fill the window with the newest of these shards, which are oldest first."""
        capacity, first, total = self._capacity(), len(shards), 0
        while first and total < capacity:
            first -= 1
            total += shards[first].positions
        files: dict[str, dict[str, GameRows]] = {}
        for shard in shards[first:]:
            if shard.file not in files:
                # The run continues without a damaged file of old games.
                try:
                    files[shard.file] = self._load(folder / shard.file)
                except InputError as problem:
                    log(f"left out: {problem}")
                    files[shard.file] = {}
            if shard.name in files[shard.file]:
                self.window.add(files[shard.file].pop(shard.name), capacity)

    def teacher_window(self, paths: list[Path]) -> ReplayWindow:
        """A window of a teacher's games; raises as `add`."""
        window = ReplayWindow(self._learning)
        for path in paths:
            for _, rows in load_parts(path, self.variant):
                window.add(rows, self._learning.window)
        return window

    def _capacity(self) -> int:
        return window_size(self._learning, self.played["positions"])

    def _load(self, path: Path) -> dict[str, GameRows]:
        """The rows of each shard in a file, by its name, as they are learned."""
        parts = {part.name: rows for part, rows in load_parts(path, self.variant)}
        if self._oracle is None:
            return parts
        return {
            name: rescore(self.variant, rows, self._oracle, self._learning.rescore)
            for name, rows in parts.items()
        }


def warm_start_windows(states: Sequence[VariantState], source: Path) -> list[ReplayWindow]:
    """A window of a teacher's games for each variant, from a file or a folder of them.

    Raises RunError where there are none; otherwise as `VariantState.add`.
    """
    paths = game_files(source) if source.is_dir() else [source]
    windows = []
    for state in states:
        own = paths
        if len(states) > 1:
            digest = state.variant.digest
            own = [path for path in paths if describe_games(path)["variant"]["digest"] == digest]
        if not own:
            raise RunError(f"warm_start = {str(source)!r}: no games of {state.variant.name} there")
        windows.append(state.teacher_window(own))
    return windows


def find_oracle(
    variant: Variant, solution: Solution | None, config: TrainingConfig
) -> Oracle | None:
    """The oracle for rescoring; None where the configuration asks for none.

    Raises RunError where it asks for one and there is none; InputError, OSError for unusable
    tablebases.
    """
    if config.learning.rescore == "none":
        return None
    if solution is not None:
        return exact_values(solution)
    if config.self_play.tablebases:
        return Tablebases.load(Path(config.self_play.tablebases), variant).values
    raise RunError(
        f"rescore = {config.learning.rescore!r}: {variant.name} is too large to be solved, and"
        " there are no tablebases"
    )


def make_curve(
    variant: Variant, solution: Solution | None, config: TrainingConfig, variants: int
) -> TruthCurve | None:
    """The truth curve of one of so many variants, which share the samples' sizes.

    None where the variant is not solved, or where it has no decision position.
    """
    if solution is None:
        return None
    truth = Truth.of(variant, solution)
    if not len(truth):
        return None
    generator = config.generator(SAMPLING)
    raw, search = (-(-size // variants) for size in (config.raw_sample, config.search_sample))
    curve = TruthCurve(
        truth=truth,
        search=truth.sample(search, generator),
        raw=truth.sample(raw, generator),
        simulations=config.search_simulations,
    )
    if config.teacher != "none" and config.held_out > 0.0:
        _, tests = divide(variant, solution.unfinished_positions(), config.held_out, config.seed)
        decisions = truth.among(tests)
        if len(decisions):
            curve.held_out = decisions.sample(raw, generator)
    return curve
