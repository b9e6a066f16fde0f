"""Concepts of material."""

from typing import Final

import numpy as np

from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Labels, concept
from engine.rules.tables import BISHOP, BLACK_BIT, KING, KNIGHT, PIECE_CODES, QUEEN, ROOK

_PIECE_VALUES: Final = {KNIGHT: 3.0, BISHOP: 3.0, ROOK: 5.0, QUEEN: 9.0, KING: 0.0}
"""The usual values; pawns and a variant's own pieces count 1."""


@concept("material", kind="real", source="Shannon 1950")
def material(positions: Positions) -> Labels:
    """Own minus enemy material: knights and bishops 3, rooks 5, queens 9, kings 0, others 1."""
    worth = np.zeros(PIECE_CODES)
    for piece_type in positions.variant.piece_types:
        worth[piece_type] = _PIECE_VALUES.get(piece_type, 1.0)
        worth[piece_type | BLACK_BIT] = -worth[piece_type]
    total: Labels = worth[positions.boards].sum(axis=(1, 2))
    return total
