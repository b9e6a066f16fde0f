"""How much a command says on standard error: `--quiet`, `--verbose`, or neither.

One value for the whole process, as a level of logging: what loads a network or a solution is far
from the options. It is set from the words of the command line, before kernels are compiled.
"""

import contextlib
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Final

QUIET_WORDS: Final = ("--quiet", "-q")
VERBOSE_WORDS: Final = ("--verbose", "-v")


class Verbosity(IntEnum):
    """What is said beside results and errors."""

    # Nothing but what one must know, as a choice that the machine could not keep.
    QUIET = 0
    # Bars, and a line for each step.
    NORMAL = 1
    # Also every round, what was chosen and where files are kept.
    VERBOSE = 2


_now = Verbosity.NORMAL


def verbosity() -> Verbosity:
    """How much is said now."""
    return _now


@contextlib.contextmanager
def verbosity_of(words: Sequence[str]) -> Iterator[None]:
    """Say as much in the block as the words of a command line ask for."""
    global _now
    before = _now
    _now = Verbosity.NORMAL
    if any(word in QUIET_WORDS for word in words):
        _now = Verbosity.QUIET
    elif any(word in VERBOSE_WORDS for word in words):
        _now = Verbosity.VERBOSE
    try:
        yield
    finally:
        _now = before
