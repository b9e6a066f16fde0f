"""Compiled: who attacks what, what an exchange wins, and what stands in line with what.

A piece attacks a square where it could capture an enemy there: empty squares, and own pieces, which
it defends. Pins are not looked at, nor what a capture would leave in check.

A *contact* is an attacker, the first piece on one of its lines, and the second one behind that:

    R . . n . q        rook, knight, queen: the knight is pinned to the queen

Side 0 is the side to move, side 1 the opponent; squares of results are numbered as the side to move
sees the board.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.facts.square_kernels import king_square, seen_square
from engine.rules.compilation.decorators import inlined, internal_kernel, kernel, lowest_bit
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
    QUEEN,
    SIDE,
    SQUARES,
    STEP_START,
    THREAT_START,
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
UNDEFENDED: Final = 9
"""Pieces of the side that the enemy attacks and that none of the side defends."""
QUEENS_ATTACKED: Final = 10
"""Queens of the side that the enemy attacks."""
NEAREST_ENEMY: Final = 11
"""Steps of a king from the side's king to the nearest enemy; LARGEST_SIDE where there is none.

0 where there is no king."""
FACTS: Final = 12
"""How many of these there are."""

KING_WORTH: Final = 1000.0
"""Of a king in exchanges: more than everything else together."""
_MOST_CONTACTS: Final = 16 * BOARD
_MOST_LINES: Final = 16
_NOTHING: Final = NO_SQUARE
Work = npt.NDArray[np.int64]
_CAPTURES: Final = 128
"""The bit of a step to a square on which the piece may capture."""


_PIECES: Final = 0
_HEADS: Final = BOARD
_ENDS: Final = _HEADS + _MOST_LINES
_WORK: Final = _ENDS + _MOST_LINES
"""Places in the scratch of an exchange, int64[_WORK], one array since each costs at every call: the
codes of the pieces that could capture, those of a line one behind the other, the nearest first; of
each line the nearest piece that is still there, and the end."""


@internal_kernel
def _line_up(tables: Tables, row: Row, square: Int, work: Work) -> int:
    """Fill the lines of pieces that could capture on a square; returns their number.

    A piece counts where all nearer ones on its line could capture, too, and so may leave first.
    """
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
                work[_PIECES + count] = code
                count += 1
        index = line_end
        if count > first:
            work[_HEADS + lines], work[_ENDS + lines] = first, count
            lines += 1
    return lines


@internal_kernel
def _line_up_alone(
    row: Row, square: Int, reach: npt.NDArray[np.int64], others: int, work: Work
) -> int:
    """The same where nothing stands behind who attacks the square: a line for each attacker.

    `reach` is the set of squares that each piece attacks, `others` the set of pieces.
    """
    lines = 0
    while others:
        source = lowest_bit(others)
        others &= others - 1
        if reach[source] >> square & 1:
            work[_PIECES + lines] = row[source]
            work[_HEADS + lines], work[_ENDS + lines] = lines, lines + 1
            lines += 1
    return lines


@internal_kernel
def _seen_at(work: Work, line: int, depth: int, side: Int) -> int:
    """What stands on a line behind so many others: the side's own pieces by type, then nothing,
    then the other side's."""
    place = work[_HEADS + line] + depth
    if place >= work[_ENDS + line]:
        return PIECE_TYPES
    code: int = work[_PIECES + place] ^ side << 4
    return code if code < PIECE_TYPES else code + 1


@internal_kernel
def _comes_before(work: Work, line: int, other: int, side: Int) -> bool:
    """Whether a line is used first: at the first place where they differ, it has the smaller."""
    for depth in range(LARGEST_SIDE):
        here, there = _seen_at(work, line, depth, side), _seen_at(work, other, depth, side)
        if here != there:
            return here < there
        if here == PIECE_TYPES:
            break
    return False


@inlined
def _next_capturer(values: npt.NDArray[np.float64], work: Work, lines: Int, side: Int) -> int:
    """The line whose nearest piece is the side's least valuable; or _NOTHING.

    Of equally valuable pieces that of the lower type, then the one that uncovers the lower type of
    its own side, and so on along the line: whatever the numbers of the squares.
    """
    chosen, least = _NOTHING, np.inf
    for line in range(lines):
        head = work[_HEADS + line]
        if head < work[_ENDS + line] and work[_PIECES + head] >> 4 == side:
            value = values[work[_PIECES + head] & 15]
            if value < least or (value == least and _comes_before(work, line, chosen, side)):
                chosen, least = line, value
    return chosen


@internal_kernel
def _exchange(
    tables: Tables,
    values: npt.NDArray[np.float64],
    target: Int,
    lines: int,
    work: Work,
    gains: npt.NDArray[np.float64],
) -> float:
    """What the enemy of a piece of code `target` wins by capturing it, if each side may stop.

    Static exchange evaluation (Chess Programming Wiki, "Static Exchange Evaluation"): all captures
    are on this one square, each by the least valuable piece. A king does not capture what is
    defended. `work` holds who could capture, on so many `lines`; `gains` [64] is scratch: what each
    capture wins for who makes it, if the exchange ended there.
    """
    side = 1 - (target >> 4)
    standing, count = values[target & 15], 0
    line = _next_capturer(values, work, lines, side)
    while line != _NOTHING:
        code = work[_PIECES + work[_HEADS + line]]
        work[_HEADS + line] += 1
        side = 1 - side
        line = _next_capturer(values, work, lines, side)
        if tables[HAS_KING] and code & 15 == KING and line != _NOTHING:
            break
        gains[count] = standing - (gains[count - 1] if count else 0.0)
        standing = values[code & 15]
        count += 1
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
def _can_leave(moves: Moves, source: Int, line: Int) -> bool:
    """Whether one of the legal moves takes the piece on `source` off a line of squares."""
    for index in range(moves.shape[0]):
        move = np.int64(moves[index])
        if move & 63 == source and not line >> (move >> 6 & 63) & 1:
            return True
    return False


@internal_kernel
def _fill_squares(
    tables: Tables,
    values: npt.NDArray[np.float64],
    row: Row,
    seen_from: Int,
    by_colour: Array2D[np.uint8],
    reach: npt.NDArray[np.int64],
    behind: Int,
    work: Work,
    scratch: npt.NDArray[np.float64],
    attackers: Array2D[np.uint8],
    gains: npt.NDArray[np.float32],
    best: npt.NDArray[np.float32],
    found: Array2D[np.int16],
) -> None:
    """Fill what is said of single squares. `behind` is the set of those behind another piece."""
    squares = tables[SQUARES]
    standing = 0
    for square in range(squares):
        standing |= (row[square] != EMPTY) << square
    for square in range(squares):
        code = np.int64(row[square])
        seen = seen_square(tables, square, seen_from)
        attackers[0, seen] = by_colour[seen_from, square]
        attackers[1, seen] = by_colour[1 - seen_from, square]
        gains[seen] = 0.0
        if code == EMPTY or by_colour[1 - (code >> 4), square] == 0:
            continue
        owner, defended = code >> 4 ^ seen_from, by_colour[code >> 4, square] > 0
        found[owner, UNDEFENDED] += not defended
        found[owner, QUEENS_ATTACKED] += code & 15 == QUEEN
        if tables[HAS_KING] and code & 15 == KING:
            continue
        lines = 0
        if behind >> square & 1:
            lines = _line_up(tables, row, square, work)
        elif defended:
            lines = _line_up_alone(row, square, reach, standing, work)
        # Without lines nobody defends the piece.
        gain = values[code & 15]
        if lines:
            gain = _exchange(tables, values, code, lines, work, scratch)
        gains[seen] = gain
        best[1 - owner] = max(best[1 - owner], np.float32(gain))
        found[owner, HANGING] += gain > 0.0


@internal_kernel
def _count_contacts(
    tables: Tables,
    values: npt.NDArray[np.float64],
    row: Row,
    contacts: npt.NDArray[np.int64],
    by_colour: Array2D[np.uint8],
    kings: npt.NDArray[np.int64],
    moves: Moves,
    found: Array2D[np.int16],
) -> None:
    """Count forks, pins, skewers and discoveries; `moves` are the legal ones."""
    mover = np.int64(row[tables[SQUARES] + SIDE])
    pinned = np.zeros((2, 2), np.int64)
    attacker, targets = np.int64(_NOTHING), 0
    for contact in contacts:
        source, first, second = contact & 255, contact >> 8 & 255, contact >> 16
        colour = np.int64(row[source]) >> 4
        side, worth = colour ^ mover, values[row[source] & 15]
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
        elif (
            side == 0
            and row[second] >> 4 != colour
            and (values[row[second] & 15] > worth or by_colour[1 - colour, second] == 0)
        ):
            line = tables[LINES + source * BOARD + second]
            found[0, DISCOVERIES] += _can_leave(moves, first, line)
    for owner in range(2):
        for kind in range(2):
            while pinned[owner, kind]:
                found[owner, PINNED + kind] += 1
                pinned[owner, kind] &= pinned[owner, kind] - np.int64(1)


@internal_kernel
def _surround_kings(
    row: Row,
    mover: Int,
    kings: npt.NDArray[np.int64],
    steps: Array2D[np.uint8],
    rings: npt.NDArray[np.int64],
    by_colour: Array2D[np.uint8],
    reach: npt.NDArray[np.int64],
    found: Array2D[np.int16],
) -> None:
    """Count who attacks the kings and the squares around them, and how near enemies stand."""
    for owner in range(2):
        colour = owner ^ mover
        king = kings[colour]
        if king == _NOTHING:
            continue
        found[owner, CHECKERS] = by_colour[1 - colour, king]
        ring = rings[king]
        left = ring
        while left:
            found[owner, RING] += by_colour[1 - colour, lowest_bit(left)] > 0
            left &= left - 1
        nearest = LARGEST_SIDE
        for square in range(by_colour.shape[1]):
            code = np.int64(row[square])
            if code != EMPTY and code >> 4 != colour:
                found[owner, RING_ATTACKERS] += reach[square] & ring != 0
                nearest = min(nearest, int(steps[king, square]))
        found[owner, NEAREST_ENEMY] = nearest


@kernel
def find_attacks(
    tables: Tables,
    values: npt.NDArray[np.float64],
    steps: Array2D[np.uint8],
    rows: Rows,
    moves: Moves,
    offsets: npt.NDArray[np.int64],
    attackers: Array3D[np.uint8],
    gains: Array2D[np.float32],
    best: Array2D[np.float32],
    facts: Array3D[np.int16],
) -> None:
    """Fill what `Attacks` (attacks.py) holds for rows [N, R] and their legal moves.

    `values` [16] by type, KING_WORTH for kings; `steps` [S, S] of a king between squares.
    """
    squares = tables[SQUARES]
    rings = np.zeros(BOARD, np.int64)
    for square in range(squares):
        for other in range(squares):
            rings[square] |= np.int64(steps[square, other] == 1) << other
    by_colour = np.empty((2, squares), np.uint8)
    reach = np.zeros(BOARD, np.int64)
    contacts = np.empty(_MOST_CONTACTS, np.int64)
    work, scratch = np.empty(_WORK, np.int64), np.empty(BOARD, np.float64)
    kings = np.empty(2, np.int64)
    for position in range(rows.shape[0]):
        row, found = rows[position], facts[position]
        mover = np.int64(row[squares + SIDE])
        by_colour[:] = 0
        found[:] = 0
        best[position] = 0.0
        count = _walk(tables, row, by_colour, reach, contacts)
        behind = np.int64(0)
        for index in range(count):
            second = contacts[index] >> 16
            if second != _NOTHING:
                behind |= np.int64(1) << second
        _fill_squares(
            *(tables, values, row, mover, by_colour, reach, behind, work),
            *(scratch, attackers[position], gains[position], best[position], found),
        )
        for colour in range(2):
            kings[colour] = king_square(tables, row, colour)
        legal = moves[offsets[position] : offsets[position + 1]]
        _count_contacts(tables, values, row, contacts[:count], by_colour, kings, legal, found)
        _surround_kings(row, mover, kings, steps, rings, by_colour, reach, found)
