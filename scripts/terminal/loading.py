"""A word on the terminal while libraries are loaded, which on a busy machine takes seconds."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from scripts.terminal.colour import is_terminal
from scripts.terminal.verbosity import Verbosity, verbosity

_PATIENCE: Final = 1.0
"""Seconds without a word."""
_WORD: Final = "loading …"


@contextmanager
def loading() -> Iterator[None]:
    """On a terminal say that something is loaded where the block takes long; removed at its end."""
    if not is_terminal(sys.stderr) or verbosity() == Verbosity.QUIET:
        yield
        return
    stream, shown = sys.stderr, []

    def show() -> None:
        shown.append(stream.write(_WORD))
        stream.flush()

    timer = threading.Timer(_PATIENCE, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if shown:
            stream.write(f"\r{' ' * len(_WORD)}\r")
            stream.flush()
