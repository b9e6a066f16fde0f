"""Compiled: the least of a quadratic with an L1 penalty, coordinate by coordinate."""

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import kernel
from engine.rules.compilation.signatures import Array2D

Array = npt.NDArray[np.float64]


@kernel
def descend(
    gram: Array2D[np.float64],
    slopes: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    penalties: npt.NDArray[np.float64],
    tolerance: float,
    passes: int,
) -> int:
    """Minimise half w' gram w - b' w + sum of penalties * |w| from `weights` [A], in place.

    `slopes` [A] are gram w - b, and are kept so. Ends when no coordinate has a slope left above
    `tolerance`, or after so many passes; returns how many it made. As in Friedman, Hastie and
    Tibshirani 2010, section 2.6: passes over the coordinates that are not zero, until these are
    settled, between passes over all.
    """
    count = len(weights)
    every = True
    for step in range(passes):
        largest = 0.0
        for j in range(count):
            old = weights[j]
            bend = gram[j, j]
            if bend <= 0.0 or (old == 0.0 and not every):
                continue
            pull = bend * old - slopes[j]
            new = max(abs(pull) - penalties[j], 0.0) / bend
            if pull < 0.0:
                new = -new
            change = new - old
            if change != 0.0:
                weights[j] = new
                row = gram[j]
                for i in range(count):
                    slopes[i] += change * row[i]
                largest = max(largest, abs(change) * bend)
        if largest <= tolerance:
            if every:
                return step + 1
            every = True
        else:
            every = False
    return passes
