"""Compiled: what legal moves do, and whether one of them wins at once or in two moves.

Most moves give no check, and are never played here. From the enemy king's square outward, the walk
along its threats (tables.py) notes once which pieces give check from where; only what could uncover
a check, castling and en passant are played to see.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.facts.square_kernels import king_square, seen_square
from engine.rules.attacks import is_attacked
from engine.rules.compilation.decorators import inlined, internal_kernel, kernel, shared_kernel
from engine.rules.compilation.signatures import Array2D, Array3D
from engine.rules.kernels import apply, generate
from engine.rules.outcome import CHECKMATE, is_decided, terminal_value, termination
from engine.rules.tables import (
    BOARD,
    CASTLING,
    EMPTY,
    EN_PASSANT,
    HAS_KING,
    KING,
    LINES,
    MAX_MOVES,
    NO_SQUARE,
    PAWN,
    PIECE_CODES,
    PROMOTION_COUNT,
    PROMOTION_REGION,
    SIDE,
    SQUARES,
    STALEMATE_VALUE,
    STEP_START,
    THREAT_START,
    WIDTH,
    Int,
    Moves,
    Row,
    Rows,
    Tables,
)
from engine.system.interrupts import StopFlag

CAPTURES: Final = 0
"""Legal moves that capture, en passant included."""
CHECKS: Final = 1
"""Legal moves that give check."""
MATES: Final = 2
"""Legal moves that give checkmate."""
WINS: Final = 3
"""Legal moves that end the game with a win, in whatever way."""
PROMOTIONS: Final = 4
"""Legal moves that promote, one for each new piece."""
FORKS: Final = 5
"""Legal moves to a square on which the piece attacks two or more enemies worth attacking, and on
which none could capture it."""
KING_STEPS: Final = 6
"""Legal moves of the king, castling apart."""
FACTS: Final = 7
"""How many of these there are."""

_QUIET: Final = 0
_CHECKS: Final = 1
_PERHAPS: Final = 2
"""What is known of a move before it is played."""


@internal_kernel
def _ways_to_check(tables: Tables, row: Row, strikes: npt.NDArray[np.int64]) -> tuple[int, int]:
    """The square of the enemy king (or NO_SQUARE), and the set of pieces that may uncover a check.

    `strikes` [64] becomes the set of codes that give check from each square.
    """
    squares = tables[SQUARES]
    side = np.int64(row[squares + SIDE])
    for square in range(squares):
        strikes[square] = 0
    king, openers = king_square(tables, row, 1 - side), 0
    if king == NO_SQUARE:
        return king, openers
    index = tables[THREAT_START + king]
    end = tables[THREAT_START + king + 1]
    while index < end:
        line_end = index + (tables[index] >> 6 & 15)
        while index < line_end:
            threat = tables[index]
            source = threat & 63
            strikes[source] = threat >> 16
            index += 1
            code = np.int64(row[source])
            if code != EMPTY:
                if code >> 4 == side and _may_open(tables, row, code, index, line_end, side):
                    openers |= np.int64(1) << source
                break
        index = line_end
    return king, openers


@internal_kernel
def _may_open(tables: Tables, row: Row, code: Int, index: Int, line_end: Int, side: Int) -> bool:
    """Whether a piece that stands first on a line from the king may give check by leaving.

    Either it uncovers another one, or it strikes itself from farther off, as what it promotes to.
    """
    while index < line_end:
        threat = tables[index]
        other = np.int64(row[threat & 63])
        if threat >> 16 >> code & 1 or (code & 15 == PAWN and tables[PROMOTION_COUNT]):
            return True
        if other != EMPTY:
            return bool(other >> 4 == side and threat >> 16 >> other & 1)
        index += 1
    return False


@internal_kernel
def _has_specials(tables: Tables, row: Row) -> bool:
    """Whether a move can be castling or a capture en passant."""
    squares = tables[SQUARES]
    return bool(row[squares + EN_PASSANT] != NO_SQUARE or row[squares + CASTLING] != 0)


@internal_kernel
def _is_special(tables: Tables, row: Row, move: Int) -> bool:
    """Whether the move is castling or a capture en passant."""
    source, target = move & 63, move >> 6 & 63
    code = np.int64(row[source])
    if code & 15 == KING:
        return bool(row[target] != EMPTY and row[target] >> 4 == code >> 4)
    passed = np.int64(row[tables[SQUARES] + EN_PASSANT])
    return bool(code & 15 == PAWN and target == passed and (target - source) % tables[WIDTH] != 0)


@internal_kernel
def _check_by(row: Row, move: Int, openers: Int, strikes: npt.NDArray[np.int64]) -> int:
    """_QUIET, _CHECKS or _PERHAPS, of a move that is not special."""
    source, target, promoted = move & 63, move >> 6 & 63, move >> 12
    code = np.int64(row[source])
    if promoted:
        code = code & 16 | promoted
    if strikes[target] >> code & 1:
        return _CHECKS
    return _PERHAPS if openers >> source & 1 else _QUIET


@internal_kernel
def _can_move(tables: Tables, row: Row) -> bool:
    """Whether the side to move, not in check, has a move of a piece that no pin can hold.

    Where there is no king: whether it has a move.
    """
    squares = tables[SQUARES]
    side = np.int64(row[squares + SIDE])
    if not tables[HAS_KING] and row[squares + EN_PASSANT] != NO_SQUARE:
        # It stands there only where the capture is legal.
        return True
    king = king_square(tables, row, side)
    for source in range(squares):
        code = np.int64(row[source])
        if code == EMPTY or code >> 4 != side or source == king:
            continue
        if king != NO_SQUARE and tables[LINES + king * BOARD + source]:
            continue
        barred = 0
        if code & 15 == PAWN and not tables[PROMOTION_COUNT]:
            barred = tables[PROMOTION_REGION + side]
        start = code * BOARD + source
        index = tables[STEP_START + start]
        end = tables[STEP_START + start + 1]
        while index < end:
            step = tables[index]
            blocker = row[step & 63]
            wanted = step & 64
            index += 1
            if blocker != EMPTY:
                index += (step >> 8) - 1
                wanted = step & 128 if blocker >> 4 != side else 0
            if wanted and not barred >> (step & 63) & 1:
                return True
    return False


@internal_kernel
def _can_step_away(tables: Tables, row: Row, king: Int) -> bool:
    """Whether the king on that square can go where it is not attacked: the usual answer to a check,
    which spares the search for others."""
    code = np.int64(row[king])
    side, start = code >> 4, code * BOARD + king
    for index in range(tables[STEP_START + start], tables[STEP_START + start + 1]):
        target = tables[index] & 63
        is_free = row[target] == EMPTY or row[target] >> 4 != side
        if is_free and not is_attacked(tables, row, target, 1 - side, king):
            return True
    return False


@shared_kernel
def _end_by(
    tables: Tables,
    row: Row,
    move: Int,
    known: int,
    king: Int,
    may_end: bool,
    after: Row,
    out: Moves,
) -> tuple[bool, int]:
    """Play a move into `after`; whether it gives check, and why the game is over, 0 if it is not.

    A check is looked at for a reply; where moves `may_end` the game otherwise, each is: whether it
    decides the game by a flag or an extinction, or by a stalemate that wins.
    """
    apply(tables, row, move, after)
    side = np.int64(row[tables[SQUARES] + SIDE])
    checks = known == _CHECKS or (
        known == _PERHAPS
        and king != NO_SQUARE
        and is_attacked(tables, after, king, side, NO_SQUARE)
    )
    is_over = may_end and is_decided(tables, after)
    if checks and not is_over:
        is_over = not _can_step_away(tables, after, king) and generate(tables, after, out) == 0
    elif may_end and not is_over and tables[STALEMATE_VALUE] == -1 and not _can_move(tables, after):
        is_over = tables[HAS_KING] == 0 or generate(tables, after, out) == 0
    reason = 0
    if is_over:
        reason = termination(tables, after, 0)
    return checks, reason


@internal_kernel
def _fill_reaches(tables: Tables, reaches: Array2D[np.int64]) -> None:
    """[PIECE_CODES, 64] the squares that a piece attacks from each square of an empty board."""
    reaches[:] = 0
    for code in range(PIECE_CODES):
        for square in range(tables[SQUARES]):
            start = STEP_START + code * BOARD + square
            for index in range(tables[start], tables[start + 1]):
                if tables[index] & 128:
                    reaches[code, square] |= np.int64(1) << (tables[index] & 63)


@internal_kernel
def _forks(
    tables: Tables,
    values: npt.NDArray[np.float64],
    reaches: Array2D[np.int64],
    enemies: Int,
    row: Row,
    move: Int,
) -> bool:
    """Whether the piece attacks two or more enemies worth attacking from where nobody captures it.

    The row is changed and restored; castling and en passant are the caller's to leave out.
    """
    source, target, promoted = move & 63, move >> 6 & 63, move >> 12
    left, captured = row[source], row[target]
    code = np.int64(left)
    side = code >> 4
    if promoted:
        code = side << 4 | promoted
    near = reaches[code, target] & enemies
    if not near & (near - 1):
        return False
    row[source], row[target] = EMPTY, code
    first = _attacked_enemies(tables, values, row, target, False)
    forks = (
        first > 1
        and _attacked_enemies(tables, values, row, target, True) > 1
        and not is_attacked(tables, row, target, 1 - side, NO_SQUARE)
    )
    row[source], row[target] = left, captured
    return bool(forks)


@internal_kernel
def _attacked_enemies(
    tables: Tables, values: npt.NDArray[np.float64], row: Row, square: Int, worthwhile: bool
) -> int:
    """How many enemies the piece on a square attacks; only those that are `worthwhile`, if asked:
    worth more than the piece itself, or not defended."""
    code = np.int64(row[square])
    enemy, found = 1 - (code >> 4), 0
    start = code * BOARD + square
    index = tables[STEP_START + start]
    end = tables[STEP_START + start + 1]
    while index < end:
        step = tables[index]
        other = np.int64(row[step & 63])
        if other == EMPTY:
            index += 1
            continue
        index += step >> 8
        if other >> 4 == enemy and step & 128:
            found += (
                not worthwhile
                or values[other & 15] > values[code & 15]
                or not is_attacked(tables, row, step & 63, enemy, NO_SQUARE)
            )
    return found


@inlined
def _enemies(row: Row, squares: Int, side: Int) -> int:
    """The set of squares with a piece of the other side."""
    found = 0
    for square in range(squares):
        found |= int(row[square] != EMPTY and row[square] >> 4 != side) << square
    return found


@kernel
def look_at_moves(
    tables: Tables,
    values: npt.NDArray[np.float64],
    rows: Rows,
    moves: Moves,
    offsets: npt.NDArray[np.int64],
    attackers: Array3D[np.uint8],
    may_end: bool,
    facts: Array2D[np.int16],
) -> None:
    """Fill `facts` [N, FACTS], at the places named above, of rows [N, R] and their legal moves.

    `attackers` [N, 2, S] as in `Attacks`, or [0, 2, S]: then forks are not counted. `may_end`:
    whether moves without check can win, by a flag, an extinction or a stalemate.
    """
    strikes = np.zeros(BOARD, np.int64)
    after = np.empty(rows.shape[1], np.uint8)
    replies = np.empty(MAX_MOVES, np.uint16)
    squares = tables[SQUARES]
    reaches = np.empty((PIECE_CODES, BOARD), np.int64)
    _fill_reaches(tables, reaches)
    for position in range(rows.shape[0]):
        row, found = rows[position], facts[position]
        found[:] = 0
        side = np.int64(row[squares + SIDE])
        specials = _has_specials(tables, row)
        king, openers = _ways_to_check(tables, row, strikes)
        captures, promotions, steps, forks = 0, 0, 0, 0
        enemies = _enemies(row, squares, side) if attackers.shape[0] else 0
        for index in range(offsets[position], offsets[position + 1]):
            move = np.int64(moves[index])
            source, target = move & 63, move >> 6 & 63
            known = _check_by(row, move, openers, strikes)
            special = specials and _is_special(tables, row, move)
            royal = tables[HAS_KING] and row[source] & 15 == KING
            if special:
                known = _PERHAPS
                captures += not royal
            else:
                captures += row[target] != EMPTY
                steps += royal
                if attackers.shape[0]:
                    seen = seen_square(tables, target, side)
                    # Who attacks the square now does so after the move.
                    if attackers[position, 1, seen] == 0:
                        forks += _forks(tables, values, reaches, enemies, row, move)
            promotions += move >> 12 != 0
            if known != _QUIET or may_end:
                checks, reason = _end_by(tables, row, move, known, king, may_end, after, replies)
                found[CHECKS] += checks
                found[MATES] += reason == CHECKMATE
                found[WINS] += reason != 0 and terminal_value(tables, reason, after) == -1
        found[CAPTURES], found[PROMOTIONS] = captures, promotions
        found[KING_STEPS], found[FORKS] = steps, forks


@kernel
def count_by_type(
    rows: Rows, moves: Moves, offsets: npt.NDArray[np.int64], counts: Array2D[np.int64]
) -> None:
    """Fill `counts` [N, PIECE_TYPES]: the moves of each type of piece of rows [N, R]."""
    counts[:] = 0
    for position in range(rows.shape[0]):
        for index in range(offsets[position], offsets[position + 1]):
            counts[position, rows[position, moves[index] & 63] & 15] += 1


@shared_kernel
def _wins_at_once(
    tables: Tables,
    row: Row,
    may_end: bool,
    strikes: npt.NDArray[np.int64],
    after: Row,
    moves: Moves,
    replies: Moves,
) -> bool:
    """Whether a legal move ends the game with a win; by checkmate, unless moves `may_end` it."""
    count = generate(tables, row, moves)
    if termination(tables, row, count):
        return False
    specials = _has_specials(tables, row)
    king, openers = _ways_to_check(tables, row, strikes)
    for index in range(count):
        move = np.int64(moves[index])
        known = _check_by(row, move, openers, strikes)
        if specials and _is_special(tables, row, move):
            known = _PERHAPS
        if known != _QUIET or may_end:
            _, reason = _end_by(tables, row, move, known, king, may_end, after, replies)
            won = reason != 0 and terminal_value(tables, reason, after) == -1
            if won and (may_end or reason == CHECKMATE):
                return True
    return False


@internal_kernel
def _moves_to_win(
    tables: Tables,
    may_end: bool,
    lines: Rows,
    moves: Array2D[np.uint16],
    strikes: npt.NDArray[np.int64],
) -> int:
    """In how many moves, 1 or 2, the side to move of `lines[0]` forces a win; 0 for neither.

    The replies that refute the most moves are tried first: that which refuted the last one.
    """
    if _wins_at_once(tables, lines[0], may_end, strikes, lines[1], moves[0], moves[1]):
        return 1
    count, refutation = generate(tables, lines[0], moves[0]), np.uint16(0)
    for index in range(count):
        apply(tables, lines[0], moves[0, index], lines[1])
        replies = generate(tables, lines[1], moves[1])
        if termination(tables, lines[1], replies):
            continue
        for reply in range(replies):
            if moves[1, reply] == refutation:
                moves[1, reply], moves[1, 0] = moves[1, 0], moves[1, reply]
                break
        wins = True
        for reply in range(replies):
            apply(tables, lines[1], moves[1, reply], lines[2])
            if not _wins_at_once(tables, lines[2], may_end, strikes, lines[3], moves[2], moves[3]):
                refutation, wins = moves[1, reply], False
                break
        if wins:
            return 2
    return 0


@kernel
def count_moves_to_win(
    tables: Tables, rows: Rows, may_end: bool, out: npt.NDArray[np.int8], stop: StopFlag
) -> None:
    """Fill `out` [N]: in how many moves, 1 or 2, the side to move forces a win; 0 for neither.

    Unless moves `may_end` the game without check, checkmates are looked for and nothing else.
    """
    lines = np.empty((4, rows.shape[1]), np.uint8)
    moves = np.empty((4, MAX_MOVES), np.uint16)
    strikes = np.zeros(BOARD, np.int64)
    for position in range(rows.shape[0]):
        if stop[0] != 0:
            return
        lines[0] = rows[position]
        out[position] = _moves_to_win(tables, may_end, lines, moves, strikes)
