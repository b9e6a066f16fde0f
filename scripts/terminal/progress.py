"""Progress on standard error: one live line on a terminal, else a plain log.

The live line is tqdm's. Its text is cut to the terminal's width, in whole parts, the most important
first. Permanent lines are written above it. A log has no live line; long work writes a line about
its progress from time to time, at growing intervals.
"""

import contextlib
import math
import os
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Self, TextIO

from tqdm import tqdm

from engine.system.interrupts import interrupts_postponed
from scripts.terminal.colour import is_terminal, visible
from scripts.terminal.time_left import TimeLeft
from scripts.terminal.verbosity import Verbosity, verbosity

_BAR: Final = 8
_NARROW: Final = 60
"""Columns below which text replaces the drawn bar."""
_ROWS: Final = 20
"""Of a terminal, for tqdm: more than the two lines that are drawn."""
_SPARE: Final = 4
"""Columns that stay empty, so that an echoed ^C does not start a new line."""
_FIRST_SECONDS: Final = 10.0
_GROWTH: Final = 0.1
"""Pauses of a log: at least the first, and this share of the time that has passed."""
_TICK_SECONDS: Final = 0.5
_STEPS: Final = 1000
"""Into which the whole work is divided."""


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
        if len(visible(longer)) > width:
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
    """One bar at a time, with text beside it; and above it, where `above` was called, a line about
    the whole work. May be used by several threads."""

    def __init__(self, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """`quiet` leaves out permanent lines; a live line is shown nevertheless, but not with
        --quiet."""
        self.quiet = quiet or verbosity() == Verbosity.QUIET
        # Whether there is a live line.
        self.live = shows_bars()
        self._bar: tqdm[Any] | None = None
        self._words: Sequence[str] = ()
        # The line about the whole work: the share that is done, if known, and text.
        self._upper: tqdm[Any] | None = None
        self._share: float | None = None
        self._upper_words: Sequence[str] = ()
        # What is in progress.
        self.name = ""
        self._unit = ""
        self._done, self._total = 0, 0
        self._clock = clock
        self._pace: Pace | None = None
        # Of long work.
        self._time_left: TimeLeft | None = None
        # Width of the terminal when something was last drawn.
        self._columns = 0
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def _drawing(self) -> Iterator[None]:
        """For all that draws: one thread at a time, and no interrupt halfway through a line."""
        with interrupts_postponed(), self._lock:
            yield

    def begin(self, name: str, total: int, unit: str, *, logged: bool = True) -> None:
        """Replace the bar; `logged` for work so long that a log reports it, with the time left."""
        self.name, self._unit = name, unit
        self._done, self._total = 0, total
        self._pace = self._time_left = None
        if logged:
            self._pace, self._time_left = Pace(), TimeLeft(self._clock())
            self._pace.due(self._clock())
        with self._drawing():
            if self.live and self._bar is None:
                self._bar = self._new_bar(1 if self._upper else 0)
            if self._bar is not None:
                self._arrange()
                self._bar.reset(total)

    def words(self, parts: Sequence[str]) -> None:
        """Text to the right of the bar, the most important part first."""
        with self._drawing():
            self._words = parts
            self._arrange()

    def above(self, share: float | None, parts: Sequence[str]) -> None:
        """Draw the line above the bar: the share of the whole work that is done, None where that is
        not known, and text, the most important part first."""
        if not self.live:
            return
        with self._drawing():
            self._share, self._upper_words = share, parts
            if self._upper is None:
                below = self._bar
                if below is not None:
                    below.close()
                self._upper = self._new_bar(0)
                if below is not None:
                    self._bar = self._new_bar(1)
                    self._bar.reset(self._total)
                    self._bar.n = self._done
            self._arrange()
            self._upper.n = round((share or 0.0) * _STEPS)
            self._upper.refresh()

    def redraw(self) -> None:
        """Draw the bar with its present text."""
        with self._drawing():
            if self._bar is not None:
                self._arrange()
                self._bar.refresh()

    def advance(self, amount: int) -> None:
        """Advance by an amount."""
        self._done += amount
        if self._time_left is not None:
            self._time_left.reach(self._clock(), self._done)
        if self._bar is not None:
            with self._drawing():
                self._arrange()
                self._bar.update(amount)
        elif self._pace is not None and self._pace.due(self._clock()):
            of = f" of {self._total:,} ({self._done / self._total:.0%})" if self._total else ""
            left = "".join(f", {each}" for each in self._left())
            self.keep(f"{self.name}: {self._done:,}{of}{self._unit}{left}")

    def _left(self) -> list[str]:
        """`02:30 left`, if that is known."""
        if self._time_left is None:
            return []
        seconds = self._time_left.left(self._clock(), self._total)
        return [] if seconds is None else [f"{tqdm.format_interval(seconds)} left"]

    def reach(self, done: int, total: int) -> None:
        """Set what is done, and the total as expected by now."""
        self._total = total
        if self._bar is not None:
            self._bar.total = total
        self.advance(done - self._done)

    def keep(self, line: str, *, always: bool = False) -> None:
        """A permanent line; with `always` also where it is quiet."""
        if always or not self.quiet:
            with self._drawing():
                write_line(_wrapped(line) if self.live else line, sys.stderr)

    def close(self) -> None:
        """Remove the bars."""
        with self._drawing():
            self._pace = None
            drawn = [bar for bar in (self._bar, self._upper) if bar is not None]
            self._bar = self._upper = None
            for bar in drawn:
                bar.close()
            if drawn:
                # Bars clear themselves, but not the ^C that the terminal wrote behind them.
                sys.stderr.write("\x1b[J")
                sys.stderr.flush()

    def _new_bar(self, position: int) -> "tqdm[Any]":
        """A line of the terminal, so many below the first."""
        return tqdm(
            leave=False,
            file=sys.stderr,
            total=_STEPS,
            bar_format="{desc}",
            position=position,
            # Else tqdm asks, and shows nothing on a terminal without a known size.
            nrows=_ROWS,
            # Else after fast steps slow ones are not drawn.
            miniters=1,
        )

    def _arrange(self) -> None:
        """Fit everything to the terminal's present width."""
        drawn = [bar for bar in (self._upper, self._bar) if bar is not None]
        if not drawn:
            return
        before, self._columns = self._columns, columns()
        if self._columns < before:
            # What the wider terminal left would be overwritten with blanks that do not fit now.
            sys.stderr.write("\r\x1b[J")
            for bar in drawn:
                bar.sp = bar.status_printer(bar.fp)
        width = max(1, self._columns - _SPARE)
        for bar in drawn:
            bar.ncols = width
        if self._upper is not None:
            share = None if self._share is None else ""
            self._upper.bar_format = _line(share, self._upper_words, width)
        if self._bar is not None:
            name = self.name.rstrip() if self._total else None
            words = self._words or self._left()
            words = words if self._total else [self.name, *words]
            self._bar.bar_format = _line(name, words, width)


_SHARE: Final = len("100%")


def _line(name: str | None, parts: Sequence[str], width: int) -> str:
    """A format of tqdm's: name, percentage, a drawn bar where there is space, and what fits of the
    parts; with None for the name only the parts."""
    if name is None:
        beside = fitting(parts, width) or visible(parts[0])[:width]
        return _plain(beside)
    name = _shortened(name, width - _SHARE - 1)
    drawn = f" |{{bar:{_BAR}}}| " if width >= _NARROW else "  "
    taken = len(name) + bool(name) + _SHARE + len(drawn.replace(f"{{bar:{_BAR}}}", "x" * _BAR))
    room = width - taken
    beside = fitting(parts, room) or fitting(parts[0].split() if parts else [], room)
    start = f"{_plain(name)} " if name else ""
    return f"{start}{{percentage:3.0f}}%{drawn}{_plain(beside)}"


def _shortened(name: str, width: int) -> str:
    """A name that fits: its last word where the whole does not, and at worst a part of that."""
    if len(name) <= width:
        return name
    return name.rpartition(" ")[2][: max(0, width)]


def _wrapped(line: str) -> str:
    """A line in as many as the terminal's width needs, divided between words."""
    width = columns() - 1
    if len(visible(line)) <= width:
        return line
    return textwrap.fill(
        line, max(width, 8), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _plain(text: str) -> str:
    """Text in which tqdm's format finds nothing to fill in."""
    return text.replace("{", "{{").replace("}", "}}")


class Ticking:
    """Calls a function again and again in a thread of its own, while its block runs."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _tick(self) -> None:
        while not self._over.wait(_TICK_SECONDS):
            self._call()


class Waiting:
    """Shows that work is in progress, and for how long: a live line, or lines of a log."""

    def __init__(self, name: str, *, quiet: bool = False) -> None:
        """`name` says what is in progress, until `now` is called. `quiet`: neither results nor
        lines of a log are shown; --quiet leaves out the lines alone."""
        self._bars = Bars(quiet=quiet)
        self._results = not quiet
        self._bars.begin(name, 0, "", logged=False)
        self._begun = time.monotonic()
        self._pace = Pace(60.0)
        self._pace.due(0.0)
        self._ticking = Ticking(self._tick)

    def __enter__(self) -> Self:
        self._ticking.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._ticking.__exit__()
        self._bars.close()

    def now(self, name: str) -> None:
        """Say what is in progress."""
        self._bars.name = name

    def report(self, text: str) -> None:
        """Write a permanent line on standard error, unless quiet."""
        self._bars.keep(text)

    def show(self, text: str) -> None:
        """Write a result, a permanent line on standard output, unless quiet."""
        if self._results:
            write_line(text, sys.stdout)

    def _tick(self) -> None:
        seconds = time.monotonic() - self._begun
        passed = tqdm.format_interval(seconds)
        self._bars.words([passed])
        self._bars.redraw()
        if not self._bars.live and self._pace.due(seconds):
            self._bars.keep(f"{self._bars.name}: {passed}")
