"""The features of the training rows: standardised, and along their principal axes."""

from collections.abc import Iterator
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.activations.capture import Features
from engine.probing.data.splits import Indices
from engine.probing.probes.logistic import Newton, Single
from engine.probing.probes.tasks import Array
from engine.rules.errors import InputError, require_finite

ALWAYS: Final = -1
"""The fold number of rows that are never left out."""
CHUNK: Final = 2_048
"""Training rows that are in double precision at a time."""
_FLAT: Final = 1e-6
"""A feature is constant if its spread is below this share of its largest value, which is rounding,
or of the largest spread of all features."""


class TrainingFeatures:
    """Features of the training rows, standardised on them; rows of one fold stand together."""

    def __init__(
        self,
        features: Features,
        train: Indices,
        folds: npt.NDArray[np.int64] | None = None,
        groups: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """`features` float32[N, W]; `train` int64[M]; `folds` [M] number the training rows.

        Rows of the fold `ALWAYS` are never left out. Without folds every task must bring its
        penalty. `groups` [M] are what the order of the online code (description.py) keeps together,
        such as games. Raises InputError for shapes that do not fit, no rows, or a fold that holds
        all of them, NotFiniteError.
        """
        _check(features, train, folds, groups)
        self.features, self.rows_in_all = features, len(features)
        numbers = np.full(len(train), ALWAYS) if folds is None else np.asarray(folds)
        order = np.argsort(numbers, kind="stable")
        self.train: Indices = np.asarray(train)[order]
        """[M] training rows, ordered by fold."""
        found, sizes = np.unique(numbers, return_counts=True)
        ends = [0, *np.cumsum(sizes).tolist()]
        self.parts: tuple[slice, ...] = tuple(map(slice, ends[:-1], ends[1:]))
        """Ranges of `train`: the rows that are never left out, if any, then each fold."""
        self.folds: tuple[slice, ...] = self.parts[int((found == ALWAYS).sum()) :]
        """Ranges of `train`, each left out once to choose penalties."""
        self.groups = None if groups is None else np.asarray(groups)[order]
        """[M] of `train`."""
        self._standardisation()

    def _standardisation(self) -> None:
        width, count = self.features.shape[1], len(self.train)
        total, largest = np.zeros(width), np.zeros(width)
        for rows in self.chunks(slice(0, count)):
            part = self.features[self.train[rows]]
            require_finite(part, "a feature")
            total += part.sum(axis=0, dtype=np.float64)
            np.maximum(largest, np.abs(part).max(axis=0), out=largest)
        self.mean: Array = total / count
        squares = np.zeros(width)
        for rows in self.chunks(slice(0, count)):
            squares += ((self.features[self.train[rows]] - self.mean) ** 2).sum(axis=0)
        spread = np.sqrt(squares / count)
        varies = spread > _FLAT * np.maximum(largest, spread.max(initial=0.0))
        self.inverse_spread: Array = np.divide(1.0, spread, out=np.zeros_like(spread), where=varies)

    @property
    def width(self) -> int:
        """W."""
        return int(self.features.shape[1])

    @staticmethod
    def chunks(rows: slice) -> Iterator[slice]:
        """A range of training rows, a few at a time."""
        for start in range(rows.start, rows.stop, CHUNK):
            yield slice(start, min(start + CHUNK, rows.stop))

    def standard(self, rows: slice | Indices) -> Array:
        """Standardised features of training rows, float64[n, W]."""
        standard: Array = self.features[self.train[rows]] - self.mean
        standard *= self.inverse_spread
        return standard

    def gram(self, rows: npt.NDArray[np.bool_] | None = None) -> tuple[Array, Array]:
        """Sums of squares and sums of the standardised features, for each of P parts.

        float64[P, W, W] and float64[P, W], over all rows of a part or those flagged in [M].
        """
        width = self.features.shape[1]
        squares = np.zeros((len(self.parts), width, width))
        sums = np.zeros((len(self.parts), width))
        for number, rows_of in enumerate(self.parts):
            for chunk in self.chunks(rows_of):
                part = self.standard(chunk)
                if rows is not None:
                    part = part[rows[chunk]]
                squares[number] += part.T @ part
                sums[number] += part.sum(axis=0)
        return squares, sums

    @cached_property
    def whole_gram(self) -> tuple[Array, Array]:
        """The same of all rows."""
        return self.gram()

    @cached_property
    def axes(self) -> tuple[Array, Array]:
        """Variances [A] along principal axes, and these, float64[W, A]; all that vary at all."""
        variances, axes = np.linalg.eigh(self.whole_gram[0].sum(axis=0) / len(self.train))
        # A variance that is rounding may belong to an axis that varies, if little: all are kept.
        kept = self.inverse_spread @ np.abs(axes) > 0.0
        return np.maximum(variances[kept], 0.0), axes[:, kept]

    def rotated(self, rows: slice) -> Array:
        """Training rows' features along the axes, and a last one that is 1: float64[A + 1, n]."""
        axes = self.axes[1]
        rotated = np.ones((axes.shape[1] + 1, rows.stop - rows.start))
        np.matmul(axes.T, self.standard(rows).T, out=rotated[:-1])
        return rotated

    def exact_chunks(self) -> Iterator[tuple[slice, Array]]:
        """Rows and their features [A + 1, n] along the axes."""
        for rows in self.chunks(slice(0, len(self.train))):
            yield rows, self.rotated(rows)

    @cached_property
    def newton(self) -> Newton:
        """Solves logistic regressions on all training rows."""
        variances = self.axes[0]
        features: Single = np.empty((len(variances) + 1, len(self.train)), np.float32)
        for rows, part in self.exact_chunks():
            features[:, rows] = part
        return Newton(features, np.append(variances, 1.0))

    def raw(self, weights: Array, bias: Array) -> tuple[Array, Array]:
        """Weights [W, K] of standardised features and bias [K] in the units of the raw features."""
        raw = self.inverse_spread[:, None] * weights
        return raw, bias - self.mean @ raw


def _check(
    features: Features,
    train: Indices,
    folds: npt.NDArray[np.int64] | None,
    groups: npt.NDArray[np.int64] | None,
) -> None:
    if features.ndim != 2 or not features.shape[1]:
        raise InputError(f"features of shape {list(features.shape)}, not [N, W]")
    if not len(train):
        raise InputError("there are no training rows")
    outside = np.asarray(train)[(np.asarray(train) < 0) | (np.asarray(train) >= len(features))]
    if len(outside):
        raise InputError(f"training row {outside[0]} is none of {len(features)} rows")
    for name, numbers in (("folds", folds), ("groups", groups)):
        if numbers is not None and np.shape(numbers) != (len(train),):
            shape = list(np.shape(numbers))
            raise InputError(f"{name} of shape {shape} for {len(train)} training rows")
    if folds is not None and np.ptp(folds) == 0:
        raise InputError("all training rows are in one fold")
