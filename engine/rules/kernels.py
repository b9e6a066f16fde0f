"""The rules in motion: one compiled set of kernels plays every variant.

Every kernel takes the variant's `Tables` first and rows as `uint8[R]` (layout in tables.py). The
kernels trust their input: `Position` and the parsers validate it.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.attacks import find_king, is_attacked
from engine.rules.compilation.decorators import (
    copy_into,
    inlined,
    internal_kernel,
    kernel,
    lowest_bit,
    shared_kernel,
)
from engine.rules.compilation.signatures import contiguous
from engine.rules.outcome import is_decided, termination
from engine.rules.tables import (
    BOARD,
    CASTLING,
    CASTLING_KEEP,
    CASTLING_RIGHTS,
    CASTLING_SQUARES,
    CLOCK,
    EMPTY,
    EN_PASSANT,
    HAS_KING,
    KING,
    LARGEST_CLOCK,
    LINES,
    MAX_MOVES,
    NO_SQUARE,
    PAWN,
    PROMOTION_COUNT,
    PROMOTION_REGION,
    PROMOTION_TYPES,
    REPETITION,
    SIDE,
    SQUARES,
    STEP_START,
    THREAT_START,
    WIDTH,
    Int,
    Moves,
    Row,
    Rows,
    Tables,
)

_EVERYWHERE: Final = -1
"""The bitmap with all bits set."""


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


@inlined
def _castling_squares(tables: Tables, right: Int) -> tuple[int, int, int, int]:
    """King from, rook from, king to, rook to."""
    start = CASTLING_SQUARES + 4 * right
    return tables[start], tables[start + 1], tables[start + 2], tables[start + 3]


@internal_kernel
def _castling_is_clear(tables: Tables, row: Row, right: Int, side: Int) -> bool:
    """All squares between king, rook and their targets empty, none on the king's way attacked."""
    king, rook, king_to, rook_to = _castling_squares(tables, right)
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
            king, rook, _, _ = _castling_squares(tables, right)
            move = np.int64(king) | np.int64(rook) << 6
            if _leaves_king_safe(tables, row, move):
                out[count] = move
                count += 1
    return count


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
        king_from, rook_from, king_to, rook_to = _castling_squares(tables, right)
        if king_from == king and rook_from == rook:
            out[king] = EMPTY
            out[rook] = EMPTY
            out[king_to] = row[king]
            out[rook_to] = row[rook]


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


def generated_moves(tables: Tables, row: Row) -> list[int]:
    """The moves that `generate` writes: a drawn game still has them."""
    scratch = np.empty(MAX_MOVES, dtype=np.uint16)
    moves: list[int] = scratch[: generate(tables, row, scratch)].tolist()
    return moves


def legal_moves(tables: Tables, row: Row) -> list[int]:
    """All legal moves; empty where the game is over, draws included."""
    moves = generated_moves(tables, row)
    return [] if termination(tables, row, len(moves)) else moves


def is_capture(tables: Tables, row: Row, move: int) -> bool:
    """Whether the move takes a piece, en passant included."""
    after = np.empty_like(row)
    apply(tables, row, move, after)
    squares = tables[SQUARES]
    return int((after[:squares] != EMPTY).sum()) < int((row[:squares] != EMPTY).sum())


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
