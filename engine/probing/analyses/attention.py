"""What each attention head of a transformer trunk looks at, measured on many positions.

A head's score for a relation of squares is the mean attention weight that a query square gives to
the squares in that relation, over the queries that have such squares and over positions. A head
that attends to all S squares alike gives each 1 / S: the **excess** is the score less that.

    file, rank, diagonal                 other squares on the same line
    king's step, knight's step           squares that such a piece could reach on an empty board
    itself                               the query square
    best move, other legal moves         from the square that the move leaves to the one it reaches
    best over other moves                the difference, in positions that have both

The best moves are the exact ones (the value kept, and soonest) where the game is solved, else the
network's own. What a head shows before training is measured on five untrained networks, whose heads
of the same block are all alike: the **gain** is the excess less their mean. Its interval covers the
draw of positions and of one more untrained head, and is corrected for the number of heads and
relations.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from engine.network.model.policy_value import VariantNetwork
from engine.probing.analyses.positions.evaluations import (
    Batch,
    batches,
    evaluate,
    evaluating,
    variant_of,
)
from engine.probing.analyses.positions.move_table import Flags, MoveTable, MoveTruth, move_table
from engine.probing.analyses.positions.resampling import Array, Resamples, counted
from engine.probing.controls.features import untrained_networks
from engine.probing.data.canonical import Rows, canonical_boards, canonical_groups
from engine.rules.errors import InputError, require_finite
from engine.rules.variant import Variant

SQUARE_RELATIONS: Final = ("file", "rank", "diagonal", "king's step", "knight's step", "itself")
DIFFERENCE: Final = "best over other moves"
MOVE_RELATIONS: Final = ("best move", "other legal moves", DIFFERENCE)
RELATIONS: Final = (*SQUARE_RELATIONS, *MOVE_RELATIONS)
UNTRAINED: Final = 5
"""Untrained networks to compare with."""


@dataclass(frozen=True, kw_only=True)
class HeadScore:
    """How much one head attends along one relation of squares."""

    block: int
    head: int
    relation: str
    # Mean attention weight on the related squares, 0 to 1 (of "best over other moves": -1 to 1).
    score: float
    # The score of a head that attends to all squares alike.
    uniform: float
    # Mean excess of the untrained networks' heads of this block, and its spread over them.
    untrained: float
    untrained_spread: float
    # Excess over uniform less the untrained networks' mean, with the bounds of its own interval,
    # and of one that holds for all heads and relations at once.
    gain: float
    gain_low: float
    gain_high: float
    corrected_low: float
    corrected_high: float
    # Positions that have such squares or moves.
    positions: int

    @property
    def excess(self) -> float:
        """The score less that of a uniform head."""
        return self.score - self.uniform

    @property
    def stands_out(self) -> bool:
        """Whether the head attends along the relation more than untrained ones, after
        correction."""
        return self.corrected_low > 0.0


@dataclass(frozen=True, kw_only=True, repr=False)
class AttentionScores:
    """Scores of every head for every relation."""

    variant: str
    positions: int
    # Whether the best moves are exact, rather than the network's own.
    exact: bool
    # Why there is nothing to measure, as in a residual tower; else None.
    absent: str | None
    scores: tuple[HeadScore, ...]
    confidence: float

    def of(self, relation: str) -> tuple[HeadScore, ...]:
        """All heads for one relation, the largest gain first."""
        found = [each for each in self.scores if each.relation == relation]
        return tuple(sorted(found, key=lambda each: -each.gain))

    def __repr__(self) -> str:
        return _table(self)


Baseline = tuple[npt.NDArray[np.float64], ...]
"""For each untrained network the mean excess of its heads, [blocks, H, relations]."""


def attention_scores(
    network: VariantNetwork,
    rows: Rows,
    truth: MoveTruth | None = None,
    *,
    variant: Variant | None = None,
    untrained: int = UNTRAINED,
    resamples: int = 1_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> AttentionScores:
    """Score the attention heads of a network on unfinished positions uint8[N, R], N >= 1.

    `truth` gives exact values, where the game is solved; `variant` is the network's unless given.
    Of a residual tower, the scores are empty and `absent` says why. Raises InputError for rows of
    another variant, for finished positions, and for no untrained network, NotFiniteError for
    attention that is not finite.

        >>> import pawnscope as ps
        >>> from engine.network.model.config import NetworkConfig
        >>> from engine.network.model.policy_value import PolicyValueNet
        >>> network = PolicyValueNet(NetworkConfig.for_variant(ps.get_variant("gardner")))
        >>> rows = ps.Position("gardner").row[None]
        >>> found = attention_scores(network, rows, resamples=50)
        >>> print(found)                                # doctest: +ELLIPSIS
        attention on 1 position of gardner...
        >>> round(found.of("file")[0].uniform, 4)       # 4 of 25 squares
        0.16
    """
    if untrained < 1:
        raise InputError(f"untrained = {untrained}: at least one network to compare with")
    variant = variant_of(network, variant)
    legal = move_table(rows, variant, truth)
    best = best_moves(network, legal, seed)
    groups = canonical_groups(canonical_boards(rows, variant))
    seeds = range(seed + 1, seed + 1 + untrained)
    baseline = attention_baseline(untrained_networks(network.config, seeds), legal, best)
    return scores_of(
        network, legal, best, Resamples(groups, resamples, seed, confidence), baseline, seed
    )


def best_moves(network: VariantNetwork, legal: MoveTable, seed: int = 0) -> Flags:
    """Whether each legal move is best, bool[M]: by the exact solution, else by the network."""
    if legal.exact is not None:
        return legal.exact.optimal
    ties = np.random.default_rng(seed).random(len(legal.moves))
    flags = np.zeros(len(legal.moves), bool)
    flags[legal.best(evaluate(network, legal).policy, ties)] = True
    return flags


def attention_baseline(
    untrained: Iterable[VariantNetwork], legal: MoveTable, best: Flags
) -> Baseline:
    """What untrained networks' heads attend to; one network in memory at a time."""
    found = []
    for network in untrained:
        if head_count(network):
            excess = _excess(network, legal, best)
            counts = np.isfinite(excess).sum(axis=0)
            mean = np.full(counts.shape, np.nan)
            found.append(np.divide(np.nansum(excess, axis=0), counts, out=mean, where=counts > 0))
    return tuple(found)


def head_count(network: VariantNetwork) -> int:
    """Attention heads of a network, in all blocks."""
    config = network.config
    return config.blocks * config.heads if config.trunk == "transformer" else 0


def scores_of(
    network: VariantNetwork,
    legal: MoveTable,
    best: Flags,
    resamples: Resamples,
    baseline: Baseline,
    seed: int = 0,
) -> AttentionScores:
    """The same with legal moves, best moves bool[M] and a baseline that several networks share."""
    scores: tuple[HeadScore, ...] = ()
    absent = None
    if not head_count(network):
        absent = (
            "the trunk is a residual tower, which has no attention"
            if network.config.trunk == "residual"
            else "the network has no block"
        )
    else:
        scores = _scores(_excess(network, legal, best), legal.variant, resamples, baseline, seed)
    return AttentionScores(
        variant=legal.variant.name,
        positions=len(legal),
        exact=legal.exact is not None,
        absent=absent,
        scores=scores,
        confidence=resamples.confidence,
    )


def _scores(
    excess: Array, variant: Variant, resamples: Resamples, baseline: Baseline, seed: int
) -> tuple[HeadScore, ...]:
    """Of excesses [N, blocks, H, relations]."""
    shape = excess.shape[1:]
    untrained = np.stack(baseline).transpose(1, 3, 0, 2).reshape(shape[0], shape[2], -1)
    # Of [blocks, relations, networks * H] untrained heads, whose number in a block means nothing.
    heads = untrained.shape[2]
    mean = untrained.mean(axis=2)
    spread = untrained.std(axis=2, ddof=1) if heads > 1 else np.zeros_like(mean)
    gains = resamples.means(excess.reshape(len(excess), -1)).reshape(-1, *shape)
    gains -= mean[:, None]
    drawn = np.random.default_rng(seed).standard_t(max(1, heads - 1), size=gains[1:].shape)
    gains[1:] += spread[:, None] * np.sqrt(1.0 + 1.0 / heads) * drawn
    measured = np.isfinite(gains[0])
    low, high = np.full((2, *shape), np.nan)
    low[measured], high[measured] = resamples.simultaneous(gains[:, measured])
    uniform = _uniform(variant)
    found = []
    for block, head, number in np.argwhere(measured).tolist():
        place = (block, head, number)
        column = excess[(slice(None), *place)]
        pointwise = resamples.estimate(gains[(slice(None), *place)], int(np.isfinite(column).sum()))
        found.append(
            HeadScore(
                block=block,
                head=head,
                relation=RELATIONS[number],
                score=float(np.nanmean(column) + uniform[number]),
                uniform=float(uniform[number]),
                untrained=float(mean[block, number]),
                untrained_spread=float(spread[block, number]),
                gain=pointwise.value,
                gain_low=pointwise.low,
                gain_high=pointwise.high,
                corrected_low=min(float(low[place]), pointwise.low),
                corrected_high=max(float(high[place]), pointwise.high),
                positions=pointwise.positions,
            )
        )
    return tuple(found)


def _excess(network: VariantNetwork, legal: MoveTable, best: Flags) -> Array:
    """Excess over uniform of each head for each relation, [N, blocks, H, relations].

    NaN where a position has no such moves, and where the board has no such squares.
    """
    config, variant = network.config, legal.variant
    masks = torch.from_numpy(_query_weights(variant)).float().flatten(1).T  # [S * S, relations]
    uniform = _uniform(variant)
    found = np.empty((len(legal), config.blocks, config.heads, len(RELATIONS)))
    points = [f"block.{block}.attention.pattern" for block in range(config.blocks)]
    with evaluating(network), network.hook_points.read(*points) as patterns:
        for batch in batches(legal):
            network(batch.boards)
            pairs = _Pairs(network, batch, best[batch.part])
            for block, point in enumerate(points):
                weights = patterns[point].float().flatten(2)  # [B, H, S * S]
                require_finite(weights.numpy(), f"the attention at '{point}'")
                part = found[batch.start : batch.end, block]
                part[..., : len(SQUARE_RELATIONS)] = (weights @ masks).numpy()
                part[..., len(SQUARE_RELATIONS) :] = pairs.means(weights.numpy())
    found -= uniform
    return found


class _Pairs:
    """The different from-to pairs of a batch's legal moves, best and other."""

    def __init__(self, network: VariantNetwork, batch: Batch, best: Flags) -> None:
        squares = network.config.squares
        places = network.encoder.from_to(batch.boards, batch.moves, batch.owners).numpy()
        # Promotions to several types are one pair, which is best if one of them is.
        pairs, of_move = np.unique(places, return_inverse=True)
        self._best = np.zeros(len(pairs), bool)
        np.logical_or.at(self._best, of_move, best)
        self._owners, self._places = pairs // squares**2, pairs % squares**2
        self._batch = len(batch.boards)

    def means(self, weights: npt.NDArray[np.float32]) -> Array:
        """Of weights [B, H, S * S]: mean over the best moves, over the others, and the difference,
        [B, H, 3]."""
        each = weights[self._owners, :, self._places]  # [pairs, H]
        best = self._mean(each, self._best)
        others = self._mean(each, ~self._best)
        return np.stack([best, others, best - others], axis=-1)

    def _mean(self, each: npt.NDArray[np.float32], among: Flags) -> Array:
        sums = np.zeros((self._batch, each.shape[1]))
        np.add.at(sums, self._owners[among], each[among])
        counts = np.bincount(self._owners[among], minlength=self._batch)[:, None]
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def related_squares(width: int, height: int) -> Flags:
    """bool[relations of squares, query S, key S]."""
    square = np.arange(width * height)
    rank, file = square // width, square % width
    ranks = np.abs(rank[:, None] - rank)
    files = np.abs(file[:, None] - file)
    other = (ranks > 0) | (files > 0)
    steps = np.sort(np.stack([ranks, files]), axis=0)
    related: Flags = np.stack(
        [
            other & (files == 0),
            other & (ranks == 0),
            other & (ranks == files),
            steps[1] == 1,
            (steps[0] == 1) & (steps[1] == 2),
            ~other,
        ]
    )
    return related


def _query_weights(variant: Variant) -> Array:
    """Weights [relations of squares, S, S] whose product with a pattern, summed, is the score: the
    mean over the queries that have such squares. NaN where none has."""
    related = related_squares(variant.width, variant.height).astype(np.float64)
    queries = related.any(axis=2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        weights: Array = related / queries[:, None, None]
    return weights


def _uniform(variant: Variant) -> Array:
    """[relations] the score of a head that attends to all squares alike."""
    of_squares = _query_weights(variant).sum(axis=(1, 2)) / variant.squares
    one = 1.0 / variant.squares
    return np.concatenate([of_squares, [one, one, 0.0]])


def _table(found: AttentionScores) -> str:
    title = f"attention on {counted(found.positions, 'position')} of {found.variant}"
    if found.absent is not None:
        return f"{title}: none, {found.absent}"
    best = "exact" if found.exact else "the network's own"
    lines = [
        f"{title}: excess over uniform, less that of untrained networks (* above zero,",
        f"corrected for {len(found.scores)} scores); best moves are {best}",
        f"{'relation':22}{'uniform':>8}  heads as block.head, the largest first",
    ]
    for relation in RELATIONS:
        heads = found.of(relation)
        if heads:
            figures = " ".join(
                f"{each.block}.{each.head} {each.gain:+.3f}{'*' if each.stands_out else ' '}"
                for each in heads[:4]
            )
            lines.append(f"{relation:22}{heads[0].uniform:8.3f}  {figures}")
    return "\n".join(lines)
