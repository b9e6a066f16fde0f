"""Machine code on disk: one file a kernel, in a folder named by a digest of its inputs.

The digest is of the sources of all kernels, of numba, LLVM and Python, and of the processor. After
an edit, or on another machine, there is a new folder, so old code never runs. Each file begins with
a digest of the rest, which detects damage.

The kernels of ON_DEMAND_FOLDERS are compiled when they are first called, and not before a first
training. No others call them, so the names of their files hold a digest of their sources instead:
an edit there leaves the folder valid.

Where the cache cannot be read or written, kernels are compiled in every process, and `problem` says
why.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import re
import shutil
import threading
from pathlib import Path
from typing import Any, Final

import llvmlite
import numba
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target
from numba.core.serialize import dumps

from engine.system.files import cache_folder

_ROOT: Final = Path(__file__).resolve().parents[3]
KERNEL_FOLDERS: Final = ("engine/rules", "engine/network", "search", "training")
ON_DEMAND_FOLDERS: Final = ("engine/probing",)
_CONSTANT_FOLDERS: Final = ("engine/rules", "engine/network", "search")
"""Folders of which every module counts: kernels take constants, and pieces of code, from them."""
KERNEL_WORDS: Final = (b"kernel\n", b"@inlined", b"intrinsic")
"""What only a module with kernels holds: the end of a decorator's line, or the like."""
_KEPT_FOLDERS: Final = 8
_OUR_FOLDER: Final = re.compile("[0-9a-f]{16}")
_DIGEST_BYTES: Final = 32
_ON_DEMAND: Final = tuple(f"{folder.replace('/', '.')}." for folder in ON_DEMAND_FOLDERS)
"""How the full names of their kernels begin."""


def kernel_modules(folders: tuple[str, ...] = KERNEL_FOLDERS) -> list[Path]:
    """The source files in these folders that hold kernels, in a fixed order."""
    return [path for path in _sources(folders) if _holds_kernels(path.read_bytes())]


def _sources(folders: tuple[str, ...]) -> list[Path]:
    return [path for folder in folders for path in sorted((_ROOT / folder).rglob("*.py"))]


def _holds_kernels(source: bytes) -> bool:
    return any(word in source for word in KERNEL_WORDS)


@functools.cache
def _source_digest(folders: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for path in _sources(folders):
        source = path.read_bytes()
        name = path.relative_to(_ROOT).as_posix()
        if name.startswith(_CONSTANT_FOLDERS) or _holds_kernels(source):
            digest.update(f"{name} {len(source)} ".encode())
            digest.update(source)
    return digest.hexdigest()


class KernelCache:
    """The files of this process's kernels; nothing is read or made before the first is asked for.

    Attribute `problem` is why the last file could not be kept, empty where all is well.
    """

    def __init__(self, base: Path | None = None) -> None:
        """`base` is the folder of folders; the user's cache directory unless noted."""
        if named := os.environ.get("NUMBA_CACHE_DIR"):
            base = base or Path(named) / "pawnscope" / "kernels"
        # No shared folder as a fallback: nobody else may write code that is run here.
        self._base = base or cache_folder("kernels") or Path(os.devnull) / "kernels"
        self._folder: Path | None = None
        self.problem = ""

    @property
    def folder(self) -> Path:
        """Where the kernels of these sources, libraries and processor are kept."""
        if self._folder is None:
            made_for = (
                _source_digest(KERNEL_FOLDERS),
                numba.__version__,
                llvmlite.__version__,
                platform.python_implementation() + platform.python_version(),
                *cpu_target.target_context.codegen().magic_tuple(),
            )
            name = hashlib.sha256(repr(made_for).encode()).hexdigest()[:16]
            self._folder = self._base / name
            self._tidy(self._folder)
        return self._folder

    def _tidy(self, folder: Path) -> None:
        """Mark the folder as used; drop those that were not used for longest."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)
            ours = [path for path in folder.parent.iterdir() if _OUR_FOLDER.fullmatch(path.name)]
            older = sorted(ours, key=lambda path: path.stat().st_mtime)
            for path in older[:-_KEPT_FOLDERS]:
                shutil.rmtree(path, ignore_errors=True)
        except OSError as problem:
            self.problem = f"{problem.strerror}: {folder}"

    def path(self, name: str, signature: Any) -> Path:
        """The file of a kernel's code for argument types."""
        key = str(signature)
        if name.startswith(_ON_DEMAND):
            key += _source_digest(ON_DEMAND_FOLDERS)
        return self.folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"

    def load(self, path: Path, context: Any) -> CompileResult | None:
        """The code in a file; None where the file is missing or damaged."""
        try:
            kept = path.read_bytes()
        except OSError:
            return None
        digest, code = kept[:_DIGEST_BYTES], kept[_DIGEST_BYTES:]
        if hashlib.sha256(code).digest() != digest:
            return None
        result: CompileResult = CompileResult._rebuild(context, *pickle.loads(code))
        return result

    def save(self, path: Path, result: CompileResult) -> None:
        """Keep a kernel's code."""
        code = dumps(result._reduce())
        self.write(path, hashlib.sha256(code).digest() + code)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file whole or not at all."""
        # Not synced: there are hundreds, and a damaged file is detected and compiled again.
        temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            temporary.replace(path)
        except OSError as problem:
            self.problem = f"{problem.strerror}: {path.parent}"
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
