"""Ranges for 8-bit numbers, found on positions such as will be evaluated.

Post-training quantisation as in Jacob et al. 2018, section 3: one range for each site (the input of
a matrix product), one for each output of its weights. A range is not from the lowest to the highest
number seen: the few largest are clipped where that makes the mean squared error smaller.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import openvino as ov

from engine.network.encoding import Encoder, Floats, Rows
from engine.network.openvino_graph import ACTIVATION_LEVELS, build_sites
from engine.network.policy_value import PolicyValueNet

MOST_POSITIONS: Final = 512
"""Of the calibration positions so many are looked at, evenly spread."""
_BATCH: Final = 32
_SHARES: Final = np.linspace(0.3, 1.0, 29)
"""Of the whole range: what is tried."""
_MOST_NUMBERS: Final = 1 << 16
"""Of a site's numbers so many are looked at."""


def chosen_rows(rows: Rows) -> Rows:
    """Those of the calibration positions that are looked at."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_POSITIONS), dtype=int)]


def find_ranges(network: PolicyValueNet, rows: Rows) -> dict[str, tuple[float, float]]:
    """The range of each site of the network's graph, on positions uint8[N, R], N >= 1."""
    chosen = chosen_rows(rows)
    encoder = Encoder(network.eyes)
    model, names = build_sites(network, _BATCH)
    if not names:
        return {}
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = ov.Core().compile_model(model, "CPU", settings).create_infer_request()
    squares = request.get_input_tensor(0).data
    state = request.get_input_tensor(1).data
    seen: dict[str, list[Floats]] = {name: [] for name in names}
    rng = np.random.default_rng(0)
    starts = range(0, len(chosen), _BATCH)
    for start in starts:
        part = chosen[start : start + _BATCH]
        encoder.encode(part, squares, state)
        request.infer()
        for index, name in enumerate(names):
            numbers = request.get_output_tensor(index).data[: len(part)]
            seen[name].append(rng.choice(numbers.ravel(), _MOST_NUMBERS // len(starts)))
            # The extremes belong to what is looked at in any case.
            seen[name].append(np.array([numbers.min(), numbers.max()]))
    return {name: best_range(np.concatenate(numbers)) for name, numbers in seen.items()}


def best_range(numbers: Floats) -> tuple[float, float]:
    """The range among the tried ones with the least mean squared error, 0 inside."""
    low, high = min(float(numbers.min()), 0.0), max(float(numbers.max()), 1e-6)
    errors = [_error(numbers, low * share, high * share) for share in _SHARES]
    best = float(_SHARES[int(np.argmin(errors))])
    return low * best, high * best


def _error(numbers: Floats, low: float, high: float) -> float:
    step = (high - low) / (ACTIVATION_LEVELS - 1)
    rounded = np.rint((np.clip(numbers, low, high) - low) / step) * step + low
    difference: npt.NDArray[np.float64] = numbers - rounded
    return float(np.mean(np.square(difference)))
