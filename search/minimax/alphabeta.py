"""Alpha-beta with iterative deepening, a transposition table, quiescence and move stack.

Knuth and Moore 1975 for alpha-beta, Slate and Atkin 1977 for the rest. Entries of the transposition
table are used only at the very depth that they were searched to, so that without quiescence the
score is that of plain minimax, which a test holds.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt

from engine.rules.attacks import is_check
from engine.rules.compilation.decorators import internal_kernel, kernel, shared_kernel
from engine.rules.position import Position
from engine.rules.tables import (
    CLOCK,
    CLOCK_RULE,
    EMPTY,
    ENDGAMES,
    FOLD_RULE,
    REPETITION,
    SQUARES,
    Int,
    Row,
    Rows,
    Tables,
)
from engine.settings import Range, Settings
from engine.system.interrupts import StopFlag, interruptible
from search.exact.tablebase.probe import has_few_men, probe
from search.minimax.material import LONGEST_WIN, WIN_SCORE, material
from search.minimax.search_stack import (
    ABORTED,
    NODES,
    REPETITION_NEAR,
    ScoredLine,
    SearchStack,
    enter,
    generate_moves,
    keep_variation,
    play,
    scored_line,
    start_stack,
)
from search.scores import LONGEST, NO_SCORE, WIN

EXACT: Final = 1
AT_LEAST: Final = 2
AT_MOST: Final = 3
"""What a stored score says; 0 in an empty entry."""

NO_MOVE: Final = 0
"""From a1 to a1: no legal move has this number."""

MOST_DEPTH: Final = 64
_QUIESCENCE_PLIES: Final = 32

_HASH_MOVE: Final = 1 << 30
_CAPTURE: Final = 1 << 24
_KILLER: Final = 1 << 23
_LARGEST_HISTORY: Final = 1 << 22
_REPETITION_KEY: Final = 0x9E3779B97F4A7C15
_CLOCK_KEY: Final = 0xC2B2AE3D27D4EB4F

ENTRY: Final = np.dtype(
    [
        # Zobrist hash, mixed with the repetition count; 0 in an empty entry.
        ("key", np.uint64),
        # From the side to move; wins counted from this position, not from the root.
        ("score", np.int32),
        # Best move found, NO_MOVE where none was.
        ("move", np.uint16),
        # Plies below this position.
        ("depth", np.uint8),
        # EXACT, AT_LEAST or AT_MOST.
        ("bound", np.uint8),
    ],
    align=True,
)


@dataclass(frozen=True, kw_only=True)
class AlphaBetaConfig(Settings):
    """How one alpha-beta search behaves."""

    # Plies.
    depth: Annotated[int, Range(1, MOST_DEPTH)] = 4
    # Captures and promotions are followed to their end below the last ply.
    quiescence: bool = True
    # The transposition table has 2 ** table_bits entries of 16 bytes.
    table_bits: Annotated[int, Range(1, 30)] = 18


TranspositionTable = Annotated[npt.NDArray[np.void], ENTRY]
"""[2 ** table_bits] ENTRY."""


@internal_kernel
def _entry_key(tables: Tables, stack: SearchStack, ply: int) -> np.uint64:
    """The key of a position; a repeated one has its own, since it is nearer to a draw.

    Where endgame tables may be probed, so has every clock, on which their scores depend.
    """
    row = stack.rows[ply]
    key: np.uint64 = stack.hashes[stack.before + ply]
    if tables[ENDGAMES] != 0 and tables[CLOCK_RULE] != 0 and has_few_men(tables, row):
        key ^= np.uint64(row[tables[SQUARES] + CLOCK]) * np.uint64(_CLOCK_KEY)
    return key ^ np.uint64(_REPETITION_KEY) if row[tables[SQUARES] + REPETITION] else key


@internal_kernel
def _shifted(score: Int, plies: int) -> Int:
    """A score in which a win or a loss is `plies` nearer."""
    if score >= WIN_SCORE - LONGEST_WIN:
        return score + plies
    if score <= LONGEST_WIN - WIN_SCORE:
        return score - plies
    return score


@kernel
def _probe(
    tables: Tables,
    stack: SearchStack,
    table: TranspositionTable,
    ply: int,
    depth: int,
    alpha: Int,
    beta: Int,
) -> tuple[Int, Int]:
    """The stored move, and the stored score where it ends the search here, else NO_SCORE."""
    key = _entry_key(tables, stack, ply)
    entry = table[np.int64(key & np.uint64(table.shape[0] - 1))]
    if entry["bound"] == 0 or entry["key"] != key:
        return NO_MOVE, NO_SCORE
    move = np.int64(entry["move"])
    clock = np.int64(stack.rows[ply, tables[SQUARES] + CLOCK])
    near_the_move_rule = tables[CLOCK_RULE] != 0 and clock + depth >= tables[CLOCK_RULE]
    if entry["depth"] != depth or near_the_move_rule:
        return move, NO_SCORE
    score = _shifted(np.int64(entry["score"]), -ply)
    bound = entry["bound"]
    if (
        bound == EXACT
        or (bound == AT_LEAST and score >= beta)
        or (bound == AT_MOST and score <= alpha)
    ):
        return move, score
    return move, NO_SCORE


@kernel
def _store(
    tables: Tables,
    stack: SearchStack,
    table: TranspositionTable,
    ply: int,
    depth: int,
    score: Int,
    move: Int,
    bound: int,
) -> None:
    key = _entry_key(tables, stack, ply)
    entry = table[np.int64(key & np.uint64(table.shape[0] - 1))]
    entry["key"] = key
    entry["score"] = _shifted(score, ply)
    entry["move"] = move
    entry["depth"] = depth
    entry["bound"] = bound


@internal_kernel
def _is_quiet(row: Row, move: Int) -> bool:
    """Neither a capture nor a promotion; castling is quiet, and so is en passant."""
    target = row[move >> 6 & 63]
    return move >> 12 == 0 and (target == EMPTY or target >> 4 == row[move & 63] >> 4)


@internal_kernel
def _order_moves(stack: SearchStack, ply: int, count: int, first: Int) -> None:
    """Stored move, captures (most valuable victim, least valuable attacker), killers, history."""
    row = stack.rows[ply]
    for place in range(count):
        move = np.int64(stack.moves[ply, place])
        code, victim = row[move & 63], row[move >> 6 & 63]
        if move == first:
            priority: Int = _HASH_MOVE
        elif not _is_quiet(row, move):
            gain = np.int64(stack.piece_values[victim]) + np.int64(stack.piece_values[move >> 12])
            priority = _CAPTURE + 16 * gain - np.int64(stack.piece_values[code]) // 16
        elif move == stack.killers[ply, 0]:
            priority = _KILLER + 1
        elif move == stack.killers[ply, 1]:
            priority = _KILLER
        else:
            priority = np.int64(stack.cutoffs[code, move >> 6 & 63])
        stack.priorities[ply, place] = priority


@internal_kernel
def _next_move(stack: SearchStack, ply: int, place: int, count: int) -> Int:
    """Swap the first of the remaining moves in order of priority to `place` and return it."""
    moves, priorities = stack.moves[ply], stack.priorities[ply]
    best = place
    for other in range(place + 1, count):
        if priorities[other] > priorities[best]:
            best = other
    move, priority = moves[best], priorities[best]
    moves[best], priorities[best] = moves[place], priorities[place]
    moves[place], priorities[place] = move, priority
    return np.int64(move)


@internal_kernel
def _store_cutoff(stack: SearchStack, ply: int, depth: int, move: Int) -> None:
    row = stack.rows[ply]
    if not _is_quiet(row, move):
        return
    if stack.killers[ply, 0] != move:
        stack.killers[ply, 1] = stack.killers[ply, 0]
        stack.killers[ply, 0] = move
    target = move >> 6 & 63
    code = row[move & 63]
    stack.cutoffs[code, target] += depth * depth
    if stack.cutoffs[code, target] > _LARGEST_HISTORY:
        stack.cutoffs[code, target] = _LARGEST_HISTORY


@internal_kernel
def _repetition_is_near(tables: Tables, rows: Rows, before_root: bool, ply: int) -> bool:
    """Whether the next occurrence of a position since the last reset of the clock is a draw."""
    squares, fold = tables[SQUARES], tables[FOLD_RULE]
    while fold != 0 and rows[ply, squares + CLOCK] != 0:
        if ply == 0:
            return before_root
        ply -= 1
        if np.int64(rows[ply, squares + REPETITION]) + 2 >= fold:
            return True
    return False


@shared_kernel
def _endgame_score(tables: Tables, stack: SearchStack, ply: int) -> Int:
    """The score of a covered endgame, else NO_SCORE, also where a repetition may change it."""
    score = probe(tables, stack.rows[ply])
    # The root is always searched: the search must return a move.
    if score == NO_SCORE or ply == 0:
        return np.int64(NO_SCORE)
    if -LONGEST <= score <= LONGEST:
        return np.int64(0)
    if _repetition_is_near(tables, stack.rows, stack.counters[REPETITION_NEAR] != 0, ply):
        return np.int64(NO_SCORE)
    if score > LONGEST:
        return WIN_SCORE - min(ply + WIN - score, LONGEST_WIN - 1)
    return min(ply + WIN + score, LONGEST_WIN - 1) - WIN_SCORE


@internal_kernel
def _generate_moves(tables: Tables, stack: SearchStack, ply: int) -> tuple[int, Int]:
    """As `generate_moves`, with the scores of endgame tables."""
    count, known = generate_moves(tables, stack, ply)
    if tables[ENDGAMES] != 0 and known == NO_SCORE:
        known = _endgame_score(tables, stack, ply)
    return count, known


@internal_kernel
def _quiesce(tables: Tables, stack: SearchStack, ply: int, alpha: Int, beta: Int) -> Int:
    """Search captures and promotions, and every answer to a check, until the position is quiet.

    Except in check, the side to move may also stop and take the material balance.
    """
    if not enter(stack, ply):
        return 0
    count, known = _generate_moves(tables, stack, ply)
    if known != NO_SCORE:
        return known
    row = stack.rows[ply]
    balance = material(tables, row, stack.piece_values)
    if ply + 1 >= stack.rows.shape[0]:
        return balance
    checked = is_check(tables, row)
    best: Int = NO_SCORE if checked else balance
    if best >= beta:
        return best
    alpha = max(alpha, best)
    _order_moves(stack, ply, count, np.int64(NO_MOVE))
    for place in range(count):
        move = _next_move(stack, ply, place, count)
        if not checked and _is_quiet(row, move):
            break
        play(tables, stack, ply, move)
        score = -_quiesce(tables, stack, ply + 1, -beta, -alpha)
        if stack.counters[ABORTED] != 0:
            return 0
        best = max(best, score)
        alpha = max(alpha, best)
        if alpha >= beta:
            break
    return best


@kernel
def _alphabeta(
    tables: Tables,
    stack: SearchStack,
    table: TranspositionTable,
    ply: int,
    depth: int,
    alpha: Int,
    beta: Int,
    quiescence: bool,
) -> Int:
    """The score of the position at `ply`: exact within (alpha, beta), else a bound (fail-soft)."""
    if depth == 0 and quiescence:
        return _quiesce(tables, stack, ply, alpha, beta)
    if not enter(stack, ply):
        return 0
    count, known = _generate_moves(tables, stack, ply)
    if known != NO_SCORE:
        return known
    if depth == 0:
        return material(tables, stack.rows[ply], stack.piece_values)
    first, stored = _probe(tables, stack, table, ply, depth, alpha, beta)
    if stored != NO_SCORE and ply > 0:
        return stored
    _order_moves(stack, ply, count, first)
    best: Int = np.int64(NO_SCORE)
    best_move: Int = np.int64(NO_MOVE)
    for place in range(count):
        move = _next_move(stack, ply, place, count)
        play(tables, stack, ply, move)
        score = -_alphabeta(
            tables, stack, table, ply + 1, depth - 1, -beta, -max(alpha, best), quiescence
        )
        if stack.counters[ABORTED] != 0:
            return best
        if score > best:
            best, best_move = score, move
            if score > alpha:
                keep_variation(stack, ply, move)
            if score >= beta:
                _store_cutoff(stack, ply, depth, move)
                break
    bound = AT_LEAST if best >= beta else EXACT if best > alpha else AT_MOST
    _store(tables, stack, table, ply, depth, best, best_move, bound)
    return best


def alphabeta(
    position: Position,
    config: AlphaBetaConfig,
    *,
    stop: StopFlag | None = None,
    node_limit: int | None = None,
) -> ScoredLine:
    """Iterative deepening up to the depth, to a decided score, or to a limit.

    Returns the result of the last depth that was searched completely; where a limit ended the first
    one, the best move so far, or none. Repetitions on the line and in the game before it are draws
    by the variant's rule; a score from the transposition table accounts only for those of the
    position itself.
    """
    tables = position.variant.tables
    table = np.zeros(2**config.table_bits, dtype=ENTRY)
    with interruptible(stop) as flag:
        stack = start_stack(position, config.depth + _QUIESCENCE_PLIES, flag, node_limit)
        result = scored_line(stack, 0, 0)
        for depth in range(1, config.depth + 1):
            window = NO_SCORE, -NO_SCORE
            score = int(_alphabeta(tables, stack, table, 0, depth, *window, config.quiescence))
            if stack.counters[ABORTED]:
                kept = result if result.moves else scored_line(stack, score, 0)
                return replace(kept, nodes=int(stack.counters[NODES]))
            result = scored_line(stack, score, depth)
            if not result.moves or WIN_SCORE - abs(score) <= depth:
                break
    return result
