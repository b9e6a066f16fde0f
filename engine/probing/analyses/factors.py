"""Factors of a layer: a few patterns of channels of which every square's activation is a sum.

Activations [N, S, D] are taken as N * S vectors of D channels, one a square, less their mean.

    PCA   the directions of the largest variance; a square has a weight of either sign on each
    NMF   parts that only add up (Lee and Seung 1999): a square's vector is split into what is above
          the mean and what is below it, 2 D channels that are not negative, and weights are not
          negative either

The weights are drawn on boards. Each factor has a best-matching concept: the largest correlation of
its weights with a per-square concept over all squares, or of their mean or maximum over the board
with a concept of the position. The largest of many correlations is never small, so two controls
stand beside it: the largest that is found for labels permuted over the positions (its 95th
percentile over all factors and concepts of the layer), and the largest correlation of any factor of
each untrained network with the same concept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.activations.capture import capture
from engine.probing.analyses.correlations import Array, Labelled, correlations, labelled
from engine.probing.analyses.positions.evaluations import single_thread
from engine.probing.analyses.seen_pieces import one_of_each, seen_letters
from engine.probing.concepts.registry import Concept
from engine.probing.concepts.truth import Truth
from engine.probing.controls.features import untrained_networks
from engine.probing.data.canonical import Rows
from engine.probing.data.searched import Searched
from engine.rules.errors import InputError
from engine.rules.variant import Variant

Method = Literal["nmf", "pca"]
How = Literal["square", "mean", "max"]
"""A factor's weight on each square, or the mean or the maximum of the weights on a board."""
MOST_POSITIONS: Final = 600
_STEPS: Final = 100
_SETTLED: Final = 1e-4
"""Multiplicative updates end when ten of them lower the error by a smaller share."""
_TINY: Final = 1e-9


@dataclass(frozen=True, kw_only=True)
class FactorMatch:
    """The concept that a factor is most like."""

    # Its name; with " = CLASS" where it has classes.
    concept: str
    how: How
    correlation: float
    # What the largest of all the layer's correlations exceeds in one of twenty permutations.
    permuted: float
    # Of each untrained network the strongest correlation of any of its factors with the concept.
    untrained: tuple[float, ...]

    @property
    def stands_out(self) -> bool:
        """Whether the match is stronger than both controls."""
        strength = abs(self.correlation)
        return strength > self.permuted and strength > max(self.untrained, default=0.0)


@dataclass(frozen=True, kw_only=True)
class FactorBoard:
    """A position and a factor's weights on its squares, as the side to move sees the board."""

    # [S] letters: upper case is the side to move's, "" an empty square.
    pieces: tuple[str, ...]
    # [S], the largest of the sample being 1.
    weights: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One factor."""

    # From 0, the largest share first.
    number: int
    # Of the activations' variance that the factor alone explains.
    share: float
    # None where no concept varies.
    match: FactorMatch | None
    # Positions with the largest weights.
    boards: tuple[FactorBoard, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class Factors:
    """The factors of one layer."""

    variant: str
    layer: str
    method: Method
    # Files and ranks of the boards.
    width: int
    height: int
    # Canonical positions, one row each.
    positions: int
    # Share of the variance that all factors together explain, here and in each untrained network.
    explained: float
    untrained_explained: tuple[float, ...]
    factors: tuple[Factor, ...]

    def __repr__(self) -> str:
        over = f"{self.positions:,} positions of {self.variant}"
        by = f"{len(self.factors)} factors by {self.method.upper()}"
        lines = [f"{self.layer}: {by} explain {self.explained:.1%} over {over}"]
        for each in self.factors:
            found = each.match
            text = f"  {each.number}  {each.share:6.1%}"
            if found is not None:
                mark = "*" if found.stands_out else " "
                untrained = max(found.untrained, default=0.0)
                text += (
                    f"  {found.correlation:+.2f}{mark} (permuted {found.permuted:.2f},"
                    f" untrained {untrained:.2f})  {found.concept}, {found.how}"
                )
            lines.append(text)
        return "\n".join(lines)


def factors(
    network: PolicyValueNet,
    layer: str,
    rows: Rows,
    concepts: Sequence[Concept],
    variant: Variant,
    *,
    method: Method = "nmf",
    count: int = 8,
    truth: Truth | None = None,
    searched: Searched | None = None,
    untrained: int = 5,
    permutations: int = 100,
    positions: int = MOST_POSITIONS,
    examples: int = 4,
    seed: int = 0,
) -> Factors:
    """Factor a layer with squares [B, S, D] over unfinished positions uint8[N, R].

    One row of each canonical position is used, at most `positions`. Raises InputError for an
    unknown layer, one without squares, and more factors than channels.
    """
    if method not in ("nmf", "pca"):
        raise InputError(f"method = '{method}' is not nmf or pca")
    if not 1 <= count <= network.config.channels:
        raise InputError(f"count = {count} is not 1 to {network.config.channels}, the channels")
    rng = np.random.default_rng(seed)
    rows = rows[one_of_each(rows, variant, positions, rng)]
    found = labelled(concepts, rows, variant, truth=truth, searched=searched)
    targets = _Targets(found, len(rows), variant.squares)
    seeds = range(seed + 1, seed + 1 + untrained)
    with single_thread():
        weights, shares, explained = _fit(network, layer, rows, method, count, seed)
        correlated = targets.correlations(weights)
        permuted = targets.permuted(weights, permutations, rng)
        others = [
            _fit(other, layer, rows, method, count, seed)
            for other in untrained_networks(network.config, seeds)
        ]
        of_untrained = [np.abs(targets.correlations(each[0])) for each in others]
    letters = seen_letters(rows, variant)
    return Factors(
        variant=variant.name,
        layer=layer,
        method=method,
        width=variant.width,
        height=variant.height,
        positions=len(rows),
        explained=explained,
        untrained_explained=tuple(each[2] for each in others),
        factors=tuple(
            Factor(
                number=number,
                share=float(shares[number]),
                match=_match(targets, correlated[number], permuted, of_untrained),
                boards=_boards(weights[:, :, number], letters, examples),
            )
            for number in range(count)
        ),
    )


def _fit(
    network: PolicyValueNet, layer: str, rows: Rows, method: Method, count: int, seed: int
) -> tuple[Array, Array, float]:
    """Weights [N, S, K], the largest share first, the shares [K], and that of all together."""
    squares = network.config.squares
    flat = capture(network, rows, [layer], readout="squares")[layer]
    if flat.shape[1] != squares * network.config.channels:
        raise InputError(f"the layer '{layer}' has no squares to draw factors on")
    vectors = flat.reshape(-1, network.config.channels).astype(np.float64)
    vectors -= vectors.mean(axis=0)
    if method == "pca":
        weights, parts = principal_components(vectors, count)
    else:
        split = np.concatenate([np.maximum(vectors, 0.0), np.maximum(-vectors, 0.0)], axis=1)
        split = split.astype(np.float32)
        weights, parts = nonnegative_factors(split, count, np.random.default_rng(seed))
        parts = parts[:, : vectors.shape[1]] - parts[:, vectors.shape[1] :]
    total = max(float((vectors**2).sum()), _TINY)
    # Without the cross terms, which are none for principal components.
    inner = 2.0 * ((vectors @ parts.T) * weights).sum(axis=0)
    shares = (inner - (weights**2).sum(axis=0) * (parts**2).sum(axis=1)) / total
    order = np.argsort(-shares, kind="stable")
    explained = 1.0 - float(((vectors - weights @ parts) ** 2).sum()) / total
    return weights[:, order].reshape(len(rows), squares, count), shares[order], explained


def principal_components(vectors: Array, count: int) -> tuple[Array, Array]:
    """Weights [M, K] and directions [K, D] of the largest variance of centred vectors [M, D].

    The largest channel of each direction is positive.
    """
    _, axes = np.linalg.eigh(vectors.T @ vectors)
    parts = axes[:, ::-1][:, :count].T
    largest = np.take_along_axis(parts, np.abs(parts).argmax(axis=1)[:, None], axis=1)
    parts = parts * np.sign(largest)
    return vectors @ parts.T, parts


def nonnegative_factors(
    matrix: npt.NDArray[np.floating], count: int, rng: np.random.Generator, *, steps: int = _STEPS
) -> tuple[Array, Array]:
    """Weights [M, K] and parts [K, F], none negative, whose product is near `matrix` [M, F].

    Multiplicative updates for the squared error (Lee and Seung 2001, theorem 1), which never raise
    it; in the matrix's own precision. The spread of each column of weights is one.
    """
    scale = float(np.sqrt(max(float(matrix.mean()), _TINY) / count))
    weights = (scale * rng.uniform(0.2, 1.8, (len(matrix), count))).astype(matrix.dtype)
    parts = (scale * rng.uniform(0.2, 1.8, (count, matrix.shape[1]))).astype(matrix.dtype)
    whole, last = float((matrix**2).sum()), np.inf
    for step in range(steps):
        parts *= (weights.T @ matrix) / (weights.T @ weights @ parts + _TINY)
        products, gram = matrix @ parts.T, parts @ parts.T
        weights *= products / (weights @ gram + _TINY)
        if step % 10 == 9:
            fitted = float((weights.T @ weights * gram).sum())
            error = whole - 2.0 * float((weights * products).sum()) + fitted
            if last - error < _SETTLED * error:
                break
            last = error
    spread = np.maximum(weights.std(axis=0), _TINY).astype(np.float64)
    return weights / spread, parts * spread[:, None]


class _Targets:
    """What factors are compared with: columns of labels, and their names."""

    def __init__(self, found: Labelled, rows: int, squares: int) -> None:
        self._squares, self._rows = squares, rows
        names: dict[bool, list[str]] = {True: [], False: []}
        columns: dict[bool, list[Array]] = {True: [], False: []}
        for concept in found.concepts:
            labels = found.labels[concept.name]
            if concept.kind != "categorical":
                classes = [(concept.name, labels)]
            else:
                known = np.unique(labels[np.isfinite(labels)])
                classes = [
                    (
                        f"{concept.name} = {concept.class_name(value)}",
                        np.where(np.isnan(labels), np.nan, labels == value),
                    )
                    for value in known
                ]
            for name, column in classes:
                names[concept.per_square].append(name)
                columns[concept.per_square].append(column)
        shape = (rows, squares)
        self._per_square = (
            np.stack(columns[True], axis=-1) if columns[True] else np.empty((*shape, 0))
        )
        self._whole = np.stack(columns[False], axis=-1) if columns[False] else np.empty((rows, 0))
        hows: tuple[How, ...] = ("mean", "max")
        self.names: tuple[tuple[str, How], ...] = (
            *((name, "square") for name in names[True]),
            *((name, how) for how in hows for name in names[False]),
        )
        """(concept, how) of each column."""

    def correlations(self, weights: Array, order: npt.NDArray[np.int64] | None = None) -> Array:
        """Of weights [N, S, K] with all columns, [K, columns]; 0 where there is none.

        `order` permutes the labels over the positions.
        """
        chosen = slice(None) if order is None else order
        squares = self._per_square[chosen].reshape(self._rows * self._squares, -1)
        whole = self._whole[chosen]
        count = weights.shape[2]
        parts = [
            correlations(weights.reshape(-1, count), squares),
            correlations(weights.mean(axis=1), whole),
            correlations(weights.max(axis=1), whole),
        ]
        return np.nan_to_num(np.concatenate(parts, axis=1))

    def permuted(self, weights: Array, permutations: int, rng: np.random.Generator) -> float:
        """The 95th percentile of the largest correlation for permuted labels."""
        if not self.names or not permutations:
            return 0.0
        largest = [
            np.abs(self.correlations(weights, rng.permutation(self._rows))).max()
            for _ in range(permutations)
        ]
        return float(np.quantile(largest, 0.95))


def _match(
    targets: _Targets, correlated: Array, permuted: float, untrained: Sequence[Array]
) -> FactorMatch | None:
    """The best match of a factor with correlations [columns]."""
    if not targets.names:
        return None
    place = int(np.abs(correlated).argmax())
    concept, how = targets.names[place]
    return FactorMatch(
        concept=concept,
        how=how,
        correlation=float(correlated[place]),
        permuted=permuted,
        untrained=tuple(float(each[:, place].max()) for each in untrained),
    )


def _boards(
    weights: Array, letters: tuple[tuple[str, ...], ...], examples: int
) -> tuple[FactorBoard, ...]:
    """Of weights [N, S] those with the largest on any square, each board once."""
    largest = np.abs(weights).max(axis=1)
    unit = max(float(largest.max()), _TINY)
    return tuple(
        FactorBoard(pieces=letters[row], weights=tuple(float(each) / unit for each in weights[row]))
        for row in np.argsort(-largest, kind="stable")[:examples].tolist()
    )
