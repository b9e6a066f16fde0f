"""All analyses of the checkpoints of a run, with one network in memory at a time.

positions, truth     ->  move table, resamples       what all networks share
untrained networks   ->  baselines                   of attention heads and of play
checkpoints          ->  lens, heads, piece values, opening, play
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.network.model.config import AUXILIARY_HEADS, difference
from engine.network.model.policy_value import VariantNetwork
from engine.probing.analyses.attention import (
    AttentionScores,
    Baseline,
    attention_baseline,
    best_moves,
    scores_of,
)
from engine.probing.analyses.lens import Lens, evaluate_layers, lens_of, output_of
from engine.probing.analyses.openings import PLIES, Opening, opening
from engine.probing.analyses.piece_values import PieceValues, values_of
from engine.probing.analyses.play import (
    Play,
    Played,
    SearchMoves,
    compare_play,
    play_of,
    searched_decisions,
)
from engine.probing.analyses.positions.evaluations import Evaluations
from engine.probing.analyses.positions.move_table import Flags, MoveTable, MoveTruth, move_table
from engine.probing.analyses.positions.resampling import Array, Resamples
from engine.probing.concepts.registry import Labels
from engine.probing.controls.features import untrained_networks
from engine.probing.data.canonical import Rows, canonical_boards, canonical_groups
from engine.rules.errors import InputError
from engine.rules.variant import Variant

Progress = Callable[[int, int], None]
"""Called with the number of networks analysed so far and the number in all."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One checkpoint of a run."""

    # As reports name it; unique.
    name: str
    # Training step, where it is known.
    step: int | None
    # Reads the network.
    load: Callable[[], VariantNetwork]


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search to compare the raw network with."""

    # As "64 simulations".
    name: str
    # Its best moves for positions.
    moves: SearchMoves
    # Decisions of each concept that it plays, at most.
    positions: int = 300


@dataclass(frozen=True, kw_only=True)
class AnalysisConfig:
    """How to analyse. Everything random follows from `seed`."""

    seed: int = 0
    # Untrained networks to compare with.
    untrained: int = 5
    # Bootstrap resamples.
    resamples: int = 1_000
    # Of the intervals.
    confidence: float = 0.95
    # Plies of the principal line.
    plies: int = PLIES


@dataclass(frozen=True, kw_only=True)
class CheckpointAnalysis:
    """What one network shows."""

    name: str
    step: int | None
    lens: Lens
    attention: AttentionScores
    piece_values: PieceValues
    opening: Opening


@dataclass(frozen=True, kw_only=True)
class Analyses:
    """What the checkpoints of a run show, in their order; plain numbers, texts and tuples."""

    variant: str
    positions: int
    checkpoints: tuple[CheckpointAnalysis, ...]
    # The lens of a network that has learned nothing.
    untrained: Lens
    # None where no exact values are known.
    play: Play | None
    # How the untrained networks were drawn.
    random_seeds: tuple[int, ...]
    resamples: int
    confidence: float


def analyse(
    subjects: Sequence[Subject],
    rows: Rows,
    variant: Variant,
    *,
    truth: MoveTruth | None = None,
    concepts: Mapping[str, Labels] | None = None,
    search: Search | None = None,
    config: AnalysisConfig | None = None,
    progress: Progress = lambda done, total: None,
) -> Analyses:
    """Analyse the networks of a run, all of one configuration, on positions uint8[N, R].

    `truth` gives exact values, where the game is solved. `concepts` are labels [N] of binary ones,
    by name, for the comparison of play, with `search` if given. One network is in memory at a time;
    one thread computes. Raises InputError for no or repeated subjects, and as the analyses do.
    """
    config = config or AnalysisConfig()
    names = [subject.name for subject in subjects]
    if not names or len(set(names)) < len(names):
        raise InputError(f"checkpoints {', '.join(names) or 'none'}: different names are needed")
    work = _Work(rows, variant, truth, concepts or {}, search, config)
    count = itertools.count(1)
    total = config.untrained + len(subjects)
    last = subjects[-1].load()
    seeds = tuple(config.seed + 1 + index for index in range(config.untrained))
    best = best_moves(last, work.table, config.seed)
    build = last.config
    del last
    baselines: list[Array] = []
    untrained: list[Played] = []
    untrained_lens = None
    for fresh in untrained_networks(build, seeds):
        baselines += attention_baseline([fresh], work.table, best)
        layers = evaluate_layers(fresh, work.table)
        untrained += work.play(fresh, layers)
        untrained_lens = untrained_lens or lens_of(layers, work.table, work.resamples)
        progress(next(count), total)
    if untrained_lens is None:
        raise InputError(f"untrained = {config.untrained}: at least one network to compare with")
    found: list[CheckpointAnalysis] = []
    played: dict[str, Played] = {}
    for subject in subjects:
        network = subject.load()
        other = difference(network.config, build, but=AUXILIARY_HEADS)
        if other is not None:
            raise InputError(f"{subject.name} is of another build than {names[-1]}: {other}")
        layers = evaluate_layers(network, work.table)
        found.append(work.checkpoint(subject, network, layers, best, tuple(baselines)))
        for each in work.play(network, layers):
            played[subject.name] = each
        del network
        progress(next(count), total)
    return Analyses(
        variant=variant.name,
        positions=len(work.table),
        checkpoints=tuple(found),
        untrained=untrained_lens,
        play=work.compare(played, untrained),
        random_seeds=seeds,
        resamples=config.resamples,
        confidence=config.confidence,
    )


class _Work:
    """What all networks share."""

    def __init__(
        self,
        rows: Rows,
        variant: Variant,
        truth: MoveTruth | None,
        concepts: Mapping[str, Labels],
        search: Search | None,
        config: AnalysisConfig,
    ) -> None:
        self.table: MoveTable = move_table(rows, variant, truth)
        groups = canonical_groups(canonical_boards(rows, variant))
        self.resamples = Resamples(groups, config.resamples, config.seed, config.confidence)
        self._truth, self._concepts, self._config = truth, concepts, config
        self._search = search
        self._seeds: Iterator[int] = itertools.count(config.seed)
        exact = self.table.exact
        self._plays = exact is not None and bool(exact.known.any())
        self._searched: dict[str, Flags] | None = None
        if self._plays and search is not None:
            self._searched = searched_decisions(self.table, concepts, search.positions, config.seed)

    def checkpoint(
        self,
        subject: Subject,
        network: VariantNetwork,
        layers: dict[str, Evaluations],
        best: Flags,
        baseline: Baseline,
    ) -> CheckpointAnalysis:
        """All analyses of one network but play."""
        table, resamples, config = self.table, self.resamples, self._config
        return CheckpointAnalysis(
            name=subject.name,
            step=subject.step,
            lens=lens_of(layers, table, resamples, config.seed),
            attention=scores_of(network, table, best, resamples, baseline, config.seed),
            piece_values=values_of(output_of(layers), table, resamples),
            opening=opening(network, self._truth, variant=table.variant, plies=config.plies),
        )

    def play(self, network: VariantNetwork, layers: dict[str, Evaluations]) -> list[Played]:
        """How one network plays; nothing where no exact values are known."""
        if not self._plays:
            return []
        moves, searched = None, None
        if self._search is not None and self._searched is not None:
            moves = self._search.moves
            searched = np.logical_or.reduce(list(self._searched.values()))
        # Each network breaks ties in its own way, so that untrained ones do not all play alike.
        seed, output = next(self._seeds), output_of(layers)
        return [play_of(network, self.table, moves, searched, seed, output)]

    def compare(self, played: Mapping[str, Played], untrained: Sequence[Played]) -> Play | None:
        """All checkpoints beside untrained networks."""
        if not self._plays:
            return None
        return compare_play(
            played,
            untrained,
            self.table,
            self._concepts,
            self.resamples,
            search=self._search.name if self._search else None,
            searched_among=self._searched,
        )
