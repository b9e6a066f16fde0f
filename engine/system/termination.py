"""SIGTERM raises an exception in the main thread, as ^C does, in programs that ask for it.

Code that saves and reports on KeyboardInterrupt then does so on SIGTERM as well.
"""

import signal
from types import FrameType
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM has come."""


def raise_on_termination() -> None:
    """Make SIGTERM raise Terminated in the main thread; call it there.

    No-op where SIGTERM is already ignored or handled.
    """
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _raise_terminated)


def raises(number: int) -> bool:
    """Whether a signal raises KeyboardInterrupt: SIGINT as Python has it, SIGTERM as above."""
    return signal.getsignal(number) in (signal.default_int_handler, _raise_terminated)


def _raise_terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
