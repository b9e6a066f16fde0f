"""Programs that tests run in a Python of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def run_python(
    program: str, *arguments: str, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a program that may import ours, with environment variables on top of this process's."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
