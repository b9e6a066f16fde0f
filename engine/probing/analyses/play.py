"""Network, search and truth: how well each plays where a concept holds, and since when.

For each binary concept (mate in two, zugzwang, only move, ...) the share of decisions in which the
concept holds and the best move keeps the exact value: of the raw policy, of a search with that
network, of a move at random, and of perfect play, which always does. A decision is a position in
which some legal moves keep the value and others do not.

A network plays **better than untrained** ones since the first checkpoint whose share is above
theirs after correction for all concepts and checkpoints. The search is handed in; it may play a
random part of the decisions of each concept.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.network.model.policy_value import VariantNetwork
from engine.probing.analyses.positions.evaluations import Evaluations, evaluate, single_thread
from engine.probing.analyses.positions.move_table import ExactMoves, Flags, Moves, MoveTable
from engine.probing.analyses.positions.resampling import Array, Estimate, Resamples, percentage
from engine.probing.concepts.registry import Labels
from engine.probing.data.canonical import Rows
from engine.rules.errors import InputError

SearchMoves = Callable[[VariantNetwork, Rows], Moves]
"""The best moves uint16[N] of a search with the network, of positions uint8[N, R]."""
ALL: Final = "all decisions"
"""In place of a concept: all positions count."""
FEWEST: Final = 10
"""Distinct positions below which a concept is refused: no interval would mean anything."""


@dataclass(frozen=True, kw_only=True)
class PlayShare:
    """How well one checkpoint plays where a concept holds."""

    concept: str
    checkpoint: str
    # Share of the decisions in which the best move keeps the exact value.
    network: Estimate
    # Share minus that of the untrained networks, with bounds that hold for all concepts and
    # checkpoints at once.
    network_gain: Estimate
    # The same with search; None without one.
    search: Estimate | None
    search_gain: Estimate | None


@dataclass(frozen=True, kw_only=True)
class PlayConcept:
    """One concept over all checkpoints."""

    concept: str
    # Decisions in which it holds, how many canonical positions they are, and how many of the
    # decisions are searched.
    decisions: int
    distinct: int
    searched: int
    # Share of the legal moves that keep the value; perfect play has 1.
    random_move: float
    # Mean share of the untrained networks, without and with search.
    untrained: float
    untrained_search: float | None
    # First checkpoint whose share is above that of untrained ones; None for none.
    network_since: str | None
    search_since: str | None


@dataclass(frozen=True, kw_only=True, repr=False)
class Play:
    """Network, search and truth, for every concept and checkpoint."""

    checkpoints: tuple[str, ...]
    # How the search is described; None without one.
    search: str | None
    concepts: tuple[PlayConcept, ...]
    shares: tuple[PlayShare, ...]
    # Concepts that are not measured, with the reason.
    refused: tuple[tuple[str, str], ...]
    confidence: float

    def share(self, concept: str, checkpoint: str) -> PlayShare:
        """Of one concept and checkpoint; raises KeyError for none such."""
        for each in self.shares:
            if (each.concept, each.checkpoint) == (concept, checkpoint):
                return each
        raise KeyError(f"{concept}, {checkpoint}")

    def __repr__(self) -> str:
        return _table(self)


@dataclass(frozen=True, kw_only=True)
class Played:
    """Which positions a network gets right, without and with search."""

    # float64[N] 1 where the best move keeps the value, else 0.
    network: Array
    # The same with search; None without one.
    search: Array | None


def searched_decisions(
    legal: MoveTable, concepts: Mapping[str, Labels], most: int, seed: int = 0
) -> dict[str, Flags]:
    """For all decisions, and those of each concept, a random `most` of them, bool[N] each.

    Concepts share as many positions as they can: the first ones in one random order.
    """
    exact = _exact(legal)
    _check(concepts, len(legal))
    order = np.random.default_rng(seed).permutation(len(legal))
    found = {}
    for name, flags in _holding(exact.decisions, concepts).items():
        chosen = order[flags[order]][:most]
        found[name] = np.zeros(len(legal), bool)
        found[name][chosen] = True
    return found


def play_of(
    network: VariantNetwork,
    legal: MoveTable,
    search: SearchMoves | None = None,
    searched: Flags | None = None,
    seed: int = 0,
    evaluations: Evaluations | None = None,
) -> Played:
    """How one network plays; `searched` bool[N] are the positions for the search, by default all
    decisions. Where moves are equally likely, one is drawn. The network's `evaluations` of the
    positions are computed unless given.

    Raises InputError where no exact values are known, and for a move that is not legal.
    """
    exact = _exact(legal)
    ties = np.random.default_rng(seed).random(len(legal.moves))
    chosen = legal.best((evaluations or evaluate(network, legal)).policy, ties)
    right = None
    if search is not None:
        places = np.flatnonzero(exact.decisions if searched is None else searched)
        right = np.full(len(legal), np.nan)
        if len(places):
            moves = legal.moves[legal.offsets[:-1]]
            with single_thread():
                moves[places] = search(network, legal.rows[places])
            right[places] = exact.keeping[legal.find(moves)][places]
    return Played(network=exact.keeping[chosen].astype(np.float64), search=right)


def _exact(legal: MoveTable) -> ExactMoves:
    if legal.exact is None:
        raise InputError(f"no exact values of {legal.variant.name} to compare play with")
    return legal.exact


def compare_play(
    checkpoints: Mapping[str, Played],
    untrained: Sequence[Played],
    legal: MoveTable,
    concepts: Mapping[str, Labels],
    resamples: Resamples,
    *,
    search: str | None = None,
    searched_among: Mapping[str, Flags] | None = None,
) -> Play:
    """Compare checkpoints, by name in their order, with untrained networks.

    `concepts` are labels [N] by name: a concept holds where they are 1, and is not defined where
    they are NaN. `search` describes the search, where there is one; `searched_among` are the
    positions that it played, from `searched_decisions`. Raises InputError where no exact values
    are known, and for labels of another shape.
    """
    exact = _exact(legal)
    _check(concepts, len(legal))
    if not untrained:
        raise InputError("no untrained network to compare with")
    among, refused = _measurable(_holding(exact.decisions, concepts), resamples)
    names = tuple(checkpoints)
    raw = _Shares(
        [each.network for each in checkpoints.values()],
        [each.network for each in untrained],
        among,
        resamples,
    )
    searched = None
    if search is not None:
        searched = _Shares(
            [_of_search(each) for each in checkpoints.values()],
            [_of_search(each) for each in untrained],
            {name: flags & searched_among[name] for name, flags in among.items()}
            if searched_among is not None
            else among,
            resamples,
        )
    return Play(
        checkpoints=names,
        search=search,
        concepts=tuple(
            PlayConcept(
                concept=concept,
                decisions=int(flags.sum()),
                distinct=len(np.unique(resamples.groups[flags])),
                searched=searched.positions[concept] if searched else 0,
                random_move=float(exact.chance[flags].mean()),
                untrained=raw.untrained[concept],
                untrained_search=searched.untrained[concept] if searched else None,
                network_since=raw.since(concept, names),
                search_since=searched.since(concept, names) if searched else None,
            )
            for concept, flags in among.items()
        ),
        shares=tuple(
            PlayShare(
                concept=concept,
                checkpoint=name,
                network=raw.shares[concept][index],
                network_gain=raw.gains[concept][index],
                search=searched.shares[concept][index] if searched else None,
                search_gain=searched.gains[concept][index] if searched else None,
            )
            for concept in among
            for index, name in enumerate(names)
        ),
        refused=tuple(refused.items()),
        confidence=resamples.confidence,
    )


def _of_search(played: Played) -> Array:
    if played.search is None:
        raise InputError("a network that has not been searched with")
    return played.search


def _check(concepts: Mapping[str, Labels], positions: int) -> None:
    for name, labels in concepts.items():
        if labels.shape != (positions,):
            raise InputError(f"{name}: labels {list(labels.shape)} for {positions} positions")


def _holding(decisions: Flags, concepts: Mapping[str, Labels]) -> dict[str, Flags]:
    """The decisions in which each concept holds, bool[N]; first all of them."""
    return {ALL: decisions} | {name: decisions & (each == 1.0) for name, each in concepts.items()}


def _measurable(
    held: Mapping[str, Flags], resamples: Resamples
) -> tuple[dict[str, Flags], dict[str, str]]:
    """Those that are measured, and why others are not."""
    among, refused = {}, {}
    for name, flags in held.items():
        distinct = len(np.unique(resamples.groups[flags]))
        if distinct >= FEWEST:
            among[name] = flags
        else:
            refused[name] = f"{distinct} distinct decisions in which it holds"
    return among, refused


class _Shares:
    """Shares of C concepts for K checkpoints beside untrained networks."""

    def __init__(
        self,
        checkpoints: Sequence[Array],
        untrained: Sequence[Array],
        among: Mapping[str, Flags],
        resamples: Resamples,
    ) -> None:
        self.shares: dict[str, list[Estimate]] = {}
        self.untrained: dict[str, float] = {}
        self.gains: dict[str, list[Estimate]] = {}
        self.positions = {concept: int(flags.sum()) for concept, flags in among.items()}
        baseline = np.mean(untrained, axis=0)
        every = []
        if not among:
            return
        for concept, flags in among.items():
            columns = np.where(flags[:, None], np.column_stack([*checkpoints, baseline]), np.nan)
            means = resamples.means(columns)
            every.append(means[:, :-1] - means[:, -1:])
            self.untrained[concept] = float(means[0, -1])
            count, distinct = int(flags.sum()), len(np.unique(resamples.groups[flags]))
            self.shares[concept] = [
                resamples.estimate(column, count, unseen=distinct) for column in means.T[:-1]
            ]
        gains = np.stack(every, axis=1)
        flat = gains.reshape(len(gains), -1)
        low, high = (bound.reshape(gains.shape[1:]) for bound in resamples.simultaneous(flat))
        for index, (concept, flags) in enumerate(among.items()):
            self.gains[concept] = [
                Estimate(
                    value=float(gains[0, index, place]),
                    low=float(low[index, place]),
                    high=float(high[index, place]),
                    positions=int(flags.sum()),
                )
                for place in range(gains.shape[2])
            ]

    def since(self, concept: str, names: Sequence[str]) -> str | None:
        """The first checkpoint that is above the untrained networks."""
        gains = zip(names, self.gains[concept], strict=True)
        return next((name for name, gain in gains if gain.is_above_zero), None)


def _table(found: Play) -> str:
    if not found.checkpoints or not found.concepts:
        return "play where concepts hold: nothing measured"
    last = found.checkpoints[-1]
    heading = f"{'value kept, last checkpoint':30}{'decisions':>10}{'random':>9}{'network':>9}"
    lines = [heading + (f"{'search':>9}" if found.search else "") + "  better since"]
    for concept in found.concepts:
        share = found.share(concept.concept, last)
        line = f"{concept.concept:30}{concept.decisions:10,}{percentage(concept.random_move):>7} %"
        line += f"{percentage(share.network.value):>7} %"
        if share.search is not None:
            line += f"{percentage(share.search.value):>7} %"
        lines.append(f"{line}  {concept.network_since or 'never'}")
    return "\n".join(lines)
