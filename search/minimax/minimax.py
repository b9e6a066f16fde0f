"""Plain minimax to a fixed depth: the reference for alpha-beta (Shannon 1950, type A)."""

import numpy as np

from engine.rules.compilation.decorators import kernel
from engine.rules.kernels import generate
from engine.rules.outcome import ONGOING, terminal_value, termination
from engine.rules.position import Position
from engine.rules.tables import Int, Tables
from engine.system.interrupts import StopFlag, interruptible
from search.minimax.material import material
from search.minimax.search_stack import (
    ABORTED,
    ScoredLine,
    SearchStack,
    enter,
    final_score,
    keep_variation,
    play,
    scored_line,
    start_stack,
)
from search.scores import NO_SCORE


@kernel
def _minimax(tables: Tables, stack: SearchStack, ply: int, depth: int) -> Int:
    """The score of the position at `ply` from its side to move, in negamax form."""
    if not enter(stack, ply):
        return 0
    row = stack.rows[ply]
    count = generate(tables, row, stack.moves[ply])
    reason = termination(tables, row, count)
    if reason != ONGOING:
        return final_score(terminal_value(tables, reason, row), ply)
    if depth == 0:
        return material(tables, row, stack.piece_values)
    best: Int = NO_SCORE
    for place in range(count):
        move = np.int64(stack.moves[ply, place])
        play(tables, stack, ply, move)
        score = -_minimax(tables, stack, ply + 1, depth - 1)
        if stack.counters[ABORTED] != 0:
            return best
        if score > best:
            best = score
            keep_variation(stack, ply, move)
    return best


def minimax(
    position: Position, depth: int, *, stop: StopFlag | None = None, node_limit: int | None = None
) -> ScoredLine:
    """Search every line of up to `depth` plies; material is the score at its end.

    Repetitions, also of positions of the game so far, and the move rule draw. Where a limit ends
    the search, the result is the best of the moves searched so far, or none.
    """
    with interruptible(stop) as flag:
        stack = start_stack(position, depth, flag, node_limit)
        score = int(_minimax(position.variant.tables, stack, 0, depth))
    return scored_line(stack, score, 0 if stack.counters[ABORTED] else depth)
