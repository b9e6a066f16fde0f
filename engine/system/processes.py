"""Processes that this one starts: they ignore ^C and end when this process ends.

A terminal sends ^C to all of them, and one that still imports would die with a traceback. The
process that started them ends them and reports the interrupt.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import resource_tracker
from types import ModuleType, TracebackType
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def usable_cores() -> list[int]:
    """The numbers of the cores that this process may use; all cores where the system has no such
    limit."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _start(initializer: Callable[..., object], arguments: tuple[object, ...]) -> None:
    """In a new process of a pool: end it when its parent ends, even by a kill."""

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    initializer(*arguments)


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Block ^C, also in a process that starts in the block, and there for good."""
    # Its start would unblock the signal again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def main_module_hidden() -> Iterator[None]:
    """A process that starts in the block does not import the program's main module.

    A new interpreter imports it for what it may hold of the process's task. Where nothing of the
    task is there, that costs time, and a script that does its work without asking for its own name
    would begin it again in every process.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class ProcessPool(ProcessPoolExecutor):
    """A pool of new interpreters, which end with this process. A `with` block that raises ends them
    at once."""

    def __init__(
        self, workers: int, initializer: Callable[..., object] = int, *arguments: object
    ) -> None:
        """`initializer(*arguments)` is called first in each of at most `workers` processes."""
        context = multiprocessing.get_context("spawn")
        super().__init__(workers, context, _start, (initializer, arguments))

    def submit(
        self,
        function: Callable[Parameters, Result],
        /,
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Future[Result]:
        """As in the base class; a process may start here."""
        with interrupts_held():
            return super().submit(function, *arguments, **named)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Wait for the processes; where there is an error, end them first."""
        if kind is not None:
            for process in self._processes.values():
                process.terminate()
        self.shutdown(wait=True, cancel_futures=kind is not None)
        return None
