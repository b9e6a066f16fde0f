"""Torch's number of threads: it belongs to the caller, and is as it was after every call."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_SHARED: Final = 128
"""Positions from which more than one thread has something to do."""


@contextmanager
def torch_threads_kept() -> Iterator[None]:
    """For what sets the number by itself, as training and players do."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def torch_threads_for(positions: int) -> Iterator[None]:
    """The caller's number for batches of many positions, and one thread for few.

    A small batch is done before a second thread has begun, and on a busy machine it waits for it.
    """
    import torch

    with torch_threads_kept():
        if positions < _SHARED:
            torch.set_num_threads(1)
        yield
