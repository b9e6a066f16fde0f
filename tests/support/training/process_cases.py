"""Processes that tests start, and whether they are gone."""

import contextlib
import os
import time
from pathlib import Path
from typing import Final

from engine.rules.errors import InputError

PATIENCE: Final = 60.0
"""Seconds."""


def is_running(process: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # Whom nobody has waited for yet is there, too, though dead.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def assert_ends(process: int) -> None:
    """It ends, now or soon."""
    deadline = time.monotonic() + PATIENCE
    while is_running(process):
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.01)


def process_in(noted: Path) -> int:
    """The number that a program writes into a file, once it has."""
    deadline = time.monotonic() + PATIENCE
    while not noted.exists() or not noted.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(noted.read_text())


def stay_or_fail(folder: Path) -> None:
    """The first who comes stays for long, and the second fails."""
    try:
        (folder / "begun").symlink_to(str(os.getpid()))
    except FileExistsError:
        raise InputError("planted") from None
    time.sleep(60)
