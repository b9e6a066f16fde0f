"""Correlations of columns of which some numbers are missing, each over the rows that have both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Concept, ConceptUndefinedError, Labels
from engine.probing.concepts.truth import Truth
from engine.probing.data.canonical import Rows
from engine.probing.data.searched import Searched
from engine.rules.variant import Variant

Array = npt.NDArray[np.float64]
_FLAT: Final = 1e-9
"""Columns whose variance is below this share of their mean square are constant."""
_CHUNK: Final = 16_384
"""Rows that are multiplied at a time."""


def correlations(one: Array, other: Array) -> Array:
    """Pearson's correlations [A, C] of columns [N, A] with columns [N, C].

    NaN stands for a missing number; each pair of columns is compared over the rows that have both.
    NaN where one of the two is constant there, or nothing is left.
    """
    mean_one, mean_other = _means(one), _means(other)
    shape = (one.shape[1], other.shape[1])
    counts, sums_one, sums_other = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    squares_one, squares_other, products = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for start in range(0, len(one), _CHUNK):
        # Less their means, so that sums of squares lose no digits.
        x = one[start : start + _CHUNK] - mean_one
        y = other[start : start + _CHUNK] - mean_other
        has_x, has_y = np.isfinite(x).astype(np.float64), np.isfinite(y).astype(np.float64)
        x, y = np.nan_to_num(x), np.nan_to_num(y)
        counts += has_x.T @ has_y
        sums_one += x.T @ has_y
        sums_other += has_x.T @ y
        squares_one += (x * x).T @ has_y
        squares_other += has_x.T @ (y * y)
        products += x.T @ y
    with np.errstate(invalid="ignore", divide="ignore"):
        variance_one = squares_one - sums_one**2 / counts
        variance_other = squares_other - sums_other**2 / counts
        covariance = products - sums_one * sums_other / counts
        found: Array = covariance / np.sqrt(variance_one * variance_other)
        flat = (variance_one <= _FLAT * squares_one) | (variance_other <= _FLAT * squares_other)
    found[flat | ~np.isfinite(found)] = np.nan
    return np.clip(found, -1.0, 1.0)


def _means(columns: Array) -> Array:
    """[C] of columns [N, C], over the numbers that are there; 0 where none is."""
    known = np.isfinite(columns)
    means: Array = np.where(known, columns, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return means


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """The labels of concepts that are defined for a sample, and those that are not."""

    concepts: tuple[Concept, ...]
    # By the concept's name: [N], or [N, S] of a per-square concept.
    labels: dict[str, Labels]
    # (name, reason) of the others.
    absent: tuple[tuple[str, str], ...]


def labelled(
    concepts: Sequence[Concept],
    rows: Rows,
    variant: Variant,
    *,
    truth: Truth | None = None,
    searched: Searched | None = None,
) -> Labelled:
    """Labels of rows uint8[N, R]; a concept that is undefined, or the same everywhere, is absent.

    What concepts share is computed once a chunk.
    """
    kept = {each.name: each for each in concepts}
    absent: dict[str, str] = {}
    parts: dict[str, list[Labels]] = {name: [] for name in kept}
    for start in range(0, len(rows), _CHUNK // 2):
        positions = Positions(rows[start : start + _CHUNK // 2], variant, truth, searched)
        for name, concept in kept.items():
            if name in absent:
                continue
            try:
                parts[name].append(concept.label(positions))
            except ConceptUndefinedError as reason:
                absent[name] = str(reason)
    labels = {name: np.concatenate(part) for name, part in parts.items() if name not in absent}
    for name, found in labels.items():
        known = found[np.isfinite(found)]
        if not len(known) or (known == known[0]).all():
            absent[name] = "the same in every position"
    return Labelled(
        concepts=tuple(each for each in concepts if each.name not in absent),
        labels={name: found for name, found in labels.items() if name not in absent},
        absent=tuple((name, absent[name]) for name in kept if name in absent),
    )
