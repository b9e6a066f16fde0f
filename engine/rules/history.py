"""Zobrist hashes, and moves played with their repetitions counted."""

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import copy_into, kernel
from engine.rules.kernels import apply
from engine.rules.tables import (
    BOARD,
    CASTLING,
    CLOCK,
    EMPTY,
    EN_PASSANT,
    LARGEST_REPETITION,
    NO_SQUARE,
    REPETITION,
    SIDE,
    SQUARES,
    ZOBRIST,
    ZOBRIST_CASTLING,
    ZOBRIST_EN_PASSANT,
    ZOBRIST_SIDE,
    Int,
    Row,
    Tables,
)


@kernel
def hash_row(tables: Tables, row: Row) -> np.uint64:
    """Zobrist hash of what makes two positions the same (clock and repetition do not)."""
    squares = tables[SQUARES]
    result = tables[ZOBRIST_CASTLING + np.int64(row[squares + CASTLING])]
    for square in range(squares):
        code = np.int64(row[square])
        if code != EMPTY:
            result ^= tables[ZOBRIST + code * BOARD + square]
    if row[squares + SIDE]:
        result ^= tables[ZOBRIST_SIDE]
    target = row[squares + EN_PASSANT]
    if target != NO_SQUARE:
        result ^= tables[ZOBRIST_EN_PASSANT + np.int64(target)]
    return np.uint64(result)


@kernel
def repetitions(
    history: npt.NDArray[np.uint64], length: int, clock: int, position_hash: np.uint64
) -> int:
    """How often the hash stands among the last `clock` of the `length` earlier positions."""
    count = 0
    for index in range(max(0, length - clock), length):
        if history[index] == position_hash:
            count += 1
    return count


@kernel
def play_move(
    tables: Tables, row: Row, move: Int, history: npt.NDArray[np.uint64], length: int, out: Row
) -> np.uint64:
    """Write the position after a legal move into `out`, repetitions counted; returns its hash.

    `history` begins with the hashes of the game's `length` positions so far, `row` the last.
    """
    apply(tables, row, move, out)
    position_hash = hash_row(tables, out)
    clock = int(np.int64(out[tables[SQUARES] + CLOCK]))
    if clock > 0:
        seen = repetitions(history, length, clock, position_hash)
        out[tables[SQUARES] + REPETITION] = min(seen, LARGEST_REPETITION)
    return position_hash


@kernel
def push(
    tables: Tables, row: Row, move: Int, history: npt.NDArray[np.uint64], length: int, scratch: Row
) -> None:
    """Play a legal move in place, after `length` earlier positions.

    Writes the hash of the position before the move to `history[length]`; `scratch` is uint8[R].
    """
    history[length] = hash_row(tables, row)
    play_move(tables, row, move, history, length + 1, scratch)
    copy_into(row, scratch)
