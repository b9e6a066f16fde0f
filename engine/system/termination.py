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


def end_at_once() -> None:
    """Let ^C and SIGTERM end the process as they end any other, without an exception; call it in
    the main thread when all work is done.

    An exception in what Python does at its end would be printed with its traceback.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if raises(number):
            try:
                signal.signal(number, signal.SIG_DFL)
            except KeyboardInterrupt:
                # One that had come before raises here.
                signal.signal(number, signal.SIG_DFL)


def raises(number: int) -> bool:
    """Whether a signal raises KeyboardInterrupt: SIGINT as Python has it, SIGTERM as above."""
    return signal.getsignal(number) in (signal.default_int_handler, _raise_terminated)


def _raise_terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
