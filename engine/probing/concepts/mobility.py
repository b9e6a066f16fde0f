"""Concepts of mobility."""

import numpy as np

from engine.probing.concepts.registry import Labels, concept
from engine.probing.data.canonical import Rows
from engine.rules.kernels import generate_batch
from engine.rules.variant import Variant


@concept("mobility", kind="scalar")
def mobility(rows: Rows, variant: Variant) -> Labels:
    """The number of legal moves of the side to move."""
    _, offsets = generate_batch(variant.tables, np.ascontiguousarray(rows))
    return np.diff(offsets).astype(np.float64)
