"""Exact results as concepts ask for them, from a solution or from endgame tables."""

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.truth import NO_DISTANCE, UNKNOWN, Outcomes
from engine.rules.kernels import apply, generated_moves
from engine.rules.outcome import terminal_value, termination
from engine.rules.tables import EN_PASSANT, NO_SQUARE, SIDE
from engine.rules.variant import Variant
from search.exact.solution import Solution
from search.exact.solver import DEFAULT_LIMIT, PositionSolver
from search.exact.tablebase.tables import Tablebases
from search.scores import UNPROVEN

Rows = npt.NDArray[np.uint8]
Values = npt.NDArray[np.int8]
Distances = npt.NDArray[np.int16]


class SolutionTruth:
    """The exact results of a solved game: an `engine.probing.concepts.truth.Truth`.

    Positions after null moves need not be reachable from the start. They are solved when they are
    asked for, and kept. Rows that the start cannot reach raise UnreachablePositionError.
    """

    def __init__(self, solution: Solution, *, limit_bytes: int = DEFAULT_LIMIT) -> None:
        """`limit_bytes` is what the positions after null moves may take, the solution's included.

        Where they exceed it, `null_moves` raises InputError.
        """
        self._solution = solution
        self._limit_bytes = limit_bytes
        self._solver: PositionSolver | None = None

    @property
    def source(self) -> str:
        """See `Truth`."""
        return f"the solution of {self._solution.variant.name}"

    def positions(self, rows: Rows) -> Outcomes:
        """See `Truth`."""
        return Outcomes(*self._solution.lookup_batch(rows))

    def moves(
        self, rows: Rows, moves: npt.NDArray[np.uint16], offsets: npt.NDArray[np.int64]
    ) -> Outcomes:
        """See `Truth`."""
        return Outcomes(*self._solution.score_moves(rows, moves, offsets))

    def null_moves(self, rows: Rows) -> Outcomes:
        """See `Truth`; in a game whose moves cannot be taken back there is no check."""
        if self._solver is None:
            self._solver = PositionSolver(self._solution, limit_bytes=self._limit_bytes)
        passed = after_null_moves(rows, self._solution.variant)
        return _before(Outcomes(*self._solver.lookup_batch(passed)), plies=1)


class TablebaseTruth:
    """The exact results of endgame tables: an `engine.probing.concepts.truth.Truth`.

    Neither the move rule nor repetitions count.
    """

    def __init__(self, tablebases: Tablebases) -> None:
        self._tablebases = tablebases

    @property
    def source(self) -> str:
        """See `Truth`."""
        tables = self._tablebases
        return f"endgame tables of {tables.variant.name}, up to {tables.men} men"

    def positions(self, rows: Rows) -> Outcomes:
        """See `Truth`."""
        values, distances = self._tablebases.lookup(rows)
        values = np.where(values == UNPROVEN, UNKNOWN, values).astype(np.int8)
        decided = (values != UNKNOWN) & (values != 0)
        return Outcomes(values, np.where(decided, distances, NO_DISTANCE).astype(np.int16))

    def moves(
        self, rows: Rows, moves: npt.NDArray[np.uint16], offsets: npt.NDArray[np.int64]
    ) -> Outcomes:
        """See `Truth`."""
        values = np.full(len(moves), UNKNOWN, np.int8)
        distances = np.full(len(moves), NO_DISTANCE, np.int16)
        covered = self.positions(rows).values != UNKNOWN
        places = np.flatnonzero(np.repeat(covered, np.diff(offsets)))
        if len(places):
            owners = np.repeat(np.arange(len(rows)), np.diff(offsets))[places]
            after = np.empty((len(places), rows.shape[1]), np.uint8)
            for row, owner, move in zip(after, owners, moves[places].tolist(), strict=True):
                apply(self._tablebases.variant.tables, rows[owner], move, row)
            values[places], distances[places] = _before(self._with_ends(after), plies=1)
        return Outcomes(values, distances)

    def null_moves(self, rows: Rows) -> Outcomes:
        """See `Truth`: the tables hold no position in which a king could be captured."""
        passed = after_null_moves(rows, self._tablebases.variant)
        return _before(self.positions(passed), plies=1)

    def _with_ends(self, rows: Rows) -> Outcomes:
        """Of positions that may be over without standing in a table, as a draw for want of men."""
        values, distances = self.positions(rows)
        tables = self._tablebases.variant.tables
        for index in np.flatnonzero(values == UNKNOWN):
            row = rows[index]
            if reason := termination(tables, row, len(generated_moves(tables, row))):
                values[index] = terminal_value(tables, reason, row)
                distances[index] = 0 if values[index] else NO_DISTANCE
        return Outcomes(values, distances)


def after_null_moves(rows: Rows, variant: Variant) -> Rows:
    """The positions uint8[N, R] after passing; nothing can be captured en passant there."""
    passed = rows.copy()
    passed[:, variant.squares + SIDE] ^= 1
    passed[:, variant.squares + EN_PASSANT] = NO_SQUARE
    return passed


def _before(found: Outcomes, *, plies: int) -> Outcomes:
    """The same for the other side, so many plies earlier."""
    values = np.where(found.values == UNKNOWN, UNKNOWN, -found.values).astype(np.int8)
    known = found.distances != NO_DISTANCE
    return Outcomes(values, np.where(known, found.distances + plies, NO_DISTANCE).astype(np.int16))
