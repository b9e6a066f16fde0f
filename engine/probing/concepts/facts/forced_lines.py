"""Forced lines of play, for questions about looking ahead (Jenner et al. 2024).

A line is forced as long as exactly one legal move of the side that moves first keeps the game
value, however long it takes, and exactly one reply is best, the loser's by delaying longest. Jenner
et al. choose their puzzles by a second, weaker network instead.
"""

from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.facts.outcomes import require_truth
from engine.probing.concepts.positions import LegalMoves, Positions
from engine.probing.concepts.truth import NO_DISTANCE, UNKNOWN, Outcomes
from engine.probing.data.canonical import Rows
from engine.rules.kernels import apply, generate_batch
from engine.rules.moves import SQUARE_BITS, SQUARE_MASK
from engine.rules.tables import BLACK, NO_SQUARE, SIDE
from engine.rules.variant import Variant

NOT_FORCED: Final = -1
"""In place of a square."""
LONGEST: Final = 5
"""Plies of a line: the best move, and the best moves two and four plies later."""

_RANKS: Final = 1 << 15
"""More than any distance."""


class ForcedLines(NamedTuple):
    """The forced lines of N positions, P plies; NOT_FORCED from where a line is not forced or over.

    Squares are numbered as the side to move in the position itself, at ply 0, sees the board.
    """

    from_squares: npt.NDArray[np.int64]
    """[N, P]."""
    to_squares: npt.NDArray[np.int64]
    """[N, P]; where the king castles, its own."""


def best_squares(
    positions: Positions, ply: int, *, part: Literal["to", "from"] = "to"
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Of the best move `ply` plies later (0 to 4) the square that it reaches or leaves, and a mask.

    Squares int64[N], NOT_FORCED where the mask bool[N] is False: no forced line is that long.
    Raises ConceptUndefinedError where no exact results are known.
    """
    lines = positions.shared(forced_lines)
    squares = (lines.to_squares if part == "to" else lines.from_squares)[:, ply]
    return squares, squares != NOT_FORCED


def forced_lines(positions: Positions) -> ForcedLines:
    """The forced lines; raises ConceptUndefinedError where no exact results are known."""
    truth, variant = require_truth(positions), positions.variant
    squares = np.full((2, len(positions), LONGEST), NOT_FORCED, np.int64)
    flipped = positions.rows[:, variant.squares + SIDE] == BLACK
    rows, alive = positions.rows, np.arange(len(positions))
    for ply in range(LONGEST):
        moves, offsets = generate_batch(variant.tables, rows)
        is_over = np.diff(offsets) == 0
        if is_over.any():
            rows, alive = rows[~is_over], alive[~is_over]
            offsets = np.append(offsets[:-1][~is_over], offsets[-1])
        if not len(rows):
            break
        legal = LegalMoves(moves, offsets)
        found = truth.moves(rows, *legal)
        places, is_forced = _forced_moves(legal, found, by_distance=ply % 2 == 1)
        rows, alive, chosen = rows[is_forced], alive[is_forced], moves[places[is_forced]]
        for part, board in enumerate(_ends(rows, chosen, variant)):
            seen = np.where(flipped[alive], _flipped(board, variant), board)
            squares[part, alive, ply] = seen
        rows = _played(rows, chosen, variant)
    return ForcedLines(*squares)


def _forced_moves(
    legal: LegalMoves, found: Outcomes, *, by_distance: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The place among the M moves of each position's first best move, and whether it is the only.

    Best by value, or also `by_distance`. Not the only one where some result is not known.
    """
    starts, counts = legal.offsets[:-1], legal.counts
    ranks = found.values.astype(np.int64) * _RANKS
    if by_distance:
        known = found.distances != NO_DISTANCE
        hurry = np.where(found.values < 0, 1, -1)
        ranks += np.where(known, hurry * found.distances, 0)
    is_best = ranks == np.repeat(np.maximum.reduceat(ranks, starts), counts)
    is_only = np.add.reduceat(is_best.astype(np.int64), starts) == 1
    is_known = np.minimum.reduceat(found.values, starts) != UNKNOWN
    places = np.flatnonzero(is_best)
    first = places[np.searchsorted(places, starts)]
    return first, is_only & is_known


def _ends(
    rows: Rows, moves: npt.NDArray[np.uint16], variant: Variant
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The squares that moves [N] leave and reach, on the board itself."""
    wide = moves.astype(np.int64)
    sources, targets = wide & SQUARE_MASK, wide >> SQUARE_BITS & SQUARE_MASK
    every = np.arange(len(rows))
    castles = (rows[every, targets] != 0) & (rows[every, sources] >> 4 == rows[every, targets] >> 4)
    for index in np.flatnonzero(castles):
        target = variant.castling_target(int(moves[index]))
        targets[index] = target if target != NO_SQUARE else targets[index]
    return sources, targets


def _flipped(squares: npt.NDArray[np.int64], variant: Variant) -> npt.NDArray[np.int64]:
    ranks, files = np.divmod(squares, variant.width)
    seen: npt.NDArray[np.int64] = (variant.height - 1 - ranks) * variant.width + files
    return seen


def _played(rows: Rows, moves: npt.NDArray[np.uint16], variant: Variant) -> Rows:
    """The positions [N, R] after one move of each."""
    after = np.empty_like(rows)
    for index, move in enumerate(moves.tolist()):
        apply(variant.tables, rows[index], move, after[index])
    return after
