"""A move is one 16-bit number.

    bit  15    12 11         6 5          0
        [promotion][ to-square ][from-square]

`promotion` is the piece type that a pawn becomes, 0 for none. Castling is written inside as the
king taking its own rook, which is unambiguous in every variant; `Position.uci` turns it into the
usual text.
"""

from typing import Final

from engine.rules.tables import BLACK_BIT, EMPTY, KING, Row

NO_PROMOTION: Final = 0
SQUARE_BITS: Final = 6
SQUARE_MASK: Final = 63
PROMOTION_SHIFT: Final = 2 * SQUARE_BITS


def make_move(from_square: int, to_square: int, promotion: int = NO_PROMOTION) -> int:
    """Pack a move; squares 0..63, promotion a piece type 0..15."""
    return from_square | to_square << SQUARE_BITS | promotion << PROMOTION_SHIFT


def from_square(move: int) -> int:
    """The square that the move leaves."""
    return int(move) & SQUARE_MASK


def to_square(move: int) -> int:
    """The square that the move reaches (for castling: the rook's own square)."""
    return int(move) >> SQUARE_BITS & SQUARE_MASK


def is_castling(row: Row, move: int) -> bool:
    """Whether the move is the king's move onto its own rook."""
    king, rook = int(row[from_square(move)]), int(row[to_square(move)])
    return king & ~BLACK_BIT == KING and rook != EMPTY and king & BLACK_BIT == rook & BLACK_BIT


def promotion(move: int) -> int:
    """The piece type that the pawn becomes, or NO_PROMOTION."""
    return int(move) >> PROMOTION_SHIFT
