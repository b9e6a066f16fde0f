"""One decorator for every compiled kernel, and a cache that cannot go stale.

Numba's cache looks at a kernel's own file only: a kernel that calls another module's kernel would
keep running the old code after an edit. Here the cache folder is named by a hash of all the sources
that hold kernels, so any edit starts a new folder and the old ones are swept away.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.core import event
from numba.extending import intrinsic

_ROOT: Final = Path(__file__).resolve().parents[2]
_KERNEL_ROOMS: Final = ("engine/rules", "engine/network", "search", "training")
_HOLD_NO_CONSTANTS: Final = ("engine/network", "training")
"""Rooms of which only the modules with kernels matter."""
_KEPT_CACHES: Final = 8

F = TypeVar("F", bound=Callable[..., Any])


def _source_digest() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for room in _KERNEL_ROOMS:
        for path in sorted((_ROOT / room).glob("*.py")):
            source = path.read_bytes()
            # Kernels take constants from the other rooms' other modules.
            compiled = b"@kernel" in source or b"intrinsic" in source
            if compiled or room not in _HOLD_NO_CONSTANTS:
                digest.update(path.name.encode())
                digest.update(source)
    return digest.hexdigest()[:16]


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pawnscope" / "kernels"


def _use_cache() -> None:
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    folder = _cache_folder() / _source_digest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        older = sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in older[:-_KEPT_CACHES]:
            shutil.rmtree(path, ignore_errors=True)
    except OSError:
        # Without a writable cache numba falls back on its own choice of folder.
        return
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    numba.config.reload_config()


_use_cache()


def kernel(function: F) -> F:
    """Compile `function` to machine code, cached on disk; it trusts its input."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def inlined(function: F) -> F:
    """As `kernel`, but its callers absorb its code: an array costs seven words at every call."""
    return cast(
        F, numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")(function)
    )


if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):

    def lowest_bit(bitmap: int) -> int:
        """The number of the lowest set bit of a bitmap that is not empty."""
        return (int(bitmap) & -int(bitmap)).bit_length() - 1

else:

    @intrinsic
    def lowest_bit(typing_context: Any, bitmap: Any) -> Any:
        """The number of the lowest set bit of a bitmap that is not empty: one instruction."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

        return types.int64(types.int64), generate


class _FirstCompilation(event.Listener):
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def on_start(self, event: event.Event) -> None:
        if self._callback is not None:
            self._callback()
            self._callback = None

    def on_end(self, event: event.Event) -> None:
        pass


def on_compile(callback: Callable[[], None]) -> None:
    """Call back once, when this process first compiles a kernel instead of loading it."""
    event.register("numba:compile", _FirstCompilation(callback))
