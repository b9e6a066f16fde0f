"""SIGTERM handled as ^C is, by an exception in the main thread, for programs that ask for it.

Code that saves and reports on KeyboardInterrupt then does so on SIGTERM, too.
"""

import signal
from types import FrameType
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM has come."""


def raise_on_termination() -> None:
    """From here on SIGTERM raises Terminated in the main thread, which must be the caller's.

    Where SIGTERM is ignored or handled already it stays so.
    """
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _raise_terminated)


def raises(number: int) -> bool:
    """Whether a signal raises KeyboardInterrupt: SIGINT as Python has it, SIGTERM as above."""
    return signal.getsignal(number) in (signal.default_int_handler, _raise_terminated)


def _raise_terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
