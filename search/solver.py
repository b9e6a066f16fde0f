"""Solves a game whose moves cannot be taken back, exactly, from its start.

Where every move goes forward no position can return, so that the game is a graph without cycles and
one depth-first pass settles it: a position is scored when all positions after it are. The pass visits
every reachable position once, runs on a stack of its own (no recursion) and writes into the table of
position_table.py: 10 bytes a position up to 31 squares, 18 above, and never more than 14 or 25 with
the room that the table keeps free.

A game that does not fit is refused before the work starts, by the estimate of position_count.py.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation import kernel
from engine.rules.errors import InputError
from engine.rules.kernels import apply, generate, terminal_value, termination
from engine.rules.tables import BLACK_BIT, CLOCK, EMPTY, MAX_MOVES, PAWN, SQUARES, Tables
from engine.rules.variant import Variant
from search.position_count import sampled_count
from search.position_table import (
    MAX_CAPACITY,
    KeyLayout,
    Keys,
    PositionTable,
    Row,
    StoredPositions,
    find,
    insert,
    key_layout,
    largest_table,
    pack,
)
from search.scores import NO_SCORE, WIN, score_before
from search.solution import Solution, SolveReport

__all__ = ["Estimate", "Solution", "SolveReport", "estimate_positions", "load_or_solve", "solve"]

DEFAULT_LIMIT: Final = 4 << 30
"""Bytes that a solution may take unless the caller says otherwise."""
COUNTED: Final = 1_000_000
"""Games up to this size are counted, not estimated: it takes a second."""
_EVERYTHING: Final = 1 << 62
_REPORT_EVERY: Final = 100_000

_DEPTH: Final = 0
_COUNT: Final = 1

_FINISHED: Final = 0
_LIMIT_REACHED: Final = 1
_TABLE_FULL: Final = 2
_STACK_FULL: Final = 3

Progress = Callable[[int, int], None]
"""Called with the number of positions solved so far and the number expected in all."""


class _Stack(NamedTuple):
    """The line of positions that is being searched (D deep, W words a key)."""

    rows: npt.NDArray[np.uint8]
    """[D, R]"""
    keys: Keys
    """[D, W]"""
    next_move: npt.NDArray[np.int64]
    """[D] index in `moves` of the next move to try."""
    end: npt.NDArray[np.int64]
    """[D] index in `moves` behind the position's last move."""
    best: npt.NDArray[np.int64]
    """[D] score of the best move so far."""
    moves: npt.NDArray[np.uint16]
    """The moves of all positions of the line, one behind the other."""


@kernel
def _open(tables: Tables, row: Row, moves: npt.NDArray[np.uint16]) -> tuple[int, int]:
    """Write the moves of a position; returns their number and NO_SCORE, or 0 and its final score."""
    count = generate(tables, row, moves)
    reason = termination(tables, row, count)
    if reason:
        return 0, WIN * terminal_value(tables, reason, row)
    return count, NO_SCORE


@kernel
def _search(
    tables: Tables, stored: StoredPositions, stack: _Stack, state: npt.NDArray[np.int64], limit: int
) -> int:
    """Go on until all is solved, `limit` positions are stored or an array is too short."""
    # Local names: numba counts references when a tuple of arrays is handed on.
    layout, capacity, table_keys, scores = stored
    rows, keys, next_move, end, best, moves = stack
    depth, count = state[_DEPTH], state[_COUNT]
    status = _FINISHED
    while depth >= 0:
        if next_move[depth] < end[depth]:
            begin = end[depth]
            if depth + 2 > rows.shape[0] or begin + MAX_MOVES > moves.shape[0]:
                status = _STACK_FULL
                break
            row, key = rows[depth + 1], keys[depth + 1]
            apply(tables, rows[depth], moves[next_move[depth]], row)
            next_move[depth] += 1
            row[tables[SQUARES] + CLOCK] = 0
            pack(layout, row, key)
            slot = find(table_keys, capacity, key)
            if slot >= 0:
                best[depth] = max(best[depth], score_before(np.int64(scores[slot])))
            else:
                depth += 1
                move_count, best[depth] = _open(tables, row, moves[begin:])
                next_move[depth], end[depth] = begin, begin + move_count
        else:
            if count >= limit:
                status = _LIMIT_REACHED
                break
            slot = ~find(table_keys, capacity, keys[depth])
            if not insert(table_keys, scores, slot, keys[depth], best[depth]):
                status = _TABLE_FULL
                break
            count, depth = count + 1, depth - 1
            if depth >= 0:
                best[depth] = max(best[depth], score_before(best[depth + 1]))
    state[_DEPTH], state[_COUNT] = depth, count
    return status


class _Pass:
    """One depth-first pass: the table, the stack and where it stands."""

    def __init__(self, variant: Variant, limit_bytes: int) -> None:
        self.variant = variant
        self.limit_bytes = limit_bytes
        layout = key_layout(variant.squares, variant.piece_types)
        self.table = PositionTable(layout)
        self.peak_bytes = 0
        self.seconds = 0.0
        self._state = np.zeros(2, np.int64)
        self._stack = _Stack(
            np.zeros((16, variant.row_size), np.uint8),
            np.zeros((16, layout.words), np.uint64),
            np.zeros(16, np.int64),
            np.zeros(16, np.int64),
            np.zeros(16, np.int64),
            np.zeros(MAX_MOVES + 64, np.uint16),
        )
        self._stack.rows[0] = variant.start_row
        self._stack.rows[0, variant.squares + CLOCK] = 0
        pack(layout, self._stack.rows[0], self._stack.keys[0])
        count, score = _open(variant.tables, self._stack.rows[0], self._stack.moves)
        self._stack.end[0], self._stack.best[0] = count, score
        # An empty run loads the compiled kernel, so that `seconds` measures solving.
        _search(variant.tables, self.table.stored(), self._stack, np.array([-1, 0]), 0)

    @property
    def count(self) -> int:
        """Positions stored."""
        return int(self._state[_COUNT])

    def run(self, limit: int, report: Callable[[int], None]) -> bool:
        """Solve until all is done (True) or `limit` positions are stored (False)."""
        begin = time.perf_counter()
        target = 0
        while True:
            if target <= self.count:
                report(self.count)
                target = min(limit, self.count + _REPORT_EVERY)
            stop = min(target, self.table.room)
            tables, stored = self.variant.tables, self.table.stored()
            status = _search(tables, stored, self._stack, self._state, stop)
            self._note_bytes()
            if status == _FINISHED or (status == _LIMIT_REACHED and self.count >= limit):
                break
            if status == _STACK_FULL:
                doubled = (np.concatenate([array, np.zeros_like(array)]) for array in self._stack)
                self._stack = _Stack(*doubled)
            elif status == _TABLE_FULL or self.count >= self.table.room:
                self._grow_table()
        self.table.count = self.count
        self.seconds += time.perf_counter() - begin
        report(self.count)
        return status == _FINISHED

    def _grow_table(self) -> None:
        too_large = self.table.grown_bytes > self.limit_bytes
        if too_large or self.table.capacity >= MAX_CAPACITY:
            raise InputError(
                f"{self.variant.name}: {self.count:,} positions fill the limit of"
                f" {format_bytes(self.limit_bytes)} and there are more; raise it with --limit"
            )
        self.table.grow()

    def _note_bytes(self) -> None:
        stack = sum(array.nbytes for array in self._stack)
        self.peak_bytes = max(self.peak_bytes, self.table.bytes + stack)


def format_bytes(size: float) -> str:
    """A size in binary units, e.g. `4.6 MiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.3g} PiB"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How large a game is."""

    positions: int
    """Reachable positions, finished ones included."""
    exact: bool
    """Whether they were counted one by one."""
    bytes: int
    """What solving takes at its peak."""


def _estimate(search: _Pass, finished: bool, rng: np.random.Generator) -> Estimate:
    positions = search.count if finished else max(search.count, sampled_count(search.variant, rng))
    size = largest_table(search.table.layout, positions)
    return Estimate(positions=positions, exact=finished, bytes=size)


def estimate_positions(
    variant: Variant, *, counted: int = COUNTED, seed: int = 0
) -> Estimate:
    """How many positions can be reached from the start, and what solving them takes.

    Up to `counted` positions are counted exactly; a larger game is estimated from a sample (see
    position_count.py for what that assumes). Raises InputError where moves can be taken back.
    """
    _refuse_reversible(variant)
    search = _Pass(variant, 1 << 62)
    finished = search.run(counted, lambda _: None)
    return _estimate(search, finished, np.random.default_rng(seed))


def solve(
    variant: Variant, *, limit_bytes: int = DEFAULT_LIMIT, progress: Progress | None = None
) -> Solution:
    """Solve the game from its start position.

    Raises InputError where moves can be taken back, and, before the long work begins, where the
    solution is estimated to need more than `limit_bytes` (table and stack at their peak).
    """
    _refuse_reversible(variant)
    search = _Pass(variant, limit_bytes)
    tell = progress or (lambda done, expected: None)
    counted = min(COUNTED, _positions_within(search.table.layout, limit_bytes))
    finished = search.run(counted, lambda done: tell(done, max(done, counted)))
    if not finished:
        estimate = _estimate(search, finished, np.random.default_rng(0))
        if estimate.bytes > limit_bytes:
            raise InputError(
                f"{variant.name}: about {estimate.positions:.2g} positions would take"
                f" {format_bytes(estimate.bytes)}, more than the limit of"
                f" {format_bytes(limit_bytes)}; raise it with --limit"
            )
        expected = estimate.positions
        search.run(_EVERYTHING, lambda done: tell(done, max(done, expected)))
    report = SolveReport(seconds=search.seconds, peak_bytes=search.peak_bytes)
    return Solution(variant, search.table, report)


def load_or_solve(
    variant: Variant,
    cache_dir: Path,
    *,
    limit_bytes: int = DEFAULT_LIMIT,
    progress: Progress | None = None,
) -> Solution:
    """The solution kept in `cache_dir`, or a new one, which is then kept there.

    A damaged file in the cache is replaced. Raises as `solve`, and OSError where nothing can be
    written.
    """
    _refuse_reversible(variant)
    path = cache_dir / f"{variant.name}-{variant.digest}.solution"
    if path.exists():
        # A cache can be made again: what is damaged counts as absent.
        with contextlib.suppress(InputError):
            return Solution.load(path, variant)
    solution = solve(variant, limit_bytes=limit_bytes, progress=progress)
    cache_dir.mkdir(parents=True, exist_ok=True)
    solution.save(path)
    return solution


def _positions_within(layout: KeyLayout, limit_bytes: int) -> int:
    """How many positions surely fit into so many bytes."""
    return int(limit_bytes / largest_table(layout, COUNTED) * COUNTED)


def _refuse_reversible(variant: Variant) -> None:
    if not variant.irreversible:
        raise InputError(
            f"{variant.name}: only games in which no move can be taken back are solved from the"
            " start (as Hexapawn and Breakthrough), and here pieces can go back"
        )
    if variant.clock_rule and _longest_idle(variant) >= variant.clock_rule:
        raise InputError(
            f"{variant.name}: a game can be drawn by its nMoveRule of {variant.clock_rule // 2}"
            " moves, and the solver's positions have no clock; set nMoveRule = 0"
        )


def _longest_idle(variant: Variant) -> int:
    """No game has more half-moves in a row without a capture or pawn move."""
    rooms = 0
    for square in range(variant.squares):
        code = int(variant.start_row[square])
        if code & ~BLACK_BIT not in (EMPTY, PAWN):
            rank = square // variant.width
            rooms += rank if code & BLACK_BIT else variant.height - 1 - rank
    return rooms + int(variant.start_row[variant.squares + CLOCK])
