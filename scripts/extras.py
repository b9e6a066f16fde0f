"""What an extra brings is installed when a command first needs it, after a question.

The question is for a person at a terminal. A script gets the one command that installs the extra,
as its error.
"""

import importlib
import sys
from pathlib import Path
from typing import Final

from engine.rules.errors import InputError
from engine.system.extras import (
    how_to_install,
    is_externally_managed,
    missing_extra,
    missing_packages,
    requirement,
)
from scripts.question import agrees, can_ask
from scripts.setup.environment import Environment, SetupError, run_quietly, say

ROOT: Final = Path(__file__).resolve().parents[1]


def require_extra(what: str, extra: str, *packages: str) -> None:
    """Have the packages of an extra, or raise InputError, which begins with `what` needs them."""
    problem = missing_extra(extra, *packages)
    if problem is None:
        return
    if not _person_agrees(what, extra, *packages):
        raise InputError(f"{what}: {problem}")
    try:
        _install(extra)
    except (OSError, SetupError) as error:
        raise InputError(f"{what}: {error}") from None
    importlib.invalidate_caches()
    problem = missing_extra(extra, *packages)
    if problem is not None:
        raise InputError(f"{what}: {problem}")


def offer_extra(what: str, extra: str, *packages: str) -> bool:
    """As `require_extra`, for what can be left out: whether the packages are there. Standard error
    says what is left out without them."""
    try:
        require_extra(what, extra, *packages)
    except InputError as error:
        say(f"{error}; left out")
        return False
    return True


def _person_agrees(what: str, extra: str, *packages: str) -> bool:
    if is_externally_managed() or not can_ask():
        return False
    missing = " and ".join(missing_packages(*packages))
    question = f"pawnscope: {what} needs {missing}. Install with {how_to_install(extra)}?"
    return agrees(question, default=True)


def _install(extra: str) -> None:
    """Into the environment of this Python; raises SetupError or OSError."""
    environment = ROOT / ".venv"
    if (environment / "pawnscope-stamp").exists() and environment.samefile(sys.prefix):
        # Ours: the next start knows of the extra, and keeps its versions.
        Environment(ROOT).prepare((extra,))
        return
    pip = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    pins = ROOT / "constraints.txt"
    command = [*pip, "install", *(["-c", str(pins)] if pins.exists() else [])]
    run_quietly([*command, *requirement(extra)], ROOT)
