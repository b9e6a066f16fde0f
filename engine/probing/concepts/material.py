"""Concepts of material."""

from typing import Final

import numpy as np

from engine.probing.concepts.registry import Labels, concept
from engine.probing.data.canonical import Rows, seen_boards
from engine.rules.tables import BISHOP, BLACK_BIT, KING, KNIGHT, PIECE_CODES, QUEEN, ROOK
from engine.rules.variant import Variant

_PIECE_VALUES: Final = {KNIGHT: 3.0, BISHOP: 3.0, ROOK: 5.0, QUEEN: 9.0, KING: 0.0}
"""The usual values; pawns and a variant's own pieces count 1."""


@concept("material", kind="scalar")
def material(rows: Rows, variant: Variant) -> Labels:
    """Own minus enemy material: knights and bishops 3, rooks 5, queens 9, kings 0, others 1."""
    worth = np.zeros(PIECE_CODES)
    for piece_type in variant.piece_types:
        worth[piece_type] = _PIECE_VALUES.get(piece_type, 1.0)
        worth[piece_type | BLACK_BIT] = -worth[piece_type]
    total: Labels = worth[seen_boards(rows, variant)].sum(axis=1)
    return total
