"""Concepts of mobility."""

import numpy as np

from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Labels, concept
from engine.rules.kernels import generate_batch


@concept("mobility", kind="count", source="McGrath et al. 2022, table S1 (mobility)")
def mobility(positions: Positions) -> Labels:
    """The number of legal moves of the side to move."""
    _, offsets = generate_batch(positions.variant.tables, positions.rows)
    return np.diff(offsets).astype(np.float64)
