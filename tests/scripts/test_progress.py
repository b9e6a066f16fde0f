"""What a person sees while something goes on: one live line on a terminal, few lines in a log."""

import contextlib
import fcntl
import io
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tqdm import std

from scripts import progress as bars_module
from scripts.commands import train as train_module
from scripts.commands.language.train import describe_measurement
from scripts.commands.train import describe_round
from scripts.progress import Bars, Pace, Waiting, fitting, write_line
from training.evaluation.truth import Reached
from training.run.monitor import Summary


class Terminal:
    """A terminal of some width at standard error; what was written to it."""

    def __init__(self, width: int) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(width)
        attributes = termios.tcgetattr(theirs)
        # Output as it is written, without carriage returns of the terminal's own.
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        os.set_blocking(self._ours, False)
        self.file = os.fdopen(theirs, "w", buffering=1)
        self._text = ""

    def resize(self, width: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))

    def text(self) -> str:
        """All of it so far."""
        self.file.flush()
        try:
            while part := os.read(self._ours, 65536):
                self._text += part.decode()
        except BlockingIOError:
            pass
        return self._text

    def rows(self) -> list[str]:
        """The lines as they stand there now, without what was overwritten."""
        rows = []
        for line in self.text().split("\n"):
            row = ""
            for part in re.split(r"(?=\r|\x1b\[K)", line):
                if part.startswith("\x1b[K"):
                    row = part[len("\x1b[K") :]
                elif part.startswith("\r"):
                    row = part[1:] + row[len(part) - 1 :]
                else:
                    row += part
            rows.append(row.rstrip())
        return rows

    def widest(self) -> int:
        """Of all that ever stood in a row."""
        plain = self.text().replace("\x1b[K", "")
        return max(len(part.rstrip()) for part in re.split(r"[\r\n]", plain))


@contextlib.contextmanager
def terminal_of(width: int) -> Iterator[Terminal]:
    terminal, before = Terminal(width), sys.stderr
    sys.stderr = terminal.file
    try:
        yield terminal
    finally:
        sys.stderr = before
        terminal.file.close()


@pytest.fixture(params=[80, 40])
def width(request: pytest.FixtureRequest) -> int:
    """Columns of a terminal."""
    columns: int = request.param
    return columns


def round_of(number: int, *, seconds: float, truth: float | None = None) -> dict[str, Any]:
    """A line of metrics.jsonl."""
    values: dict[str, Any] = {
        "seconds": seconds,
        "round": number,
        "games": 200 * number,
        "positions": 500 * number,
        "positions_per_second": 2345.6,
        "losses": {"policy": 0.51234, "wdl": 0.29876},
    }
    return values | ({"truth": {"raw": truth, "search": 1.0}} if truth is not None else {})


def play(bars: Any, number: int, truth: float | None = None) -> None:
    bars.task("play", 100)
    bars.advance(100)
    bars.task("learn", 16)
    bars.advance(16)
    bars.metrics(round_of(number, seconds=0.25 * number, truth=truth))


def test_a_log_has_a_line_for_every_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    bars = train_module._Bars(quiet=False)
    bars.metrics({"seconds": 0.0, "round": 0, "truth": {"raw": 0.0, "search": 1.0}})
    for number in range(1, 501):
        play(bars, number, number / 500 if number % 20 == 0 else None)
    bars.close()
    zero, *lines = capsys.readouterr().err.splitlines()
    assert zero == "    0.0 s  round 0     truth   0.0%  with search 100.0%  ----------"
    assert [int(line.split()[3]) for line in lines] == list(range(20, 501, 20))
    assert lines[2] == (
        "   15.0 s  round 60    truth  12.0%  with search 100.0%  #---------   2,346/s"
        "  policy 0.512  value 0.299  games 12,000  positions 30,000"
    )


def test_a_log_without_a_truth_has_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    bars = train_module._Bars(quiet=False)
    for number in range(1, 501):
        play(bars, number)
    bars.close()
    lines = capsys.readouterr().err.splitlines()
    # At once, after ten seconds each, and in the end more rarely, in 125 seconds.
    assert len(lines) == 13
    assert lines[1].startswith("   10.2 s  round 41     2,346/s")


def test_a_log_does_not_fall_silent_between_measurements(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bars = train_module._Bars(quiet=False)
    for number in range(1, 101):
        play(bars, number, number / 500 if number in (1, 51) else None)
    bars.close()
    lines = capsys.readouterr().err.splitlines()
    assert [int(line.split()[3]) for line in lines] == [1, 41, 51, 91]


def test_figures_alone_are_not_disturbed_but_by_what_one_must_know(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bars = train_module._Bars(quiet=True)
    play(bars, 1, 0.5)
    bars.note("self-play was computed by native bf16, which cannot go on here")
    bars.close()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "self-play was computed by native bf16, which cannot go on here"
    ]


@pytest.mark.parametrize("live", [False, True], ids=["log", "terminal"])
def test_an_interrupt_inside_a_line_stays_an_interrupt(
    live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tqdm makes its lock within the first line, and releases it on the way out as if it had it."""

    make_lock = std.TqdmDefaultWriteLock

    def interrupted_lock() -> object:
        signal.raise_signal(signal.SIGINT)
        return make_lock()

    class InterruptedStream(io.StringIO):
        def isatty(self) -> bool:
            return live

        def write(self, text: str) -> int:
            signal.raise_signal(signal.SIGINT)
            return super().write(text)

    monkeypatch.delattr(std.tqdm, "_lock", raising=False)
    monkeypatch.setattr(std, "TqdmDefaultWriteLock", interrupted_lock)
    stream = InterruptedStream()
    monkeypatch.setattr(sys, "stderr", stream)
    with pytest.raises(KeyboardInterrupt):
        write_line("a line", sys.stderr)
    assert not live or stream.getvalue() == "a line\n"


def test_the_pauses_of_a_log_grow() -> None:
    pace = Pace()
    due = [second for second in range(1000) if pace.due(float(second))]
    assert due[:10] == list(range(10, 110, 10))
    assert due[10:14] == [112, 125, 139, 155]
    assert len(due) < 40


def test_a_line_is_cut_between_its_parts() -> None:
    parts = ["12 s", "round 3", "truth 50 %"]
    whole = "12 s  round 3  truth 50 %"
    assert fitting(parts, len(whole)) == whole
    assert fitting(parts, len(whole) - 1) == "12 s  round 3"
    assert fitting(parts, 3) == ""


def test_a_terminal_has_one_live_line_below_those_that_stay(width: int) -> None:
    with terminal_of(width) as terminal:
        bars = train_module._Bars(quiet=False)
        bars.metrics({"seconds": 0.0, "round": 0, "truth": {"raw": 0.0, "search": 1.0}})
        for number in range(1, 5):
            play(bars, number, 0.25 * number if number % 2 == 0 else None)
        bars.task("play", 100)
        *kept, live = terminal.rows()
        assert [line[11:33] for line in kept] == [
            *("round 0     truth   0.", "round 2     truth  50.", "round 4     truth 100.")
        ]
        assert live.startswith("round 5 play ")
        assert "truth 100.0%" in live
        assert terminal.widest() < width
        bars.close()
        assert terminal.rows()[-1] == ""


def test_a_terminal_may_become_narrower() -> None:
    with terminal_of(100) as terminal:
        bars = train_module._Bars(quiet=False)
        play(bars, 1, 0.5)
        assert terminal.widest() > 60
        seen = len(terminal.text())
        terminal.resize(40)
        play(bars, 2, 0.75)
        play(bars, 3, 0.75)
        # The first clears what the wide one left.
        later = terminal.text()[seen:].split("\r")[1:]
        assert max(len(part.rstrip()) for part in later) < 40
        bars.close()


def test_words_with_braces_are_words(width: int) -> None:
    with terminal_of(width) as terminal:
        bars = Bars(quiet=False)
        bars.begin("solving {odd}", 10, " positions")
        bars.words(["{0}"])
        bars.begin("solving {odd}", 20, " positions")
        assert re.match(r"solving \{odd\} +0%.* \{0\}$", terminal.rows()[-1])
        bars.close()


def test_long_work_says_in_a_log_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    bars = Bars(quiet=False, clock=lambda: now[0])
    bars.begin("solving hexapawn5x5", 0, " positions")
    for second in range(1, 25):
        now[0] = float(second)
        bars.reach(1000 * second, 40_000)
    bars.close()
    assert capsys.readouterr().err.splitlines() == [
        "solving hexapawn5x5: 10,000 of 40,000 (25%) positions",
        "solving hexapawn5x5: 20,000 of 40,000 (50%) positions",
    ]


def test_who_waits_is_told_of_what_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bars_module, "_TICK_SECONDS", 1e-3)
    with Waiting("study sizes") as waiting:
        waiting.report("runs/one is trained")
        waiting.now("the truth")
    assert capsys.readouterr().err == "runs/one is trained\n"


def test_a_measurement_of_a_language_model_in_words() -> None:
    parts = describe_measurement(
        {
            "seconds": 61.04,
            "perplexity": 3.25,
            "floor": 2.5,
            "best_legal": 0.875,
            "legal_mass": 0.5,
            "own_legal_moves": 0.25,
            "tokens_per_second": 1234.5,
            "tokens": 70000,
        }
    )
    assert fitting(parts, 60) == "   61.0 s  perplexity   3.250 (floor 2.500)  legal  87.5%"


def test_several_games_have_a_part_each() -> None:
    values = round_of(3, seconds=1.5)
    values["truth"] = {"games": {"a": {"raw": 0.5}, "b": {"raw": 1.0}}}
    assert describe_round(values)[2:4] == ["truth a 50.0%", "b 100.0%"]


def summary_of(reason: Any, **reached: Reached) -> Summary:
    return Summary(
        seconds=1.0,
        rounds=3,
        checkpoint=Path("x"),
        truth=None,
        truths={},
        reached=reached,
        reason=reason,
    )


def test_perfect_is_said_of_every_decision_only() -> None:
    whole = Reached(raw=1.0, measured=27, decision_positions=27)
    part = Reached(raw=1.0, measured=20_000, decision_positions=855_656)
    lower = Reached(raw=0.625, measured=27, decision_positions=27)
    assert (whole.perfect, part.perfect, lower.perfect) == (True, False, False)
    assert train_module._why(summary_of("perfect", hexapawn=whole)) == (
        "the raw network is perfect: all of its 27 decisions"
    )
    assert train_module._why(summary_of("reached", hexapawn=lower)) == (
        "the raw network keeps the value in 62.50% of its 27 decisions"
    )
    assert train_module._why(summary_of("reached", one=part, other=lower)) == (
        "the raw network keeps the value in one: all of a sample of 20,000 of its 855,656"
        " decisions; other: 62.50% of its 27 decisions"
    )
    assert train_module._why(summary_of("time")) == "its time is over"
