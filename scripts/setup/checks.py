"""The checks of `python3 scripts/test.py [--quick] [PYTEST ARGUMENTS]`.

Without --quick: ruff, mypy, the tests marked `nojit` without compiled kernels, and all tests with
them. With --quick, for daily work: ruff, mypy and the tests of QUICK; the output says what is left
out. A failing check does not stop the others. pytest comes last, so that its summary is what a
reader sees.
"""

import argparse
import difflib
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.system.processes import usable_cores
from scripts.setup.environment import end
from scripts.streams import open_streams

ROOT = Path(__file__).resolve().parents[2]
PYTEST_USAGE = 4
PYTEST_FOUND_NO_TESTS = 5
BAD_INPUT = 2
OWN_OPTIONS = ("--help", "--quick")
ALIKE = 0.8
"""From this similarity on, a word that is no option of ours is a misspelt one, and not pytest's."""
MOST_WORKERS = 8
QUICK = (
    "tests/test_architecture.py",
    "tests/engine/test_settings.py",
    "tests/engine/rules/test_naive_rules.py",
    "tests/engine/rules/test_notation.py",
    "tests/engine/rules/test_perft.py",
    "tests/engine/rules/test_position.py",
    "tests/engine/rules/test_variants.py",
    "tests/engine/system",
    "tests/search/mcts",
    "tests/search/minimax",
    "tests/search/test_cache.py",
    "tests/search/test_not_finite.py",
    "tests/training/data",
    "tests/training/test_config.py",
)
"""Tests of the code base's own rules, of variants, of search, of settings and of a run's data."""
LEFT_OUT = (
    "left out by --quick: tests without compiled kernels, and those of networks, probing, solving,"
    " players, training and commands, and comparisons with pyffish and python-chess"
)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing to run from the repository's root."""

    # How the person knows it, and how they would start it.
    name: str
    # Arguments of `python -m`.
    arguments: tuple[str, ...]
    # Variables on top of the person's own.
    variables: Mapping[str, str] = field(default_factory=dict)
    # Exit statuses that mean that nothing is wrong.
    good: tuple[int, ...] = (0,)


def plan(pytest_arguments: Sequence[str], cores: int, *, quick: bool = False) -> list[Check]:
    """The checks in their order; `pytest_arguments` narrow down the runs of pytest."""
    given = tuple(pytest_arguments)
    workers = min(cores, MOST_WORKERS)
    parallel = ("-n", str(workers), "--dist", "worksteal") if workers > 1 else ()
    # Workers share the cores; torch would give each of them all.
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // workers)))}
    without_kernels = Check(
        name="NUMBA_DISABLE_JIT=1 pytest -m nojit",
        arguments=("pytest", "-q", *given, "-m", "nojit"),
        variables={"NUMBA_DISABLE_JIT": "1", **threads},
        good=(0, PYTEST_FOUND_NO_TESTS) if given else (0,),
    )
    selected = (*given, *QUICK) if quick else given
    return [
        # Before the tests' processes begin, which would compile the same side by side.
        Check(name="pawnscope compile", arguments=("scripts.cli", "compile"), good=(0, 1)),
        Check(name="ruff check", arguments=("ruff", "check")),
        Check(name="ruff format --check", arguments=("ruff", "format", "--check")),
        Check(name="mypy --strict", arguments=("mypy", "--strict")),
        *([] if quick else [without_kernels]),
        Check(name="pytest", arguments=("pytest", *parallel, *selected), variables=threads),
    ]


def run(check: Check) -> bool:
    """Run one check and say how long it took; whether it found nothing wrong."""
    print(f"--- {check.name}", flush=True)
    start = time.monotonic()
    status = subprocess.run(
        [sys.executable, "-m", *check.arguments], cwd=ROOT, env={**os.environ, **check.variables}
    ).returncode
    if check.arguments[0] != "pytest":
        print(f"    {time.monotonic() - start:.1f} s", flush=True)
    return status in check.good


def needs_environment(words: Sequence[str]) -> bool:
    """Whether these words start checks: not where they ask for help, or are refused at once."""
    return not {"-h", "--help"} & set(words) and _misspelt(words) is None


def main() -> int:
    """Run all checks; 0 when none found anything."""
    parser = argparse.ArgumentParser(
        prog="scripts/test.py",
        description="Check all of Pawnscope: ruff, mypy and the tests.",
        epilog="Other arguments go to pytest, as in: scripts/test.py -k perft",
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this and exit")
    parser.add_argument(
        "--quick", action="store_true", help="for daily work: ruff, mypy and the quickest tests"
    )
    options, given = parser.parse_known_args()
    if options.help:
        # Not by argparse, which ignores that an output takes nothing.
        print(parser.format_help(), end="")
        return 0
    problem = _misspelt(given) or _refused_by_pytest(given)
    if problem is not None:
        print(f"scripts/test.py: {problem}", file=sys.stderr)
        return BAD_INPUT
    checks = plan(given, len(usable_cores()), quick=options.quick)
    failed = [check.name for check in checks if not run(check)]
    if options.quick:
        print(LEFT_OUT)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _misspelt(words: Sequence[str]) -> str | None:
    """What is wrong with a word that is nearly an option of ours."""
    for word in words:
        near = difflib.get_close_matches(word, OWN_OPTIONS, n=1, cutoff=ALIKE)
        if near and word not in OWN_OPTIONS:
            return f"unknown option {word!r} (did you mean {near[0]}?)"
    return None


def _refused_by_pytest(words: Sequence[str]) -> str | None:
    """What pytest says of words that it does not take, asked before minutes of other checks."""
    if not words:
        return None
    # It reads the words, and finds no tests of its own: only those that are named.
    ask = (sys.executable, "-m", "pytest", "--collect-only", "-q", "--ignore-glob=*", *words)
    asked = subprocess.run(ask, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True)
    if asked.returncode != PYTEST_USAGE:
        return None
    lines = (asked.stdout + asked.stderr).decode(errors="replace").splitlines()
    said = [line for line in lines if "error: " in line.lower() and "usage: " not in line]
    return "; ".join(re.sub(r"^.*?error: ", "", line, flags=re.IGNORECASE) for line in said)


if __name__ == "__main__":
    open_streams()
    end(main)
