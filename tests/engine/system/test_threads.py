"""Jobs in threads: their order, their progress, and an end at the first failure."""

import threading
from concurrent.futures import CancelledError

import pytest

from engine.system.threads import in_threads


@pytest.mark.parametrize("workers", [1, 3])
def test_results_and_progress_are_in_the_jobs_order(workers: int) -> None:
    told: list[tuple[int, int]] = []
    second_is_done = threading.Event()

    def first() -> int:
        # With several workers the second job ends before.
        assert workers == 1 or second_is_done.wait(10.0)
        return 1

    def second() -> int:
        second_is_done.set()
        return 2

    jobs = [first, second, lambda: 3]
    assert in_threads(jobs, workers, lambda *step: told.append(step)) == [1, 2, 3]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_after_a_failure_no_other_job_begins() -> None:
    begun: list[int] = []

    def job(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise ValueError("the second job")
        return number

    jobs = [lambda number=number: job(number) for number in range(50)]
    with pytest.raises(ValueError, match="the second job"):
        in_threads(jobs, 1)
    assert begun == [0, 1]


def test_a_job_that_ends_for_another_s_failure_does_not_hide_it() -> None:
    stopped = threading.Event()

    def waits() -> int:
        assert stopped.wait(10.0)
        raise CancelledError

    def fails() -> int:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        in_threads([waits, fails], 2, stopped=stopped)


def test_an_interrupt_ends_the_work() -> None:
    begun: list[int] = []

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    gate = threading.Event()

    def job(number: int) -> int:
        begun.append(number)
        if number:
            gate.wait(0.05)
        return number

    jobs = [lambda number=number: job(number) for number in range(50)]
    with pytest.raises(KeyboardInterrupt):
        in_threads(jobs, 1, interrupt)
    assert len(begun) < 10
