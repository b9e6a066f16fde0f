"""Perft: the number of move sequences of a length, by which move generators are compared."""

import numpy as np

from engine.rules.compilation.decorators import copy_into, internal_kernel, kernel
from engine.rules.compilation.signatures import Array2D, contiguous
from engine.rules.kernels import apply, generate
from engine.rules.tables import MAX_MOVES, SQUARES, STATE_SIZE, Row, Rows, Tables
from engine.system.interrupts import StopFlag, interruptible


@internal_kernel
def _perft(
    tables: Tables, rows: Rows, moves: Array2D[np.uint16], depth: int, stop: StopFlag
) -> int:
    """Count below rows[depth]; rows and moves hold one line of scratch a ply."""
    if stop[0] != 0:
        return 0
    row, line = rows[depth], moves[depth]
    count = generate(tables, row, line)
    if depth <= 1:
        return count
    nodes, child = 0, rows[depth - 1]
    for index in range(count):
        apply(tables, row, line[index], child)
        nodes += _perft(tables, rows, moves, depth - 1, stop)
    return nodes


@kernel
def _count(tables: Tables, row: Row, depth: int, stop: StopFlag) -> int:
    if depth <= 0:
        return 1
    rows = np.empty((depth + 1, tables[SQUARES] + STATE_SIZE), np.uint8)
    moves = np.empty((depth + 1, MAX_MOVES), np.uint16)
    copy_into(rows[depth], row)
    return _perft(tables, rows, moves, depth, stop)


def perft(tables: Tables, row: Row, depth: int) -> int:
    """Number of move sequences of `depth` plies (bulk counting at the last ply); hears ^C."""
    with interruptible() as stop:
        return int(_count(tables, contiguous(row, np.uint8), depth, stop))
