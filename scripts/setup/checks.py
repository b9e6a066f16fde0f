"""What `python3 scripts/test.py` runs: ruff, mypy, and pytest without and with compiled kernels.

All of it runs, whatever fails; pytest comes last, so that its summary is what a reader sees.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.system.processes import usable_cores

ROOT = Path(__file__).resolve().parents[2]
PYTEST_FOUND_NO_TESTS = 5
MOST_WORKERS = 8


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


def plan(pytest_arguments: Sequence[str], cores: int) -> list[Check]:
    """The checks in their order; `pytest_arguments` narrow down both runs of pytest."""
    given = tuple(pytest_arguments)
    workers = min(cores, MOST_WORKERS)
    parallel = ("-n", str(workers), "--dist", "worksteal") if workers > 1 else ()
    # Workers share the cores; torch would give each of them all.
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // workers)))}
    return [
        # Before the tests' processes begin, which would compile the same side by side.
        Check(name="pawnscope compile", arguments=("scripts.cli", "compile"), good=(0, 1)),
        Check(name="ruff check", arguments=("ruff", "check")),
        Check(name="ruff format --check", arguments=("ruff", "format", "--check")),
        Check(name="mypy --strict", arguments=("mypy", "--strict")),
        Check(
            name="NUMBA_DISABLE_JIT=1 pytest -m nojit",
            arguments=("pytest", "-q", *given, "-m", "nojit"),
            variables={"NUMBA_DISABLE_JIT": "1", **threads},
            good=(0, PYTEST_FOUND_NO_TESTS) if given else (0,),
        ),
        Check(name="pytest", arguments=("pytest", *parallel, *given), variables=threads),
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


def main() -> int:
    """Run all checks; 0 when none found anything."""
    failed = [check.name for check in plan(sys.argv[1:], len(usable_cores())) if not run(check)]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
