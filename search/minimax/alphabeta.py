"""Alpha-beta with iterative deepening, a transposition table, quiescence and move ordering.

Knuth and Moore 1975 for alpha-beta, Slate and Atkin 1977 for the rest. Entries of the transposition
table are used only at the very depth that they were searched to, so that without quiescence the
score is that of plain minimax, which a test holds.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import internal_kernel, kernel, shared_kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.errors import InputError
from engine.rules.kernels import ONGOING, Int, generate, is_check, terminal_value, termination
from engine.rules.position import Position
from engine.rules.tables import (
    CLOCK,
    CLOCK_RULE,
    EMPTY,
    ENDGAMES,
    FOLD_RULE,
    REPETITION,
    SQUARES,
    Tables,
)
from engine.system.interrupts import StopFlag, interruptible
from search.exact.tablebase.probe import has_few_men, probe
from search.minimax.material import LONGEST_WIN, WIN_SCORE, material
from search.minimax.search_stack import (
    ABORTED,
    NODES,
    REPETITION_NEAR,
    Line,
    ScoredLine,
    enter,
    final_score,
    keep_variation,
    play,
    scored_line,
    start_line,
)
from search.scores import LONGEST, WIN
from search.scores import NO_SCORE as NOT_COVERED

EXACT: Final = 1
AT_LEAST: Final = 2
AT_MOST: Final = 3
"""What a stored score says; 0 in an empty entry."""

NO_MOVE: Final = 0
"""From a1 to a1: no legal move has this number."""
NO_SCORE: Final = -WIN_SCORE - 1
"""Below every score."""

MOST_DEPTH: Final = 64
_QUIESCENCE_PLIES: Final = 32

_HASH_MOVE_ORDER: Final = 1 << 30
_CAPTURE_ORDER: Final = 1 << 24
_KILLER_ORDER: Final = 1 << 23
_HISTORY_CEILING: Final = 1 << 22
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
class AlphaBetaConfig:
    """How one alpha-beta search behaves."""

    # Plies, at most MOST_DEPTH.
    depth: int = 4
    # Captures and promotions are followed to their end below the last ply.
    quiescence: bool = True
    # The transposition table has 2 ** table_bits entries of 16 bytes.
    table_bits: int = 18

    def __post_init__(self) -> None:
        """Refuse numbers out of range; raises InputError."""
        if not 1 <= self.depth <= MOST_DEPTH:
            raise InputError(f"depth must be between 1 and {MOST_DEPTH}, not {self.depth}")
        if not 1 <= self.table_bits <= 30:
            raise InputError(f"table_bits must be between 1 and 30, not {self.table_bits}")


class Memory(NamedTuple):
    """What a search remembers besides its line."""

    table: Annotated[npt.NDArray[np.void], ENTRY]
    """[2 ** table_bits] ENTRY."""
    killers: Array2D[np.uint16]
    """[P + 1, 2] quiet moves that refuted something at this ply, the latest first."""
    history: Array2D[np.int32]
    """[32, 64] how often a quiet move of (piece code, target) refuted something, by depth."""
    orders: Array2D[np.int32]
    """[P + 1, MAX_MOVES] the urgency of each move at each ply."""


@internal_kernel
def _clock_key(tables: Tables, row: npt.NDArray[np.uint8]) -> np.uint64:
    """What tells the clocks of a position apart where endgame tables may answer.

    These look ahead to the move rule, however far it is: a score that comes from them before the
    clock is reset is of one clock only.
    """
    if tables[CLOCK_RULE] == 0 or not has_few_men(tables, row):
        return np.uint64(0)
    return np.uint64(row[tables[SQUARES] + CLOCK]) * np.uint64(_CLOCK_KEY)


@internal_kernel
def _entry_key(tables: Tables, line: Line, ply: int) -> np.uint64:
    """A repeated position is another one: it is nearer to a draw."""
    repetition = line.rows[ply, tables[SQUARES] + REPETITION]
    key: np.uint64 = line.hashes[line.before + ply]
    if tables[ENDGAMES] != 0:
        key ^= _clock_key(tables, line.rows[ply])
    return key ^ np.uint64(_REPETITION_KEY) if repetition else key


@kernel
def _probe(
    tables: Tables, line: Line, memory: Memory, ply: int, depth: int, alpha: Int, beta: Int
) -> tuple[Int, Int]:
    """The stored move, and the stored score where it ends the search here, else NO_SCORE."""
    key = _entry_key(tables, line, ply)
    entry = memory.table[np.int64(key & np.uint64(memory.table.shape[0] - 1))]
    if entry["bound"] == 0 or entry["key"] != key:
        return NO_MOVE, NO_SCORE
    move = np.int64(entry["move"])
    clock = np.int64(line.rows[ply, tables[SQUARES] + CLOCK])
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
    line: Line,
    memory: Memory,
    ply: int,
    depth: int,
    score: Int,
    move: Int,
    bound: int,
) -> None:
    key = _entry_key(tables, line, ply)
    if score >= WIN_SCORE - LONGEST_WIN:
        score += ply
    elif score <= LONGEST_WIN - WIN_SCORE:
        score -= ply
    entry = memory.table[np.int64(key & np.uint64(memory.table.shape[0] - 1))]
    entry["key"] = key
    entry["score"] = score
    entry["move"] = move
    entry["depth"] = depth
    entry["bound"] = bound


@internal_kernel
def _is_quiet(row: npt.NDArray[np.uint8], move: Int) -> bool:
    """Neither a capture nor a promotion; castling is quiet, and so is en passant."""
    target = row[move >> 6 & 63]
    return move >> 12 == 0 and (target == EMPTY or target >> 4 == row[move & 63] >> 4)


@internal_kernel
def _order_moves(line: Line, memory: Memory, ply: int, count: int, first: Int) -> None:
    """Stored move, captures (most valuable victim, least valuable attacker), killers, history."""
    row = line.rows[ply]
    for place in range(count):
        move = np.int64(line.moves[ply, place])
        code, victim = row[move & 63], row[move >> 6 & 63]
        if move == first:
            order: Int = _HASH_MOVE_ORDER
        elif not _is_quiet(row, move):
            gain = np.int64(line.piece_values[victim]) + np.int64(line.piece_values[move >> 12])
            order = _CAPTURE_ORDER + 16 * gain - np.int64(line.piece_values[code]) // 16
        elif move == memory.killers[ply, 0]:
            order = _KILLER_ORDER + 1
        elif move == memory.killers[ply, 1]:
            order = _KILLER_ORDER
        else:
            order = np.int64(memory.history[code, move >> 6 & 63])
        memory.orders[ply, place] = order


@internal_kernel
def _next_move(line: Line, memory: Memory, ply: int, place: int, count: int) -> Int:
    """Swap the most urgent of the moves left to `place` and return it."""
    moves, orders = line.moves[ply], memory.orders[ply]
    best = place
    for other in range(place + 1, count):
        if orders[other] > orders[best]:
            best = other
    move, order = moves[best], orders[best]
    moves[best], orders[best] = moves[place], orders[place]
    moves[place], orders[place] = move, order
    return np.int64(move)


@internal_kernel
def _remember_refutation(line: Line, memory: Memory, ply: int, depth: int, move: Int) -> None:
    row = line.rows[ply]
    if not _is_quiet(row, move):
        return
    if memory.killers[ply, 0] != move:
        memory.killers[ply, 1] = memory.killers[ply, 0]
        memory.killers[ply, 0] = move
    target = move >> 6 & 63
    code = row[move & 63]
    memory.history[code, target] += depth * depth
    if memory.history[code, target] > _HISTORY_CEILING:
        memory.history[code, target] = _HISTORY_CEILING


@internal_kernel
def _known_score(tables: Tables, row: npt.NDArray[np.uint8], count: int, ply: int) -> Int:
    """The score of a finished game, else NO_SCORE."""
    reason = termination(tables, row, count)
    if reason != ONGOING:
        return np.int64(final_score(terminal_value(tables, reason, row), ply))
    return np.int64(NO_SCORE)


@internal_kernel
def _repetition_is_near(
    tables: Tables, rows: Array2D[np.uint8], before_root: bool, ply: int
) -> bool:
    """Whether a position before `ply`, since the clock was reset, is a draw when it comes again."""
    squares, fold = tables[SQUARES], tables[FOLD_RULE]
    while fold != 0 and rows[ply, squares + CLOCK] != 0:
        if ply == 0:
            return before_root
        ply -= 1
        if np.int64(rows[ply, squares + REPETITION]) + 2 >= fold:
            return True
    return False


@shared_kernel
def _endgame_score(tables: Tables, rows: Array2D[np.uint8], before_root: bool, ply: int) -> Int:
    """The score of a covered endgame, else NO_SCORE; a win that a repetition may spoil is none."""
    score = probe(tables, rows[ply])
    # The root is searched in any case: its move is wanted.
    if score == NOT_COVERED or ply == 0:
        return np.int64(NO_SCORE)
    if -LONGEST <= score <= LONGEST:
        return np.int64(0)
    if _repetition_is_near(tables, rows, before_root, ply):
        return np.int64(NO_SCORE)
    if score > LONGEST:
        return WIN_SCORE - min(ply + WIN - score, LONGEST_WIN - 1)
    return min(ply + WIN + score, LONGEST_WIN - 1) - WIN_SCORE


@internal_kernel
def _quiesce(tables: Tables, line: Line, memory: Memory, ply: int, alpha: Int, beta: Int) -> Int:
    """Follow captures and promotions, and every answer to a check, until the position is quiet.

    The side to move may also leave things as they are and take the material, except in check.
    """
    if not enter(line, ply):
        return 0
    row = line.rows[ply]
    count = generate(tables, row, line.moves[ply])
    known = _known_score(tables, row, count, ply)
    if tables[ENDGAMES] != 0 and known == NO_SCORE:
        near = line.counters[REPETITION_NEAR] != 0
        known = _endgame_score(tables, line.rows, near, ply)
    if known != NO_SCORE:
        return known
    balance = material(tables, row, line.piece_values)
    if ply + 1 >= line.rows.shape[0]:
        return balance
    checked = is_check(tables, row)
    best: Int = NO_SCORE if checked else balance
    if best >= beta:
        return best
    alpha = max(alpha, best)
    _order_moves(line, memory, ply, count, np.int64(NO_MOVE))
    for place in range(count):
        move = _next_move(line, memory, ply, place, count)
        if not checked and _is_quiet(row, move):
            break
        play(tables, line, ply, move)
        score = -_quiesce(tables, line, memory, ply + 1, -beta, -alpha)
        if line.counters[ABORTED] != 0:
            return 0
        best = max(best, score)
        alpha = max(alpha, best)
        if alpha >= beta:
            break
    return best


@kernel
def _alphabeta(
    tables: Tables,
    line: Line,
    memory: Memory,
    ply: int,
    depth: int,
    alpha: Int,
    beta: Int,
    quiescence: bool,
) -> Int:
    """The score of the position at `ply`: exact within (alpha, beta), else a bound (fail-soft)."""
    if depth == 0 and quiescence:
        return _quiesce(tables, line, memory, ply, alpha, beta)
    if not enter(line, ply):
        return 0
    row = line.rows[ply]
    count = generate(tables, row, line.moves[ply])
    known = _known_score(tables, row, count, ply)
    if tables[ENDGAMES] != 0 and known == NO_SCORE:
        near = line.counters[REPETITION_NEAR] != 0
        known = _endgame_score(tables, line.rows, near, ply)
    if known != NO_SCORE:
        return known
    if depth == 0:
        return material(tables, row, line.piece_values)
    first, stored = _probe(tables, line, memory, ply, depth, alpha, beta)
    if stored != NO_SCORE and ply > 0:
        return stored
    _order_moves(line, memory, ply, count, first)
    best: Int = np.int64(NO_SCORE)
    best_move: Int = np.int64(NO_MOVE)
    for place in range(count):
        move = _next_move(line, memory, ply, place, count)
        play(tables, line, ply, move)
        score = -_alphabeta(
            tables, line, memory, ply + 1, depth - 1, -beta, -max(alpha, best), quiescence
        )
        if line.counters[ABORTED] != 0:
            return best
        if score > best:
            best, best_move = score, move
            if score > alpha:
                keep_variation(line, ply, move)
            if score >= beta:
                _remember_refutation(line, memory, ply, depth, move)
                break
    bound = AT_LEAST if best >= beta else EXACT if best > alpha else AT_MOST
    _store(tables, line, memory, ply, depth, best, best_move, bound)
    return best


def _new_memory(line: Line, config: AlphaBetaConfig) -> Memory:
    plies = line.rows.shape[0]
    return Memory(
        table=np.zeros(2**config.table_bits, dtype=ENTRY),
        killers=np.zeros((plies, 2), dtype=np.uint16),
        history=np.zeros((32, 64), dtype=np.int32),
        orders=np.zeros((plies, line.moves.shape[1]), dtype=np.int32),
    )


def alphabeta(
    position: Position,
    config: AlphaBetaConfig,
    *,
    stop: StopFlag | None = None,
    node_limit: int | None = None,
) -> ScoredLine:
    """Deepen ply by ply up to the depth, to a decided score, or to a limit.

    The result is that of the last depth searched completely; under a limit that did not allow even
    one, the best move seen by then, or none. Repetitions of the line and of the game before it are
    draws by the variant's rule; scores that come from the table know them only as far as the
    position itself was a repetition.
    """
    with interruptible(stop) as flag:
        line = start_line(position, config.depth + _QUIESCENCE_PLIES, flag, node_limit)
        return _deepen(position.variant.tables, line, config)


def _deepen(tables: Tables, line: Line, config: AlphaBetaConfig) -> ScoredLine:
    """As `alphabeta`, on a line that holds the position."""
    memory = _new_memory(line, config)
    result = scored_line(line, 0, 0)
    for depth in range(1, config.depth + 1):
        score = int(
            _alphabeta(tables, line, memory, 0, depth, NO_SCORE, -NO_SCORE, config.quiescence)
        )
        if line.counters[ABORTED]:
            kept = result if result.moves else scored_line(line, score, 0)
            return replace(kept, nodes=int(line.counters[NODES]))
        result = scored_line(line, score, depth)
        if not result.moves or WIN_SCORE - abs(score) <= depth:
            break
    return result
