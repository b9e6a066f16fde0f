"""Material: the simplest evaluation of a position in which the game is not over."""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import kernel
from engine.rules.tables import (
    BISHOP,
    BLACK_BIT,
    EMPTY,
    KING,
    KNIGHT,
    PAWN,
    PIECE_CODES,
    QUEEN,
    ROOK,
    SIDE,
    SQUARES,
    Int,
    Tables,
)
from engine.rules.variant import Variant

WIN_SCORE: Final = 30_000
"""The score of a win at the root; one less for every ply until the win."""
LONGEST_WIN: Final = 1_000
"""Plies: scores beyond WIN_SCORE - LONGEST_WIN are wins, material stays below."""

_CENTIPAWNS: Final = {PAWN: 100, KNIGHT: 300, BISHOP: 300, ROOK: 500, QUEEN: 900, KING: 0}
_LEAP_CENTIPAWNS: Final = 40
_RIDE_CENTIPAWNS: Final = 100
_SCALE: Final = 400.0


def piece_values(variant: Variant) -> npt.NDArray[np.int32]:
    """Centipawns by piece code, int32[32].

    The usual ones (Shannon 1950 with the bishop equal to the knight); a custom piece is worth 40
    for each of its leaps and 100 for each ride, but at least a pawn.
    """
    values = np.zeros(PIECE_CODES, dtype=np.int32)
    for piece_type, movement in variant.movements.items():
        worth = len(movement.leaps) * _LEAP_CENTIPAWNS + len(movement.rides) * _RIDE_CENTIPAWNS
        value = _CENTIPAWNS.get(piece_type, max(_CENTIPAWNS[PAWN], worth))
        values[piece_type] = values[piece_type | BLACK_BIT] = value
    return values


@kernel
def material(tables: Tables, row: npt.NDArray[np.uint8], values: npt.NDArray[np.int32]) -> Int:
    """Own material less the opponent's, in centipawns, from the side to move."""
    side = row[tables[SQUARES] + SIDE]
    balance: Int = 0
    for square in range(tables[SQUARES]):
        code = row[square]
        if code != EMPTY:
            value = np.int64(values[code])
            balance += value if code >> 4 == side else -value
    return balance


def score_to_value(score: int) -> float:
    """A score as a value in [-1, 1]: decided games exactly, else Elo's logistic curve.

    400 centipawns count as ten to one.
    """
    if abs(score) >= WIN_SCORE - LONGEST_WIN:
        return 1.0 if score > 0 else -1.0
    return float(2.0 / (1.0 + 10.0 ** (-score / _SCALE)) - 1.0)
