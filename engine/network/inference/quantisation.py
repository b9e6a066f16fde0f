"""Ranges for 8-bit numbers, found on positions such as will be evaluated.

Post-training quantisation as in Jacob et al. 2018, section 3: one range for each site (the input of
a matrix product), one for each output of its weights. A range is not from the lowest to the highest
number seen: the few largest are clipped where that makes the mean squared error smaller.
"""

from typing import Final

import numpy as np

from engine.network.model.compiled_encoder import Floats, Rows

LEVELS: Final = 256
"""Numbers that 8 bits can hold."""
MOST_POSITIONS: Final = 512
"""Of the calibration positions so many are looked at, evenly spread."""
_SHARES: Final = np.linspace(0.3, 1.0, 29).astype(np.float32)
"""Of the whole range: what is tried."""
_MOST_NUMBERS: Final = 1 << 14
"""Of a site's numbers so many are looked at."""


def chosen_rows(rows: Rows) -> Rows:
    """Those of the calibration positions that are looked at."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_POSITIONS), dtype=int)]


def best_range(numbers: Floats) -> tuple[float, float]:
    """The range among the tried ones with the least mean squared error, 0 inside, of a site's
    numbers in any shape."""
    numbers = numbers.ravel()
    low, high = min(float(numbers.min()), 0.0), max(float(numbers.max()), 1e-6)
    if numbers.size > _MOST_NUMBERS:
        # Drawn and not every so manieth, which might be those of a few channels.
        drawn = np.random.default_rng(0).integers(numbers.size, size=_MOST_NUMBERS)
        numbers = numbers[drawn]
    errors = [_error(numbers, low * share, high * share) for share in _SHARES.tolist()]
    best = float(_SHARES[int(np.argmin(errors))])
    return low * best, high * best


def _error(numbers: Floats, low: float, high: float) -> float:
    step = (high - low) / (LEVELS - 1)
    rounded = np.rint((np.clip(numbers, low, high) - low) / step) * step + low
    return float(np.mean(np.square(numbers - rounded)))
