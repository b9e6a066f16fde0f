"""How long a player may think, and how a running kernel hears that it is over."""

import threading
import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.system.interrupts import StopFlag

_POLL_SECONDS: Final = 0.01


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What ends a search besides the player's own configuration; None for no such limit.

    A limit that is given replaces the player's own nodes or depth, as a UCI `go` does.
    """

    # Nodes or simulations.
    nodes: int | None = None
    # Seconds for this move.
    movetime: float | None = None
    # Plies, for players that search by depth.
    depth: int | None = None
    # Set by another thread: answer now with the best move so far.
    stop: threading.Event | None = None

    @property
    def timed(self) -> bool:
        """Whether the time or another thread may end the search."""
        return self.movetime is not None or self.stop is not None


class Alarm:
    """Raises a StopFlag when the limits say so; a context manager around the search."""

    def __init__(self, limits: Limits | None) -> None:
        """Start counting the time."""
        self._limits = limits or Limits()
        self._over = threading.Event()
        seconds = self._limits.movetime
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self.flag: StopFlag = np.zeros(1, dtype=np.uint8)

    def __enter__(self) -> "Alarm":
        if self._limits.timed:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()

    def ringing(self) -> bool:
        """Whether the search must end."""
        return bool(self.flag[0])

    def _watch(self) -> None:
        waits_for = self._limits.stop or self._over
        while not self._over.is_set():
            left = np.inf if self._deadline is None else self._deadline - time.monotonic()
            if left <= 0 or (self._limits.stop is not None and self._limits.stop.is_set()):
                self.flag[0] = 1
                return
            waits_for.wait(min(left, _POLL_SECONDS))
