"""Retrograde analysis, one material at a time, one ply at a time (README.md draws the passes).

The moves of a position either stay inside its material or are *conversions*: captures and
promotions, which lead to tables that are known. A position is won in n plies when a move inside
leads to one that is lost in n - 1, or when a conversion does; it is lost in n when every move
leads to a won one and the slowest takes n - 1. So ply n follows from ply n - 1: every position that
may have led to one of ply n - 1 is marked, by taking moves back, and then checked forward, by the
rules themselves. Taking back may mark a position too many, never one too few.

A second run over what the first has decided finds the plies to zeroing (`timed` below): every pawn
move is then a conversion, too, and a conversion takes one ply, whatever comes after it, if it leads
to a position that is decided at clock 0.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.attacks import is_check
from engine.rules.betza import MOVE_ONLY, Movement
from engine.rules.compilation.decorators import internal_kernel, kernel
from engine.rules.kernels import apply, generate
from engine.rules.outcome import ONGOING, terminal_value, termination
from engine.rules.tables import (
    BLACK_BIT,
    BOARD,
    EMPTY,
    EN_PASSANT,
    FIRST_LINE,
    MAX_MOVES,
    NO_SQUARE,
    PAWN,
    SIDE,
    SQUARES,
    STATE_SIZE,
    STEP_START,
    WIDTH,
    Int,
    Moves,
    Row,
    Tables,
    piece_lines,
    write_steps,
)
from engine.rules.variant import Variant
from search.exact.tablebase.index import SIDES, SIZE, STATES, aside, entry_of, place_men
from search.exact.tablebase.probe import look_up, look_up_at_clock, score_of_entry
from search.scores import LONGEST, NO_SCORE, WIN

BROKEN: Final = NO_SCORE + 1
"""Score of an entry that is no position."""

_MAY_WIN: Final = 1
"""A move inside leads to a position that has just been found lost."""
_MAY_LOSE: Final = 2
"""A move inside leads to a position that has just been found won."""
_SAFE: Final = 4
"""The position is not lost, as a conversion that wins or draws shows."""
_LOST: Final = 8
"""All moves are known to lose; `due` says when."""


class Work(NamedTuple):
    """The entries E of one material while it is being solved."""

    scores: npt.NDArray[np.int16]
    """[E] scores (search/scores.py), NO_SCORE while unknown, BROKEN for no position."""
    due: npt.NDArray[np.int16]
    """[E] d: a conversion wins in d plies; -d: the slowest of lost moves takes d; 0: neither."""
    flags: npt.NDArray[np.uint8]
    """[E] _MAY_WIN | _MAY_LOSE | _SAFE | _LOST."""


def backward_steps(variant: Variant) -> Tables:
    """Backward steps: from a square to where men come from, laid out as in `Variant.tables`."""
    movements = {
        piece_type: Movement(
            leaps={(-x, -y): mode for (x, y), mode in movement.leaps.items()},
            rides={(-x, -y): mode for (x, y), mode in movement.rides.items()},
        )
        for piece_type, movement in variant.movements.items()
    }
    lines = piece_lines(movements, variant.width, variant.height, (0, 0))
    for (code, square), pawn_lines in lines.items():
        if code & 15 == PAWN:
            back = variant.width if code & BLACK_BIT else -variant.width
            start = square + 2 * back
            region = variant.double_step_region[code // BLACK_BIT]
            for line in pawn_lines:
                if line == [(square + back, MOVE_ONLY)] and start >= 0 and region >> start & 1:
                    line.append((start, MOVE_ONLY))
    head = np.zeros(FIRST_LINE, dtype=np.int64)
    steps = write_steps(head, lines, variant.squares, FIRST_LINE)
    return np.concatenate([head, np.array(steps, dtype=np.int64)])


@internal_kernel
def _stays(tables: Tables, row: Row, move: Int, timed: bool) -> bool:
    """Whether the move leaves the material as it is; if `timed`, whether the clock runs on."""
    source, target = move & 63, move >> 6 & 63
    if move >> 12 or row[target] != EMPTY:
        return False
    pawn: bool = row[source] & 15 == PAWN
    if timed:
        return not pawn
    passed = row[tables[SQUARES] + EN_PASSANT]
    if target != passed or not pawn:
        return True
    straight: bool = abs(int(target - source)) == tables[WIDTH]
    return straight


@internal_kernel
def _bitmap(tables: Tables, row: Row) -> int:
    occupied = 0
    for square in range(tables[SQUARES]):
        occupied |= (row[square] != EMPTY) << square
    return occupied


@internal_kernel
def _entry(tables: Tables, record: Int, row: Row, occupied: int, side: Int, passed: Int) -> Int:
    """The entry of a position of this material; `entry_of` in its normal form."""
    turned = side if tables[record + SIDES] == 1 else np.int64(0)
    mirrored = aside(tables, record, row, occupied, turned) & 1
    return entry_of(tables, record, row, occupied, side, passed, turned, mirrored)


@internal_kernel
def _entry_after(
    tables: Tables, record: Int, row: Row, occupied: int, move: Int, after: Row
) -> Int:
    """The entry to which a move inside the material leads; the row is as it was afterwards."""
    source, target = move & 63, move >> 6 & 63
    squares = tables[SQUARES]
    other = 1 - np.int64(row[squares + SIDE])
    moved = occupied ^ 1 << int(source) | 1 << int(target)
    code = row[source]
    if tables[record + STATES] > 1 and code & 15 == PAWN:
        apply(tables, row, move, after)
        passed = np.int64(after[squares + EN_PASSANT])
        return _entry(tables, record, after, moved, other, passed)
    row[source], row[target] = EMPTY, code
    entry = _entry(tables, record, row, moved, other, np.int64(NO_SQUARE))
    row[source], row[target] = code, EMPTY
    return entry


@kernel
def _convert(
    tables: Tables, row: Row, moves: Moves, after: Row, work: Work, entry: int, timed: bool
) -> bool:
    """Score the conversions of a position; False where a table is missing."""
    quickest, slowest, safe, inside = 0, 0, False, 0
    for place in range(moves.shape[0]):
        move = np.int64(moves[place])
        if _stays(tables, row, move, timed):
            inside += 1
            continue
        apply(tables, row, move, after)
        score = look_up_at_clock(tables, after) if timed else look_up(tables, after)
        if score == NO_SCORE:
            return False
        plies = 1 if timed else WIN - abs(score) + 1
        if score < -LONGEST:
            quickest = plies if quickest == 0 else min(quickest, plies)
        elif score > LONGEST:
            slowest = max(slowest, plies)
        else:
            safe = True
    work.due[entry] = quickest or (0 if safe else -slowest)
    if quickest or safe:
        work.flags[entry] = _SAFE
    elif inside == 0:
        work.flags[entry] = _LOST
    return True


@kernel
def init_entries(
    tables: Tables, record: Int, work: Work, start: int, stop: int, timed: bool
) -> int:
    """Score the entries from `start` to `stop` that need no other entry of this material.

    If `timed`, only entries that are decided in the material's finished table are examined; the
    others are drawn. Returns how many are positions, or -1 where a table that a move leads to is
    missing.
    """
    squares = tables[SQUARES]
    row = np.empty(squares + STATE_SIZE, np.uint8)
    after = np.empty(squares + STATE_SIZE, np.uint8)
    moves = np.empty(MAX_MOVES, np.uint16)
    positions, known = 0, 0
    for entry in range(start, stop):
        work.scores[entry] = BROKEN
        work.due[entry] = 0
        work.flags[entry] = 0
        if timed:
            known = score_of_entry(tables, record, np.int64(entry))
            if -LONGEST <= known <= LONGEST or known == NO_SCORE or abs(known) == WIN:
                work.scores[entry] = BROKEN if known == NO_SCORE else known
                continue
        if not place_men(tables, record, np.int64(entry), row):
            continue
        if not timed:
            row[squares + SIDE] ^= 1
            illegal = is_check(tables, row)
            row[squares + SIDE] ^= 1
            if illegal:
                continue
        positions += 1
        count = generate(tables, row, moves)
        reason = ONGOING if timed else termination(tables, row, count)
        if reason != ONGOING:
            work.scores[entry] = WIN * terminal_value(tables, reason, row)
            continue
        work.scores[entry] = NO_SCORE
        if not _convert(tables, row, moves[:count], after, work, entry, timed):
            return -1
        if known > 0:
            work.flags[entry] = _SAFE
    return positions


@kernel
def _decide_entry(
    tables: Tables,
    record: Int,
    work: Work,
    entry: Int,
    ply: int,
    row: Row,
    after: Row,
    moves: Moves,
    timed: bool,
) -> None:
    """Decide a marked position: won or lost in `ply`, lost later, or still unknown."""
    mark = work.flags[entry]
    work.flags[entry] = mark & ~(_MAY_WIN | _MAY_LOSE)
    may_win = mark & _MAY_WIN != 0
    if not may_win and mark & _SAFE:
        return
    place_men(tables, record, entry, row)
    occupied = _bitmap(tables, row)
    slowest, lost = max(0, -int(np.int64(work.due[entry]))), mark & _SAFE == 0
    for place in range(generate(tables, row, moves)):
        move = np.int64(moves[place])
        if not _stays(tables, row, move, timed):
            continue
        child = _entry_after(tables, record, row, occupied, move, after)
        score = int(np.int64(work.scores[child]))
        if score == ply - 1 - WIN:
            work.scores[entry] = WIN - ply
            return
        if score > LONGEST:
            slowest = max(slowest, WIN - score + 1)
        elif may_win:
            lost = False
        else:
            return
    if lost and slowest <= ply:
        work.scores[entry] = ply - WIN
    elif lost:
        work.due[entry] = -slowest
        work.flags[entry] |= _LOST


@kernel
def decide_ply(
    tables: Tables, record: Int, work: Work, ply: int, start: int, stop: int, timed: bool
) -> tuple[int, int]:
    """Score the entries won or lost in `ply` plies; returns how many, and the latest ply due."""
    squares = tables[SQUARES]
    row = np.empty(squares + STATE_SIZE, np.uint8)
    after = np.empty(squares + STATE_SIZE, np.uint8)
    moves = np.empty(MAX_MOVES, np.uint16)
    found, latest = 0, 0
    for entry in range(start, stop):
        if work.scores[entry] != NO_SCORE:
            continue
        due, mark = np.int64(work.due[entry]), work.flags[entry]
        if due == ply:
            work.scores[entry] = WIN - ply
        elif mark & _LOST:
            if -due <= ply:
                work.scores[entry] = ply - WIN
        elif mark & (_MAY_WIN | _MAY_LOSE):
            _decide_entry(tables, record, work, np.int64(entry), ply, row, after, moves, timed)
        found += work.scores[entry] != NO_SCORE
        if work.scores[entry] == NO_SCORE and (due > 0 or work.flags[entry] & _LOST):
            latest = max(latest, abs(int(np.int64(work.due[entry]))))
    return found, latest


@kernel
def _mark(work: Work, entry: Int, mark: int, size: int) -> None:
    """Mark an entry in all its en-passant states."""
    for state in range(entry, work.scores.shape[0], size):
        if work.scores[state] == NO_SCORE:
            work.flags[state] |= mark


@internal_kernel
def _take_back(
    tables: Tables, backward: Tables, record: Int, work: Work, row: Row, mark: int, timed: bool
) -> None:
    """Mark every position from which a move inside the material may have led here."""
    squares = tables[SQUARES]
    mover = 1 - np.int64(row[squares + SIDE])
    occupied = _bitmap(tables, row)
    size = tables[record + SIZE] * tables[record + SIDES]
    turned = mover if tables[record + SIDES] == 1 else np.int64(0)
    none = np.int64(NO_SQUARE)
    for square in range(squares):
        code = np.int64(row[square])
        if code == EMPTY or code >> 4 != mover or (timed and code & 15 == PAWN):
            continue
        index = backward[STEP_START + code * BOARD + square]
        end = backward[STEP_START + code * BOARD + square + 1]
        while index < end:
            step = backward[index]
            source = step & 63
            if row[source] != EMPTY:
                index += step >> 8
                continue
            index += 1
            if not step & 64:
                continue
            before = occupied ^ 1 << square | 1 << source
            row[square], row[source] = EMPTY, code
            side = aside(tables, record, row, before, turned)
            entry = entry_of(tables, record, row, before, mover, none, turned, side & 1)
            _mark(work, entry, mark, size)
            if side == 2:
                # An anchor in the middle stays where it is: the mirror image is another entry.
                entry = entry_of(tables, record, row, before, mover, none, turned, np.int64(1))
                _mark(work, entry, mark, size)
            row[square], row[source] = code, EMPTY


@kernel
def mark_predecessors(
    tables: Tables,
    backward: Tables,
    record: Int,
    work: Work,
    ply: int,
    start: int,
    stop: int,
    timed: bool,
) -> None:
    """Mark the positions that may have led to those won or lost in `ply` plies."""
    row = np.empty(tables[SQUARES] + STATE_SIZE, np.uint8)
    for entry in range(start, stop):
        score = np.int64(work.scores[entry])
        if abs(score) != WIN - ply:
            continue
        place_men(tables, record, np.int64(entry), row)
        mark = _MAY_LOSE if score > 0 else _MAY_WIN
        _take_back(tables, backward, record, work, row, mark, timed)
