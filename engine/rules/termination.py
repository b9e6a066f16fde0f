"""SIGTERM as a second ^C: an exception in the main thread, for programs that ask for it.

What tidies up after KeyboardInterrupt, saves and says what is done, does so then, too.
"""

import signal
from types import FrameType
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM has come."""


def raise_on_termination() -> None:
    """From here on SIGTERM raises Terminated in the main thread, which must be the caller's."""
    signal.signal(signal.SIGTERM, _raise_terminated)


def raises(number: int) -> bool:
    """Whether a signal raises KeyboardInterrupt: SIGINT as Python has it, SIGTERM as above."""
    return signal.getsignal(number) in (signal.default_int_handler, _raise_terminated)


def _raise_terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
