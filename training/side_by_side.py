"""Tasks in processes of their own, each pinned to one core and with one thread.

What is compared runs at the same time: whatever else the machine does slows all of it alike.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.queues import Queue
from typing import Any, TypeVar

import torch

Task = TypeVar("Task")
Result = TypeVar("Result")


class Unwatched:
    """A monitor of trainings that nobody watches."""

    def task(self, name: str, total: int) -> None:
        """Not told."""

    def advance(self, amount: int) -> None:
        """Not told."""

    def metrics(self, values: dict[str, Any]) -> None:
        """Not told."""


def run_side_by_side(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    """The results as they come, of one task on each core at a time; raises what `function` raises.

    The processes end with this one, however it ends.
    """
    if not tasks:
        return
    context = multiprocessing.get_context("spawn")
    free = context.Queue()
    for core in cores():
        free.put(core)
    workers = min(len(cores()), len(tasks))
    with ProcessPoolExecutor(workers, context, _settle, (free,)) as pool:
        try:
            for done in as_completed([pool.submit(function, task) for task in tasks]):
                yield done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def cores() -> list[int]:
    """The cores that may be used."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _settle(free: "Queue[int]") -> None:
    """A core of its own (Linux only) and one thread for a new process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    core = free.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """A parent that is killed cannot tell its children, and the pool's would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
