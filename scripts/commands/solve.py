"""`pawnscope solve VARIANT`: solve a game exactly from its start, or its endgames with few men."""

import re
import resource
import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from engine.rules.errors import InputError
from engine.rules.variant import Variant, get_variant
from engine.settings import Range
from scripts.options import FigureOptions, parse_options, print_json, require_writable
from scripts.terminal.interruption import telling
from scripts.terminal.progress import Bars
from search.exact.solution import Solution
from search.exact.solver import format_bytes, solve
from search.exact.tablebase.tables import TableReport, solve_endgames

_WINNERS = {1: "the side that moves first wins", 2: "the side that moves second wins", 0: "a draw"}


@dataclass(frozen=True, kw_only=True)
class SolveOptions(FigureOptions):
    """Solve a game from its start: the value of every position that can be reached.

    Only for games in which no move can be taken back, as Hexapawn and Breakthrough on small boards.
    With --men, the endgames of any game instead: every position with few men.
    """

    # The game; `pawnscope variants` lists them.
    variant: str
    # Make endgame tables of up to this many men, kings and pawns included.
    men: Annotated[int, Range(2)] | None = None
    # The memory that the solution may take.
    limit: str = "4GiB"
    # A file for the solution; with --men a folder, from which an interrupted run continues.
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Print the solution and its cost; loading the kernels is not timed."""
    options = parse_options(SolveOptions, "solve", arguments)
    variant = get_variant(options.variant)
    limit_bytes = parse_size(options.limit)
    if options.men is not None:
        return _solve_endgames(options, variant, options.men, limit_bytes)
    if options.out is not None:
        require_writable(options.out, "--out")

    kept = "nothing of the solution is kept; the same command begins it again"
    with telling(kept), closing(Bars(quiet=options.json)) as bars:
        bars.begin(f"solving {variant.name}", 0, " positions")
        solution = solve(variant, limit_bytes=limit_bytes, progress=bars.reach)

    found = figures(solution)
    if options.json:
        print_json(found)
    else:
        describe(solution, found)
    # Last: the figures are there also where the file cannot be written.
    if options.out is not None:
        solution.save(options.out)
    return 0


def figures(solution: Solution) -> dict[str, int | float]:
    """What `--json` prints."""
    report = solution.report
    assert report is not None
    return {
        "positions": solution.position_count,
        "winner": solution.winner,
        "plies": solution.plies,
        "seconds": report.seconds,
        "bytes_per_position": report.peak_bytes / solution.position_count,
    }


def describe(solution: Solution, found: dict[str, int | float]) -> None:
    """Print the figures as text."""
    positions, seconds = solution.position_count, found["seconds"]
    print(f"{solution.variant.name}: {_WINNERS[solution.winner]}, in {solution.plies} plies")
    print(
        f"{positions:,} positions in {seconds:.3g} s,"
        f" {positions / seconds / 1e6:.3g} million a second"
    )
    print(
        f"{found['bytes_per_position']:.1f} bytes a position at the peak;"
        f" the whole process took {format_bytes(peak_memory())}"
    )


def _solve_endgames(options: SolveOptions, variant: Variant, men: int, limit_bytes: int) -> int:
    """Make the tables, with a progress bar on standard error, and print their figures."""
    problems: list[OSError] = []
    kept = "nothing is kept without --out; the same command begins again"
    if options.out is not None:
        kept = f"the tables that are whole are kept in {options.out}; the same command continues"
    with telling(kept), closing(Bars(quiet=options.json)) as bars:
        bars.begin(f"{variant.name}, {men} men", 0, " entries")
        tablebases, reports = solve_endgames(
            variant,
            men,
            folder=options.out,
            limit_bytes=limit_bytes,
            progress=bars.reach,
            not_kept=problems.append,
        )
    found = endgame_figures(reports, tablebases.memory)
    if options.json:
        print_json(found)
    else:
        describe_endgames(variant, men, reports, found)
    if problems:
        raise problems[0]
    return 0


def endgame_figures(reports: list[TableReport], size: int) -> dict[str, Any]:
    """What `--json` prints with --men; `size` is bytes in memory."""
    return {
        "materials": len(reports),
        "positions": sum(report.positions for report in reports),
        "seconds": sum(report.seconds for report in reports),
        "bytes": size,
        "file_bytes": sum(report.bytes for report in reports),
        "longest_mate_plies": max(report.longest for report in reports),
        "tables": [asdict(report) for report in reports],
    }


def describe_endgames(
    variant: Variant, men: int, reports: list[TableReport], found: dict[str, Any]
) -> None:
    """Print the tables as text."""
    width = max(len("material"), *(len(report.name) for report in reports))
    print(f"{'material':{width}} {'positions':>11} {'won':>6} {'lost':>6} {'plies':>5}  longest")
    for report in reports:
        share = max(report.positions, 1)
        print(
            f"{report.name:{width}} {report.positions:11,} {report.wins / share:6.1%}"
            f" {report.losses / share:6.1%} {report.longest:5}  {report.longest_fen}".rstrip()
        )
    files = f", {format_bytes(found['file_bytes'])} in files" if found["file_bytes"] else ""
    read = sum(report.seconds == 0 for report in reports)
    print(
        f"{variant.name}: {len(reports)} tables of up to {men} men,"
        f" {found['positions']:,} positions, longest {found['longest_mate_plies']} plies"
    )
    print(
        f"{len(reports) - read} solved in {found['seconds']:.3g} s, {read} read;"
        f" {format_bytes(found['bytes'])} in memory{files}"
    )


def peak_memory() -> int:
    """Peak memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def parse_size(text: str) -> int:
    """Bytes of `8GiB`, `500MB`, `64k` or a plain number; raises InputError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?b)?|b)?", text.strip().lower())
    if match is None:
        raise InputError(f"--limit '{text}': expected a size like 8GiB or 500MB")
    base = 1000 if match[3] == "b" else 1024
    return int(float(match[1]) * base ** " kmgt".index(match[2] or " "))
