"""Leaves torch's number of threads, which belongs to the caller's process, as it was."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def torch_threads_kept() -> Iterator[None]:
    """Training and players set the number of threads; afterwards it is the caller's again."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
