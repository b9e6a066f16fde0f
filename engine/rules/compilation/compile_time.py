"""A clock that stops while kernels are compiled, so that no measured speed includes compiling.

Measure with `working_time` at both ends. Loading a compiled kernel from the cache counts as
compiling, and so does waiting for another thread that compiles: numba reports all of it under one
lock. Each thread has its own clock.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from numba.core import event


class _Account(threading.local):
    """What one thread has spent."""

    # How deep it is in compilations that wait for each other, and when the outermost began.
    depth = 0
    begun = 0.0
    # Seconds of those that are over.
    total = 0.0


_ACCOUNT: Final = _Account()


class _Listener(event.Listener):
    """Notes when numba's compiler is busy; with the JIT off it never is."""

    def on_start(self, event: event.Event) -> None:
        if _ACCOUNT.depth == 0:
            _ACCOUNT.begun = time.perf_counter()
        _ACCOUNT.depth += 1

    def on_end(self, event: event.Event) -> None:
        # A lock that was held when this module was loaded ends without having begun.
        if _ACCOUNT.depth == 0:
            return
        _ACCOUNT.depth -= 1
        if _ACCOUNT.depth == 0:
            _ACCOUNT.total += time.perf_counter() - _ACCOUNT.begun


event.register("numba:compiler_lock", _Listener())


def compile_seconds() -> float:
    """Seconds that this thread has spent compiling, loading kernels or waiting for that."""
    return _ACCOUNT.total


def working_time() -> float:
    """Seconds on a clock that stands still while this thread compiles; only differences count."""
    return time.perf_counter() - _ACCOUNT.total


def add_compile_seconds(seconds: float) -> None:
    """This thread has waited so long for another process that compiled."""
    _ACCOUNT.total += seconds


@contextmanager
def not_counted() -> Iterator[None]:
    """What is done inside is preparation, like compiling."""
    begun = working_time()
    try:
        yield
    finally:
        _ACCOUNT.total += working_time() - begun
