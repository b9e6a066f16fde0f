"""Progress on standard error: one live line on a terminal, a plain log where there is none.

The live line is tqdm's, which every command has already. What it says is cut to the terminal's
width, in whole parts, the most important first. Lines that stay are written above it. A log has no
live line; there what takes long says every now and then how far it has come, ever more rarely.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from tqdm import tqdm

_BAR: Final = 8
_ROOM_BESIDE: Final = len(" 100%|| ") + _BAR
_NARROW: Final = 60
"""Columns below which words matter more than a drawn bar."""
_SPARE: Final = 4
"""Columns that stay empty, so that an echoed ^C does not begin a new line."""
_FIRST_SECONDS: Final = 10.0
_GROWTH: Final = 0.1
"""A log's pauses are at least the first of these, and this share of the time that has passed."""
_TICK_SECONDS: Final = 0.5


class Pace:
    """When a log says something again: after some seconds, and ever more rarely."""

    def __init__(self, first: float = _FIRST_SECONDS, *, at_once: bool = False) -> None:
        """`at_once` lets the first call be due."""
        self._first = first
        self._begun: float | None = None
        self._last = -float("inf") if at_once else 0.0

    def due(self, seconds: float) -> bool:
        """Whether the next line is due at that time, on any clock."""
        if self._begun is None:
            self._begun = seconds
        passed = seconds - self._begun
        if passed - self._last < max(self._first, _GROWTH * passed):
            return False
        self._last = passed
        return True

    def said(self, seconds: float) -> None:
        """Something else was said at that time: the pause begins anew."""
        if self._begun is None:
            self._begun = seconds
        self._last = seconds - self._begun


def columns() -> int:
    """Width of the terminal at standard error."""
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        width = 0
    # A terminal that does not know its size says 0.
    return width or 80


def fitting(parts: Sequence[str], width: int) -> str:
    """The parts in their order, two spaces apart, as many of the first as fit."""
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else part
        if len(longer) > width:
            break
        line = longer
    return line


class Bars:
    """One bar at a time, with words beside it."""

    def __init__(self, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """`quiet` leaves out all lines that stay; a live line there is nevertheless."""
        self.quiet = quiet
        # Whether there is a live line.
        self.live = sys.stderr.isatty()
        self._bar: tqdm[Any] | None = None
        self._words: Sequence[str] = ()
        # What is under way.
        self.name = ""
        self._unit = ""
        self._done, self._total = 0, 0
        self._clock = clock
        self._pace: Pace | None = None

    def begin(self, name: str, total: int, unit: str, *, logged: bool = True) -> None:
        """A new bar in the place of the last; `logged` where it takes so long that a log tells of
        it."""
        self.name, self._unit = name, unit
        self._done, self._total = 0, total
        self._pace = Pace() if logged else None
        if self._pace is not None:
            self._pace.due(self._clock())
        if not self.live:
            return
        if self._bar is None:
            self._bar = tqdm(leave=False, file=sys.stderr, total=total, bar_format="{desc}")
        self._arrange()
        self._bar.reset(total)

    def words(self, parts: Sequence[str]) -> None:
        """What stands to the right of the bar, the most important part first."""
        self._words = parts
        self._arrange()

    def advance(self, amount: int) -> None:
        """So much more is done."""
        self._done += amount
        self._tell()
        if self._bar is not None:
            self._arrange()
            self._bar.update(amount)

    def reach(self, done: int, total: int) -> None:
        """So much is done, of so much as is expected by now."""
        self._total = total
        if self._bar is not None:
            self._bar.total = total
        self.advance(done - self._done)

    def keep(self, line: str, *, always: bool = False) -> None:
        """A line that stays, `always` also where nothing but figures was asked for."""
        if always or not self.quiet:
            tqdm.write(line, file=sys.stderr)
            sys.stderr.flush()

    def close(self) -> None:
        """No bar."""
        self._pace = None
        if self._bar is not None:
            self._bar.close()
            self._bar = None
            # The bar clears itself, but not the ^C that the terminal wrote behind it.
            sys.stderr.write("\x1b[K")
            sys.stderr.flush()

    def _arrange(self) -> None:
        """Fit everything to the width that the terminal has now."""
        if self._bar is None:
            return
        width = columns() - _SPARE
        room = _ROOM_BESIDE - (0 if width >= _NARROW else _BAR + 1)
        self._bar.ncols = width
        name = self.name
        if not self._total:
            # Nobody knows how far it is.
            self._bar.bar_format = _plain(fitting([name, *self._words], width) or name)
            return
        drawn = f"|{{bar:{_BAR}}}| " if width >= _NARROW else "  "
        beside = fitting(self._words, width - len(name) - room)
        self._bar.bar_format = f"{_plain(name)} {{percentage:3.0f}}%{drawn}{_plain(beside)}"

    def _tell(self) -> None:
        """A line of the log, where one is due."""
        if self.live or self._pace is None or not self._pace.due(self._clock()):
            return
        of = f" of {self._total:,} ({self._done / self._total:.0%})" if self._total else ""
        self.keep(f"{self.name}: {self._done:,}{of}{self._unit}")


def _plain(text: str) -> str:
    """Text in which a format finds nothing to fill in."""
    return text.replace("{", "{{").replace("}", "}}")


class Waiting:
    """Says while others work that they do, and for how long: a live line, or a line of a log every
    now and then. A context; `report` keeps a line."""

    def __init__(self, name: str, *, quiet: bool = False) -> None:
        """`name` says what is under way; later `now` does."""
        self._bars = Bars(quiet=quiet)
        self._bars.name = name
        self._begun = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._bars.begin(self._bars.name, 0, "", logged=False)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._bars.close()

    def now(self, name: str) -> None:
        """Something else is under way."""
        self._bars.name = name

    def report(self, text: str) -> None:
        """A line that stays."""
        self._bars.keep(text)

    def _tick(self) -> None:
        pace = Pace(60.0)
        pace.due(0.0)
        while not self._over.wait(_TICK_SECONDS):
            seconds = time.monotonic() - self._begun
            passed = tqdm.format_interval(seconds)
            self._bars.words([passed])
            self._bars.advance(0)
            if not self._bars.live and pace.due(seconds):
                self._bars.keep(f"{self._bars.name}: {passed}")
