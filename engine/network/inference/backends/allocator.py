"""Keeps glibc from returning a network's activations to the system after each batch."""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGEST_KEPT: Final = 1 << 25
"""Bytes of the largest block that is kept, glibc's own limit. Larger blocks are mapped one by one
and returned at once."""
_KEPT: Final = 1 << 28
"""Free bytes that may stay at the end of the heap."""


def keep_freed_memory() -> bool:
    """Let this process keep up to 256 MiB of freed memory; False if the C library cannot do it.

    Otherwise activations of some megabytes are unmapped when they are freed and mapped again in the
    next layer, with a page fault for every 4 KiB: that can halve the speed of inference. Only speed
    and memory use depend on it. Calling it again is a no-op.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    mmap_set = mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
    trim_set = mallopt(_M_TRIM_THRESHOLD, _KEPT)
    return bool(mmap_set and trim_set)
