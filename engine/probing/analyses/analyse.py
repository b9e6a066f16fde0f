"""All analyses of the checkpoints of a run, with one network in memory at a time and worker.

positions, truth     ->  move table, resamples       what all networks share
untrained networks   ->  baselines                   of attention heads and of play
checkpoints          ->  lens, heads, piece values, opening, play
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

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
from engine.probing.analyses.lens import Lens, evaluate_layers, lens, lens_of, output_of
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
from engine.probing.analyses.positions.evaluations import Evaluations, single_thread
from engine.probing.analyses.positions.move_table import Flags, MoveTable, MoveTruth, move_table
from engine.probing.analyses.positions.resampling import Resamples
from engine.probing.concepts.registry import Labels
from engine.probing.controls.features import untrained_networks
from engine.probing.data.canonical import Rows, canonical_boards, canonical_groups
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from engine.system.threads import in_threads

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
    # Networks that are analysed at the same time, each on one core.
    workers: int = 1


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
    more: Rows | None = None,
    config: AnalysisConfig | None = None,
    progress: Progress = lambda done, total: None,
) -> Analyses:
    """Analyse the networks of a run, all of one configuration, on positions uint8[N, R].

    `truth` gives exact values, where the game is solved. `concepts` are labels [N] of binary ones,
    by name, for the comparison of play, with `search` if given. `more` are positions, a census
    perhaps, on which the lens of the last network is measured instead. Each of `config.workers` has
    one network in memory at a time, and no figure depends on their number; untrained ones are all
    there. Raises InputError for no or repeated subjects, and as the analyses do.
    """
    config = config or AnalysisConfig()
    names = [subject.name for subject in subjects]
    if not names or len(set(names)) < len(names):
        raise InputError(f"checkpoints {', '.join(names) or 'none'}: different names are needed")
    with single_thread():
        work = _Work(rows, variant, truth, concepts or {}, search, config)
        last = subjects[-1].load()
        seeds = tuple(config.seed + 1 + index for index in range(config.untrained))
        best = best_moves(last, work.table, config.seed)
        build = last.config
        del last
        total = config.untrained + len(subjects)
        # Made here and not by the workers: weights are drawn from a generator that threads share.
        jobs = [
            partial(work.untrained, network, best, number)
            for number, network in enumerate(untrained_networks(build, seeds))
        ]
        if not jobs:
            raise InputError(f"untrained = {config.untrained}: at least one network is needed")
        fresh = in_threads(jobs, config.workers, lambda done, _: progress(done, total))
        baselines = tuple(baseline for each in fresh for baseline in each.attention)

        def examine(number: int, subject: Subject) -> _Trained:
            network = subject.load()
            other = difference(network.config, build, but=AUXILIARY_HEADS)
            if other is not None:
                raise InputError(f"{subject.name} is of another build than {names[-1]}: {other}")
            return work.trained(subject, network, best, baselines, len(jobs) + number)

        found = in_threads(
            [partial(examine, number, subject) for number, subject in enumerate(subjects)],
            config.workers,
            lambda done, _: progress(len(jobs) + done, total),
        )
        play = work.compare(names, found, fresh)
        checkpoints = [each.analysis for each in found]
        if more is not None:
            own = work.lens(subjects[-1].load(), more)
            checkpoints[-1] = replace(checkpoints[-1], lens=own)
    return Analyses(
        variant=variant.name,
        positions=len(work.table),
        checkpoints=tuple(checkpoints),
        untrained=fresh[0].lens,
        play=play,
        random_seeds=seeds,
        resamples=config.resamples,
        confidence=config.confidence,
    )


@dataclass(frozen=True, kw_only=True)
class _Fresh:
    """What an untrained network shows."""

    lens: Lens
    attention: Baseline
    play: Played | None


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """What a checkpoint shows."""

    analysis: CheckpointAnalysis
    play: Played | None


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
        exact = self.table.exact
        self._plays = exact is not None and bool(exact.known.any())
        self._searched: dict[str, Flags] | None = None
        if self._plays and search is not None:
            self._searched = searched_decisions(self.table, concepts, search.positions, config.seed)

    def untrained(self, network: VariantNetwork, best: Flags, number: int) -> _Fresh:
        """All analyses of an untrained network, the `number`th of all networks."""
        layers = evaluate_layers(network, self.table)
        return _Fresh(
            lens=lens_of(layers, self.table, self.resamples),
            attention=tuple(attention_baseline([network], self.table, best)),
            play=self._play(network, layers, number),
        )

    def trained(
        self,
        subject: Subject,
        network: VariantNetwork,
        best: Flags,
        baseline: Baseline,
        number: int,
    ) -> _Trained:
        """All analyses of a checkpoint, the `number`th of all networks."""
        table, resamples, config = self.table, self.resamples, self._config
        layers = evaluate_layers(network, table)
        analysis = CheckpointAnalysis(
            name=subject.name,
            step=subject.step,
            lens=lens_of(layers, table, resamples, config.seed),
            attention=scores_of(network, table, best, resamples, baseline, config.seed),
            piece_values=values_of(output_of(layers), table, resamples),
            opening=opening(network, self._truth, variant=table.variant, plies=config.plies),
        )
        return _Trained(analysis=analysis, play=self._play(network, layers, number))

    def lens(self, network: VariantNetwork, rows: Rows) -> Lens:
        """The lens alone, on other positions."""
        config = self._config
        return lens(
            network,
            rows,
            self._truth,
            variant=self.table.variant,
            resamples=config.resamples,
            confidence=config.confidence,
            seed=config.seed,
        )

    def _play(
        self, network: VariantNetwork, layers: dict[str, Evaluations], number: int
    ) -> Played | None:
        """How one network plays; None where no exact values are known."""
        if not self._plays:
            return None
        moves, searched = None, None
        if self._search is not None and self._searched is not None:
            moves = self._search.moves
            searched = np.logical_or.reduce(list(self._searched.values()))
        # Each network breaks ties in its own way, so that untrained ones do not all play alike.
        seed, output = self._config.seed + number, output_of(layers)
        return play_of(network, self.table, moves, searched, seed, output)

    def compare(
        self, names: Sequence[str], found: Sequence[_Trained], fresh: Sequence[_Fresh]
    ) -> Play | None:
        """All checkpoints, by name, beside untrained networks."""
        if not self._plays:
            return None
        return compare_play(
            {n: each.play for n, each in zip(names, found, strict=True) if each.play is not None},
            [each.play for each in fresh if each.play is not None],
            self.table,
            self._concepts,
            self.resamples,
            search=self._search.name if self._search else None,
            searched_among=self._searched,
        )
