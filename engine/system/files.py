"""Files that are whole or not there, whatever ends a program or fills a disk, and where caches are.

Nothing here knows what is in a file. Whoever can make it again treats an OSError as a file that is
not there.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

TEMPORARY: Final = ".tmp"
_SLICE: Final = 1 << 24


@contextmanager
def replacing(path: Path, ending: str = TEMPORARY) -> Iterator[Path]:
    """A temporary name to write to: when the block ends, the file is synced and takes its place.

    The name is that of the file with the process's number and `ending`. Where the block fails, the
    temporary file goes and what stood at `path` stays. Raises OSError.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}{ending}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as problem:
        temporary.unlink(missing_ok=True)
        _name(problem, path)
        raise
    # The rename itself is safe from a power cut only once the directory is.
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all; raises OSError."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_whole(path: Path, text: str) -> None:
    """Add text to the end of a file, whole or not at all; raises OSError."""
    with open(path, "ab", buffering=0) as file:
        append_to(file, text.encode())


def append_to(file: BinaryIO, data: bytes) -> None:
    """As `append_whole`, for an unbuffered file that is open for appending."""
    size = os.fstat(file.fileno()).st_size
    try:
        _write_all(file, data)
    except BaseException as problem:
        os.ftruncate(file.fileno(), size)
        _name(problem, file.name)
        raise


def _name(problem: BaseException, path: str | Path) -> None:
    """The system's errors of writing do not say by themselves which file it was."""
    if isinstance(problem, OSError) and problem.errno is not None and problem.filename is None:
        problem.filename = str(path)


def cache_folder(name: str) -> Path | None:
    """The folder `name` among this program's caches; None where the user has no place for any.

    After the XDG Base Directory Specification, by which a relative XDG_CACHE_HOME does not count.
    The folder may be missing or closed to us.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError:
            # No HOME, and a user whom the system does not know.
            return None
    return base / "pawnscope" / name


def write_arrays(
    path: Path, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str], ending: str
) -> int:
    """Write a safetensors file whole or not at all; returns its bytes. Raises OSError.

    As safetensors' own `save_file`, but without a copy in memory, and in slices that let ^C
    through: solutions take gigabytes. `ending` is that of `replacing`.
    """
    head: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        kind = f"{array.dtype.kind.upper()}{8 * array.dtype.itemsize}"
        head[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [start, end]}
    text = json.dumps(head).encode()
    # Padded, so that the arrays begin at a multiple of eight bytes.
    text += b" " * (-len(text) % 8)
    with replacing(path, ending) as temporary, open(temporary, "wb", buffering=0) as file:
        _write_all(file, len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            for part in _slices(array):
                _write_all(file, part)
    return 8 + len(text) + end


def _write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _slices(array: npt.NDArray[Any]) -> Iterator[memoryview]:
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for start in range(0, len(content), _SLICE):
        yield content[start : start + _SLICE].data


def checksum_of(*arrays: npt.NDArray[Any]) -> str:
    """SHA-256 of the arrays' contents one after the other, in slices that let ^C through."""
    digest = hashlib.sha256()
    for array in arrays:
        for part in _slices(array):
            digest.update(part)
    return digest.hexdigest()


__all__ = [
    "append_to",
    "append_whole",
    "cache_folder",
    "checksum_of",
    "replacing",
    "write_arrays",
    "write_whole",
]
