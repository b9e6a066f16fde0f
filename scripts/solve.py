"""`pawnscope solve VARIANT`: solve a game exactly from its start."""

import json
import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from scripts.options import FigureOptions, parse_options
from search.solver import Solution, format_bytes, solve

_UNITS = {"": 1, "b": 1} | {
    f"{prefix}{ending}": base**power
    for power, prefix in enumerate("kmgt", start=1)
    for ending, base in (("", 1024), ("ib", 1024), ("b", 1000))
}
_WINNERS = {1: "the side that moves first wins", 2: "the side that moves second wins", 0: "a draw"}


@dataclass(frozen=True, kw_only=True)
class SolveOptions(FigureOptions):
    """Solve a game from its start: the value of every position that can be reached.

    Only games in which no move can be taken back, as Hexapawn and Breakthrough on small boards.
    """

    # The game; `pawnscope variants` lists them.
    variant: str
    # How much memory the solution may take.
    limit: str = "4GiB"
    # A file to keep the solution in.
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Print what the solution is and what it took; loading the kernels is not timed."""
    options = parse_options(SolveOptions, "solve", arguments)
    variant = get_variant(options.variant)
    limit_bytes = parse_size(options.limit)
    if options.out is not None and not options.out.absolute().parent.is_dir():
        raise InputError(f"--out {options.out}: there is no such folder")

    with tqdm(
        desc=f"solving {variant.name}", unit=" positions", unit_scale=True, disable=None
    ) as bar:

        def progress(done: int, expected: int) -> None:
            bar.total = expected
            bar.update(done - bar.n)

        solution = solve(variant, limit_bytes=limit_bytes, progress=progress)

    if options.out is not None:
        solution.save(options.out)
    if options.json:
        print(json.dumps(figures(solution)))
        return 0
    describe(solution)
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


def describe(solution: Solution) -> None:
    """Print the figures for people."""
    found = figures(solution)
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


def peak_memory() -> int:
    """Most bytes that this process has held in memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def parse_size(text: str) -> int:
    """Bytes of `8GiB`, `500MB`, `64k` or a plain number; raises InputError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise InputError(f"--limit '{text}': expected a size like 8GiB or 500MB")
    return int(float(match[1]) * _UNITS[match[2]])
