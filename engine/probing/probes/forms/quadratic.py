"""The least of a quadratic with an L1 penalty: half w' gram w - b' w + sum of penalties * |w|.

Coordinate descent finds which weights are zero and the signs of the others, but takes thousands of
passes where features are alike. With given signs the problem is linear: steps to its solution, cut
where a weight would change its sign, alternate with passes until nothing is left to do (an active
set method: Lee et al. 2007, algorithm 1, with passes instead of one new weight at a time).
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

from engine.probing.probes.forms.descent_kernel import descend

Array = npt.NDArray[np.float64]

_PASSES: Final = 20
"""Of coordinate descent at a time."""
_ROUNDS: Final = 200
_RIDGE: Final = 1e-10
"""Of the largest diagonal element: features may be multiples of each other."""


def least(gram: Array, slopes: Array, weights: Array, penalties: Array, tolerance: float) -> None:
    """Minimise from `weights` [A], in place, until no slope above `tolerance` is left, or after
    `_ROUNDS`, which badly conditioned features need.

    `slopes` [A] are gram w - b, and are kept so.
    """
    for _ in range(_ROUNDS):
        if descend(gram, slopes, weights, penalties, tolerance, _PASSES) < _PASSES:
            break
        while not _solve_signs(gram, slopes, weights, penalties):
            pass


def _solve_signs(gram: Array, slopes: Array, weights: Array, penalties: Array) -> bool:
    """One step to the solution for these signs, in place; whether it was reached.

    If it was not, at least one weight more is zero.
    """
    some = np.flatnonzero((weights != 0.0) | (penalties == 0.0))
    own, pull, old = gram[np.ix_(some, some)], penalties[some], weights[some]
    bent = own.copy()
    bent[np.diag_indices_from(bent)] += _RIDGE * max(
        float(bent.diagonal().max(initial=0.0)), 1e-300
    )
    slope = slopes[some] + pull * np.sign(old)
    _, step, failed = lapack.dposv(bent, -slope, lower=True)
    if failed:
        return True
    new = old + step
    crosses = (new * old < 0.0) & (pull > 0.0)
    if crosses.any():
        # All at once where that lowers the loss, else as far as the first.
        new[crosses] = 0.0
        change = new - old
        if slope @ change + 0.5 * change @ own @ change >= 0.0:
            lengths = np.where(crosses, -old / np.where(crosses, step, 1.0), np.inf)
            length = float(lengths.min())
            new = old + length * step
            new[lengths <= length] = 0.0
    weights[some] = new
    slopes += gram[:, some] @ (new - old)
    return not bool(crosses.any())
