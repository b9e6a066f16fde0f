"""Files that are whole or not there, whatever ends a program or fills a disk, and where caches are.

Nothing here knows what is in a file. Whoever can make it again treats an OSError as a file that is
not there.
"""

import hashlib
import os
from collections.abc import Iterator
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
    except BaseException:
        temporary.unlink(missing_ok=True)
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
        while data:
            data = data[file.write(data) :]
    except BaseException:
        os.ftruncate(file.fileno(), size)
        raise


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


def checksum_of(*arrays: npt.NDArray[Any]) -> str:
    """SHA-256 of the arrays' contents one after the other, in slices that let ^C through."""
    digest = hashlib.sha256()
    for array in arrays:
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        for start in range(0, len(content), _SLICE):
            digest.update(content[start : start + _SLICE].data)
    return digest.hexdigest()


__all__ = [
    "append_to",
    "append_whole",
    "cache_folder",
    "checksum_of",
    "replacing",
    "write_whole",
]
