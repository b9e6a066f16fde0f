"""Targets replaced by exact values, where a solution or tablebases have them.

Shards hold games as they were played; only the learner rescores them.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.kernels import apply, generate
from engine.rules.outcome import terminal_value, termination
from engine.rules.tables import CLOCK, MAX_MOVES, REPETITION, Tables
from engine.rules.variant import Variant
from search.exact.solution import Solution
from search.scores import UNPROVEN
from training.config import Rescoring
from training.data.shards import UNKNOWN_END, GameRows

Values = npt.NDArray[np.int8]


Oracle = Callable[[npt.NDArray[np.uint8]], Values]
"""Values [B] of unfinished positions [B, R] at their clocks, for their side to move, or UNPROVEN;
as `search.exact.tablebase.tables.Tablebases.values`. Repetitions do not count."""


def exact_values(solution: Solution) -> Oracle:
    """A solution as an oracle for every position that the start can reach; of others it raises
    UnreachablePositionError.

    Only games in which the move rule never draws are solved (`search.exact.solver.solve`).
    """
    return lambda rows: solution.lookup_batch(rows)[0]


@kernel
def _follow(
    tables: Tables,
    positions: Array2D[np.uint8],
    offsets: npt.NDArray[np.int64],
    moves: npt.NDArray[np.uint16],
    after: Array2D[np.uint8],
    values: Values,
) -> None:
    """The position [M, R] after each move, and its value if the game is over there."""
    scratch = np.empty(MAX_MOVES, np.uint16)
    for index in range(positions.shape[0]):
        for move in range(offsets[index], offsets[index + 1]):
            apply(tables, positions[index], moves[move], after[move])
            reason = termination(tables, after[move], generate(tables, after[move], scratch))
            values[move] = terminal_value(tables, reason, after[move]) if reason else UNPROVEN


def _repetitions(
    variant: Variant, rows: GameRows
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Whether the next occurrence of a position is a draw by the n-fold rule, [N] each: of one
    before this one in its game, and of this one itself; both since the clock was last reset.

    A ply that was not recorded counts as a repetition in the first if it is late enough for one.
    """
    repeated = rows.positions[:, variant.squares + REPETITION].astype(np.int64)
    near = (repeated + 2 >= variant.fold_rule) & (variant.fold_rule > 0)
    clocks = rows.positions[:, variant.squares + CLOCK].astype(np.int64)
    continues = np.zeros(len(rows), np.bool_)
    continues[1:] = (rows.games[1:] == rows.games[:-1]) & (clocks[1:] > clocks[:-1])
    counts = np.concatenate([np.zeros(1, np.int64), np.cumsum(near)])
    first = np.maximum.accumulate(np.where(continues, 0, np.arange(len(rows))))
    unknown = np.concatenate([np.zeros(1, np.int64), np.cumsum(_hides(variant, rows, clocks))])
    return (counts[:-1] > counts[first]) | (unknown[1:] > unknown[first]), near


def _hides(
    variant: Variant, rows: GameRows, clocks: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Whether the ply before each position [N] is not recorded and may have been the last but one
    repetition that the rule allows; a position comes back after four plies at the earliest."""
    if not variant.fold_rule or variant.irreversible:
        return np.zeros(len(rows), np.bool_)
    left = rows.moves_left.astype(np.int64)
    # A clock that was reset between two rows can still be higher by one.
    one_ply = (left[:-1] - left[1:] == 1) | (left[1:] == UNKNOWN_END)
    follows = np.zeros(len(rows), np.bool_)
    follows[1:] = (rows.games[1:] == rows.games[:-1]) & (clocks[1:] - clocks[:-1] == 1) & one_ply
    earliest = 4 * (variant.fold_rule - 2)
    hides: npt.NDArray[np.bool_] = ~follows & (clocks > max(0, earliest))
    return hides


def _values(rows: npt.NDArray[np.uint8], oracle: Oracle, near: npt.NDArray[np.bool_]) -> Values:
    """Values [B] of unfinished positions [B, R]; UNPROVEN also for wins and losses that a
    repetition, where `near` [B], may turn into draws."""
    values = oracle(rows)
    found: Values = np.where(near & (np.abs(values) == 1), UNPROVEN, values).astype(np.int8)
    return found


def rescore(variant: Variant, rows: GameRows, oracle: Oracle, what: Rescoring) -> GameRows:
    """The rows with exact values as proven ones, where the oracle has them.

    What a search has proven stays: it knew all repetitions, and not all positions of a game are
    rows. With "both", the policy of such a row keeps only the moves that are known to keep the
    value, in their old proportions, or all of them alike where their shares are 0.
    """
    if what == "none" or not len(rows):
        return rows
    before, near = _repetitions(variant, rows)
    known = _values(rows.positions, oracle, before)
    proven = np.where(rows.proven != UNPROVEN, rows.proven, known).astype(np.int8)
    if what == "value":
        return replace(rows, proven=proven)
    after = np.empty((len(rows.moves), rows.positions.shape[1]), np.uint8)
    values = np.empty(len(rows.moves), np.int8)
    _follow(variant.tables, rows.positions, rows.offsets, rows.moves, after, values)
    unfinished = values == UNPROVEN
    counts = np.diff(rows.offsets)
    if unfinished.any():
        resets = after[unfinished, variant.squares + CLOCK] == 0
        near_after = np.repeat(before | near, counts)[unfinished] & ~resets
        values[unfinished] = _values(after[unfinished], oracle, near_after)
    wanted = np.repeat(proven, counts)
    keeps = (values != UNPROVEN) & (-values == wanted) & (wanted != UNPROVEN)
    return replace(rows, proven=proven, policy=_keep(rows, keeps))


def _keep(rows: GameRows, keeps: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """The policy [M] on the moves that keep the value; unchanged where none is known to."""
    starts, counts = rows.offsets[:-1], np.diff(rows.offsets)
    weights = np.where(keeps, rows.policy, 0).astype(np.float64)
    empty = np.repeat(np.add.reduceat(weights, starts) <= 0, counts)
    weights = np.where(empty, keeps, weights)
    totals = np.repeat(np.add.reduceat(weights, starts), counts)
    kept = np.where(totals > 0, weights / np.where(totals > 0, totals, 1), rows.policy)
    policy: npt.NDArray[np.float32] = kept.astype(np.float32)
    return policy
