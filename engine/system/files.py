"""Files that are written whole or not at all, JSON-lines files, and the place of caches.

A kill or a full disk leaves the old file, the new one, or, in a JSON-lines file, an unfinished last
line that `whole_lines` removes.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

TEMPORARY: Final = ".tmp"
_SLICE: Final = 1 << 24


@contextmanager
def replacing(path: Path, ending: str = TEMPORARY) -> Iterator[Path]:
    """A temporary name to write to: when the block ends, the file is synced and renamed to `path`.

    The name is that of the file with the process's number and `ending`. Where the block fails, the
    temporary file is removed and the file at `path` stays as it was. A device or a pipe is written
    to and never replaced. Raises OSError, which names `path`.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}{ending}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
    except BaseException as problem:
        temporary.unlink(missing_ok=True)
        if isinstance(problem, OSError) and problem.filename == str(temporary):
            problem.filename = None
        _name(problem, path)
        raise
    # The rename is safe from a power cut only once the directory is synced.
    _sync(path.parent)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; raises OSError."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file, after an unfinished last line is removed from it; none where there is no
    file. Raises OSError."""
    if not path.exists():
        return []
    text = path.read_bytes()
    end = text.rfind(b"\n") + 1
    if end < len(text):
        os.truncate(path, end)
    return text[:end].splitlines()


def append_json(path: Path, values: object) -> None:
    """Append one line to a JSON-lines file, whole or not at all; raises OSError."""
    append_whole(path, json.dumps(values) + "\n")


def append_whole(path: Path, text: str) -> None:
    """Append text to a file, whole or not at all; raises OSError."""
    with open(path, "ab", buffering=0) as file:
        append_to(file, text.encode())


def append_to(file: BinaryIO, data: bytes) -> None:
    """As `append_whole`, for an unbuffered file that is open for appending."""
    size = os.fstat(file.fileno()).st_size
    try:
        _write_all(file, data)
    except BaseException as problem:
        # A device or a pipe cannot be cut.
        with suppress(OSError):
            os.ftruncate(file.fileno(), size)
        _name(problem, file.name)
        raise


def _sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _name(problem: BaseException, path: str | Path) -> None:
    """Add the file to an error of the system that does not name it."""
    if isinstance(problem, OSError) and problem.errno is not None and problem.filename is None:
        problem.filename = str(path)


def described(problem: OSError) -> str:
    """An error of the system in one line, with the file that it is about."""
    reason = problem.strerror or str(problem) or type(problem).__name__
    return reason if problem.filename is None else f"{reason}: {problem.filename}"


def cache_folder(name: str) -> Path | None:
    """The folder `name` among this program's caches; None where the user has no place for any.

    After the XDG Base Directory Specification, by which a relative XDG_CACHE_HOME does not count.
    The folder may be missing or not writable.
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


def home_expanded(path: str | os.PathLike[str]) -> Path:
    """The path with the person's home folder for a "~" at its beginning. The "~NAME" of a user who
    does not exist stays as it is."""
    return Path(os.path.expanduser(path))
