"""`pawnscope runs rm RUN …`: remove runs, after asking."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro import conf

from engine.rules.errors import InputError
from scripts.commands.runs.listing import duration_text, size_text
from scripts.options import Options, parse_options
from scripts.players import RUNS
from training.data.run_directory import lock
from training.run.listing import RunSummary, read_run

REMOVED: str = ".removed"
"""Ending of a run's directory while its files are removed."""


@dataclass(frozen=True, kw_only=True)
class RemovalOptions(Options):
    """Remove training runs with their games and networks, after asking."""

    # Directories of runs, or their names in runs/.
    runs: Annotated[tuple[Path, ...], conf.Positional]
    # Remove them without asking.
    yes: bool = False


def main(arguments: list[str]) -> int:
    """Ask, and remove; nothing is removed unless all the words name runs."""
    options = parse_options(RemovalOptions, "runs rm", arguments)
    if not options.runs:
        raise InputError("which runs? 'pawnscope runs' lists them")
    runs = [read_run(find_run(path)) for path in dict.fromkeys(options.runs)]
    for run in runs:
        if run.process is not None:
            raise InputError(f"{run.path}: process {run.process} is training there")
    if not options.yes and not _agreed(runs):
        print("nothing removed")
        return 0
    for run in runs:
        remove(run.path)
        print(f"removed {run.path}")
    return 0


def find_run(path: Path) -> Path:
    """The directory that a path names, or a name among the runs; raises InputError for none."""
    for each in (path, RUNS / path):
        if each.is_dir():
            return each
    raise InputError(f"{path}: no such run; 'pawnscope runs' lists them")


def _agreed(runs: list[RunSummary]) -> bool:
    """Whether the person agrees; raises InputError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise InputError("nobody can be asked here whether to remove; --yes removes without asking")
    for run in runs:
        print(
            f"{run.path}: {run.games:,} games, {duration_text(run.seconds)} of training,"
            f" {size_text(run.bytes)}"
        )
    which = "this run" if len(runs) == 1 else f"these {len(runs)} runs"
    return input(f"remove {which}? [y/N] ").strip().lower() in ("y", "yes")


def remove(path: Path) -> None:
    """Remove a run's directory; raises InputError where a training holds it, OSError.

    It is renamed first, so that an interrupt does not leave half a run under its name.
    """
    if path.is_symlink():
        # What it leads to may lie outside, and be somebody else's.
        path.unlink()
        return
    held = lock(path)
    try:
        doomed = path.with_name(f"{path.name}.{os.getpid()}{REMOVED}")
        path.rename(doomed)
        shutil.rmtree(doomed)
    finally:
        os.close(held)
