"""How far concepts are the same: every one against every other, over all positions given.

Where two concepts are as good as one, a probe's gain for the one is a gain for the other, and which
of them a network has cannot be told. Over all positions of a solved game the figures are exact.

    numbers, yes or no     Pearson's correlation, -1 to 1
    classes and a number   correlation ratio, 0 to 1: the root of the share of the number's variance
                           that the classes explain
    classes and classes    Cramér's V, 0 to 1

Each pair is compared over the positions where both are defined. A per-square concept stands by its
sum over the board.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from engine.probing.analyses.correlations import Array, correlations, labelled
from engine.probing.concepts.registry import Concept, Labels
from engine.probing.concepts.truth import Truth
from engine.probing.data.canonical import Rows
from engine.probing.data.searched import Searched
from engine.rules.errors import InputError
from engine.rules.variant import Variant

ONE: Final = 0.9
"""From here on, two concepts are one as far as a probe can tell."""


@dataclass(frozen=True, kw_only=True)
class Association:
    """Two concepts and how far they are the same."""

    one: str
    other: str
    # As in the matrix.
    value: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Entanglement:
    """The concept-by-concept matrix, in an order that puts like beside like."""

    variant: str
    positions: int
    # Concepts, in clustered order.
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    # [C, C]; None where no position has both, or one is constant where the other is defined.
    matrix: tuple[tuple[float | None, ...], ...]
    # From this strength on, two concepts count as one.
    threshold: float
    # The pairs that do, the strongest first.
    pairs: tuple[Association, ...]
    # Concepts that such pairs connect, each group as one gain; the largest first.
    groups: tuple[tuple[str, ...], ...]
    # (name, reason) of concepts that are not in the matrix.
    absent: tuple[tuple[str, str], ...]

    def value(self, one: str, other: str) -> float | None:
        """Of two concepts by name. Raises InputError for an unknown one."""
        for name in (one, other):
            if name not in self.names:
                raise InputError(f"no concept '{name}' among {len(self.names)}")
        return self.matrix[self.names.index(one)][self.names.index(other)]

    def strongest(self, name: str, count: int = 3) -> tuple[Association, ...]:
        """The concepts that are most like one."""
        found = [
            Association(one=name, other=other, value=value)
            for other in self.names
            if other != name and (value := self.value(name, other)) is not None
        ]
        return tuple(sorted(found, key=lambda each: -abs(each.value))[:count])

    def __repr__(self) -> str:
        over = f"{self.positions:,} positions of {self.variant}"
        lines = [f"{len(self.names)} concepts over {over}; from {self.threshold:g} on two are one"]
        lines += [f"  {each.value:+.3f}  {each.one} = {each.other}" for each in self.pairs]
        return "\n".join(lines)


def entanglement(
    concepts: Sequence[Concept],
    rows: Rows,
    variant: Variant,
    *,
    truth: Truth | None = None,
    searched: Searched | None = None,
    threshold: float = ONE,
) -> Entanglement:
    """Compare concepts over unfinished positions uint8[N, R], N >= 1.

    Raises InputError for a threshold outside 0 to 1, or where fewer than two concepts vary.
    """
    found = labelled(concepts, rows, variant, truth=truth, searched=searched)
    return entanglement_of(
        found.concepts, found.labels, variant.name, absent=found.absent, threshold=threshold
    )


def entanglement_of(
    concepts: Sequence[Concept],
    labels: Mapping[str, Labels],
    variant: str,
    *,
    absent: tuple[tuple[str, str], ...] = (),
    threshold: float = ONE,
) -> Entanglement:
    """The same for labels by name, [N] or [N, S], that are there already."""
    if not 0.0 < threshold <= 1.0:
        raise InputError(f"threshold = {threshold!r} is not above 0 and at most 1")
    left_out = "has classes on every square, which have no sum over the board"
    kept = [each for each in concepts if not (each.per_square and each.kind == "categorical")]
    absent += tuple((each.name, left_out) for each in concepts if each not in kept)
    if len(kept) < 2:
        raise InputError(f"{variant}: {len(kept)} concepts vary, two are needed to compare")
    columns = np.stack(
        [labels[each.name].sum(axis=1) if each.per_square else labels[each.name] for each in kept],
        axis=1,
    )
    matrix = association_matrix(columns, [each.kind == "categorical" for each in kept])
    order = clustered(matrix)
    matrix, names = matrix[np.ix_(order, order)], [kept[index].name for index in order]
    strength = np.abs(np.nan_to_num(matrix))
    pairs = [
        Association(one=names[i], other=names[j], value=float(matrix[i, j]))
        for i, j in np.argwhere(np.triu(strength >= threshold, 1)).tolist()
    ]
    return Entanglement(
        variant=variant,
        positions=len(columns),
        names=tuple(names),
        kinds=tuple(kept[index].kind for index in order),
        matrix=tuple(
            tuple(None if np.isnan(value) else float(value) for value in line) for line in matrix
        ),
        threshold=threshold,
        pairs=tuple(sorted(pairs, key=lambda each: -abs(each.value))),
        groups=_groups(names, strength >= threshold),
        absent=absent,
    )


def association_matrix(columns: Array, is_class: Sequence[bool]) -> Array:
    """[C, C] of columns [N, C], NaN where a label is missing; see the module's table."""
    classes = np.flatnonzero(is_class)
    numbers = np.where(np.asarray(is_class), np.nan, columns)
    matrix = correlations(numbers, numbers)
    for place in classes.tolist():
        codes = columns[:, place]
        for other in range(columns.shape[1]):
            is_pair = other in classes
            value = (
                cramers_v(codes, columns[:, other])
                if is_pair
                else correlation_ratio(codes, columns[:, other])
            )
            matrix[place, other] = matrix[other, place] = value
    for place in range(len(matrix)):
        known = columns[np.isfinite(columns[:, place]), place]
        matrix[place, place] = 1.0 if len(known) and np.ptp(known) > 0.0 else np.nan
    return matrix


def _both(codes: Array, other: Array) -> tuple[npt.NDArray[np.int64], Array]:
    """Classes, numbered from 0, and the other column, of the rows that have both."""
    known = np.isfinite(codes) & np.isfinite(other)
    return np.unique(codes[known], return_inverse=True)[1].ravel(), other[known]


def correlation_ratio(codes: Array, numbers: Array) -> float:
    """Of classes [N] and numbers [N]: 0 to 1, NaN where one is constant."""
    members, numbers = _both(codes, numbers)
    if not len(members) or members.max() == 0 or np.ptp(numbers) == 0.0:
        return float("nan")
    centred = numbers - numbers.mean()
    counts, sums = np.bincount(members), np.bincount(members, centred)
    return float(np.sqrt(min(1.0, (sums**2 / counts).sum() / (centred**2).sum())))


def cramers_v(codes: Array, other: Array) -> float:
    """Of two sets of classes [N]: 0 to 1, NaN where one is constant."""
    members, codes = _both(codes, other)
    others = np.unique(codes, return_inverse=True)[1].ravel()
    if not len(members) or min(members.max(), others.max()) == 0:
        return float("nan")
    width = int(others.max()) + 1
    table = np.bincount(members * width + others, minlength=(int(members.max()) + 1) * width)
    table = table.reshape(-1, width)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    chi_squared = ((table - expected) ** 2 / expected).sum()
    return float(np.sqrt(min(1.0, chi_squared / (table.sum() * (min(table.shape) - 1)))))


def clustered(matrix: Array) -> list[int]:
    """An order of the concepts of [C, C] that puts like beside like: average linkage on one less
    the strength, leaves turned so that neighbours are as alike as can be (Bar-Joseph et al.
    2001)."""
    if len(matrix) < 3:
        return list(range(len(matrix)))
    distances = 1.0 - np.abs(np.nan_to_num(matrix))
    distances = (distances + distances.T) / 2.0
    np.fill_diagonal(distances, 0.0)
    condensed = squareform(distances, checks=False)
    order: list[int] = leaves_list(
        optimal_leaf_ordering(linkage(condensed, "average"), condensed)
    ).tolist()
    return order


def _groups(names: Sequence[str], joined: npt.NDArray[np.bool_]) -> tuple[tuple[str, ...], ...]:
    """Sets of more than one that `joined` [C, C] connects."""
    from scipy.sparse.csgraph import connected_components

    _, member = connected_components(joined, directed=False)
    groups = [
        tuple(names[place] for place in np.flatnonzero(member == number).tolist())
        for number in range(member.max() + 1)
    ]
    return tuple(sorted((each for each in groups if len(each) > 1), key=lambda each: -len(each)))
