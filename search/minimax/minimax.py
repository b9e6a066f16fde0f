"""Plain minimax to a fixed depth: the yardstick of alpha-beta (Shannon 1950, type A)."""

import numpy as np

from engine.rules.compilation.decorators import kernel
from engine.rules.kernels import ONGOING, Int, generate, terminal_value, termination
from engine.rules.position import Position
from engine.rules.tables import Tables
from engine.system.interrupts import StopFlag, interruptible
from search.minimax.material import WIN_SCORE, material
from search.minimax.search_stack import (
    ABORTED,
    Line,
    ScoredLine,
    enter,
    final_score,
    keep_variation,
    play,
    scored_line,
    start_line,
)


@kernel
def _minimax(tables: Tables, line: Line, ply: int, depth: int) -> Int:
    """The score of the position at `ply` from its side to move, in negamax form."""
    if not enter(line, ply):
        return 0
    row = line.rows[ply]
    count = generate(tables, row, line.moves[ply])
    reason = termination(tables, row, count)
    if reason != ONGOING:
        return final_score(terminal_value(tables, reason, row), ply)
    if depth == 0:
        return material(tables, row, line.piece_values)
    best: Int = -WIN_SCORE - 1
    for place in range(count):
        move = np.int64(line.moves[ply, place])
        play(tables, line, ply, move)
        score = -_minimax(tables, line, ply + 1, depth - 1)
        if line.counters[ABORTED] != 0:
            return best
        if score > best:
            best = score
            keep_variation(line, ply, move)
    return best


def minimax(
    position: Position,
    depth: int,
    *,
    stop: StopFlag | None = None,
    node_limit: int | None = None,
) -> ScoredLine:
    """Look at every line of up to `depth` plies; material is counted where the game goes on.

    Draws by repetition and by the move rule count, with the game before the position. Once a limit
    ends it, the best of the moves looked at so far; none where there was no time for one.
    """
    with interruptible(stop) as flag:
        line = start_line(position, depth, flag, node_limit)
        score = int(_minimax(position.variant.tables, line, 0, depth))
    return scored_line(line, score, 0 if line.counters[ABORTED] else depth)
