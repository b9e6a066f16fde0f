"""Alpha-beta with iterative deepening, a transposition table, quiescence and move ordering.

Knuth and Moore 1975 for alpha-beta, Slate and Atkin 1977 for the rest. Entries of the transposition
table are used only at the very depth that they were searched to, so that without quiescence the
score is that of plain minimax, which a test holds.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.attacks import is_check
from engine.rules.compilation.decorators import internal_kernel, kernel, shared_kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.kernels import generate
from engine.rules.outcome import ONGOING, terminal_value, termination
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
    final_score,
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


class MoveOrdering(NamedTuple):
    """What orders the moves of a position."""

    killers: Array2D[np.uint16]
    """[P + 1, 2] quiet moves that caused a cutoff at this ply, the latest first."""
    history: Array2D[np.int32]
    """[32, 64] cutoffs by quiet moves of (piece code, target), weighted by depth squared."""
    priorities: Array2D[np.int32]
    """[P + 1, MAX_MOVES] of each move at each ply; the highest is searched first."""


@internal_kernel
def _clock_key(tables: Tables, row: Row) -> np.uint64:
    """The part of a key that depends on the clock, 0 unless endgame tables may be probed.

    Their scores depend on the clock: they count the plies to the move rule, however many.
    """
    if tables[CLOCK_RULE] == 0 or not has_few_men(tables, row):
        return np.uint64(0)
    return np.uint64(row[tables[SQUARES] + CLOCK]) * np.uint64(_CLOCK_KEY)


@internal_kernel
def _entry_key(tables: Tables, stack: SearchStack, ply: int) -> np.uint64:
    """The key of a position; a repeated one has its own, since it is nearer to a draw."""
    repetition = stack.rows[ply, tables[SQUARES] + REPETITION]
    key: np.uint64 = stack.hashes[stack.before + ply]
    if tables[ENDGAMES] != 0:
        key ^= _clock_key(tables, stack.rows[ply])
    return key ^ np.uint64(_REPETITION_KEY) if repetition else key


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
    score: Int = np.int64(entry["score"])
    if score >= WIN_SCORE - LONGEST_WIN:
        score -= ply
    elif score <= LONGEST_WIN - WIN_SCORE:
        score += ply
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
    if score >= WIN_SCORE - LONGEST_WIN:
        score += ply
    elif score <= LONGEST_WIN - WIN_SCORE:
        score -= ply
    entry = table[np.int64(key & np.uint64(table.shape[0] - 1))]
    entry["key"] = key
    entry["score"] = score
    entry["move"] = move
    entry["depth"] = depth
    entry["bound"] = bound


@internal_kernel
def _is_quiet(row: Row, move: Int) -> bool:
    """Neither a capture nor a promotion; castling is quiet, and so is en passant."""
    target = row[move >> 6 & 63]
    return move >> 12 == 0 and (target == EMPTY or target >> 4 == row[move & 63] >> 4)


@internal_kernel
def _order_moves(
    stack: SearchStack, ordering: MoveOrdering, ply: int, count: int, first: Int
) -> None:
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
        elif move == ordering.killers[ply, 0]:
            priority = _KILLER + 1
        elif move == ordering.killers[ply, 1]:
            priority = _KILLER
        else:
            priority = np.int64(ordering.history[code, move >> 6 & 63])
        ordering.priorities[ply, place] = priority


@internal_kernel
def _next_move(stack: SearchStack, ordering: MoveOrdering, ply: int, place: int, count: int) -> Int:
    """Swap the first of the remaining moves in order of priority to `place` and return it."""
    moves, priorities = stack.moves[ply], ordering.priorities[ply]
    best = place
    for other in range(place + 1, count):
        if priorities[other] > priorities[best]:
            best = other
    move, priority = moves[best], priorities[best]
    moves[best], priorities[best] = moves[place], priorities[place]
    moves[place], priorities[place] = move, priority
    return np.int64(move)


@internal_kernel
def _store_cutoff(
    stack: SearchStack, ordering: MoveOrdering, ply: int, depth: int, move: Int
) -> None:
    row = stack.rows[ply]
    if not _is_quiet(row, move):
        return
    if ordering.killers[ply, 0] != move:
        ordering.killers[ply, 1] = ordering.killers[ply, 0]
        ordering.killers[ply, 0] = move
    target = move >> 6 & 63
    code = row[move & 63]
    ordering.history[code, target] += depth * depth
    if ordering.history[code, target] > _LARGEST_HISTORY:
        ordering.history[code, target] = _LARGEST_HISTORY


@internal_kernel
def _known_score(tables: Tables, row: Row, count: int, ply: int) -> Int:
    """The score of a finished game, else NO_SCORE."""
    reason = termination(tables, row, count)
    if reason != ONGOING:
        return np.int64(final_score(terminal_value(tables, reason, row), ply))
    return np.int64(NO_SCORE)


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
def _endgame_score(tables: Tables, rows: Rows, before_root: bool, ply: int) -> Int:
    """The score of a covered endgame, else NO_SCORE, also where a repetition may change it."""
    score = probe(tables, rows[ply])
    # The root is always searched: the search must return a move.
    if score == NO_SCORE or ply == 0:
        return np.int64(NO_SCORE)
    if -LONGEST <= score <= LONGEST:
        return np.int64(0)
    if _repetition_is_near(tables, rows, before_root, ply):
        return np.int64(NO_SCORE)
    if score > LONGEST:
        return WIN_SCORE - min(ply + WIN - score, LONGEST_WIN - 1)
    return min(ply + WIN + score, LONGEST_WIN - 1) - WIN_SCORE


@internal_kernel
def _quiesce(
    tables: Tables, stack: SearchStack, ordering: MoveOrdering, ply: int, alpha: Int, beta: Int
) -> Int:
    """Search captures and promotions, and every answer to a check, until the position is quiet.

    Except in check, the side to move may also stop and take the material balance.
    """
    if not enter(stack, ply):
        return 0
    row = stack.rows[ply]
    count = generate(tables, row, stack.moves[ply])
    known = _known_score(tables, row, count, ply)
    if tables[ENDGAMES] != 0 and known == NO_SCORE:
        near = stack.counters[REPETITION_NEAR] != 0
        known = _endgame_score(tables, stack.rows, near, ply)
    if known != NO_SCORE:
        return known
    balance = material(tables, row, stack.piece_values)
    if ply + 1 >= stack.rows.shape[0]:
        return balance
    checked = is_check(tables, row)
    best: Int = NO_SCORE if checked else balance
    if best >= beta:
        return best
    alpha = max(alpha, best)
    _order_moves(stack, ordering, ply, count, np.int64(NO_MOVE))
    for place in range(count):
        move = _next_move(stack, ordering, ply, place, count)
        if not checked and _is_quiet(row, move):
            break
        play(tables, stack, ply, move)
        score = -_quiesce(tables, stack, ordering, ply + 1, -beta, -alpha)
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
    ordering: MoveOrdering,
    ply: int,
    depth: int,
    alpha: Int,
    beta: Int,
    quiescence: bool,
) -> Int:
    """The score of the position at `ply`: exact within (alpha, beta), else a bound (fail-soft)."""
    if depth == 0 and quiescence:
        return _quiesce(tables, stack, ordering, ply, alpha, beta)
    if not enter(stack, ply):
        return 0
    row = stack.rows[ply]
    count = generate(tables, row, stack.moves[ply])
    known = _known_score(tables, row, count, ply)
    if tables[ENDGAMES] != 0 and known == NO_SCORE:
        near = stack.counters[REPETITION_NEAR] != 0
        known = _endgame_score(tables, stack.rows, near, ply)
    if known != NO_SCORE:
        return known
    if depth == 0:
        return material(tables, row, stack.piece_values)
    first, stored = _probe(tables, stack, table, ply, depth, alpha, beta)
    if stored != NO_SCORE and ply > 0:
        return stored
    _order_moves(stack, ordering, ply, count, first)
    best: Int = np.int64(NO_SCORE)
    best_move: Int = np.int64(NO_MOVE)
    for place in range(count):
        move = _next_move(stack, ordering, ply, place, count)
        play(tables, stack, ply, move)
        score = -_alphabeta(
            tables, stack, table, ordering, ply + 1, depth - 1, -beta, -max(alpha, best), quiescence
        )
        if stack.counters[ABORTED] != 0:
            return best
        if score > best:
            best, best_move = score, move
            if score > alpha:
                keep_variation(stack, ply, move)
            if score >= beta:
                _store_cutoff(stack, ordering, ply, depth, move)
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
    with interruptible(stop) as flag:
        stack = start_stack(position, config.depth + _QUIESCENCE_PLIES, flag, node_limit)
        return _deepen(position.variant.tables, stack, config)


def _deepen(tables: Tables, stack: SearchStack, config: AlphaBetaConfig) -> ScoredLine:
    """As `alphabeta`, on a stack that holds the position."""
    plies = stack.rows.shape[0]
    table = np.zeros(2**config.table_bits, dtype=ENTRY)
    ordering = MoveOrdering(
        killers=np.zeros((plies, 2), dtype=np.uint16),
        history=np.zeros((32, 64), dtype=np.int32),
        priorities=np.zeros((plies, stack.moves.shape[1]), dtype=np.int32),
    )
    result = scored_line(stack, 0, 0)
    for depth in range(1, config.depth + 1):
        score = int(
            _alphabeta(
                tables, stack, table, ordering, 0, depth, NO_SCORE, -NO_SCORE, config.quiescence
            )
        )
        if stack.counters[ABORTED]:
            kept = result if result.moves else scored_line(stack, score, 0)
            return replace(kept, nodes=int(stack.counters[NODES]))
        result = scored_line(stack, score, depth)
        if not result.moves or WIN_SCORE - abs(score) <= depth:
            break
    return result
