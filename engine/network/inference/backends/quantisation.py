"""Ranges for 8-bit numbers, found on positions like those that will be evaluated.

Post-training quantisation as in Jacob et al. 2018, section 3: one range for each site (the input of
a matrix product), and one for each output of its weights. A range need not reach from the lowest to
the highest value: the few largest values are clipped if that lowers the mean squared error.
"""

from typing import Final

import numpy as np

from engine.network.model.compiled_encoder import Floats, Rows

LEVELS: Final = 256
"""Values that 8 bits can hold."""
MOST_POSITIONS: Final = 512
"""Calibration positions that are used at most, evenly spread."""
_SHARES: Final = np.linspace(0.3, 1.0, 29).astype(np.float32)
"""Shares of the whole range that are tried."""
_MOST_VALUES: Final = 1 << 14
"""Values of a site that are used at most."""


def calibration_sample(rows: Rows) -> Rows:
    """The calibration positions that are used, of uint8[N, R]."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_POSITIONS), dtype=int)]


def best_range(values: Floats) -> tuple[float, float]:
    """Of the ranges tried for a site's values (any shape), the one with the least mean squared
    error. It contains 0."""
    values = values.ravel()
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 1e-6)
    if values.size > _MOST_VALUES:
        # At random: a regular step might hit only a few channels.
        values = values[np.random.default_rng(0).integers(values.size, size=_MOST_VALUES)]
    errors = [_error(values, low * share, high * share) for share in _SHARES.tolist()]
    best = float(_SHARES[int(np.argmin(errors))])
    return low * best, high * best


def _error(values: Floats, low: float, high: float) -> float:
    step = (high - low) / (LEVELS - 1)
    rounded = np.rint((np.clip(values, low, high) - low) / step) * step + low
    return float(np.mean(np.square(values - rounded)))
