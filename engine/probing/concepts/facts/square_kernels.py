"""Compiled: squares as both kinds of kernels here need them."""

from engine.rules.attacks import find_king
from engine.rules.compilation.decorators import internal_kernel
from engine.rules.tables import HAS_KING, NO_SQUARE, SQUARES, WIDTH, Int, Row, Tables


@internal_kernel
def seen_square(tables: Tables, square: Int, side: Int) -> int:
    """The number of a square as the side sees the board: Black's ranks run the other way."""
    width = tables[WIDTH]
    seen: int = square + (tables[SQUARES] - width - 2 * (square // width) * width) * side
    return seen


@internal_kernel
def king_square(tables: Tables, row: Row, side: Int) -> int:
    """The square of the side's king; NO_SQUARE where it has none, or the variant has none."""
    if tables[HAS_KING]:
        return find_king(tables, row, side)
    return NO_SQUARE
