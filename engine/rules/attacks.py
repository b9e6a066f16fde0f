"""Which squares a side attacks, and check."""

import numpy as np

from engine.rules.compilation.decorators import internal_kernel, kernel
from engine.rules.tables import (
    EMPTY,
    HAS_KING,
    KING,
    NO_SQUARE,
    SIDE,
    SQUARES,
    THREAT_START,
    Int,
    Row,
    Tables,
)


@internal_kernel
def find_king(tables: Tables, row: Row, side: Int) -> int:
    """The square of the side's king; NO_SQUARE where it has none."""
    king = KING | side << 4
    for square in range(tables[SQUARES]):
        if row[square] == king:
            return square
    return NO_SQUARE


@internal_kernel
def is_attacked(tables: Tables, row: Row, square: Int, by: Int, lifted: Int) -> bool:
    """Whether side `by` could capture on `square`, with the piece on `lifted` taken off."""
    index = tables[THREAT_START + square]
    end = tables[THREAT_START + square + 1]
    while index < end:
        threat = tables[index]
        source = threat & 63
        code = row[source]
        if code == EMPTY or source == lifted:
            index += 1
        elif code >> 4 == by and threat >> 16 >> code & 1:
            return True
        else:
            index += threat >> 6 & 15
    return False


@kernel
def is_check(tables: Tables, row: Row) -> bool:
    """Whether the side to move stands in check."""
    if not tables[HAS_KING]:
        return False
    side = np.int64(row[tables[SQUARES] + SIDE])
    king = find_king(tables, row, side)
    return king != NO_SQUARE and is_attacked(tables, row, king, 1 - side, NO_SQUARE)
