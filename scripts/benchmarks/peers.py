"""The same figure for another program, where it is installed: pgx with mctx.

It has an environment of its own, so that Pawnscope does not depend on it:

    python3 -m venv .venv-peers
    .venv-peers/bin/pip install jax pgx mctx

That environment's Python runs `peer_pgx.py`, which prints one JSON object a row.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from engine.rules.errors import InputError
from scripts.benchmarks.rows import Row, row

DEFAULT_PYTHON: Final = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
_SCRIPTS: Final = Path(__file__).parent
_PGX: Final = ("jax", "pgx", "mctx")
"""Modules that the peer's script needs."""
_LONGEST: Final = 600.0
"""Seconds that a peer may take, its compilation included."""


def peers(python: Path) -> Iterator[Row]:
    """Rows of pgx with mctx, if `python` can import them; raises InputError."""
    check = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {_PGX!r})))"
    if not python.exists() and python == DEFAULT_PYTHON:
        return
    if subprocess.run([python, "-c", check], check=False).returncode:
        raise InputError(f"bench: {python} has not all of {', '.join(_PGX)}")
    yield from _run(python, _SCRIPTS / "peer_pgx.py")


def _run(python: Path, script: Path) -> Iterator[Row]:
    """One JSON object a line: name, unit and the rates of the repeats; raises InputError."""
    begun = time.monotonic()
    with subprocess.Popen(
        [python, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        try:
            printed, complaints = process.communicate(timeout=_LONGEST)
        except subprocess.TimeoutExpired:
            waited = time.monotonic() - begun
            raise InputError(f"bench: {script.name} did not end in {waited:.0f} seconds") from None
        finally:
            # With all processes that it started: they hold its output open.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        last = (complaints.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"bench: {script.name} by {python}: {last}")
    for line in printed.splitlines():
        found = json.loads(line)
        yield row(found["name"], found["unit"], found["rates"])
