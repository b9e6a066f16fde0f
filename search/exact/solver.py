"""Solves a game whose moves cannot be taken back, exactly, from its start.

Where every move goes forward no position can return. The game is then a graph without cycles, and
one depth-first pass solves it: a position is scored when all positions after it are. The pass
visits every reachable position once, with a stack of its own instead of recursion. It writes into
the table of position_table.py: 12 bytes a position up to 31 squares, 20 above, and with the free
slots at most 17 or 28.

A game that does not fit is refused before the long work starts, by the estimate of
position_count.py.
"""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.compile_time import working_time
from engine.rules.compilation.decorators import copy_into, kernel
from engine.rules.compilation.signatures import Array2D, contiguous
from engine.rules.errors import InputError
from engine.rules.kernels import apply, generate
from engine.rules.outcome import terminal_value, termination
from engine.rules.tables import (
    BLACK_BIT,
    BOARD,
    CLOCK,
    EMPTY,
    PIECE_CODES,
    SQUARES,
    STEP_START,
    Moves,
    Row,
    Rows,
    Tables,
)
from engine.rules.variant import Variant
from search.exact.position_count import MOST_POSITIONS, sampled_count
from search.exact.position_table import (
    EMPTY_SLOT,
    MAX_CAPACITY,
    Keys,
    PositionTable,
    StoredPositions,
    find,
    home,
    insert,
    key_layout,
    largest_table,
    pack,
    score_of,
    spread,
)
from search.exact.solution import (
    Distances,
    Solution,
    SolveReport,
    Values,
    look_up,
    rule_is_far,
)
from search.scores import NO_SCORE, WIN, score_before, split_scores

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

Progress = Callable[[int, int], None]
"""Called with the number of positions solved so far and the number expected in all."""


class _Stack(NamedTuple):
    """The line of positions that is being searched (D plies at most, K halves of words a key)."""

    rows: Rows
    """[D, R]"""
    keys: Array2D[np.uint32]
    """[D, K]"""
    next_move: npt.NDArray[np.int64]
    """[D] index in `moves` of the next move to try."""
    end: npt.NDArray[np.int64]
    """[D] index in `moves` behind the position's last move."""
    best: npt.NDArray[np.int64]
    """[D] score of the best move so far."""
    moves: Moves
    """[M] the moves of all positions of the line that are still to be searched, in order."""
    move_keys: Array2D[np.uint32]
    """[M, K] the positions after them."""
    probes: Keys
    """[M] scratch: what stands at the home of each key."""


def _make_stack(variant: Variant, rows: Rows, halves: int) -> _Stack:
    """A stack that no line from one of the rows [N, R] overflows.

    Every move takes a piece at least one rank forward, so no game has more plies than its pieces
    have ranks before them. No piece has more moves than the longest list of steps in the tables.
    """
    boards = rows[:, : variant.squares]
    black = boards >= BLACK_BIT
    white = (boards != EMPTY) & ~black
    rank = np.arange(variant.squares) // variant.width
    plies = (white * (variant.height - 1 - rank) + black * rank).sum(axis=1).max()
    pieces = max(white.sum(axis=1).max(), black.sum(axis=1).max())
    step_starts = variant.tables[STEP_START : STEP_START + PIECE_CODES * BOARD + 1]
    most_steps = int(np.diff(step_starts).max())
    most_moves = int(pieces) * most_steps * max(1, len(variant.promotion_types))
    depth = int(plies) + 3
    return _Stack(
        rows=np.zeros((depth, variant.row_size), np.uint8),
        keys=np.zeros((depth, halves), np.uint32),
        next_move=np.zeros(depth, np.int64),
        end=np.zeros(depth, np.int64),
        best=np.zeros(depth, np.int64),
        moves=np.zeros(depth * most_moves, np.uint16),
        move_keys=np.zeros((depth * most_moves, halves), np.uint32),
        probes=np.zeros(most_moves, np.uint32),
    )


@kernel
def _open(
    tables: Tables,
    stored: StoredPositions,
    row: Row,
    after: Row,
    moves: Moves,
    keys: Array2D[np.uint32],
    probes: Keys,
) -> tuple[int, int]:
    """Keep in `moves` and `keys` the moves whose score is not known yet.

    Returns their number and the best of the known scores; 0 and the final score of a finished game.
    """
    layout, capacity, slots = stored
    count = generate(tables, row, moves)
    reason = termination(tables, row, count)
    if reason:
        return 0, WIN * terminal_value(tables, reason, row)
    for index in range(count):
        apply(tables, row, moves[index], after)
        after[tables[SQUARES] + CLOCK] = 0
        pack(layout, after, keys[index])
    # The table is far larger than the cache. A loop of nothing but loads lets them overlap.
    for index in range(count):
        probes[index] = slots[home(keys[index, 0], capacity), 0]
    best, unknown = NO_SCORE, 0
    for index in range(count):
        known = False
        if probes[index] != EMPTY_SLOT and probes[index] <= keys[index, 0]:
            slot = find(slots, capacity, keys[index])
            known = slot >= 0
        if known:
            best = max(best, score_before(score_of(slots, slot)))
        else:
            moves[unknown] = moves[index]
            copy_into(keys[unknown], keys[index])
            unknown += 1
    return unknown, best


@kernel
def _search(
    tables: Tables, stored: StoredPositions, stack: _Stack, state: npt.NDArray[np.int64], limit: int
) -> int:
    """Go on until all is solved, `limit` positions are stored or the table is full."""
    # Local names: numba counts references when a tuple of arrays is handed on.
    _, capacity, slots = stored
    rows, keys, next_move, end, best, moves, move_keys, probes = stack
    depth, count = state[_DEPTH], state[_COUNT]
    status = _FINISHED
    while depth >= 0:
        if next_move[depth] < end[depth]:
            index, begin = next_move[depth], end[depth]
            next_move[depth] += 1
            slot = find(slots, capacity, move_keys[index])
            if slot >= 0:
                best[depth] = max(best[depth], score_before(score_of(slots, slot)))
                continue
            row, after = rows[depth + 1], rows[depth + 2]
            apply(tables, rows[depth], moves[index], row)
            row[tables[SQUARES] + CLOCK] = 0
            depth += 1
            copy_into(keys[depth], move_keys[index])
            unknown, best[depth] = _open(
                tables, stored, row, after, moves[begin:], move_keys[begin:], probes
            )
            next_move[depth], end[depth] = begin, begin + unknown
        else:
            if count >= limit:
                status = _LIMIT_REACHED
                break
            slot = ~find(slots, capacity, keys[depth])
            if not insert(slots, slot, keys[depth], best[depth]):
                status = _TABLE_FULL
                break
            count, depth = count + 1, depth - 1
            if depth >= 0:
                best[depth] = max(best[depth], score_before(best[depth + 1]))
    state[_DEPTH], state[_COUNT] = depth, count
    return status


class _Pass:
    """One depth-first pass: the table, the stack and where it stands."""

    def __init__(
        self,
        variant: Variant,
        limit_bytes: int,
        *,
        table: PositionTable | None = None,
        rows: Rows | None = None,
    ) -> None:
        """`table` is written to; `rows` [N, R] are those that `begin` may be given, N >= 1.

        Unless given: a new table, and the start position, which is begun.
        """
        self.variant = variant
        self.limit_bytes = limit_bytes
        layout = key_layout(variant.squares, variant.piece_types)
        self.table = table or PositionTable(layout)
        self.peak_bytes = 0
        self.seconds = 0.0
        self._state = np.array([-1, self.table.count])
        begun = variant.start_row[None] if rows is None else rows
        self._stack = _make_stack(variant, begun, layout.halves)
        # Empty runs load the compiled kernels, so that `seconds` measures solving.
        _search(variant.tables, self.table.stored(), self._stack, np.array([-1, 0]), 0)
        spread(self.table.slots, 0, self.table.capacity, np.zeros(1, np.uint8))
        if rows is None:
            self.begin(variant.start_row)

    def begin(self, row: Row) -> None:
        """Make a position that is not stored the one that `run` solves."""
        stack = self._stack
        stack.rows[0] = row
        stack.rows[0, self.variant.squares + CLOCK] = 0
        pack(self.table.layout, stack.rows[0], stack.keys[0])
        stack.next_move[0] = 0
        stack.end[0], stack.best[0] = _open(
            self.variant.tables,
            self.table.stored(),
            *(stack.rows[0], stack.rows[1], stack.moves, stack.move_keys, stack.probes),
        )
        self._state[_DEPTH] = 0

    @property
    def count(self) -> int:
        """Positions stored."""
        return int(self._state[_COUNT])

    def run(self, limit: int, report: Callable[[int], None]) -> bool:
        """Solve until all is done (True) or `limit` positions are stored (False)."""
        begin = working_time()
        target = 0
        while True:
            if target <= self.count:
                report(self.count)
                target = min(limit, self.count + _REPORT_EVERY)
            stop = min(target, self.table.room)
            tables, stored = self.variant.tables, self.table.stored()
            status = _search(tables, stored, self._stack, self._state, stop)
            self.table.count = self.count
            stack = sum(array.nbytes for array in self._stack)
            self.peak_bytes = max(self.peak_bytes, self.table.slots.nbytes + stack)
            if status == _FINISHED or (status == _LIMIT_REACHED and self.count >= limit):
                break
            if status == _TABLE_FULL or self.count >= self.table.room:
                self._grow_table()
        self.seconds += working_time() - begin
        report(self.count)
        return status == _FINISHED

    def _grow_table(self) -> None:
        too_large = self.table.grown_bytes > self.limit_bytes
        if too_large or self.table.capacity >= MAX_CAPACITY:
            raise InputError(
                f"{self.variant.name}: {self.count:,} positions fill the limit of"
                f" {format_bytes(self.limit_bytes)} and there are more; raise the limit"
            )
        self.table.grow()


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
    """Reachable positions, finished ones included; MOST_POSITIONS stands for that many or more."""
    exact: bool
    """Whether they were counted one by one."""
    bytes: int
    """What solving takes at its peak."""

    def __str__(self) -> str:
        if self.exact:
            return f"{self.positions:,} positions"
        if self.positions >= MOST_POSITIONS:
            return f"{MOST_POSITIONS:,} positions or more"
        return f"about {float(f'{self.positions:.2g}'):,.0f} positions"


def _estimate(search: _Pass, finished: bool) -> Estimate:
    positions = search.count
    if not finished:
        positions = max(positions, sampled_count(search.variant, np.random.default_rng(0)))
    size = largest_table(search.table.layout, positions)
    return Estimate(positions=positions, exact=finished, bytes=size)


def estimate_positions(variant: Variant, *, counted: int = COUNTED) -> Estimate:
    """How many positions can be reached from the start, and what solving them takes.

    Up to `counted` positions are counted exactly; a larger game is estimated from a sample (see
    position_count.py for what that assumes). Raises InputError where moves can be taken back.
    """
    _refuse_reversible(variant)
    search = _Pass(variant, _EVERYTHING)
    finished = search.run(counted, lambda done: None)
    return _estimate(search, finished)


def solve(
    variant: Variant,
    *,
    limit_bytes: int = DEFAULT_LIMIT,
    progress: Progress = lambda done, expected: None,
) -> Solution:
    """Solve the game from its start position.

    Raises InputError where moves can be taken back, and, before the long work begins, where the
    solution is estimated to need more than `limit_bytes` (table and stack at their peak).
    """
    _refuse_reversible(variant)
    search = _Pass(variant, limit_bytes)
    # A game that takes up to half of the limit is solved without an estimate.
    counted = min(COUNTED, limit_bytes // 2 // search.table.slots[0].nbytes)
    finished = search.run(counted, lambda done: progress(done, max(done, counted)))
    if not finished:
        estimate = _estimate(search, finished)
        if estimate.bytes > limit_bytes:
            raise InputError(
                f"{variant.name}: {estimate} would take {format_bytes(estimate.bytes)}, more than"
                f" the limit of {format_bytes(limit_bytes)}; raise the limit"
            )
        expected = estimate.positions
        search.run(_EVERYTHING, lambda done: progress(done, max(done, expected)))
    report = SolveReport(seconds=search.seconds, peak_bytes=search.peak_bytes)
    return Solution(variant, search.table, report)


class PositionSolver:
    """Solves positions that the start need not reach, as those after a null move.

    It begins with the positions of a solution, in a copy of their table, and keeps what it solves.
    """

    def __init__(self, solution: Solution, *, limit_bytes: int = DEFAULT_LIMIT) -> None:
        """`limit_bytes` is what the table may take."""
        self.variant = solution.variant
        self._limit_bytes = limit_bytes
        self._table = solution.copy_table()

    @property
    def position_count(self) -> int:
        """Positions whose scores are known."""
        return self._table.count

    def lookup_batch(self, rows: Rows) -> tuple[Values, Distances]:
        """Values int8[B] and distances int16[B] of rows [B, R], as `Solution.lookup_batch`.

        The clock and repetition bytes do not matter. Raises InputError where the positions that
        are to be solved exceed the limit.
        """
        rows = contiguous(rows, np.uint8)
        scores = np.empty(len(rows), np.int16)
        search: _Pass | None = None
        known = 0
        while True:
            missing = look_up(self._table.stored(), rows[known:], scores[known:])
            if missing < 0:
                return split_scores(scores)
            known += missing
            if search is None:
                search = _Pass(self.variant, self._limit_bytes, table=self._table, rows=rows)
            search.begin(rows[known])
            search.run(_EVERYTHING, lambda done: None)


def load_or_solve(
    variant: Variant,
    cache_dir: Path | None,
    *,
    progress: Progress = lambda done, expected: None,
    not_kept: Callable[[OSError], None] = lambda problem: None,
) -> Solution:
    """The solution kept in `cache_dir`, or a new one, which is then kept there.

    A cache is a convenience: a file that is damaged or cannot be read counts as absent, and where
    nothing can be written `not_kept` is called with the reason. Raises as `solve`.
    """
    _refuse_reversible(variant)
    if cache_dir is None:
        return solve(variant, progress=progress)
    # A name is any text without blanks; the digest alone tells games apart.
    name = re.sub(r"[^\w.-]", "_", variant.name)
    path = cache_dir / f"{name}-{variant.digest}.solution"
    with contextlib.suppress(InputError, OSError):
        return Solution.load(path, variant)
    solution = solve(variant, progress=progress)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        solution.save(path)
    except OSError as problem:
        not_kept(problem)
    return solution


def _refuse_reversible(variant: Variant) -> None:
    if not variant.irreversible:
        raise InputError(
            f"{variant.name}: only games in which no move can be taken back are solved from the"
            " start (as Hexapawn and Breakthrough), and here pieces can go back"
        )
    if not rule_is_far(variant, variant.start_row):
        raise InputError(
            f"{variant.name}: a game can be drawn by its nMoveRule of {variant.clock_rule // 2}"
            " moves, and the solver's positions have no clock; set nMoveRule = 0"
        )
