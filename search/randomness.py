"""Random numbers inside compiled kernels: the state is an array that the caller hands in.

xorshift64 (Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8(14), 2003): shifts and
exclusive-ors only, so that it runs the same compiled and as plain Python. Seeds come from the one
`numpy.random.Generator` of the program.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import internal_kernel, kernel
from engine.rules.tables import Int

States = npt.NDArray[np.uint64]

_UNIT: Final = 2.0**-52


def seed_states(rng: np.random.Generator, count: int) -> States:
    """`count` states [count, 1], none of them 0; the first ones do not depend on `count`."""
    seeds = rng.integers(0, 2**64, size=(count, 1), dtype=np.uint64)
    return np.maximum(seeds, np.uint64(1))


@internal_kernel
def next_random(state: States) -> np.uint64:
    """64 random bits, never all zero; `state` is uint64[1]."""
    bits: np.uint64 = state[0]
    bits ^= bits << np.uint64(13)
    bits ^= bits >> np.uint64(7)
    bits ^= bits << np.uint64(17)
    state[0] = bits
    return bits


@internal_kernel
def random_below(state: States, count: Int) -> Int:
    """A whole number in 0 .. count - 1, for count below 2^31 (Lemire's multiplication)."""
    return np.int64((next_random(state) >> np.uint64(33)) * np.uint64(count) >> np.uint64(31))


@internal_kernel
def random_unit(state: States) -> float:
    """A number in (0, 1)."""
    return (np.int64(next_random(state) >> np.uint64(12)) + 0.5) * _UNIT


@internal_kernel
def random_normal(state: States) -> float:
    """A standard normal number (Box and Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log(random_unit(state)))
    return radius * math.cos(2.0 * math.pi * random_unit(state))


@kernel
def random_gamma(state: States, shape: float) -> float:
    """A gamma-distributed number of scale 1 (Marsaglia and Tsang 2000, section 6 for shape < 1)."""
    scale = 1.0
    if shape < 1.0:
        scale = random_unit(state) ** (1.0 / shape)
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        normal = random_normal(state)
        cube = (1.0 + c * normal) ** 3
        if cube > 0.0:
            bound = 0.5 * normal * normal + d - d * cube + d * math.log(cube)
            # A shape that is no number has no bound; it must not be waited for.
            if math.log(random_unit(state)) < bound or math.isnan(bound):
                return scale * d * cube
        elif math.isnan(cube):
            return cube
