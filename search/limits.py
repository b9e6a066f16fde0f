"""The deadline of a search: the time or another thread ends a running kernel."""

import threading
import time
from typing import Final

import numpy as np

from engine.player import Limits
from engine.system.interrupts import StopFlag

_POLL_SECONDS: Final = 0.01


class Deadline:
    """Sets a StopFlag when the limits end the search; a context manager around the search."""

    def __init__(self, limits: Limits | None) -> None:
        """Start the clock."""
        self._limits = limits or Limits()
        self._over = threading.Event()
        seconds = self._limits.movetime
        self._end = None if seconds is None else time.monotonic() + seconds
        self.flag: StopFlag = np.zeros(1, dtype=np.uint8)

    def __enter__(self) -> "Deadline":
        if self._limits.timed:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()

    def expired(self) -> bool:
        """Whether the search must end."""
        return bool(self.flag[0])

    def _watch(self) -> None:
        waits_for = self._limits.stop or self._over
        while not self._over.is_set():
            left = np.inf if self._end is None else self._end - time.monotonic()
            if left <= 0 or (self._limits.stop is not None and self._limits.stop.is_set()):
                self.flag[0] = 1
                return
            waits_for.wait(min(left, _POLL_SECONDS))
