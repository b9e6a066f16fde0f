"""Random numbers of a run: one generator for each purpose, all from the run's seed."""

from typing import Final

import numpy as np

LEARNING: Final = 0
SAMPLING: Final = 1
WARM_START: Final = 2
GATE: Final = 3
"""First keys of the purposes; the actors' generators have longer keys."""


def generator_of(seed: int, *key: int) -> np.random.Generator:
    """The generator of one purpose."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
