"""About the inverse of a Hessian, by which conjugate gradients are made short.

    K  columns of all problems     A  axes and the bias     M  rows     Q  matrices

`Diagonal`: axes of the features are principal axes, and so about uncorrelated also when rows are
weighted by their curvature. `Dense`: exact for the rows of largest curvature, diagonal for the
rest; worth its price where many steps are taken, since penalties are weak or classes are many.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Single = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

_SHARE: Final = 4
"""One of so many rows is taken exactly."""
_ROWS_PER_AXIS: Final = 4
"""But at least so many rows for each axis."""


@dataclass(frozen=True, eq=False)
class Diagonal:
    """Scales each coordinate."""

    # float32[K, A]
    inverse: Single

    def __call__(self, residuals: Single) -> Single:
        scaled: Single = self.inverse * residuals
        return scaled

    def take(self, kept: Flags) -> "Diagonal":
        """Only some of the columns [K]."""
        return Diagonal(self.inverse[kept])


@dataclass(frozen=True, eq=False)
class Dense:
    """Multiplies by a matrix, which columns may share."""

    # float32[Q, A, A] symmetric.
    inverse: Single
    # intp[K] the matrix of each column.
    matrix: Numbers

    def __call__(self, residuals: Single) -> Single:
        scaled = np.empty_like(residuals)
        for number in np.unique(self.matrix):
            own = self.matrix == number
            scaled[own] = residuals[own] @ self.inverse[number]
        return scaled

    def take(self, kept: Flags) -> "Dense":
        """Only some of the columns [K]."""
        return Dense(self.inverse, self.matrix[kept])


def data_hessians(features: Single, variances: Array, curvature: Single) -> Single:
    """About X D X' of each column, without its penalty, float32[K, A, A].

    `features` float32[A, M] with variances [A], `curvature` float32[K, M].
    """
    width, count = features.shape
    most = min(count, max(count // _SHARE, _ROWS_PER_AXIS * width))
    hessians = np.empty((len(curvature), width, width), np.float32)
    # Rows that lie together are gathered several times as fast.
    by_row = np.ascontiguousarray(features.T)
    for hessian, weights in zip(hessians, curvature, strict=True):
        rows = np.argpartition(weights, count - most)[count - most :]
        rows.sort()
        part, own = by_row[rows], weights[rows]
        np.matmul(part.T, part * own[:, None], out=hessian)
        rest = max(float(weights.sum()) - float(own.sum()), 0.0)
        hessian[np.diag_indices(width)] += rest * variances
    return hessians


def dense(hessians: Single, added: Array, matrix: Numbers | None = None) -> Dense:
    """Of `data_hessians` [Q, A, A], with `added` [Q, A] on their diagonals.

    Column k uses matrix k unless `matrix` [K] says otherwise.
    """
    diagonals = np.einsum("qaa->qa", hessians) + added
    scale = (1.0 / np.sqrt(np.maximum(diagonals, 1e-30))).astype(np.float32)
    # Scaled to ones on the diagonal, they can be inverted in single precision.
    scaled = hessians * scale[:, :, None] * scale[:, None, :]
    np.einsum("qaa->qa", scaled)[:] = 1.0 + 1e-6
    inverse = np.linalg.inv(scaled)
    inverse = (inverse + inverse.transpose(0, 2, 1)) * 0.5
    inverse *= scale[:, :, None] * scale[:, None, :]
    return Dense(inverse.astype(np.float32), np.arange(len(hessians)) if matrix is None else matrix)
