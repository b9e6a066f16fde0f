"""Compiled: random functions of a board, from a number for each piece on each square."""

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import kernel
from engine.rules.compilation.signatures import Array2D


@kernel
def add_up(
    boards: Array2D[np.uint8], numbers: Array2D[np.int64], out: npt.NDArray[np.int64]
) -> None:
    """The sum of the numbers [S, PIECE_CODES] over the squares of each board [N, S]."""
    for position in range(boards.shape[0]):
        total = np.int64(0)
        for square in range(boards.shape[1]):
            total += numbers[square, boards[position, square]]
        out[position] = total


@kernel
def combine(
    boards: Array2D[np.uint8], numbers: Array2D[np.uint64], out: npt.NDArray[np.uint64]
) -> None:
    """The same by exclusive or: a Zobrist hash."""
    for position in range(boards.shape[0]):
        mixed = np.uint64(0)
        for square in range(boards.shape[1]):
            mixed ^= numbers[square, boards[position, square]]
        out[position] = mixed
