"""Compiling counts nowhere: a clock that stands still meanwhile, in every process that computes."""

import threading
from types import SimpleNamespace
from typing import Any

import numba
import pytest
from numba.core import event

from engine.rules.compilation import compile_time
from engine.rules.compilation.compile_time import (
    add_compile_seconds,
    compile_seconds,
    not_counted,
    working_time,
)
from training.selfplay.actors import processes as actors
from training.selfplay.actors.processes import WorkerPool, _Answer


class Clock:
    """Shows what a test wants it to show."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now

    def compile(self, seconds: float) -> None:
        """As numba does, which takes its lock again for every function that a function calls."""
        event.start_event("numba:compiler_lock")
        event.start_event("numba:compiler_lock")
        self.now += seconds
        event.end_event("numba:compiler_lock")
        event.end_event("numba:compiler_lock")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(compile_time, "time", clock)
    return clock


def test_the_clock_stands_still_while_something_is_compiled(clock: Clock) -> None:
    begun, before = working_time(), compile_seconds()
    clock.now += 2.0
    clock.compile(50.0)
    clock.now += 3.0
    assert working_time() - begun == pytest.approx(5.0)
    assert compile_seconds() - before == pytest.approx(50.0)


def test_preparations_and_the_compiling_of_others_do_not_count(clock: Clock) -> None:
    begun = working_time()
    with not_counted():
        clock.now += 4.0
        clock.compile(50.0)
        inside = working_time()
        clock.now += 1.0
        assert working_time() - inside == pytest.approx(1.0), "inside the clock goes on"
    clock.now += 10.0
    add_compile_seconds(7.0)
    assert working_time() - begun == pytest.approx(3.0)


def test_each_thread_has_a_clock_of_its_own(clock: Clock) -> None:
    before = compile_seconds()
    other = threading.Thread(target=clock.compile, args=(50.0,))
    other.start()
    other.join()
    assert compile_seconds() == before


def test_numba_says_when_it_compiles() -> None:
    before = compile_seconds()
    one: Any = numba.njit(lambda: 1)
    assert one() == 1
    assert compile_seconds() > before
    known = compile_seconds()
    assert one() == 1
    assert compile_seconds() == known


@pytest.mark.parametrize(
    ("answers", "counted"),
    [
        # The learner waited for the slower compiler.
        ([(21.0, 20.0), (31.0, 30.0)], 1.0),
        # It waited for one that only worked, whatever the other compiled meanwhile.
        ([(0.6, 0.5), (1.0, 0.0)], 1.0),
        ([(0.9, 0.5), (0.7, 0.0)], 0.7),
        ([(0.9, 0.9)], 0.0),
    ],
)
def test_the_learner_does_not_count_what_its_workers_compile(
    answers: list[tuple[float, float]],
    counted: float,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of `answers` after so many seconds, of which so many compiling."""

    class Pipe:
        """A worker, at whose answer the clock shows when it comes."""

        def __init__(self, after: float, compiling: float) -> None:
            self.after = 1000.0 + after
            self.heard: list[Any] = [3, _Answer(["shard"], compiling)]

        def send(self, task: Any) -> None:
            """Nobody listens."""

        def recv(self) -> Any:
            clock.now = max(clock.now, self.after)
            return self.heard.pop(0)

    pool = WorkerPool.__new__(WorkerPool)
    workers: list[Any] = [(SimpleNamespace(), Pipe(*answer)) for answer in answers]
    pool._workers = workers
    monkeypatch.setattr(actors, "wait", lambda pipes: [min(pipes, key=lambda pipe: pipe.after)])
    heard: list[int] = []
    begun = working_time()
    assert pool.play([], heard.append) == ["shard"] * len(answers)
    assert heard == [3] * len(answers)
    assert working_time() - begun == pytest.approx(counted)
