"""What exact concepts ask of the solution of a game, or of its endgame tables."""

from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from engine.probing.data.canonical import Rows

UNKNOWN: Final = -2
"""In place of a value (-1, 0 or 1)."""
NO_DISTANCE: Final = -1
"""In place of a distance."""


class Outcomes(NamedTuple):
    """Results with best play of both sides, of N positions or moves."""

    values: npt.NDArray[np.int8]
    """[N] 1 won, 0 drawn, -1 lost, or UNKNOWN."""
    distances: npt.NDArray[np.int16]
    """[N] plies to the end of the game, where the winner hurries and the loser delays; NO_DISTANCE
    where it is unknown or, as in endgame tables, a draw has none."""


class Truth(Protocol):
    """Exact results of positions uint8[N, R] of one variant, unfinished ones.

    Values are those of the side to move. What is not covered is UNKNOWN.
    """

    @property
    def source(self) -> str:
        """Where they are from, as a report names it."""

    def positions(self, rows: Rows) -> Outcomes:
        """Of the positions."""

    def moves(
        self, rows: Rows, moves: npt.NDArray[np.uint16], offsets: npt.NDArray[np.int64]
    ) -> Outcomes:
        """Of M legal moves, for the side that makes them; distances count the move itself.

        `moves[offsets[i]:offsets[i + 1]]` belong to row i, as `kernels.generate_batch` returns
        them.
        """

    def null_moves(self, rows: Rows) -> Outcomes:
        """Of passing the turn, for the side that passes.

        UNKNOWN where it stands in check, since then its king could be captured.
        """
