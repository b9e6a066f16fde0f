"""The search stack of a depth-first search: the current line, one row of workspace a ply."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import internal_kernel, kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.history import hash_row, play_move
from engine.rules.position import Position
from engine.rules.tables import MAX_MOVES, Int, Tables
from search.exact.tablebase.probe import repetition_is_near
from search.minimax.material import WIN_SCORE, piece_values

NODES: Final = 0
NODE_LIMIT: Final = 1
ABORTED: Final = 2
REPETITION_NEAR: Final = 3
"""Places in SearchStack.counters."""

_NO_LIMIT: Final = 2**62


class SearchStack(NamedTuple):
    """P + 1 plies from the root at ply 0, after H earlier positions of the game."""

    rows: Array2D[np.uint8]
    """[P + 1, R] positions."""
    moves: Array2D[np.uint16]
    """[P + 1, MAX_MOVES] the legal moves at each ply."""
    hashes: npt.NDArray[np.uint64]
    """[H + P + 1] Zobrist hashes: the game before the root, then the line."""
    before: int
    """H."""
    variations: Array2D[np.uint16]
    """[P + 2, P + 2] the best line from each ply on."""
    lengths: npt.NDArray[np.int32]
    """[P + 2] its length."""
    piece_values: npt.NDArray[np.int32]
    """[32] centipawns by piece code."""
    counters: npt.NDArray[np.int64]
    """[4] NODES so far; NODE_LIMIT; ABORTED, 1 once a limit ended the search; REPETITION_NEAR, 1
    where the next occurrence of a position before the root, since the last capture or pawn move, is
    a draw (set only with endgame tables)."""
    stop: npt.NDArray[np.uint8]
    """[1] set to 1 from outside to end the search."""


@dataclass(frozen=True, kw_only=True)
class ScoredLine:
    """What a depth-first search found."""

    # Centipawns from the side to move; WIN_SCORE less the plies to the end for a win found.
    score: int
    # The principal variation from the root, empty where the game is over.
    moves: tuple[int, ...]
    # Plies searched completely.
    depth: int
    # Positions searched.
    nodes: int


def start_stack(
    position: Position,
    plies: int,
    stop: npt.NDArray[np.uint8] | None = None,
    node_limit: int | None = None,
) -> SearchStack:
    """A stack for up to `plies` plies from a position; `stop` is uint8[1]."""
    variant, before = position.variant, len(position.hashes)
    rows = np.empty((plies + 1, variant.row_size), dtype=np.uint8)
    rows[0] = position.row
    hashes = np.zeros(before + plies + 1, dtype=np.uint64)
    hashes[:before] = position.hashes
    hashes[before] = hash_row(variant.tables, position.row)
    limit = _NO_LIMIT if node_limit is None else node_limit
    near = repetition_is_near(variant.tables, hashes, before, position.clock)
    return SearchStack(
        rows=rows,
        moves=np.empty((plies + 1, MAX_MOVES), dtype=np.uint16),
        hashes=hashes,
        before=before,
        variations=np.zeros((plies + 2, plies + 2), dtype=np.uint16),
        lengths=np.zeros(plies + 2, dtype=np.int32),
        piece_values=piece_values(variant),
        counters=np.array([0, limit, 0, near], dtype=np.int64),
        stop=np.zeros(1, dtype=np.uint8) if stop is None else stop,
    )


def scored_line(stack: SearchStack, score: int, depth: int) -> ScoredLine:
    """The result of a search that has just ended on `stack`."""
    moves = tuple(stack.variations[0, : stack.lengths[0]].tolist())
    return ScoredLine(score=score, moves=moves, depth=depth, nodes=int(stack.counters[NODES]))


@internal_kernel
def enter(stack: SearchStack, ply: int) -> bool:
    """Count a node and begin its variation; false where a limit ends the search."""
    stack.lengths[ply] = 0
    if stack.counters[NODES] >= stack.counters[NODE_LIMIT] or stack.stop[0] != 0:
        stack.counters[ABORTED] = 1
    if stack.counters[ABORTED] != 0:
        return False
    stack.counters[NODES] += 1
    return True


@kernel
def play(tables: Tables, stack: SearchStack, ply: int, move: Int) -> None:
    """Play the move of `ply` into the row of the next ply, and count repetitions."""
    length = stack.before + ply + 1
    stack.hashes[length] = play_move(
        tables, stack.rows[ply], move, stack.hashes, length, stack.rows[ply + 1]
    )


@internal_kernel
def keep_variation(stack: SearchStack, ply: int, move: Int) -> None:
    """Make the move and the best line of the next ply the best line of this ply."""
    length = stack.lengths[ply + 1]
    stack.variations[ply, 0] = move
    for place in range(length):
        stack.variations[ply, place + 1] = stack.variations[ply + 1, place]
    stack.lengths[ply] = length + 1


@internal_kernel
def final_score(value: int, ply: int) -> int:
    """The score of a finished game of value -1, 0 or 1; earlier wins score higher."""
    return value * (WIN_SCORE - ply)
