"""How games end: by whom they are won, and the reason."""

from typing import Any, Final

import numpy as np

from engine.rules.attacks import is_check
from engine.rules.compilation.decorators import inlined, internal_kernel, kernel, shared_kernel
from engine.rules.tables import (
    BISHOP,
    CHECKMATE_VALUE,
    CLOCK,
    CLOCK_RULE,
    EMPTY,
    EXTINCTION_COUNT,
    EXTINCTION_SETS,
    EXTINCTION_TYPES,
    EXTINCTION_VALUE,
    FLAG_REGION,
    FLAG_TYPES,
    FOLD_RULE,
    HAS_KING,
    KING,
    LIGHT_SQUARES,
    MATING_TYPES,
    PAWN,
    PROMOTES_TO_MATING,
    REPETITION,
    SIDE,
    SQUARES,
    STALEMATE_VALUE,
    Int,
    Row,
    Tables,
)

ONGOING: Final = 0
CHECKMATE: Final = 1
STALEMATE: Final = 2
FLAG: Final = 3
EXTINCTION: Final = 4
INSUFFICIENT_MATERIAL: Final = 5
MOVE_RULE: Final = 6
REPETITION_RULE: Final = 7


@internal_kernel
def _flag_reached(tables: Tables, row: Row, side: Int) -> bool:
    region = tables[FLAG_REGION + side]
    if not region:
        return False
    for square in range(tables[SQUARES]):
        code = row[square]
        is_own = code != EMPTY and code >> 4 == side
        if is_own and region >> square & 1 and tables[FLAG_TYPES] >> (code & 15) & 1:
            return True
    return False


@internal_kernel
def _is_extinct(tables: Tables, row: Row, side: Int) -> bool:
    for index in range(tables[EXTINCTION_SETS]):
        types = tables[EXTINCTION_TYPES + index]
        count = 0
        for square in range(tables[SQUARES]):
            code = row[square]
            if code != EMPTY and code >> 4 == side and types >> (code & 15) & 1:
                count += 1
        if count <= tables[EXTINCTION_COUNT]:
            return True
    return False


@inlined
def is_decided(tables: Tables, row: Row) -> bool:
    """Whether a flag or an extinction has ended the game, whatever moves there would be.

    A flag is won by the move that reaches it: only the side that has just moved is looked at.
    """
    has_flags = tables[FLAG_REGION] or tables[FLAG_REGION + 1]
    if has_flags and _flag_reached(tables, row, 1 - np.int64(row[tables[SQUARES] + SIDE])):
        return True
    if tables[EXTINCTION_SETS]:
        return _is_extinct(tables, row, 0) or _is_extinct(tables, row, 1)
    return False


@internal_kernel
def _cannot_win(tables: Tables, row: Row, side: Int) -> bool:
    """Fairy-Stockfish's rule for one side (apiutil.h, has_insufficient_material)."""
    if tables[EXTINCTION_SETS]:
        return False
    minor, own_minor, own_bishops, light_bishops, dark_bishops = 0, 0, 0, 0, 0
    for square in range(tables[SQUARES]):
        code = np.int64(row[square])
        piece_type = code & 15
        if piece_type == EMPTY:
            continue
        own = code >> 4 == side
        if own and tables[FLAG_REGION + side] and tables[FLAG_TYPES] >> piece_type & 1:
            return False
        if piece_type == KING and tables[HAS_KING]:
            continue
        if own and tables[MATING_TYPES] >> piece_type & 1:
            return False
        if own and piece_type == PAWN and tables[PROMOTES_TO_MATING]:
            return False
        if piece_type == BISHOP:
            light = tables[LIGHT_SQUARES] >> square & 1
            light_bishops += light
            dark_bishops += 1 - light
            own_bishops += own
        else:
            minor += 1
            own_minor += own
    stalemate_draws = tables[STALEMATE_VALUE] == 0
    both_colours = light_bishops > 0 and dark_bishops > 0
    if own_bishops and (both_colours or minor or not stalemate_draws):
        return False
    alone = minor + light_bishops + dark_bishops < 2
    return not (own_minor and not (alone and stalemate_draws))


@shared_kernel
def termination(tables: Tables, row: Row, move_count: int) -> int:
    """Why the game is over, ONGOING if it is not; `move_count` is what `generate` returned.

    Reads the row's clock and repetition bytes.
    """
    squares = tables[SQUARES]
    if move_count == 0:
        if tables[EXTINCTION_SETS] and (_is_extinct(tables, row, 0) or _is_extinct(tables, row, 1)):
            return EXTINCTION
        if _flag_reached(tables, row, 1 - np.int64(row[squares + SIDE])):
            return FLAG
        return CHECKMATE if is_check(tables, row) else STALEMATE
    if tables[HAS_KING] and _cannot_win(tables, row, 0) and _cannot_win(tables, row, 1):
        return INSUFFICIENT_MATERIAL
    if tables[CLOCK_RULE] and row[squares + CLOCK] >= tables[CLOCK_RULE]:
        return MOVE_RULE
    if tables[FOLD_RULE] and row[squares + REPETITION] + 1 >= tables[FOLD_RULE]:
        return REPETITION_RULE
    return ONGOING


@kernel
def terminal_value(tables: Tables, reason: int, row: Row) -> Any:
    """The result of a finished game for the side to move: -1, 0 or 1."""
    side = np.int64(row[tables[SQUARES] + SIDE])
    if reason == CHECKMATE:
        return tables[CHECKMATE_VALUE]
    if reason == STALEMATE:
        return tables[STALEMATE_VALUE]
    if reason == FLAG:
        return -1
    if reason == EXTINCTION:
        opponent_is_out = _is_extinct(tables, row, 1 - side)
        return -tables[EXTINCTION_VALUE] if opponent_is_out else tables[EXTINCTION_VALUE]
    return 0
