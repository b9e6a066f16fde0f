"""^C while the main thread runs a kernel.

Python handles a signal between two bytecodes, and a call of a kernel is one bytecode. Python's C
handler, however, writes to the descriptor of `signal.set_wakeup_fd` at once. A thread reads from it
and sets the flag that a kernel polls. The kernel returns early, and KeyboardInterrupt is raised
before its result can be used:

    with interruptible() as stop:
        nodes = long_kernel(tables, row, stop)

SIGTERM works as ^C does where the program has asked for that (termination.py).

Every kernel that may run for more than a tenth of a second takes such a flag, or works in slices
between which Python handles signals.
"""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.system.termination import raises

StopFlag = npt.NDArray[np.uint8]
"""uint8[1]: kernels run without the interpreter's lock and end soon after it becomes 1."""

_ANY: Final = 4096
_NO_DESCRIPTOR: Final = -1


class _Listener:
    """Sets the flags of the kernels that run in the main thread; such calls may be nested."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._lock = threading.Lock()
        self._flags: list[StopFlag] = []
        self._before = _NO_DESCRIPTOR
        threading.Thread(target=self._listen, name="interrupts", daemon=True).start()

    def _listen(self) -> None:
        ready = select.poll()
        ready.register(self._reader, select.POLLIN)
        while True:
            ready.poll()
            with self._lock:
                if any(map(raises, self._heard())):
                    for flag in self._flags:
                        flag[0] = 1

    def _heard(self) -> bytes:
        """Numbers of the signals that have come, which are passed on to the previous listener."""
        try:
            numbers = os.read(self._reader, _ANY)
        except BlockingIOError:
            return b""
        if self._before != _NO_DESCRIPTOR:
            with contextlib.suppress(OSError):
                os.write(self._before, numbers)
        return numbers

    @contextlib.contextmanager
    def raising(self, flag: StopFlag) -> Iterator[None]:
        """Set this flag as well on a signal inside the block."""
        before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        try:
            with self._lock:
                if before != self._writer:
                    self._before = before
                # Earlier signals have already raised their KeyboardInterrupt.
                self._heard()
                self._flags.append(flag)
            yield
        finally:
            with self._lock:
                self._flags = [other for other in self._flags if other is not flag]
            # The previous listener may have closed its descriptor meanwhile.
            with contextlib.suppress(ValueError, OSError):
                signal.set_wakeup_fd(before, warn_on_full_buffer=False)


_listener: _Listener | None = None


def _forget_listener() -> None:
    """Drop the listener in a forked child, which has no listening thread and shares the pipe."""
    global _listener
    if _listener is not None:
        _listener = None
        with contextlib.suppress(ValueError):
            signal.set_wakeup_fd(_NO_DESCRIPTOR)


os.register_at_fork(after_in_child=_forget_listener)


@contextlib.contextmanager
def interrupts_postponed() -> Iterator[None]:
    """Let ^C and SIGTERM raise KeyboardInterrupt only at the end of the block.

    For blocks where C code, such as LLVM, calls Python and drops its exceptions.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread handles signals.
        yield
        return
    postponed = [number for number in (signal.SIGINT, signal.SIGTERM) if raises(number)]
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in postponed}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


@contextlib.contextmanager
def interruptible(stop: StopFlag | None = None) -> Iterator[StopFlag]:
    """A flag (`stop` if given) that ^C and SIGTERM set while the block runs.

    It is set only in the main thread, and only by signals that raise KeyboardInterrupt: a program
    with its own handlers gets complete results.
    """
    global _listener
    flag = np.zeros(1, dtype=np.uint8) if stop is None else stop
    is_main = threading.current_thread() is threading.main_thread()
    # A command that a shell starts in the background ignores ^C but may still receive SIGTERM.
    if not is_main or not any(map(raises, (signal.SIGINT, signal.SIGTERM))):
        yield flag
        return
    if _listener is None:
        _listener = _Listener()
    with _listener.raising(flag):
        yield flag
