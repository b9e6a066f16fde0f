"""How long work will still take, by the pace of the later half of its time."""

from collections import deque
from typing import Final

_FIRST_SECONDS: Final = 5.0
"""Nothing is said before so much time has passed."""
_SPACING: Final = 0.25
"""Seconds between the points that are kept, at least."""


class TimeLeft:
    """An estimate that forgets a quick beginning, as of work that was done before."""

    def __init__(self, seconds: float) -> None:
        """Nothing is done at that time, on any clock."""
        self._begun = seconds
        # Times, and what was done by then; the first is about in the middle.
        self._points = deque([(seconds, 0)])

    def reach(self, seconds: float, done: int) -> None:
        """So much is done at that time. While it is nothing, the work has not begun."""
        if not done:
            self._begun, self._points = seconds, deque([(seconds, 0)])
            return
        if seconds - self._points[-1][0] < _SPACING:
            # What comes at once with the point before belongs to it.
            self._points[-1] = (self._points[-1][0], done)
            return
        self._points.append((seconds, done))
        middle = (self._begun + seconds) / 2
        while len(self._points) > 2 and self._points[1][0] <= middle:
            self._points.popleft()

    def left(self, seconds: float, total: int) -> float | None:
        """Seconds that are left for `total`; None where nothing is, or it cannot be said yet."""
        (first, before), (_, done) = self._points[0], self._points[-1]
        if seconds - self._begun < _FIRST_SECONDS or done <= before or total <= done:
            return None
        return (total - done) * (seconds - first) / (done - before)
