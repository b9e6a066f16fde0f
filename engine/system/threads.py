"""Work that several threads share, whose results do not depend on their number."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def in_threads(
    jobs: Sequence[Callable[[], T]],
    workers: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stopped: threading.Event | None = None,
) -> list[T]:
    """The results of all jobs, in their order, in which they also begin.

    `progress` is told, in this thread, how many are done, of how many. Once a job has failed, or
    this thread is interrupted, no other begins, and `stopped` is set: long jobs may look at it and
    raise CancelledError. The failure is raised; of several any one.
    """
    found: list[T] = []
    failures: list[BaseException] = []
    stopped = threading.Event() if stopped is None else stopped

    def run(job: Callable[[], T]) -> T:
        if stopped.is_set():
            raise CancelledError
        try:
            return job()
        except CancelledError:
            raise
        except BaseException as failure:
            failures.append(failure)
            stopped.set()
            raise

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(run, job) for job in jobs]
        try:
            for future in futures:
                found.append(future.result())
                progress(len(found), len(jobs))
        except BaseException as problem:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            # A job may have ended because of what failed in a later one.
            if isinstance(problem, CancelledError) and failures:
                raise failures[0] from None
            raise
    return found
