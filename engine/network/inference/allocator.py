"""Keeps glibc from giving a network's activations back to the system after each batch."""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGEST_KEPT: Final = 1 << 25
"""Bytes of the largest block that is kept, glibc's own limit; larger ones are mapped by themselves
and go back at once."""
_KEPT: Final = 1 << 28
"""Free bytes that may stay at the end of the heap."""


def keep_freed_memory() -> bool:
    """Let this process keep up to 256 MiB of freed memory; whether the C library could be told.

    Activations of some megabytes are otherwise unmapped when they are freed and mapped again, a
    page fault for every 4 KiB, in the next layer: that can halve the speed of inference. Nothing
    but speed and memory use depends on it. Calling it again changes nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    mmap_set = mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
    trim_set = mallopt(_M_TRIM_THRESHOLD, _KEPT)
    return bool(mmap_set and trim_set)
