"""Exact values of solved games."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, overload

import numpy as np
import numpy.typing as npt

from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import Variant, get_variant
from pawnscope.positions import Batch, Positions, Rows, batch_of
from search.exact.solution import Solution as ExactSolution
from search.exact.solver import DEFAULT_LIMIT, Progress
from search.exact.solver import solve as solve_exactly

_WINNERS: Final = {
    1: "the side that moves first wins",
    2: "the side that moves second wins",
    0: "a draw",
}


@dataclass(frozen=True, eq=False, repr=False)
class Solution:
    """A solved game: the exact value of every position that its start can reach.

        >>> import pawnscope as ps
        >>> solution = ps.solve("hexapawn")
        >>> solution
        hexapawn: the side that moves second wins, in 6 plies
          135 positions
        >>> start = ps.Position("hexapawn")
        >>> solution.value(start), solution.distance(start), solution.best_moves(start)
        (-1, 6, ('b2',))
        >>> solution.value([start, start])
        array([-1, -1], dtype=int8)

    Values are -1, 0 or 1 for the side to move; distances count plies to the end with best play (the
    winner hurries, the loser delays, in a drawn game both hurry). Positions are one `Position`,
    several, or rows uint8[N, R]. Those of another variant raise InputError, those that no game
    reaches UnreachablePositionError.
    """

    exact: ExactSolution
    """The table, with more methods for rows (`search/exact/solution.py`)."""

    @property
    def variant(self) -> Variant:
        """The variant that is solved."""
        return self.exact.variant

    @property
    def winner(self) -> int:
        """1 where the side that moves first wins, 2 where the other does, 0 for a draw."""
        return self.exact.winner

    @property
    def plies(self) -> int:
        """Length of the game with best play."""
        return self.exact.plies

    @overload
    def value(self, positions: Position) -> int: ...

    @overload
    def value(self, positions: Positions) -> npt.NDArray[np.int8]: ...

    def value(self, positions: Position | Positions) -> int | npt.NDArray[np.int8]:
        """The value for the side to move: 1 win, 0 draw, -1 loss; int8[B] of several."""
        batch = self._batch(positions)
        values, _ = self.exact.lookup_batch(batch.rows)
        return int(values[0]) if batch.single else values

    @overload
    def distance(self, positions: Position) -> int: ...

    @overload
    def distance(self, positions: Positions) -> npt.NDArray[np.int16]: ...

    def distance(self, positions: Position | Positions) -> int | npt.NDArray[np.int16]:
        """Plies to the end with best play, 0 where the game is over; int16[B] of several."""
        batch = self._batch(positions)
        _, distances = self.exact.lookup_batch(batch.rows)
        return int(distances[0]) if batch.single else distances

    def move_values(self, position: Position) -> Mapping[str, int]:
        """Value of each legal move by SAN, for the side that makes it, the best first."""
        batch = self._one(position)
        moves, offsets = batch.legal_moves()
        values, _ = self.exact.score_moves(batch.rows, moves, offsets)
        found = {
            position.san(move): value
            for move, value in zip(moves.tolist(), values.tolist(), strict=True)
        }
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def best_moves(self, position: Position) -> tuple[str, ...]:
        """The moves that keep value and distance, as SAN; none where the game is over."""
        batch = self._one(position)
        moves = self.exact.optimal_moves(batch.rows[0])
        return tuple(position.san(move) for move in moves.tolist())

    def positions(self) -> Rows:
        """All reachable positions, finished ones included: rows uint8[N, R] in a fixed order."""
        return self.exact.positions()

    def _batch(self, positions: object) -> Batch:
        return batch_of(positions, self.variant, "the solution")

    def _one(self, position: object) -> Batch:
        batch = self._batch(position)
        if not batch.single:
            raise InputError(f"one Position is expected, not {len(batch.rows)} positions")
        return batch

    def __repr__(self) -> str:
        name, plies = self.variant.name, self.plies
        return (
            f"{name}: {_WINNERS[self.winner]}, in {plies} plies\n"
            f"  {self.exact.position_count:,} positions"
        )


def solve(
    variant: str | Variant,
    *,
    limit_bytes: int = DEFAULT_LIMIT,
    progress: Progress = lambda done, expected: None,
) -> Solution:
    """Solve a game from its start position, by its name or as a Variant.

        >>> import pawnscope as ps
        >>> ps.solve("hexapawn4x4").winner
        1

    Only games in which no move can be taken back are solved (Hexapawn, Breakthrough). `progress` is
    called with the positions solved and those expected. Raises InputError for other games, and
    before the long work begins where the solution would take more than `limit_bytes`.
    """
    if not isinstance(variant, Variant):
        variant = get_variant(variant)
    if not isinstance(limit_bytes, int | np.integer) or limit_bytes <= 0:
        raise InputError(f"limit_bytes = {limit_bytes!r} is not a number of bytes")
    return Solution(solve_exactly(variant, limit_bytes=int(limit_bytes), progress=progress))
