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
) -> list[T]:
    """The results of all jobs, in their order, in which they also begin.

    `progress` is told, in this thread, how many are done, of how many. Once a job has failed, or
    this thread is interrupted, no other begins; the first failure in their order is raised.
    """
    found: list[T] = []
    stopped = threading.Event()

    def run(job: Callable[[], T]) -> T:
        if stopped.is_set():
            raise CancelledError
        try:
            return job()
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(run, job) for job in jobs]
        try:
            for future in futures:
                found.append(future.result())
                progress(len(found), len(jobs))
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found
