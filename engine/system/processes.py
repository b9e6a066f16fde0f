"""Processes that this one starts, and that end with it: none of them hears ^C by itself.

A terminal sends ^C to all of them. One that still imports would die with a traceback; whoever began
them ends them and tells what there is to tell.
"""

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import resource_tracker
from types import TracebackType
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


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


class ProcessPool(ProcessPoolExecutor):
    """A pool of new interpreters. A `with` block that raises ends them, whatever they do."""

    def __init__(
        self, workers: int, initializer: Callable[..., object], *arguments: object
    ) -> None:
        """`initializer(*arguments)` is called first in each of at most so many processes."""
        super().__init__(workers, multiprocessing.get_context("spawn"), initializer, arguments)

    def submit(
        self,
        function: Callable[Parameters, Result],
        /,
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Future[Result]:
        """As ever; a process may start here."""
        with interrupts_held():
            return super().submit(function, *arguments, **named)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Wait for the processes, after they were ended where there is an error."""
        if kind is not None:
            for process in self._processes.values():
                process.terminate()
        self.shutdown(wait=True, cancel_futures=kind is not None)
        return None
