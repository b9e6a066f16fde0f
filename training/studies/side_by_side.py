"""Tasks in parallel processes, each pinned to one core and with one thread.

As many run at a time as there are cores, in the given order: tasks that run at the same time are
slowed alike by other load. Where there are more tasks than cores, the later ones meet other load.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from multiprocessing.queues import Queue
from typing import TypeVar

import torch

from engine.system.processes import ProcessPool, usable_cores

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_side_by_side(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    """The results as they come, of one task on each core at a time; raises what `function` raises.

    When one fails the others end at once. All end with this process, however it ends.
    """
    if not tasks:
        return
    context = multiprocessing.get_context("spawn")
    free = context.Queue()
    for core in usable_cores():
        free.put(core)
    workers = min(len(usable_cores()), len(tasks))
    with ProcessPool(workers, _pin, free) as pool:
        for done in as_completed([pool.submit(function, task) for task in tasks]):
            yield done.result()


def _pin(free: "Queue[int]") -> None:
    """Give a new process a core of its own (Linux only) and one thread."""
    core = free.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
