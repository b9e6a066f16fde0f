"""Legal moves of many positions, with what an exact solution says of each."""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.truth import UNKNOWN, Outcomes
from engine.probing.data.canonical import Rows
from engine.rules.errors import InputError
from engine.rules.kernels import generate_batch
from engine.rules.notation.fen import write_fen
from engine.rules.variant import Variant

Moves = npt.NDArray[np.uint16]
Offsets = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Values = npt.NDArray[np.int8]
Distances = npt.NDArray[np.int16]
Array = npt.NDArray[np.float64]

_NEVER: Final = -(1 << 20)
"""Less than any distance."""


class MoveTruth(Protocol):
    """What is asked of a `Truth`."""

    def moves(self, rows: Rows, moves: Moves, offsets: Offsets) -> Outcomes:
        """As in `Truth`: of M legal moves, for the side that makes them."""


@dataclass(frozen=True, kw_only=True)
class ExactMoves:
    """What an exact solution says of N positions and their M legal moves."""

    # bool[N] whether the values of all its moves are known; what follows is about these positions.
    known: Flags
    # int8[N] value for the side to move, 1, 0 or -1; 0 where it is not known.
    values: Values
    # bool[M] whether the move keeps the value of its position.
    keeping: Flags
    # bool[M] whether it also ends the game soonest (where it loses: latest).
    optimal: Flags
    # bool[N] whether some moves keep the value and others do not.
    decisions: Flags
    # float64[N] share of the legal moves that keep the value.
    chance: Array


@dataclass(frozen=True, kw_only=True)
class MoveTable:
    """The M legal moves of N unfinished positions, with what a solution says of them."""

    variant: Variant
    # uint8[N, R].
    rows: Rows
    # uint16[M].
    moves: Moves
    # int64[N + 1]: those of position i are moves[offsets[i]:offsets[i + 1]].
    offsets: Offsets
    # int64[M] the position of each move.
    owners: npt.NDArray[np.int64]
    # Exact values; None without a solution.
    exact: ExactMoves | None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """[N] number of legal moves."""
        return np.diff(self.offsets)

    def sums(self, numbers: npt.NDArray[np.generic]) -> Array:
        """Of numbers [M] of moves, the sum for each position [N]."""
        sums: Array = np.add.reduceat(numbers, self.offsets[:-1], dtype=np.float64)
        return sums

    def largest(self, numbers: Array) -> Array:
        """Of numbers [M] of moves, the largest of each position [N]."""
        largest: Array = np.maximum.reduceat(numbers, self.offsets[:-1])
        return largest

    def best(self, numbers: Array, priorities: Array) -> npt.NDArray[np.int64]:
        """[N] index of each position's move with the largest number [M]; of equal ones that with
        the largest priority [M]."""
        tied = numbers >= self.largest(numbers)[self.owners]
        first = np.where(tied, priorities, -1.0)
        places = np.flatnonzero(first >= self.largest(first)[self.owners])
        # Equal priorities are all but impossible; the first then counts.
        found: npt.NDArray[np.int64] = places[np.searchsorted(places, self.offsets[:-1])]
        return found

    def find(self, chosen: Moves) -> npt.NDArray[np.int64]:
        """[N] index of one legal move a position, uint16[N]; raises InputError for another."""
        if chosen.shape != (len(self),):
            raise InputError(f"moves {list(chosen.shape)} for {len(self)} positions")
        matches = self.moves == chosen[self.owners]
        missing = np.flatnonzero(self.sums(matches) != 1.0)
        if len(missing):
            fen = write_fen(self.variant, self.rows[missing[0]])
            raise InputError(f"move number {chosen[missing[0]]} is not legal in '{fen}'")
        return np.flatnonzero(matches)


def move_table(rows: Rows, variant: Variant, truth: MoveTruth | None = None) -> MoveTable:
    """The legal moves of unfinished positions uint8[N, R], N >= 1, with their exact values.

    Raises InputError for rows of another variant and for a position without a legal move.
    """
    rows = np.ascontiguousarray(rows)
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != variant.row_size:
        raise InputError(
            f"positions {rows.dtype}{list(rows.shape)} are not uint8[N, {variant.row_size}], rows "
            f"of {variant.name}"
        )
    if not len(rows):
        raise InputError("no position")
    moves, offsets = generate_batch(variant.tables, rows)
    finished = np.flatnonzero(np.diff(offsets) == 0)
    if len(finished):
        raise InputError(f"no legal move in '{write_fen(variant, rows[finished[0]])}'")
    owners = np.repeat(np.arange(len(rows)), np.diff(offsets))
    exact = None
    if truth is not None:
        exact = _exact_moves(*truth.moves(rows, moves, offsets), offsets, owners)
    return MoveTable(
        variant=variant, rows=rows, moves=moves, offsets=offsets, owners=owners, exact=exact
    )


def _exact_moves(
    values: Values, distances: Distances, offsets: Offsets, owners: npt.NDArray[np.int64]
) -> ExactMoves:
    starts = offsets[:-1]
    known = np.logical_and.reduceat(values != UNKNOWN, starts)
    best = np.where(known, np.maximum.reduceat(values, starts), 0).astype(np.int8)
    keeping = (values == best[owners]) & known[owners]
    # The winner's best distance is the shortest, the loser's the longest.
    haste = np.where(best[owners] >= 0, -distances.astype(np.int64), distances)
    haste = np.where(keeping, haste, _NEVER)
    optimal = keeping & (haste == np.maximum.reduceat(haste, starts)[owners])
    kept = np.add.reduceat(keeping, starts, dtype=np.int64)
    counts = np.diff(offsets)
    return ExactMoves(
        known=known,
        values=best,
        keeping=keeping,
        optimal=optimal,
        decisions=known & (kept < counts),
        chance=np.where(known, kept / counts, np.nan),
    )
