"""What the commands that train a network show: steps, two bars, and what an interrupt leaves."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from scripts.tensorboard import FOLDER, TensorBoardWriter
from scripts.terminal.colour import colour_of_share, paint
from scripts.terminal.interruption import telling
from scripts.terminal.progress import Bars, Ticking, detail
from scripts.terminal.sparkline import sparkline
from scripts.terminal.texts import minutes_text, share_text
from training.run.monitor import Monitor, Outlook, lowest_raw
from training.run.state import saved_round

_CURVE: Final = 12
"""Columns of the curve of the truth."""
_SHORT_SECONDS: Final = 0.5
"""A step that takes less leaves no line on a terminal."""


class TrainingBars(Bars, Monitor):
    """Above the bar of what is in progress a line about the whole training: the time that is left,
    and the truth. A step leaves a line: in a log when it begins, on a terminal when it is over."""

    def __init__(
        self,
        path: Path,
        *,
        quiet: bool,
        tensorboard: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`path` is the run's directory. With `tensorboard` every round's figures also go there,
        for TensorBoard; raises InputError where that is not installed."""
        super().__init__(quiet=quiet, clock=clock)
        self._path = path
        self._writer = TensorBoardWriter(path, path / FOLDER) if tensorboard else None
        self._step, self._step_begun = "", 0.0
        self._outlook: Outlook | None = None
        # Rounds, and seconds of training at the last report; the clock then, None before the first
        # round begins.
        self._round, self._seconds = 0, 0.0
        self._reported: float | None = None
        # Points of the truth curve: seconds, and share.
        self.curve: list[tuple[float, float]] = []

    @contextmanager
    def training(self) -> Iterator[None]:
        """For the whole session. Says after ^C what is kept, when the bars are removed."""
        with telling(lambda: what_is_kept(self._path)):
            try:
                with Ticking(self._tick):
                    yield
            finally:
                self.close()
                if self._writer is not None:
                    self._writer.close()

    def step(self, text: str) -> None:
        self._end_step()
        self._step, self._step_begun = text, self._clock()
        if self.live:
            self.begin(text, 0, "", logged=False)
            self.words([])
            self.redraw()
        else:
            self.keep(f"{text} …")

    def result(self, text: str) -> None:
        self.keep(f"{self._step}: {text}" if self.live else f"  {text}")
        self._step = ""
        self.words([])

    def detail(self, text: str) -> None:
        self._end_step()
        detail(text)

    def note(self, text: str) -> None:
        self.keep(text, always=True)

    def session(self, outlook: Outlook) -> None:
        self._end_step()
        self._outlook = outlook
        self._round, self._seconds = outlook.round or 0, outlook.seconds
        self.curve = list(outlook.curve)
        self.keep(self._opening(outlook))

    def task(self, name: str, total: int) -> None:
        self._end_step()
        if self._reported is None:
            self._reported = self._clock()
        self.begin(self.task_name(name), total, self.unit, logged=self.is_logged(name))
        self._show_whole()

    unit = ""
    """What a task counts, after a blank."""

    def task_name(self, name: str) -> str:
        """A task in words."""
        return name

    def is_logged(self, name: str) -> bool:
        """Whether a log reports how far the task is."""
        return False

    def round_over(self, seconds: float, number: int) -> None:
        self._seconds, self._round = seconds, number
        self._reported = self._clock()

    def metrics(self, values: dict[str, Any]) -> None:
        self._end_step()
        if self._writer is not None:
            self._writer.add(values)
        raw = lowest_raw(values)
        if raw is not None:
            self.curve.append((values["seconds"], raw))
        self._show_whole()

    def _end_step(self) -> None:
        """The step is over, without a result."""
        passed = self._clock() - self._step_begun
        if self._step and self.live and passed >= _SHORT_SECONDS:
            self.keep(f"{self._step}: {passed:.1f} s")
        if self._step:
            # The seconds that stand beside it.
            self.words([])
        self._step = ""

    def _opening(self, outlook: Outlook) -> str:
        """The first line of a session."""
        limit = minutes_text(outlook.limit / 60.0)
        if outlook.rounds:
            limit = f"{outlook.rounds} rounds"
        elif outlook.share_done(0.0, 0) is None:
            limit = "until ^C"
        if outlook.round is None:
            return f"beginning {self._path}: {limit}; ^C is safe: the same command continues"
        return (
            f"continuing {self._path} from round {outlook.round}"
            f" ({outlook.games:,} games, {outlook.seconds:,.0f} s); in all {limit}"
        )

    def _tick(self) -> None:
        if self._step and self.live:
            self.words([tqdm.format_interval(self._clock() - self._step_begun)])
            self.redraw()
        elif self._reported is not None:
            self._show_whole()

    def _show_whole(self) -> None:
        """Draw the line about the whole training."""
        if self._outlook is None or self._reported is None or not self.live:
            return
        seconds = self._seconds + self._clock() - self._reported
        share = self._outlook.share_done(seconds, self._round)
        self.above(share, self._whole(self._outlook, seconds, share))

    def _whole(self, outlook: Outlook, seconds: float, share: float | None) -> Sequence[str]:
        """What stands in it, the most important part first."""
        if outlook.rounds:
            parts = [f"round {self._round} of {outlook.rounds}"]
        elif share is None:
            parts = [tqdm.format_interval(seconds)]
        else:
            left = outlook.limit - seconds
            parts = [f"{tqdm.format_interval(left)} left" if left > 0 else "last round"]
        if self.curve:
            parts += truth_parts(self.curve, outlook.stop_at_raw)
        if share is not None and share < 1.0 and not outlook.rounds:
            # Beside the time that is left, or after the truth, which it must not seem to measure.
            word = "of"
            if self.curve:
                word = "stops at" if outlook.stop_at_raw is None else "or at"
            parts.append(f"{word} {tqdm.format_interval(outlook.limit)}")
        return parts


def truth_parts(curve: Sequence[tuple[float, float]], stop_at: float | None) -> list[str]:
    """The last share of the truth, beside that at which the training ends, and the whole curve."""
    raw = curve[-1][1]
    share = paint(share_text(raw), colour_of_share(raw), sys.stderr)
    parts = [f"truth {share}", paint(sparkline(curve, _CURVE, sys.stderr), "cyan", sys.stderr)]
    return parts if stop_at is None else [*parts, f"stops at {100 * stop_at:.4g}%"]


def what_is_kept(path: Path) -> str:
    """What an interrupted training leaves in its directory."""
    number = saved_round(path)
    if number is None:
        return f"{path}: nothing was learned yet; the same command begins it again"
    if number == 0:
        return f"{path}: no round was finished yet; the same command continues"
    return f"{path}: kept up to round {number}; the same command continues"
