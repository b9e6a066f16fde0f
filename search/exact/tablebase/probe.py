"""Looking a position up in the endgame tables that stand behind a variant's own.

`look_up` knows no clock: value and distance to mate, for retrograde analysis and statistics.
`look_up_at_clock` gives the exact value of the position at the clock in its row, by the plies to
zeroing (ZEROING in index.py). Repetitions are the caller's to look at: a position that
stood often enough before the table was reached may draw a won game when it comes up again.
`repetition_is_near` says where that is possible.

Scores at a clock are ordered as a player should choose. Where the clock leaves time for the
quickest mate, d is the distance to mate, and exact. Where it does not, but the game is won all the
same, d counts from the rule's number on: n + z after a move that has just reset the clock, 2n + z
elsewhere, with z the plies to zeroing. So quick wins come first, then resetting the clock, then the
nearest way to resetting it.
"""

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import inlined, internal_kernel, kernel, shared_kernel
from engine.rules.history import repetitions
from engine.rules.tables import (
    CASTLING,
    CLOCK,
    CLOCK_RULE,
    EMPTY,
    EN_PASSANT,
    ENDGAMES,
    FOLD_RULE,
    SIDE,
    SQUARES,
    Int,
    Row,
    Rows,
    Tables,
)
from search.exact.tablebase.index import (
    CODES,
    FIRST,
    HASH,
    HASH_MASK,
    KEYS,
    LEGEND,
    MEN,
    UNKNOWN_ZEROING,
    WHITE_TO_MOVE,
    ZEROING,
    aside,
    entry_of,
    first_slot,
)
from search.scores import LONGEST, NO_SCORE, WIN


@inlined
def _byte(tables: Tables, start: Int, index: Int) -> Int:
    """A byte of those that begin at `start`, eight in a number."""
    byte: Int = tables[start + (index >> 3)] >> 8 * (index & 7) & 255
    return byte


@internal_kernel
def score_of_entry(tables: Tables, record: Int, entry: Int) -> int:
    """The score of an entry of a material's table, whatever the clock; NO_SCORE for no position."""
    code = _byte(tables, tables[tables[ENDGAMES] + CODES], tables[record + FIRST] + entry)
    score: int = tables[tables[record + LEGEND] + code]
    return score


@internal_kernel
def _find(tables: Tables, row: Row) -> tuple[Int, Int]:
    """The record of a position's material and its entry there, -1 where it is not covered."""
    base, squares = tables[ENDGAMES], tables[SQUARES]
    nowhere = np.int64(0), np.int64(-1)
    if base == 0 or row[squares + CASTLING] != 0:
        return nowhere
    occupied, signature = 0, np.int64(0)
    for square in range(squares):
        code = np.int64(row[square])
        if code != EMPTY:
            occupied |= 1 << square
            signature += tables[base + KEYS + code]
    mask = tables[base + HASH_MASK]
    slot = first_slot(signature, mask)
    while tables[tables[base + HASH] + 2 * slot] != signature:
        if tables[tables[base + HASH] + 2 * slot] == 0:
            return nowhere
        slot = (slot + 1) & mask
    found = tables[tables[base + HASH] + 2 * slot + 1]
    record, exchange = found >> 2, found & 3
    side = np.int64(row[squares + SIDE])
    turned = side if exchange == WHITE_TO_MOVE else exchange
    mirrored = aside(tables, record, row, occupied, turned) & 1
    passed = np.int64(row[squares + EN_PASSANT])
    return record, entry_of(tables, record, row, occupied, side, passed, turned, mirrored)


@shared_kernel
def look_up(tables: Tables, row: Row) -> int:
    """The score of a position whatever its clock and repetitions; NO_SCORE where none is known."""
    record, entry = _find(tables, row)
    return NO_SCORE if entry < 0 else score_of_entry(tables, record, entry)


@shared_kernel
def look_up_at_clock(tables: Tables, row: Row) -> int:
    """The score of a position at its clock, whatever its repetitions; NO_SCORE where unknown.

    0 where the move rule draws what would be won without it.
    """
    record, entry = _find(tables, row)
    if entry < 0:
        return NO_SCORE
    score = score_of_entry(tables, record, entry)
    rule = tables[CLOCK_RULE]
    if rule == 0 or score == NO_SCORE or -LONGEST <= score <= LONGEST:
        return score
    clock = np.int64(row[tables[SQUARES] + CLOCK])
    plies: Int = WIN - abs(score)
    if plies == 0 or clock + plies <= rule:
        return score
    start = tables[tables[ENDGAMES] + ZEROING]
    plies = _byte(tables, start, tables[record + FIRST] + entry)
    if plies == UNKNOWN_ZEROING:
        return NO_SCORE
    if plies == 0 or clock + plies > rule:
        return 0
    late: int = plies + (rule if clock == 0 else 2 * rule)
    return WIN - late if score > 0 else late - WIN


@inlined
def has_few_men(tables: Tables, row: Row) -> bool:
    """Whether no more men stand on the board than in the largest table; False without tables."""
    base = tables[ENDGAMES]
    few = False
    if base != 0:
        men = 0
        for square in range(tables[SQUARES]):
            men += row[square] != EMPTY
        few = men <= tables[base + MEN]
    return few


@inlined
def probe(tables: Tables, row: Row) -> int:
    """As `look_up_at_clock`; costs one comparison without tables."""
    score = NO_SCORE
    if has_few_men(tables, row):
        score = look_up_at_clock(tables, row)
    return score


@kernel
def repetition_is_near(
    tables: Tables, history: npt.NDArray[np.uint64], length: int, clock: int
) -> bool:
    """Whether the next occurrence of one of the last `clock` of the `length` earlier positions is a
    draw by the n-fold rule. False without tables, where nobody needs to know.

    Where it is not, a table's win stands: heading for the next zeroing repeats nothing itself.
    """
    fold = tables[FOLD_RULE]
    if tables[ENDGAMES] == 0 or fold == 0:
        return False
    first = max(0, length - clock)
    for index in range(first, length):
        if repetitions(history, index, index - first, history[index]) + 2 >= fold:
            return True
    return False


@kernel
def look_up_batch(tables: Tables, rows: Rows, scores: npt.NDArray[np.int16], timed: bool) -> None:
    """Scores [N] of rows [N, R], as `look_up_at_clock` if `timed`, else as `look_up`."""
    for index in range(rows.shape[0]):
        row = rows[index]
        scores[index] = look_up_at_clock(tables, row) if timed else look_up(tables, row)
