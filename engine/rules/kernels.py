"""The rules in motion: one compiled set of kernels plays every variant.

Every kernel takes the variant's `Tables` first and rows as `uint8[R]` (layout in tables.py). The
kernels trust their input: `Position` and the parsers validate it.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import (
    inlined,
    internal_kernel,
    kernel,
    lowest_bit,
    shared_kernel,
)
from engine.rules.compilation.signatures import Array2D, contiguous
from engine.rules.tables import (
    BISHOP,
    BOARD,
    CASTLING,
    CASTLING_KEEP,
    CASTLING_RIGHTS,
    CASTLING_SQUARES,
    CHECKMATE_VALUE,
    CLOCK,
    CLOCK_RULE,
    EMPTY,
    EN_PASSANT,
    EXTINCTION_COUNT,
    EXTINCTION_SETS,
    EXTINCTION_TYPES,
    EXTINCTION_VALUE,
    FLAG_REGION,
    FLAG_TYPES,
    FOLD_RULE,
    HAS_KING,
    KING,
    LARGEST_CLOCK,
    LIGHT_SQUARES,
    LINES,
    MATING_TYPES,
    MAX_MOVES,
    NO_SQUARE,
    PAWN,
    PROMOTES_TO_MATING,
    PROMOTION_COUNT,
    PROMOTION_REGION,
    PROMOTION_TYPES,
    REPETITION,
    SIDE,
    SQUARES,
    STALEMATE_VALUE,
    STEP_START,
    THREAT_START,
    WIDTH,
    ZOBRIST,
    ZOBRIST_CASTLING,
    ZOBRIST_EN_PASSANT,
    ZOBRIST_SIDE,
    Tables,
)

Row = npt.NDArray[np.uint8]
Rows = Array2D[np.uint8]
Moves = npt.NDArray[np.uint16]
Int = int | np.int64
"""A whole number inside a kernel; bytes of a row are widened to int64 before arithmetic."""

ONGOING: Final = 0
CHECKMATE: Final = 1
STALEMATE: Final = 2
FLAG: Final = 3
EXTINCTION: Final = 4
INSUFFICIENT_MATERIAL: Final = 5
MOVE_RULE: Final = 6
REPETITION_RULE: Final = 7

_EVERYWHERE: Final = -1
"""The bitmap with all bits set."""


@inlined
def copy_into(target: npt.NDArray[Any], source: npt.NDArray[Any]) -> None:
    """Copy a vector into one as long or longer: numba's slice assignment compiles for seconds."""
    for index in range(source.shape[0]):
        target[index] = source[index]


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


@inlined
def _king_lines(tables: Tables, row: Row, king: Int, side: Int) -> tuple[int, int, int]:
    """Squares on which a check can be met, own pinned pieces, and the number of checkers."""
    evasions, pinned, checkers = _EVERYWHERE, 0, 0
    index = tables[THREAT_START + king]
    end = tables[THREAT_START + king + 1]
    while index < end:
        line_end = index + (tables[index] >> 6 & 15)
        passed = 0
        shield = NO_SQUARE
        while index < line_end:
            threat = tables[index]
            source = threat & 63
            code = row[source]
            passed |= 1 << source
            index += 1
            if code == EMPTY:
                continue
            if code >> 4 == side:
                if shield != NO_SQUARE:
                    break
                shield = source
            else:
                if threat >> 16 >> code & 1:
                    if shield == NO_SQUARE:
                        checkers += 1
                        evasions &= passed
                    else:
                        pinned |= 1 << shield
                break
        index = line_end
    return evasions, pinned, checkers


@internal_kernel
def _emit(tables: Tables, out: Moves, count: int, code: Int, source: Int, target: Int) -> int:
    """Write a move, once for each promotion where a pawn must promote."""
    move = source | target << 6
    if code & 15 == PAWN and tables[PROMOTION_REGION + (code >> 4)] >> target & 1:
        for index in range(tables[PROMOTION_COUNT]):
            out[count] = move | tables[PROMOTION_TYPES + index] << 12
            count += 1
        return count
    out[count] = move
    return count + 1


@inlined
def _piece_moves(
    tables: Tables, row: Row, source: Int, allowed: int, out: Moves, count: int
) -> int:
    """Moves of one piece to the `allowed` squares, safe for its king by the caller's word."""
    code = np.int64(row[source])
    side = code >> 4
    promotes = code & 15 == PAWN
    start = code * BOARD + source
    index = tables[STEP_START + start]
    end = tables[STEP_START + start + 1]
    while index < end:
        step = tables[index]
        target = step & 63
        blocker = row[target]
        if blocker == EMPTY:
            index += 1
            wanted = step & 64
        else:
            index += step >> 8
            wanted = step & 128 if blocker >> 4 != side else 0
        if wanted and allowed >> target & 1:
            if promotes:
                count = _emit(tables, out, count, code, source, target)
            else:
                out[count] = source | target << 6
                count += 1
    return count


@internal_kernel
def _king_moves(tables: Tables, row: Row, king: Int, side: Int, out: Moves, count: int) -> int:
    start = (KING | side << 4) * BOARD + king
    index = tables[STEP_START + start]
    end = tables[STEP_START + start + 1]
    while index < end:
        step = tables[index]
        target = step & 63
        blocker = row[target]
        index += 1
        if (blocker == EMPTY or blocker >> 4 != side) and not is_attacked(
            tables, row, target, 1 - side, king
        ):
            out[count] = king | target << 6
            count += 1
    return count


@internal_kernel
def _leaves_king_safe(tables: Tables, row: Row, move: Int) -> bool:
    """Play the move and look: for the rare moves that the pin masks do not cover."""
    after = np.empty(row.shape[0], np.uint8)
    _move_pieces(tables, row, move, after)
    side = np.int64(row[tables[SQUARES] + SIDE])
    king = find_king(tables, after, side)
    return king == NO_SQUARE or not is_attacked(tables, after, king, 1 - side, NO_SQUARE)


@internal_kernel
def _en_passant_moves(tables: Tables, row: Row, out: Moves, count: int) -> int:
    target = row[tables[SQUARES] + EN_PASSANT]
    if target == NO_SQUARE:
        return count
    side = np.int64(row[tables[SQUARES] + SIDE])
    pawn = PAWN | side << 4
    for source in range(tables[SQUARES]):
        if row[source] != pawn:
            continue
        start = pawn * BOARD + source
        for index in range(tables[STEP_START + start], tables[STEP_START + start + 1]):
            step = tables[index]
            if step & 63 == target and step & 128:
                move = source | np.int64(target) << 6
                if not tables[HAS_KING] or _leaves_king_safe(tables, row, move):
                    out[count] = move
                    count += 1
    return count


@internal_kernel
def _castling_is_clear(tables: Tables, row: Row, right: Int, side: Int) -> bool:
    """All squares between king, rook and their targets empty, none on the king's way attacked."""
    king, rook = tables[CASTLING_SQUARES + 4 * right], tables[CASTLING_SQUARES + 4 * right + 1]
    king_to, rook_to = (
        tables[CASTLING_SQUARES + 4 * right + 2],
        tables[CASTLING_SQUARES + 4 * right + 3],
    )
    low = min(min(king, rook), min(king_to, rook_to))
    high = max(max(king, rook), max(king_to, rook_to))
    for square in range(low, high + 1):
        on_way = min(king, king_to) <= square <= max(king, king_to)
        on_way |= min(rook, rook_to) <= square <= max(rook, rook_to)
        if on_way and square != king and square != rook and row[square] != EMPTY:
            return False
    for square in range(min(king, king_to), max(king, king_to) + 1):
        if is_attacked(tables, row, square, 1 - side, king):
            return False
    return True


@internal_kernel
def _castling_moves(tables: Tables, row: Row, out: Moves, count: int) -> int:
    side = np.int64(row[tables[SQUARES] + SIDE])
    rights = row[tables[SQUARES] + CASTLING]
    for right in range(2 * side, 2 * side + 2):
        if rights >> right & 1 and _castling_is_clear(tables, row, right, side):
            king, rook = (
                tables[CASTLING_SQUARES + 4 * right],
                tables[CASTLING_SQUARES + 4 * right + 1],
            )
            move = np.int64(king) | np.int64(rook) << 6
            if _leaves_king_safe(tables, row, move):
                out[count] = move
                count += 1
    return count


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


@inlined
def _own_pieces(row: Row, squares: int, side: Int) -> tuple[int, int]:
    """Bitmaps of the side's pieces and of its king, gathered without a branch."""
    own, royal = 0, 0
    king = KING | side << 4
    for square in range(squares):
        code = np.int64(row[square])
        own |= ((code != EMPTY) & (code >> 4 == side)) << square
        royal |= (code == king) << square
    return own, royal


@shared_kernel
def generate(tables: Tables, row: Row, out: Moves) -> int:
    """Write the legal moves into `out` (uint16[MAX_MOVES]) and return their number.

    0 where the game is over by flag, extinction or for want of a legal move; draws by clock,
    repetition and material are the caller's to look at.
    """
    if is_decided(tables, row):
        return 0
    squares = tables[SQUARES]
    side = np.int64(row[squares + SIDE])
    evasions, pinned, checkers, king, count = _EVERYWHERE, 0, 0, NO_SQUARE, 0
    own, royal = _own_pieces(row, squares, side)
    if tables[HAS_KING] and royal:
        king = lowest_bit(royal)
        own ^= royal
        evasions, pinned, checkers = _king_lines(tables, row, king, side)
        count = _king_moves(tables, row, king, side, out, count)
        if checkers > 1:
            return count
    while own:
        source = lowest_bit(own)
        own &= own - 1
        allowed = evasions
        if pinned >> source & 1:
            allowed &= tables[LINES + king * BOARD + source]
        count = _piece_moves(tables, row, source, allowed, out, count)
    if row[squares + EN_PASSANT] != NO_SQUARE:
        count = _en_passant_moves(tables, row, out, count)
    if checkers == 0 and row[squares + CASTLING] >> (2 * side) & 3:
        count = _castling_moves(tables, row, out, count)
    return count


@internal_kernel
def _castle(tables: Tables, row: Row, out: Row, king: Int, rook: Int) -> None:
    for right in range(CASTLING_RIGHTS):
        if (
            tables[CASTLING_SQUARES + 4 * right] == king
            and tables[CASTLING_SQUARES + 4 * right + 1] == rook
        ):
            out[king] = EMPTY
            out[rook] = EMPTY
            out[tables[CASTLING_SQUARES + 4 * right + 2]] = row[king]
            out[tables[CASTLING_SQUARES + 4 * right + 3]] = row[rook]


@internal_kernel
def _move_pieces(tables: Tables, row: Row, move: Int, out: Row) -> None:
    """Copy the row and move the pieces; the five state bytes are left as they were."""
    for index in range(row.shape[0]):
        out[index] = row[index]
    source, target, promotion = move & 63, move >> 6 & 63, move >> 12 & 15
    code, captured = row[source], row[target]
    if code & 15 == KING and captured != EMPTY and captured >> 4 == code >> 4:
        _castle(tables, row, out, source, target)
        return
    out[source] = EMPTY
    out[target] = code & 16 | promotion if promotion else code
    width = tables[WIDTH]
    if (
        code & 15 == PAWN
        and target == row[tables[SQUARES] + EN_PASSANT]
        and (target - source) % width != 0
    ):
        # The captured pawn stands beside the one that moves, on the target's file.
        out[target + (width if code >> 4 else -width)] = EMPTY


@shared_kernel
def apply(tables: Tables, row: Row, move: Int, out: Row) -> None:
    """Write the position after a legal move into `out`; its REPETITION is 0 (history unknown)."""
    move = np.int64(move)
    squares = tables[SQUARES]
    _move_pieces(tables, row, move, out)
    source, target = move & 63, move >> 6 & 63
    code, captured = np.int64(row[source]), row[target]
    side = np.int64(row[squares + SIDE])
    progress = code & 15 == PAWN or (captured != EMPTY and captured >> 4 != side)
    out[squares + SIDE] = 1 - side
    rights = row[squares + CASTLING]
    out[squares + CASTLING] = (
        rights & tables[CASTLING_KEEP + source] & tables[CASTLING_KEEP + target] if rights else 0
    )
    clock = np.int64(row[squares + CLOCK])
    out[squares + CLOCK] = 0 if progress else clock + (clock < LARGEST_CLOCK)
    out[squares + REPETITION] = 0
    out[squares + EN_PASSANT] = NO_SQUARE
    if out[target] & 15 == PAWN and abs(target - source) == 2 * tables[WIDTH]:
        # A pawn that has just promoted is not taken in passing. The square counts only where the
        # capture is legal, so that equal rows are equal positions.
        out[squares + EN_PASSANT] = (source + target) // 2
        captures = np.empty(8, np.uint16)
        if _en_passant_moves(tables, out, captures, 0) == 0:
            out[squares + EN_PASSANT] = NO_SQUARE


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


def generate_batch(
    tables: Tables, rows: npt.NDArray[np.uint8]
) -> tuple[Moves, npt.NDArray[np.int64]]:
    """Legal moves of many rows [B, R]: `moves[offsets[i]:offsets[i + 1]]` belong to row i."""
    return _generate_batch(tables, contiguous(rows, np.uint8))


@kernel
def _generate_batch(tables: Tables, rows: Rows) -> tuple[Moves, npt.NDArray[np.int64]]:
    batch = rows.shape[0]
    offsets = np.zeros(batch + 1, np.int64)
    moves = np.empty(max(64 * batch, MAX_MOVES), np.uint16)
    scratch = np.empty(MAX_MOVES, np.uint16)
    total = 0
    for index in range(batch):
        count = generate(tables, rows[index], scratch)
        if total + count > moves.shape[0]:
            wider = np.empty(2 * moves.shape[0] + count, np.uint16)
            copy_into(wider, moves[:total])
            moves = wider
        copy_into(moves[total:], scratch[:count])
        total += count
        offsets[index + 1] = total
    return moves[:total].copy(), offsets
