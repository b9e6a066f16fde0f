"""Concepts asked about drawn boards."""

import numpy as np

from engine.probing.concepts.registry import Concept
from engine.rules.position import Position
from engine.rules.variant import get_variant
from tests.support.network.probing_cases import symmetric_positions


def answers(asked: Concept, name: str, fen: str) -> float:
    """The label of a board ("BOARD SIDE"), which its three symmetric positions must share."""
    variant = get_variant(name)
    row = Position(variant, f"{fen} - - 0 1").row
    rows = np.stack(symmetric_positions(row, variant))
    first, *others = asked.labels(rows, variant).tolist()
    assert others == [first] * 3, f"{asked.name} of symmetric positions: {[first, *others]}"
    return float(first)
