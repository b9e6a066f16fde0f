"""Compiled: who attacks what, what an exchange wins, and what stands in line with what.

A piece attacks a square where it could capture an enemy there: empty squares, and own pieces, which
it defends. Pins are not looked at, nor what a capture would leave in check.

A *contact* is an attacker, the first piece on one of its lines, and the second one behind that:

    R . . n . q        rook, knight, queen: the knight is pinned to the queen

Side 0 is the side to move, side 1 the opponent; squares of results are numbered as the side to move
sees the board.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import internal_kernel, kernel
from engine.rules.compilation.signatures import Array2D, Array3D
from engine.rules.tables import (
    BOARD,
    EMPTY,
    HAS_KING,
    KING,
    LARGEST_SIDE,
    LINES,
    NO_SQUARE,
    PIECE_TYPES,
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

PINNED: Final = 0
"""Pieces of the side that are pinned to its king."""
PINNED_TO_PIECE: Final = 1
"""Pieces that are pinned to another piece, worth more than they and than the attacker."""
SKEWERS: Final = 2
"""Contacts of the side with two enemies, the first worth more than the second and the attacker."""
FORKS: Final = 3
"""Pieces of the side that attack two or more enemies worth attacking."""
DISCOVERIES: Final = 4
"""Lines of the side to move that a piece of its own can leave, onto an enemy worth attacking."""
HANGING: Final = 5
"""Pieces of the side that the enemy wins material by capturing."""
RING: Final = 6
"""Squares around the side's king that the enemy attacks."""
RING_ATTACKERS: Final = 7
"""Enemy pieces that attack such a square."""
CHECKERS: Final = 8
"""Enemy pieces that attack the king."""
FACTS: Final = 9
"""How many of these there are."""

KING_WORTH: Final = 1000.0
"""Of a king in exchanges: more than everything else together."""
_MOST_CONTACTS: Final = 16 * BOARD
_MOST_LINES: Final = 16
_NOTHING: Final = NO_SQUARE
_CAPTURES: Final = 128
"""The bit of a step to a square on which the piece may capture."""


class Exchange(NamedTuple):
    """Scratch of one exchange: who could capture on a square, on up to L lines to it."""

    pieces: npt.NDArray[np.int64]
    """[64] codes; those of a line stand one behind the other, the nearest first."""
    heads: npt.NDArray[np.int64]
    """[L] the nearest piece of each line that is still there; at its end where none is."""
    ends: npt.NDArray[np.int64]
    """[L]."""
    gains: npt.NDArray[np.float64]
    """[64] what each capture wins for who makes it, if the exchange ended there."""


@internal_kernel
def _line_up(tables: Tables, row: Row, square: Int, work: Exchange) -> int:
    """Fill the lines of pieces that could capture on a square; returns their number.

    A piece counts where all nearer ones on its line could capture, too, and so may leave first.
    """
    pieces, heads, ends, _ = work
    lines, count = 0, 0
    index = tables[THREAT_START + square]
    end = tables[THREAT_START + square + 1]
    while index < end:
        line_end = index + (tables[index] >> 6 & 15)
        first = count
        while index < line_end:
            threat = tables[index]
            code = np.int64(row[threat & 63])
            index += 1
            if code != EMPTY:
                if not threat >> 16 >> code & 1:
                    break
                pieces[count] = code
                count += 1
        index = line_end
        if count > first:
            heads[lines], ends[lines] = first, count
            lines += 1
    return lines


@internal_kernel
def _seen_at(work: Exchange, line: int, depth: int, side: Int) -> int:
    """What stands on a line behind so many others: the side's own pieces by type, then nothing,
    then the other side's."""
    place = work.heads[line] + depth
    if place >= work.ends[line]:
        return PIECE_TYPES
    code: int = work.pieces[place] ^ side << 4
    return code if code < PIECE_TYPES else code + 1


@internal_kernel
def _comes_before(work: Exchange, line: int, other: int, side: Int) -> bool:
    """Whether a line is used first: at the first place where they differ, it has the smaller."""
    for depth in range(LARGEST_SIDE):
        here, there = _seen_at(work, line, depth, side), _seen_at(work, other, depth, side)
        if here != there:
            return here < there
    return False


@internal_kernel
def _next_capturer(values: npt.NDArray[np.float64], work: Exchange, lines: Int, side: Int) -> int:
    """The line whose nearest piece is the side's least valuable; or _NOTHING.

    Of equally valuable pieces that of the lower type, then the one that uncovers the lower type of
    its own side, and so on along the line: whatever the numbers of the squares.
    """
    pieces, heads, ends, _ = work
    found, least = _NOTHING, np.inf
    for line in range(lines):
        head = heads[line]
        if head == ends[line] or pieces[head] >> 4 != side:
            continue
        value = values[pieces[head] & 15]
        if value < least or (value == least and _comes_before(work, line, found, side)):
            found, least = line, value
    return found


@internal_kernel
def exchange(
    tables: Tables, values: npt.NDArray[np.float64], row: Row, square: Int, work: Exchange
) -> float:
    """What the enemy of the piece on a square wins by capturing there, if each side may stop.

    Static exchange evaluation (Chess Programming Wiki, "Static Exchange Evaluation"): all captures
    are on this one square, each by the least valuable piece. A king does not capture what is
    defended.
    """
    pieces, heads, _, gains = work
    lines = _line_up(tables, row, square, work)
    side = 1 - (np.int64(row[square]) >> 4)
    standing, count = values[row[square] & 15], 0
    while True:
        line = _next_capturer(values, work, lines, side)
        if line == _NOTHING:
            break
        code = pieces[heads[line]]
        heads[line] += 1
        royal = tables[HAS_KING] and code & 15 == KING
        if royal and _next_capturer(values, work, lines, 1 - side) != _NOTHING:
            break
        gains[count] = standing - (gains[count - 1] if count else 0.0)
        standing = values[code & 15]
        count, side = count + 1, 1 - side
    if count == 0:
        return 0.0
    while count > 1:
        count -= 1
        gains[count - 1] = -max(-gains[count - 1], gains[count])
    won: float = max(gains[0], 0.0)
    return won


@internal_kernel
def _walk(
    tables: Tables,
    row: Row,
    attackers: Array2D[np.uint8],
    reach: npt.NDArray[np.int64],
    contacts: npt.NDArray[np.int64],
) -> int:
    """Fill `attackers` [2, S] by colour, and the set of squares that each piece attacks.

    Returns the number of contacts, each attacker | first << 8 | second << 16.
    """
    count = 0
    for source in range(tables[SQUARES]):
        code = np.int64(row[source])
        if code == EMPTY:
            continue
        colour, reached = code >> 4, np.int64(0)
        start = code * BOARD + source
        index = tables[STEP_START + start]
        end = tables[STEP_START + start + 1]
        while index < end:
            step = tables[index]
            target = step & 63
            if step & _CAPTURES:
                attackers[colour, target] += 1
                reached |= np.int64(1) << target
            if row[target] == EMPTY:
                index += 1
                continue
            line_end = index + (step >> 8)
            second = _NOTHING
            for behind in range(index + 1, line_end):
                if row[tables[behind] & 63] != EMPTY:
                    if tables[behind] & _CAPTURES:
                        second = tables[behind] & 63
                    break
            if step & _CAPTURES and (row[target] >> 4 != colour or second != _NOTHING):
                contacts[count] = source | target << 8 | second << 16
                count += 1
            index = line_end
        reach[source] = reached
    return count


@internal_kernel
def _can_leave(moves: Moves, begin: Int, end: Int, source: Int, line: Int) -> bool:
    """Whether one of the legal moves takes the piece on `source` off a line of squares."""
    for index in range(begin, end):
        move = np.int64(moves[index])
        if move & 63 == source and not line >> (move >> 6 & 63) & 1:
            return True
    return False


@kernel
def find_attacks(
    tables: Tables,
    values: npt.NDArray[np.float64],
    rings: npt.NDArray[np.int64],
    rows: Rows,
    moves: Moves,
    offsets: npt.NDArray[np.int64],
    attackers: Array3D[np.uint8],
    gains: Array2D[np.float32],
    facts: Array3D[np.int16],
) -> None:
    """Fill what `Attacks` (attacks.py) holds for rows [N, R] and their legal moves.

    `values` [16] by type, KING_WORTH for kings; `rings` [64] the squares around each square.
    """
    squares, width = tables[SQUARES], tables[WIDTH]
    by_colour = np.empty((2, squares), np.uint8)
    reach = np.zeros(BOARD, np.int64)
    contacts = np.empty(_MOST_CONTACTS, np.int64)
    work = Exchange(
        np.empty(BOARD, np.int64),
        np.empty(_MOST_LINES, np.int64),
        np.empty(_MOST_LINES, np.int64),
        np.empty(BOARD, np.float64),
    )
    kings = np.empty(2, np.int64)
    pinned = np.empty((2, 2), np.int64)
    for position in range(rows.shape[0]):
        row = rows[position]
        mover = np.int64(row[squares + SIDE])
        by_colour[:] = 0
        count = _walk(tables, row, by_colour, reach, contacts)
        found = facts[position]
        found[:] = 0
        kings[:] = _NOTHING
        pinned[:] = 0
        for square in range(squares):
            code = np.int64(row[square])
            seen = square + (squares - width - 2 * (square // width) * width) * mover
            attackers[position, 0, seen] = by_colour[mover, square]
            attackers[position, 1, seen] = by_colour[1 - mover, square]
            gain = 0.0
            if code != EMPTY:
                colour = code >> 4
                if tables[HAS_KING] and code & 15 == KING:
                    kings[colour] = square
                elif by_colour[1 - colour, square]:
                    # Also without a defender: one may stand behind the attacker.
                    gain = exchange(tables, values, row, square, work)
                    found[colour ^ mover, HANGING] += gain > 0.0
            gains[position, seen] = gain
        attacker, targets = np.int64(_NOTHING), 0
        for index in range(count):
            contact = contacts[index]
            source, first, second = contact & 255, contact >> 8 & 255, contact >> 16
            colour = np.int64(row[source]) >> 4
            side = colour ^ mover
            worth = values[row[source] & 15]
            if source != attacker:
                attacker, targets = source, 0
            if row[first] >> 4 != colour:
                ahead = values[row[first] & 15]
                if ahead > worth or by_colour[1 - colour, first] == 0:
                    targets += 1
                    found[side, FORKS] += targets == 2
                if second == _NOTHING or row[second] >> 4 == colour:
                    continue
                behind = values[row[second] & 15]
                if second == kings[1 - colour]:
                    pinned[1 - side, 0] |= np.int64(1) << first
                elif behind > ahead and behind > worth:
                    pinned[1 - side, 1] |= np.int64(1) << first
                elif ahead > behind and ahead > worth:
                    found[side, SKEWERS] += 1
            elif side == 0 and row[second] >> 4 != colour:
                behind = values[row[second] & 15]
                if behind > worth or by_colour[1 - colour, second] == 0:
                    line = tables[LINES + source * BOARD + second]
                    begin, end = offsets[position], offsets[position + 1]
                    found[0, DISCOVERIES] += _can_leave(moves, begin, end, first, line)
        for owner in range(2):
            for kind in range(2):
                while pinned[owner, kind]:
                    found[owner, PINNED + kind] += 1
                    pinned[owner, kind] &= pinned[owner, kind] - np.int64(1)
            colour = owner ^ mover
            king = kings[colour]
            if king != _NOTHING:
                ring = rings[king]
                found[owner, CHECKERS] = by_colour[1 - colour, king]
                for square in range(squares):
                    code = np.int64(row[square])
                    found[owner, RING] += ring >> square & 1 and by_colour[1 - colour, square] > 0
                    if code != EMPTY and code >> 4 != colour and reach[square] & ring:
                        found[owner, RING_ATTACKERS] += 1
