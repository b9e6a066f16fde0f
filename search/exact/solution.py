"""A solved game: value, distance and best moves of every position that its start can reach."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import kernel
from engine.rules.compilation.signatures import contiguous
from engine.rules.errors import InputError
from engine.rules.kernels import apply, generate, generate_batch
from engine.rules.notation import fen
from engine.rules.outcome import termination
from engine.rules.tables import (
    BLACK_BIT,
    CLOCK,
    EMPTY,
    MAX_MOVES,
    PAWN,
    SQUARES,
    STATE_SIZE,
    Moves,
    Row,
    Rows,
    Tables,
)
from engine.rules.variant import Variant
from engine.system.files import write_arrays
from engine.system.interrupts import StopFlag, interruptible
from search.exact.position_table import (
    EMPTY_SLOT,
    KeyLayout,
    Keys,
    PositionTable,
    StoredPositions,
    find,
    key_layout,
    pack,
    score_of,
    unpack,
)
from search.exact.stored import PARTIAL, describe, opened, verify
from search.scores import LONGEST, score_before, split_scores, value_of_score

Scores = npt.NDArray[np.int16]
Offsets = npt.NDArray[np.int64]
Values = npt.NDArray[np.int8]
Distances = npt.NDArray[np.int16]

_FORMAT: Final = "pawnscope-solution-2"

_FREE: Final = 0
_OVER: Final = 1
_OPEN: Final = 2
_DECISION: Final = 3
"""What a slot of the table holds: nothing, a finished position, an unfinished one in which all
moves lead to the same result, and one in which they do not."""


class UnreachablePositionError(InputError):
    """A position that no game from the start position leads to; the message quotes its FEN."""


def rule_is_far(variant: Variant, row: Row) -> bool:
    """Whether the move rule cannot draw any game from here, where every move goes forward.

    No game has more half-moves in a row without a capture or pawn move than its other pieces have
    ranks before them.
    """
    idle = int(row[variant.squares + CLOCK])
    for square in range(variant.squares):
        code = int(row[square])
        if code & ~BLACK_BIT not in (EMPTY, PAWN):
            rank = square // variant.width
            idle += rank if code & BLACK_BIT else variant.height - 1 - rank
    return not variant.clock_rule or idle < variant.clock_rule


@dataclass(frozen=True, kw_only=True)
class SolveReport:
    """What solving took."""

    seconds: float
    """Of solving, without compilation and estimate."""
    peak_bytes: int
    """Table and stack at their largest."""


@kernel
def look_up(stored: StoredPositions, rows: Rows, out: Scores) -> int:
    """Scores of rows [B, R] into `out` [B]; returns the first row that is not stored, else -1."""
    key = np.empty(stored.layout.halves, np.uint32)
    for index in range(rows.shape[0]):
        pack(stored.layout, rows[index], key)
        slot = find(stored.slots, stored.capacity, key)
        if slot < 0:
            return index
        out[index] = score_of(stored.slots, slot)
    return -1


@kernel
def _score_moves(
    tables: Tables, stored: StoredPositions, rows: Rows, moves: Moves, offsets: Offsets, out: Scores
) -> int:
    """Scores [M] of the moves for the side that makes them; returns as `look_up`."""
    key = np.empty(stored.layout.halves, np.uint32)
    after = np.empty(rows.shape[1], np.uint8)
    for index in range(rows.shape[0]):
        for move in range(offsets[index], offsets[index + 1]):
            apply(tables, rows[index], moves[move], after)
            pack(stored.layout, after, key)
            slot = find(stored.slots, stored.capacity, key)
            if slot < 0:
                return index
            out[move] = score_before(score_of(stored.slots, slot))
    return -1


@kernel
def _classify(
    tables: Tables, stored: StoredPositions, kinds: npt.NDArray[np.uint8], stop: StopFlag
) -> None:
    """Write for every slot whether it holds a finished position or one with a choice."""
    row = np.empty(tables[SQUARES] + STATE_SIZE, np.uint8)
    after = np.empty(tables[SQUARES] + STATE_SIZE, np.uint8)
    key = np.empty(stored.layout.halves, np.uint32)
    moves = np.empty(MAX_MOVES, np.uint16)
    for slot in range(stored.slots.shape[0]):
        if stop[0] != 0:
            return
        if stored.slots[slot, 0] == EMPTY_SLOT:
            kinds[slot] = _FREE
            continue
        unpack(stored.layout, stored.slots[slot, :-1], row)
        count = generate(tables, row, moves)
        if termination(tables, row, count):
            kinds[slot] = _OVER
            continue
        kinds[slot] = _OPEN
        best = value_of_score(score_of(stored.slots, slot))
        for index in range(count):
            apply(tables, row, moves[index], after)
            pack(stored.layout, after, key)
            reply = score_of(stored.slots, find(stored.slots, stored.capacity, key))
            if -value_of_score(reply) != best:
                kinds[slot] = _DECISION
                break


@kernel
def _unpack_from(
    stored: StoredPositions, kinds: npt.NDArray[np.uint8], least: int, rows: Rows, stop: StopFlag
) -> None:
    """Write the positions of kind >= `least` into `rows`."""
    count = 0
    for slot in range(stored.slots.shape[0]):
        if stop[0] != 0:
            return
        if kinds[slot] >= least:
            unpack(stored.layout, stored.slots[slot, :-1], rows[count])
            count += 1


class Solution:
    """Every reachable position of a game with its value and distance.

    Values are -1, 0 or 1 for the side to move; distances count plies to the end with best play (the
    winner hurries, the loser delays, in a drawn game both hurry). Rows are uint8[R]; a row that
    cannot be reached from the start raises UnreachablePositionError. The clock and repetition bytes
    of a row do not matter.
    """

    def __init__(
        self, variant: Variant, table: PositionTable, report: SolveReport | None = None
    ) -> None:
        self.variant = variant
        self.report = report
        """None where the solution was loaded."""
        self._table = table
        self._stored = table.stored()
        self._kinds: npt.NDArray[np.uint8] | None = None

    @property
    def position_count(self) -> int:
        """Reachable positions (board and side to move), finished ones included."""
        return self._table.count

    @property
    def winner(self) -> int:
        """1 where the side that moves first wins, 2 where the other does, 0 for a draw."""
        return {1: 1, -1: 2, 0: 0}[self.value(self.variant.start_row)]

    @property
    def plies(self) -> int:
        """Length of the game with best play."""
        return self.distance(self.variant.start_row)

    def copy_table(self) -> PositionTable:
        """The positions and scores in a table of the caller's own."""
        return self._table.copy()

    def value(self, row: Row) -> int:
        """1 where the side to move wins with best play, 0 for a draw, -1 where it loses."""
        return int(self.lookup_batch(row[None])[0][0])

    def distance(self, row: Row) -> int:
        """Plies to the end with best play, 0 where the game is over."""
        return int(self.lookup_batch(row[None])[1][0])

    def lookup_batch(self, rows: Rows) -> tuple[Values, Distances]:
        """Values int8[B] and distances int16[B] of rows [B, R]."""
        rows = contiguous(rows, np.uint8)
        scores = np.empty(rows.shape[0], np.int16)
        self._check(look_up(self._stored, rows, scores), rows)
        return split_scores(scores)

    def score_moves(self, rows: Rows, moves: Moves, offsets: Offsets) -> tuple[Values, Distances]:
        """Value int8[M] and distance int16[M] of legal moves, for the side that makes them.

        `moves[offsets[i]:offsets[i + 1]]` belong to row i, as `kernels.generate_batch` returns
        them; the distance counts the move itself.
        """
        rows, moves = contiguous(rows, np.uint8), contiguous(moves, np.uint16)
        offsets = contiguous(offsets, np.int64)
        scores = np.empty(moves.shape[0], np.int16)
        missing = _score_moves(self.variant.tables, self._stored, rows, moves, offsets, scores)
        self._check(missing, rows)
        return split_scores(scores)

    def value_preserving_moves(self, row: Row) -> Moves:
        """The legal moves that keep the game value, however long they take; uint16[K]."""
        moves, values, _ = self._legal_moves(row)
        kept: Moves = moves[values == values.max(initial=-1)]
        return kept

    def optimal_moves(self, row: Row) -> Moves:
        """The legal moves that keep the game value and the distance; uint16[K]."""
        moves, values, distances = self._legal_moves(row)
        best = values.max(initial=-1)
        # The loser's best distance is the longest, otherwise it is the shortest.
        haste = np.where(values == best, -distances if best >= 0 else distances, -LONGEST)
        kept: Moves = moves[(values == best) & (haste == haste.max(initial=-LONGEST))]
        return kept

    def positions(self) -> Rows:
        """All reachable positions, finished ones included; uint8[N, R] in a fixed, mixed order."""
        return self._list(_OVER)

    def unfinished_positions(self) -> Rows:
        """The reachable positions in which the game is not over; uint8[N, R]."""
        return self._list(_OPEN)

    def decision_positions(self) -> Rows:
        """The unfinished positions whose legal moves lead to different results; uint8[N, R]."""
        return self._list(_DECISION)

    def _legal_moves(self, row: Row) -> tuple[Moves, Values, Distances]:
        moves, offsets = generate_batch(self.variant.tables, row[None])
        values, distances = self.score_moves(row[None], moves, offsets)
        return moves, values, distances

    def _list(self, least: int) -> Rows:
        if self._kinds is None:
            kinds = np.empty(self._table.slots.shape[0], np.uint8)
            with interruptible() as stop:
                _classify(self.variant.tables, self._stored, kinds, stop)
            self._kinds = kinds
        count = int(np.count_nonzero(self._kinds >= least))
        rows = np.empty((count, self.variant.row_size), np.uint8)
        with interruptible() as stop:
            _unpack_from(self._stored, self._kinds, least, rows, stop)
        return rows

    def _check(self, missing: int, rows: Rows) -> None:
        if missing >= 0:
            text = fen.write_fen(self.variant, rows[missing])
            raise UnreachablePositionError(
                f"the position '{text}' cannot be reached from the start of {self.variant.name}"
            )

    def save(self, path: Path) -> None:
        """Write the solution, 10 bytes a position up to 31 squares; complete or not at all."""
        keys, scores = self._table.gather()
        metadata = describe(self.variant, _FORMAT, keys, scores)
        write_arrays(path, {"keys": keys, "scores": scores}, metadata, PARTIAL)

    @classmethod
    def load(cls, path: Path, variant: Variant) -> "Solution":
        """Read a solution of `variant`.

        Raises InputError for a damaged or foreign file and for other rules, OSError where the file
        cannot be read.
        """
        with opened(path, variant, "solution", (_FORMAT,)) as (metadata, array):
            keys, scores = array("keys"), array("scores")
        verify(path, metadata, keys, scores)
        layout = key_layout(variant.squares, variant.piece_types)
        _check_keys(path, layout, keys, scores)
        try:
            return cls(variant, PositionTable.from_sorted(layout, keys, scores))
        except InputError as problem:
            raise InputError(f"{path}: {problem}") from None


def _check_keys(path: Path, layout: KeyLayout, keys: Keys, scores: Scores) -> None:
    """Raises InputError for arrays that are no table of positions.

    A checksum says that a file is whole, and not who wrote it.
    """
    sound = (
        keys.dtype == np.uint32
        and keys.ndim == 2
        and keys.shape[1] == layout.halves
        and scores.dtype == np.int16
        and scores.shape == keys.shape[:1]
        and bool((keys[1:, 0] >= keys[:-1, 0]).all())
        and bool((keys[:1, 0] >= np.uint32(1 << 31)).all())
    )
    if not sound:
        raise InputError(f"{path}: damaged, its keys are not those of this game's positions")
