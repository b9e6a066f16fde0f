"""What a person sees while something goes on: one live line on a terminal, few lines in a log."""

import io
import math
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tqdm import std

from engine.rules.compilation.decorators import KERNEL_CACHE
from scripts.commands import compile as compile_module
from scripts.commands import train as train_module
from scripts.commands.language.train import describe_measurement
from scripts.commands.train import describe_round
from scripts.terminal import loading as loading_module
from scripts.terminal import progress as bars_module
from scripts.terminal.colour import visible
from scripts.terminal.loading import loading
from scripts.terminal.progress import Bars, Pace, Waiting, fitting, write_line
from scripts.terminal.time_left import TimeLeft
from scripts.terminal.training_bars import TrainingBars
from scripts.terminal.verbosity import verbosity_of
from tests.support.terminal import terminal_of
from training.run.monitor import Outlook


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
    bars.round_over(0.25 * number, number)
    bars.metrics(round_of(number, seconds=0.25 * number, truth=truth))


def test_a_log_has_a_line_for_every_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    bars = train_module.RunBars(Path("runs/g"), quiet=False)
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
    bars = train_module.RunBars(Path("runs/g"), quiet=False)
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
    bars = train_module.RunBars(Path("runs/g"), quiet=False)
    for number in range(1, 101):
        play(bars, number, number / 500 if number in (1, 51) else None)
    bars.close()
    lines = capsys.readouterr().err.splitlines()
    assert [int(line.split()[3]) for line in lines] == [1, 41, 51, 91]


def test_figures_alone_are_not_disturbed_but_by_what_one_must_know(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bars = train_module.RunBars(Path("runs/g"), quiet=True)
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


def one_line(rows: list[str]) -> str:
    """Rows into which a terminal of some width has divided a line."""
    return " ".join(row.strip() for row in rows)


def outlook_of(**values: Any) -> Outlook:
    """A new run of two minutes."""
    usual: dict[str, Any] = {"round": None, "games": 0, "seconds": 0.0, "limit": 120.0}
    return Outlook(**usual | {"stop_at_raw": 1.0} | values)


def test_a_terminal_has_two_live_lines_below_those_that_stay(width: int) -> None:
    with terminal_of(width) as terminal:
        bars = train_module.RunBars(Path("runs/g"), quiet=False)
        bars._clock = lambda: 0.0
        bars.session(outlook_of())
        *opening, last = terminal.rows()
        assert one_line(opening) == (
            "beginning runs/g: 2 minutes; ^C is safe: the same command continues"
        )
        assert last == ""
        bars.metrics({"seconds": 0.0, "round": 0, "truth": {"raw": 0.0, "search": 1.0}})
        for number in range(1, 5):
            play(bars, number, 0.25 * number if number % 2 == 0 else None)
        bars.task("play", 100)
        *kept, whole, live = terminal.rows()[len(opening) :]
        assert [line[11:33] for line in kept] == [
            *("round 0     truth   0.", "round 2     truth  50.", "round 4     truth 100.")
        ]
        assert re.match(r"  1%( \|.*\|)? +01:59 left  truth 100.0%  ▁▄█", whole)
        assert whole.endswith("  stops at 100%  or at 02:00") == (width == 80)
        assert live.startswith("round 5 play")
        assert "2,346/s" in live
        bars.close()
        assert terminal.rows() == [*opening, *kept, ""]


def test_the_bar_of_compiling_shows_that_time_passes_and_expects_no_hours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with terminal_of(80) as terminal:

        def run(_tasks: list[None], done: Callable[[], None]) -> str:
            # The first kernel takes long, and from it a rate would expect minutes.
            deadline = time.monotonic() + 10.0
            while "0/162 [00:01" not in terminal.text() and time.monotonic() < deadline:
                time.sleep(0.05)
            done()
            return "no space"

        monkeypatch.setattr(compile_module, "missing_tasks", lambda: [None] * 162)
        monkeypatch.setattr(compile_module, "_run", run)
        monkeypatch.setattr(KERNEL_CACHE, "problem", "")
        compile_module.compile_all(quiet=False)
        assert "0/162 [00:01]" in terminal.text()
        assert "1/162 [00:01]" in terminal.text()


@pytest.mark.parametrize("columns", [20, 30, 40, 59, 60, 80])
def test_live_lines_fit_a_terminal_of_any_width(columns: int) -> None:
    with terminal_of(columns) as terminal:
        bars = train_module.RunBars(Path("r"), quiet=False)
        bars._clock = lambda: 0.0
        bars._outlook = outlook_of(limit=36_000.0)
        bars.metrics({"seconds": 0.0, "round": 12_345, "truth": {"raw": 0.5, "search": 1.0}})
        bars.task("learn", 100)
        bars.advance(50)
        bars.redraw()
        whole, live = terminal.rows()[-2:]
        assert whole.startswith("  0%")
        assert "10:00:00" in whole
        assert ("truth 50.0%" in whole) == (columns >= 40)
        assert "learn" in live
        assert " 50%" in live
        assert terminal.widest() < columns
        bars.close()


def test_a_terminal_may_become_narrower() -> None:
    with terminal_of(100) as terminal:
        bars = train_module.RunBars(Path("runs/g"), quiet=False)
        bars.session(outlook_of())
        play(bars, 1, 0.5)
        assert terminal.widest() > 60
        seen = len(terminal.text())
        terminal.resize(40)
        play(bars, 2, 0.75)
        play(bars, 3, 0.75)
        # Without the blanks that would hide what the wide one left.
        later = re.split(r"[\r\n]", visible(terminal.text()[seen:]).split("\x1b[J")[1])
        assert max(len(part.replace("\x1b[A", "")) for part in later) < 40
        bars.close()


def test_the_time_that_is_left_follows_the_clock_and_the_rounds() -> None:
    now = [0.0]
    with terminal_of(80) as terminal:
        bars = TrainingBars(Path("runs/g"), quiet=False, clock=lambda: now[0])
        bars.session(outlook_of(round=3, games=700, seconds=60.0, limit=120.0))
        bars.task("play", 100)
        assert " 50% " in terminal.rows()[-2]
        assert " 01:00 left" in terminal.rows()[-2]
        now[0] = 30.0
        bars._tick()
        assert " 75% " in terminal.rows()[-2]
        assert " 00:30 left" in terminal.rows()[-2]
        # Compiling does not count: the round took less time than it seemed.
        bars.round_over(70.0, 4)
        bars._tick()
        assert " 00:50 left" in terminal.rows()[-2]
        now[0] = 300.0
        bars._tick()
        assert "100% " in terminal.rows()[-2]
        assert " last round" in terminal.rows()[-2]
        bars.close()


@pytest.mark.parametrize(
    ("outlook", "opening", "whole"),
    [
        ({"limit": math.inf}, "beginning runs/g: until ^C;", "00:00"),
        ({"limit": 60.0}, "beginning runs/g: 1 minute;", "  0% |        | 01:00 left  of 01:00"),
        ({"rounds": 8}, "beginning runs/g: 8 rounds;", "  0% |        | round 0 of 8"),
        (
            {"rounds": 8, "round": 2, "games": 1700, "seconds": 41.3},
            "continuing runs/g from round 2 (1,700 games, 41 s); in all 8 rounds",
            " 25% |██      | round 2 of 8",
        ),
    ],
)
def test_a_session_says_what_is_there_and_where_it_ends(
    outlook: dict[str, Any], opening: str, whole: str
) -> None:
    with terminal_of(100) as terminal:
        bars = TrainingBars(Path("runs/g"), quiet=False, clock=lambda: 0.0)
        bars.session(outlook_of(stop_at_raw=None, **outlook))
        bars.task("learn", 100)
        assert terminal.rows()[0].startswith(opening)
        assert terminal.rows()[1] == whole
        bars.close()


def test_a_limit_after_the_truth_is_no_share_of_it() -> None:
    with terminal_of(100) as terminal:
        bars = TrainingBars(Path("runs/g"), quiet=False, clock=lambda: 0.0)
        bars.session(outlook_of(stop_at_raw=None))
        bars.metrics({"seconds": 0.0, "round": 0, "truth": {"raw": 1.0, "search": 1.0}})
        bars.task("learn", 100)
        assert terminal.rows()[-2].endswith("truth 100.0%  █  stops at 02:00")
        bars.close()


def test_a_new_run_says_what_it_lets_one_expect(capsys: pytest.CaptureFixture[str]) -> None:
    for number in (None, 3):
        bars = train_module.RunBars(Path("runs/chess"), quiet=False)
        bars.expected = lambda: "expect a weak player"
        bars.session(outlook_of(round=number))
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith("beginning runs/chess")
    assert second == "expect a weak player"
    assert third.startswith("continuing runs/chess")


def steps(bars: TrainingBars, now: list[float]) -> None:
    bars.detail("the learner has 2 threads")
    bars.step("solving hexapawn")
    now[0] += 0.1
    bars.step("starting 2 workers")
    now[0] += 7.0
    bars.step("measuring precisions")
    now[0] += 2.0
    bars.result("bf16 for the learner")
    bars.task("play", 100)


def test_a_log_says_each_step_when_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    steps(TrainingBars(Path("runs/g"), quiet=False, clock=lambda: now[0]), now)
    assert capsys.readouterr().err.splitlines() == [
        "solving hexapawn …",
        "starting 2 workers …",
        "measuring precisions …",
        "  bf16 for the learner",
    ]
    with verbosity_of(["-v"]):
        steps(TrainingBars(Path("runs/g"), quiet=False), now)
    assert capsys.readouterr().err.splitlines()[0] == "the learner has 2 threads"
    with verbosity_of(["--quiet"]):
        steps(TrainingBars(Path("runs/g"), quiet=False), now)
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_a_step_while_it_lasts_and_what_it_has_come_to(width: int) -> None:
    now = [0.0]
    with terminal_of(width) as terminal:
        bars = TrainingBars(Path("runs/g"), quiet=False, clock=lambda: now[0])
        bars.step("starting 2 workers")
        assert terminal.rows() == ["starting 2 workers"]
        now[0] = 7.0
        bars._tick()
        assert terminal.rows() == ["starting 2 workers  00:07"]
        steps(bars, now)
        assert one_line(terminal.rows()[:-1]) == (
            "starting 2 workers: 7.0 s starting 2 workers: 7.0 s"
            " measuring precisions: bf16 for the learner"
        )
        assert terminal.widest() < width
        bars.close()


@pytest.mark.parametrize("how", [[], ["--quiet"]], ids=["usual", "quiet"])
def test_what_loads_long_is_said_and_removed(
    how: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal_of(40) as terminal, verbosity_of(how):
        with loading():
            pass
        assert terminal.text() == ""
        monkeypatch.setattr(loading_module, "_PATIENCE", 0.0)
        with loading():
            end = time.monotonic() + 5.0
            while not how and not terminal.text() and time.monotonic() < end:
                time.sleep(1e-3)
            assert terminal.rows() == ([""] if how else ["loading …"])
        assert terminal.rows() == [""]


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
        "solving hexapawn5x5: 10,000 of 40,000 (25%) positions, 00:30 left",
        "solving hexapawn5x5: 20,000 of 40,000 (50%) positions, 00:20 left",
    ]


def test_the_time_that_is_left_forgets_what_was_done_before() -> None:
    """A hundred layers of an interrupted report come at once, then one in two seconds."""
    time_left = TimeLeft(10.0)
    for done in range(101):
        time_left.reach(10.0 + done / 1000, done)
    assert time_left.left(10.2, 200) is None
    for done in range(101, 121):
        time_left.reach(10.0 + 2.0 * (done - 100), done)
    assert time_left.left(50.0, 200) == pytest.approx(160.0)
    assert time_left.left(50.0, 120) is None


def test_preparation_is_not_work() -> None:
    time_left = TimeLeft(0.0)
    time_left.reach(60.0, 0)
    for second in range(1, 11):
        time_left.reach(60.0 + second, second)
        known = time_left.left(60.0 + second, 100)
        assert known == (None if second < 5 else pytest.approx(100.0 - second))


def test_no_time_is_left_of_what_is_done_or_of_an_unknown_total() -> None:
    time_left = TimeLeft(0.0)
    for second in range(1, 11):
        time_left.reach(float(second), second)
    assert [time_left.left(10.0, total) for total in (0, 9, 10)] == [None, None, None]
    assert time_left.left(10.0, 11) == pytest.approx(1.0)


def test_the_time_that_is_left_is_that_of_the_present_pace() -> None:
    time_left = TimeLeft(0.0)
    for second in range(1, 101):
        time_left.reach(float(second), 10 * second if second <= 50 else 500 + second - 50)
    assert time_left.left(100.0, 650) == pytest.approx(100.0, rel=0.1)


@pytest.mark.parametrize("rows", [24, 0], ids=["a size", "no known size"])
def test_a_terminal_is_told_the_time_that_is_left(rows: int) -> None:
    now = [0.0]
    with terminal_of(60 if rows else 0, rows) as terminal:
        bars = Bars(quiet=False, clock=lambda: now[0])
        bars.begin("probing", 100, " layers")
        for second in range(1, 11):
            now[0] = float(second)
            bars.reach(second, 100)
        bars.redraw()
        assert terminal.rows()[-1].endswith("01:30 left")
        bars.words(["92 right"])
        bars.redraw()
        assert terminal.rows()[-1].endswith("92 right")
        bars.words([])
        bars.begin("loading", 100, "", logged=False)
        bars.reach(50, 100)
        bars.redraw()
        assert "left" not in terminal.rows()[-1]
        bars.close()


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
