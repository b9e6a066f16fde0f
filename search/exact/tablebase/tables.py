"""Endgame tables of a variant: value and distance of every position with few men.

Made by retrograde analysis (Stroehlein 1970; Thompson 1986, "Retrograde Analysis of Certain
Endgames"; the passes are in kernels.py). Beside the distance to mate, which knows no move
rule, stand the plies to zeroing: with them the value at every clock is exact. Repetitions do not
count in the tables, castling rights are not covered, en passant is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.compile_time import working_time
from engine.rules.compilation.signatures import contiguous
from engine.rules.errors import InputError
from engine.rules.notation.fen import write_fen
from engine.rules.tables import CLOCK_RULE, Rows, Tables
from engine.rules.variant import Variant
from search.exact.solver import format_bytes
from search.exact.stored import OtherRulesError
from search.exact.tablebase.file import (
    Codes,
    Legend,
    read_table,
    sweep,
    table_names,
    table_path,
    write_table,
)
from search.exact.tablebase.index import (
    LEGEND_SIZE,
    UNKNOWN_ZEROING,
    Block,
    Place,
    entries_of,
    make_block,
    place_all,
    place_men,
)
from search.exact.tablebase.kernels import (
    BROKEN,
    Work,
    backward_steps,
    decide_ply,
    init_entries,
    mark_predecessors,
)
from search.exact.tablebase.material import materials, parse_material, stage
from search.exact.tablebase.probe import look_up_batch
from search.scores import LONGEST, NO_SCORE, UNPROVEN, WIN, split_scores

DEFAULT_LIMIT: Final = 4 << 30
"""Bytes of memory."""

Progress = Callable[[int, int], None]
"""Called with the entries done and all entries."""

_CHUNK: Final = 1 << 16
"""Entries a kernel works on before it lets ^C through: a tenth of a second."""
_BYTES_AN_ENTRY: Final = 6
"""Of the material at work: score, ply due, flags, and the code."""


@dataclass(frozen=True, kw_only=True)
class TableReport:
    """One material."""

    name: str
    """`KQvK`; stands for the colours exchanged as well where the rules allow that."""
    positions: int
    """Entries that are positions, for both sides to move."""
    wins: int
    """For the side to move."""
    losses: int
    drawn_by_rule: int
    """Of these wins and losses, those that the move rule draws even from clock 0."""
    longest: int
    """Plies to the end of the longest win."""
    longest_fen: str
    """A position of that length, empty where nothing is won."""
    seconds: float
    """Of solving; 0 where the table was read from a file."""
    bytes: int
    """Of its file, 0 where none is kept."""


class Tablebases:
    """Value and distance of every position of some materials.

    `tables` are the variant's tables with these endgames behind them: kernels that are given them
    look positions up by `search.exact.tablebase.probe.probe`.
    """

    def __init__(self, variant: Variant, block: Block, files: dict[str, int]) -> None:
        """`files`: bytes of the file of each material that has one."""
        self.variant = variant
        self._block = block
        self._files = files

    @property
    def tables(self) -> Tables:
        """int64[T]: the rules, and the endgames behind them."""
        return self._block.tables

    @property
    def men(self) -> int:
        """Men of the largest material that is covered."""
        return max((place.material.men for place in self._block.places), default=0)

    @property
    def memory(self) -> int:
        """Bytes, the rules' own tables included."""
        return self.tables.nbytes

    @property
    def names(self) -> tuple[str, ...]:
        """The materials, `KQvK`."""
        return tuple(place.name for place in self._block.places)

    @cached_property
    def attached(self) -> Variant:
        """The same variant, for searches: their kernels find the endgames in its tables."""
        twin = replace(self.variant)
        twin.__dict__["tables"] = self.tables
        return twin

    def scores_at_clock(self, rows: Rows) -> npt.NDArray[np.int16]:
        """Scores int16[N] of rows [N, R] at their clocks, NO_SCORE where not covered.

        probe.py has their order and distances. NO_SCORE also for decided positions near the move
        rule, of tables that were read from a file of the first format. Repetitions do not matter.
        """
        return self._scores(rows, timed=True)

    def values(self, rows: Rows) -> npt.NDArray[np.int8]:
        """Exact values int8[N] for the side to move of rows [N, R] at their clocks, or UNPROVEN."""
        scores = self.scores_at_clock(rows)
        values, _ = split_scores(scores)
        values[scores == NO_SCORE] = UNPROVEN
        return values

    def lookup(self, rows: Rows) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int16]]:
        """Values int8[N] for the side to move, and distances int16[N], of rows uint8[N, R].

        A value is -1, 0 or 1, or UNPROVEN where the position is not covered: too many men,
        castling rights, a material without a table. A distance counts plies to the end of the game
        when the winner hurries and the loser delays, 0 for draws. The rows' clocks and repetitions
        do not matter.
        """
        scores = self._scores(rows, timed=False)
        known = scores != NO_SCORE
        values, distances = split_scores(np.where(known, scores, 0).astype(np.int16))
        values[~known] = UNPROVEN
        return values, distances

    def _scores(self, rows: Rows, *, timed: bool) -> npt.NDArray[np.int16]:
        scores = np.empty(len(rows), dtype=np.int16)
        look_up_batch(self.tables, contiguous(rows, np.uint8), scores, timed)
        return scores

    def positions(self, name: str) -> Rows:
        """The positions of a material, uint8[N, R]; of those that are alike only one.

        Raises KeyError for a material that is not covered.
        """
        place = {place.name: place for place in self._block.places}[name]
        entries = np.flatnonzero(self._block.codes(place))
        rows = np.empty((len(entries), self.variant.row_size), dtype=np.uint8)
        place_all(self.tables, np.int64(place.record), entries, rows)
        return rows

    @classmethod
    def load(cls, path: Path, variant: Variant) -> "Tablebases":
        """The tables of the variant in a folder, or of one file.

        Raises InputError for a damaged file, one of other rules, and a folder without tables of the
        variant; OSError where something cannot be read.
        """
        if path.is_dir():
            found = dict(table_names(path, variant))
            if not found:
                raise InputError(
                    f"{path}: no tablebases of {variant.name} there; make them with 'pawnscope"
                    f" solve {variant.name} --men 3 --out {path}'"
                )
        else:
            with path.open("rb"):
                pass
            found = {path.stem.rpartition("-")[2]: path}
        chosen = []
        for name, file in found.items():
            try:
                chosen.append(parse_material(name, variant))
            except InputError as problem:
                raise InputError(f"{file}: {problem}") from None
        block = make_block(variant, tuple(sorted(chosen, key=stage)))
        for place in block.places:
            _take_from_file(variant, block, place, found[place.name])
        return cls(variant, block, {name: file.stat().st_size for name, file in found.items()})

    def reports(self, seconds: dict[str, float] | None = None) -> list[TableReport]:
        """What each table holds; `seconds` by name where they were solved just now."""
        return [self._report(place, (seconds or {})) for place in self._block.places]

    def _report(self, place: Place, seconds: dict[str, float]) -> TableReport:
        legend, codes = self._block.legend(place), self._block.codes(place)
        counts = np.bincount(codes, minlength=LEGEND_SIZE)
        won, lost = legend > LONGEST, (legend < -LONGEST) & (legend != NO_SCORE)
        going_on = (won | lost) & (np.abs(legend) != WIN)
        zeroing = self._block.zeroing(place)
        drawn = np.count_nonzero(going_on[codes] & (zeroing == 0)) if len(zeroing) else 0
        longest, text = 0, ""
        decided = (won | lost) & (counts > 0)
        if decided.any():
            longest = int((WIN - np.abs(legend[decided])).max())
            code = np.flatnonzero(decided & (WIN - np.abs(legend) == longest))[0]
            row = np.empty(self.variant.row_size, dtype=np.uint8)
            entry = np.int64(np.argmax(codes == code))
            place_men(self.tables, np.int64(place.record), entry, row)
            text = write_fen(self.variant, row)
        return TableReport(
            name=place.name,
            positions=int(counts[1:].sum()),
            wins=int(counts[won].sum()),
            losses=int(counts[lost].sum()),
            drawn_by_rule=int(drawn),
            longest=longest,
            longest_fen=text,
            seconds=seconds.get(place.name, 0.0),
            bytes=self._files.get(place.name, 0),
        )


def _put(block: Block, place: Place, codes: Codes, legend: Legend) -> None:
    """Write a finished table into the block; code 0 is for what is not known."""
    block.legend(place)[1 : 1 + len(legend)] = legend
    block.codes(place)[:] = codes


def _take_from_file(variant: Variant, block: Block, place: Place, path: Path) -> bool:
    """Whether the file has all that is wanted: plies to zeroing where there is a move rule."""
    codes, legend, zeroing = read_table(path, variant, place.name, place.entries)
    _put(block, place, codes, legend)
    wanted = block.zeroing(place)
    wanted[:] = zeroing if len(zeroing) else UNKNOWN_ZEROING
    return len(zeroing) == len(wanted)


def solve_endgames(
    variant: Variant,
    men: int,
    *,
    folder: Path | None = None,
    limit_bytes: int = DEFAULT_LIMIT,
    progress: Progress = lambda done, expected: None,
    not_kept: Callable[[OSError], None] | None = None,
) -> tuple[Tablebases, list[TableReport]]:
    """Make all tables of up to `men` men, and keep them in `folder` as they come.

    Whole files of the same rules that are there are read instead; what is damaged, cannot be read
    or lacks plies to zeroing is made again: an interrupted run continues. Where a table cannot be
    written, `not_kept` is called with the reason and the work continues in memory. Raises
    InputError where the tables cannot be right or take more than `limit_bytes`, OtherRulesError for
    a file of other rules, and OSError without `not_kept` or where there cannot be such a folder.
    """
    wanted = materials(variant, men)
    sizes = [entries_of(variant, material) for material in wanted]
    kept = 2 if variant.clock_rule else 1
    needed = kept * sum(sizes) + _BYTES_AN_ENTRY * max(sizes)
    if needed > limit_bytes:
        raise InputError(
            f"{variant.name}: tables of {men} men take {format_bytes(needed)} of memory, more"
            f" than the limit of {format_bytes(limit_bytes)}; raise the limit"
        )
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
    block = make_block(variant, wanted)
    backward = backward_steps(variant)
    _load_kernels(block, backward)
    seconds: dict[str, float] = {}
    files: dict[str, int] = {}
    done = 0
    for place in block.places:
        path = None if folder is None else table_path(folder, variant, place.name)
        if path is not None and _reuse(variant, block, place, path):
            files[place.name] = path.stat().st_size
        else:
            start = working_time()
            tell = partial(lambda before, part: progress(before + part, sum(sizes)), done)
            legend = _solve_material(block, backward, place, tell)
            table = block.codes(place), legend, block.zeroing(place)
            try:
                if path is not None:
                    files[place.name] = write_table(path, variant, place.name, *table)
            except OSError as problem:
                if not_kept is None:
                    raise
                not_kept(problem)
            seconds[place.name] = working_time() - start
        done += place.entries
        progress(done, sum(sizes))
    tablebases = Tablebases(variant, block, files)
    return tablebases, tablebases.reports(seconds)


def _load_kernels(block: Block, backward: Tables) -> None:
    """Compile or load what will be timed, by doing nothing."""
    work, record = _new_work(0), np.int64(block.places[0].record)
    init_entries(block.tables, record, work, 0, 0, False)
    mark_predecessors(block.tables, backward, record, work, 0, 0, 0, False)
    decide_ply(block.tables, record, work, 0, 0, 0, False)


def _new_work(entries: int) -> Work:
    return Work(
        scores=np.empty(entries, dtype=np.int16),
        due=np.empty(entries, dtype=np.int16),
        flags=np.empty(entries, dtype=np.uint8),
    )


def _reuse(variant: Variant, block: Block, place: Place, path: Path) -> bool:
    """Whether the file is there and whole; what is damaged can be made again."""
    try:
        return _take_from_file(variant, block, place, path)
    except OtherRulesError:
        raise
    except (InputError, OSError):
        return False


def _solve_material(
    block: Block, backward: Tables, place: Place, tell: Callable[[int], None]
) -> Legend:
    """Solve one material into the block, where those that it leads to are already.

    Returns its legend.
    """
    work = _new_work(place.entries)
    _analyse(block.tables, backward, place, work, tell, timed=False)
    codes, legend = _coded(work.scores, place)
    _put(block, place, codes, legend)
    if len(block.zeroing(place)):
        _solve_zeroing(block, backward, place, work)
    return legend


def _solve_zeroing(block: Block, backward: Tables, place: Place, work: Work) -> None:
    """Fill the plies to zeroing of one material, whose codes are in the block.

    Pawn moves inside the material lead to values at clock 0 that are only being found. They are
    taken to be those without the move rule at first. Where the rule draws some, that is put right
    until nothing changes: each time one more pawn move from the last one on is right.
    """
    zeroing = block.zeroing(place)
    zeroing[:] = 1
    while True:
        _analyse(block.tables, backward, place, work, lambda _: None, timed=True)
        scores = work.scores
        in_time = (scores > LONGEST) | ((scores < -LONGEST) & (scores >= -WIN))
        plies = np.where(in_time, WIN - np.abs(scores), 0)
        late = scores == NO_SCORE
        unchanged = not (zeroing[late].any() or (zeroing[in_time & (plies > 0)] == 0).any())
        zeroing[:] = plies
        if unchanged:
            return


def _analyse(
    tables: Tables,
    backward: Tables,
    place: Place,
    work: Work,
    tell: Callable[[int], None],
    *,
    timed: bool,
) -> None:
    """Fill the scores of one material: WIN less the plies to mate, or, if `timed`, to zeroing.

    What has no score then is drawn.
    """
    entries, record = place.entries, np.int64(place.record)
    chunks = [(start, min(start + _CHUNK, entries)) for start in range(0, entries, _CHUNK)]
    for start, stop in chunks:
        if init_entries(tables, record, work, start, stop, timed) < 0:
            raise RuntimeError(f"{place.material}: a table that its moves lead to is missing")
        # The first look is about half of the work.
        tell(stop // 2)
    most = int(tables[CLOCK_RULE]) if timed else LONGEST
    ply, found, latest = 0, 1, 0
    while found or latest > ply:
        for start, stop in chunks:
            mark_predecessors(tables, backward, record, work, ply, start, stop, timed)
        ply += 1
        if timed and ply > most:
            return
        if ply >= most and not timed:
            raise RuntimeError(f"{place.material}: a win of more than {LONGEST} plies")
        found, latest = 0, 0
        for start, stop in chunks:
            more, later = decide_ply(tables, record, work, ply, start, stop, timed)
            found, latest = found + more, max(latest, later)


def _coded(scores: npt.NDArray[np.int16], place: Place) -> tuple[Codes, Legend]:
    """Codes and legend of the final scores: what is still unknown is drawn."""
    scores[scores == NO_SCORE] = 0
    numbers = scores.view(np.uint16)
    present = np.flatnonzero(np.bincount(numbers, minlength=1 << 16))
    legend = present.astype(np.uint16).view(np.int16)
    legend = legend[legend != BROKEN]
    if len(legend) >= LEGEND_SIZE:
        raise InputError(f"{place.material}: {len(legend)} different scores do not fit in a byte")
    code_of = np.zeros(1 << 16, dtype=np.uint8)
    code_of[legend.view(np.uint16)] = np.arange(1, len(legend) + 1)
    return code_of[numbers], legend
