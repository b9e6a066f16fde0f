"""`pawnscope runs rm RUN …`: remove runs, after asking."""

import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from tyro import conf

from engine.rules.errors import InputError
from scripts.options import ONE_OR_MORE, Options, parse_options
from scripts.players import RUNS
from scripts.question import agrees, can_ask
from scripts.terminal.interruption import telling
from scripts.terminal.texts import duration_text, size_text
from training.data.run_directory import lock
from training.run.listing import RunSummary, is_run, read_run

REMOVED: Final = ".removed"
"""Ending of a run's directory while its files are removed."""


@dataclass(frozen=True, kw_only=True)
class RemovalOptions(Options):
    """Remove training runs with their games and networks, after asking."""

    # Directories of runs, or their names in runs/.
    runs: Annotated[tuple[Path, ...], conf.Positional, ONE_OR_MORE]
    # Remove them without asking.
    yes: bool = False


def main(arguments: list[str]) -> int:
    """Ask, and remove; nothing is removed unless all the words name runs."""
    options = parse_options(RemovalOptions, "runs rm", arguments)
    if not options.runs:
        raise InputError("which runs? 'pawnscope runs' lists them")
    runs = [read_run(path) for path in _different(map(find_run, options.runs))]
    for run in runs:
        if run.process is not None:
            raise InputError(f"{run.path}: process {run.process} is training there")
    if not options.yes and not _agreed(runs):
        print("nothing removed")
        return 0
    for run in runs:
        print(f"removed {remove(run.path)}")
    return 0


def find_run(path: Path) -> Path:
    """The directory that a path names, or a name among the runs; raises InputError for none."""
    found = [each for each in (path, RUNS / path) if each.is_dir()]
    if not found:
        raise InputError(f"{path}: no such run; 'pawnscope runs' lists them")
    run = next(filter(is_run, found), found[0])
    # "." and ".." have no name of their own.
    return run.resolve() if run.name in ("", "..") else run


def _different(paths: Iterable[Path]) -> Iterable[Path]:
    """Without those that name a directory, or a link, once more."""
    return {path.parent.resolve() / path.name: path for path in paths}.values()


def _agreed(runs: list[RunSummary]) -> bool:
    """Whether the person agrees; raises InputError where nobody can be asked."""
    if not can_ask():
        raise InputError("nobody can be asked here whether to remove; --yes removes without asking")
    for run in runs:
        print(
            f"{run.path}: {run.games:,} games, {duration_text(run.seconds)} of training,"
            f" {size_text(run.bytes)}",
            file=sys.stderr,
        )
    which = "this run" if len(runs) == 1 else f"these {len(runs)} runs"
    return agrees(f"remove {which}?", default=False)


def remove(path: Path) -> str:
    """Remove a run's directory; returns what was removed, in words. Raises InputError where a
    training holds it, OSError.

    It is renamed first, so that an interrupt does not leave half a run under its name.
    """
    if path.is_symlink():
        # What it leads to may lie outside, and be somebody else's.
        target = path.readlink()
        path.unlink()
        return f"{path}, a link; {target} is left as it is"
    held = lock(path)
    try:
        doomed = path.with_name(f"{path.name}.{os.getpid()}{REMOVED}")
        path.rename(doomed)
        with telling(f"{doomed}: what is left of {path}"):
            shutil.rmtree(doomed)
    finally:
        os.close(held)
    return str(path)
