"""Standard output kept free for results while code runs that is not ours."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def output_to_messages() -> Iterator[None]:
    """In the block, whatever is written to standard output goes to standard error.

    So does what a compiled library writes, or a program that the block starts.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        # What the block wrote to Python's own stream, past the redirection.
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
        os.dup2(kept, 1)
        os.close(kept)
