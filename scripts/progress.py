"""Progress on standard error: one live line on a terminal, else a plain log.

The live line is tqdm's. Its text is cut to the terminal's width, in whole parts, the most important
first. Permanent lines are written above it. A log has no live line; long work writes a line about
its progress from time to time, at growing intervals.
"""

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Self, TextIO

from tqdm import tqdm

from engine.system.interrupts import interrupts_postponed
from scripts.colour import is_terminal
from scripts.verbosity import Verbosity, verbosity

_BAR: Final = 8
_NARROW: Final = 60
"""Columns below which text replaces the drawn bar."""
_SPARE: Final = 4
"""Columns that stay empty, so that an echoed ^C does not start a new line."""
_FIRST_SECONDS: Final = 10.0
_GROWTH: Final = 0.1
"""Pauses of a log: at least the first, and this share of the time that has passed."""
_TICK_SECONDS: Final = 0.5


class Pace:
    """When a log writes again: after some seconds, at growing intervals."""

    def __init__(self, first: float = _FIRST_SECONDS, *, at_once: bool = False) -> None:
        """With `at_once` the first call is due; else the first pause begins with it."""
        self._first = first
        self._begun: float | None = None
        self._last = -math.inf if at_once else 0.0

    def due(self, seconds: float) -> bool:
        """Whether the next line is due at that time, on any clock."""
        passed = self._passed(seconds)
        if passed - self._last < max(self._first, _GROWTH * passed):
            return False
        self._last = passed
        return True

    def wrote(self, seconds: float) -> None:
        """A line was written at that time: the pause starts again."""
        self._last = self._passed(seconds)

    def _passed(self, seconds: float) -> float:
        if self._begun is None:
            self._begun = seconds
        return seconds - self._begun


def columns() -> int:
    """Width of the terminal at standard error."""
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        width = 0
    # A terminal without a known size says 0.
    return width or 80


def fitting(parts: Sequence[str], width: int) -> str:
    """As many of the first parts as fit, two spaces apart."""
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else part
        if len(longer) > width:
            break
        line = longer
    return line


def write_line(line: str, file: TextIO) -> None:
    """Write a permanent line, above the bar where there is one."""
    if not is_terminal(sys.stderr):
        print(line, file=file, flush=True)
        return
    # An interrupt inside `tqdm.write` makes tqdm release a lock that it does not hold; the error
    # that this raises would replace the interrupt.
    with interrupts_postponed():
        tqdm.write(line, file=file)
        file.flush()


def say(line: str) -> None:
    """A permanent line on standard error, unless --quiet."""
    if verbosity() > Verbosity.QUIET:
        write_line(line, sys.stderr)


def detail(line: str) -> None:
    """A permanent line on standard error that only --verbose asks for."""
    if verbosity() == Verbosity.VERBOSE:
        write_line(line, sys.stderr)


def shows_bars() -> bool:
    """Whether live lines are drawn: on a terminal, without --quiet."""
    return is_terminal(sys.stderr) and verbosity() > Verbosity.QUIET


class Bars:
    """One bar at a time, with text beside it."""

    def __init__(self, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """`quiet` leaves out permanent lines; a live line is shown nevertheless, but not with
        --quiet."""
        self.quiet = quiet or verbosity() == Verbosity.QUIET
        # Whether there is a live line.
        self.live = shows_bars()
        self._bar: tqdm[Any] | None = None
        self._words: Sequence[str] = ()
        # What is in progress.
        self.name = ""
        self._unit = ""
        self._done, self._total = 0, 0
        self._clock = clock
        self._pace: Pace | None = None

    def begin(self, name: str, total: int, unit: str, *, logged: bool = True) -> None:
        """Replace the bar; `logged` for work so long that a log reports it."""
        self.name, self._unit = name, unit
        self._done, self._total = 0, total
        self._pace = Pace() if logged else None
        if self._pace is not None:
            self._pace.due(self._clock())
        if self.live and self._bar is None:
            self._bar = tqdm(leave=False, file=sys.stderr, total=total, bar_format="{desc}")
        if self._bar is not None:
            self._arrange()
            self._bar.reset(total)

    def words(self, parts: Sequence[str]) -> None:
        """Text to the right of the bar, the most important part first."""
        self._words = parts
        self._arrange()

    def advance(self, amount: int) -> None:
        """Advance by an amount."""
        self._done += amount
        if self._bar is not None:
            self._arrange()
            self._bar.update(amount)
        elif self._pace is not None and self._pace.due(self._clock()):
            of = f" of {self._total:,} ({self._done / self._total:.0%})" if self._total else ""
            self.keep(f"{self.name}: {self._done:,}{of}{self._unit}")

    def reach(self, done: int, total: int) -> None:
        """Set what is done, and the total as expected by now."""
        self._total = total
        if self._bar is not None:
            self._bar.total = total
        self.advance(done - self._done)

    def keep(self, line: str, *, always: bool = False) -> None:
        """A permanent line; with `always` also where it is quiet."""
        if always or not self.quiet:
            write_line(line, sys.stderr)

    def close(self) -> None:
        """Remove the bar."""
        self._pace = None
        if self._bar is not None:
            self._bar.close()
            self._bar = None
            # The bar clears itself, but not the ^C that the terminal wrote behind it.
            sys.stderr.write("\x1b[K")
            sys.stderr.flush()

    def _arrange(self) -> None:
        """Fit everything to the terminal's present width."""
        if self._bar is None:
            return
        name, width = self.name, columns() - _SPARE
        self._bar.ncols = width
        if not self._total:
            # The total is unknown.
            self._bar.bar_format = _plain(fitting([name, *self._words], width) or name)
            return
        drawn = f"|{{bar:{_BAR}}}| " if width >= _NARROW else "  "
        room = len(" 100%") + (_BAR + len("|| ") if width >= _NARROW else len(drawn))
        beside = fitting(self._words, width - len(name) - room)
        self._bar.bar_format = f"{_plain(name)} {{percentage:3.0f}}%{drawn}{_plain(beside)}"


def _plain(text: str) -> str:
    """Text in which tqdm's format finds nothing to fill in."""
    return text.replace("{", "{{").replace("}", "}}")


class Waiting:
    """Shows that work is in progress, and for how long: a live line, or lines of a log."""

    def __init__(self, name: str, *, quiet: bool = False) -> None:
        """`name` says what is in progress, until `now` is called."""
        self._bars = Bars(quiet=quiet)
        self._bars.begin(name, 0, "", logged=False)
        self._begun = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._bars.close()

    def now(self, name: str) -> None:
        """Say what is in progress."""
        self._bars.name = name

    def report(self, text: str) -> None:
        """Write a permanent line on standard error, unless quiet."""
        self._bars.keep(text)

    def show(self, text: str) -> None:
        """Write a permanent line on standard output, unless quiet."""
        if not self._bars.quiet:
            write_line(text, sys.stdout)

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
