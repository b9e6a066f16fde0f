"""An evaluator that knows the truth of a solved game."""

from typing import Final

import numpy as np

from search.evaluator import DRAW, Evaluation, Moves, Offsets, Rows
from search.exact.solution import Solution

_VALUE_LOGIT: Final = 12.0
"""Logit of an immediate win; a draw has 0, an immediate loss the negative."""
_DISTANCE_LOGIT: Final = 10.0
"""The most that distance subtracts: the slowest win still has a larger logit than every draw."""


class SolverEvaluator:
    """Returns the exact game value, and logits that favour the best moves.

    Moves that keep the value come first, among them the quickest wins and the longest losses.
    """

    def __init__(self, solution: Solution) -> None:
        self._solution = solution

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See `Evaluator`; raises UnreachablePositionError for a position that was not solved."""
        values, _ = self._solution.lookup_batch(positions)
        gains, distances = self._solution.score_moves(positions, moves, offsets)
        delay = _DISTANCE_LOGIT * distances / (distances + 8.0)
        wdl = np.zeros((positions.shape[0], 3), dtype=np.float32)
        wdl[np.arange(positions.shape[0]), DRAW - values.astype(np.int64)] = 1.0
        return Evaluation((gains * (_VALUE_LOGIT - delay)).astype(np.float32), wdl)
