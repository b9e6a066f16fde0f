"""Files are whole or not there; caches may be missing, closed, full or damaged."""

import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from engine.rules.variant import get_variant
from engine.system import files
from engine.system.files import (
    append_json,
    append_whole,
    cache_folder,
    replacing,
    whole_lines,
    write_arrays,
    write_whole,
)
from scripts import cli, players
from search.exact.solver import load_or_solve
from search.exact.tablebase import tables as tablebase

HEXAPAWN = get_variant("hexapawn")


def full() -> OSError:
    """What a full disk says."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullDisk(io.FileIO):
    """A file on a disk with little room."""

    room = 10

    def write(self, data: Any) -> int:
        if not self.room:
            raise full()
        part = bytes(data)[: self.room]
        self.room -= len(part)
        return super().write(part)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `engine.system.files` opens for writing is nearly full."""

    def opened(path: Path, mode: str, buffering: int = -1) -> Any:
        return FullDisk(str(path), mode)

    monkeypatch.setattr(files, "open", opened, raising=False)


def write_half(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_whole(path, "one")
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]
    write_whole(path, "two")
    assert path.read_text() == "two"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(path, "one")
        assert os.read(reader, 10) == b"one"
    finally:
        os.close(reader)
    assert path.is_fifo()


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "x"
    with pytest.raises(FileNotFoundError) as refused:
        write_whole(path, "one")
    assert refused.value.filename == str(path)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_takes_a_whole_line_or_none(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("one\n")
    append_whole(path, "two\n")
    with pytest.raises(OSError, match="space"):
        append_whole(path, "three and four\n")
    assert path.read_text() == "one\ntwo\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ('{"a": 1}\n', [b'{"a": 1}']),
        ('{"a": 1}\n{"a"', [b'{"a": 1}']),
        ('{"a"', []),
        ("\n1\n", [b"", b"1"]),
    ],
)
def test_an_unfinished_last_line_is_removed(text: str, lines: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    assert whole_lines(path) == []
    path.write_text(text)
    assert whole_lines(path) == lines
    append_json(path, {"b": 2})
    assert whole_lines(path) == [*lines, b'{"b": 2}']


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_no_half_of_arrays(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="space"):
        write_arrays(tmp_path / "x", {"a": np.arange(100)}, {}, ".partial")
    assert not list(tmp_path.iterdir())


def test_arrays_are_those_of_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_SLICE", 7)
    arrays: dict[str, Any] = {
        "a": np.arange(12, dtype=np.uint32).reshape(4, 3),
        "b": np.arange(-3, 4, dtype=np.int16),
        "c": np.zeros(0, np.uint8),
        "d": np.arange(9, dtype=np.float32)[::2],
    }
    size = write_arrays(tmp_path / "x", arrays, {"format": "naïve"}, ".partial")
    assert (tmp_path / "x").stat().st_size == size
    found = safetensors.numpy.load_file(tmp_path / "x")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    with safetensors.safe_open(tmp_path / "x", framework="numpy") as file:
        assert file.metadata() == {"format": "naïve"}


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, Path("/c/pawnscope/x")),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, Path("/h/.cache/pawnscope/x")),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, Path("/h/.cache/pawnscope/x")),
        ({"HOME": "/h"}, Path("/h/.cache/pawnscope/x")),
        ({}, None),
    ],
)
def test_where_caches_are(
    environment: dict[str, str], folder: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # A user whom the system does not know, as in a container.
    monkeypatch.setattr(os, "getuid", lambda: 0x7FFFFFF0)
    assert cache_folder("x") == folder


def spoil(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path | None:
    """A cache of which the sort of trouble is `kind`, the folder where it should be."""
    cache = folder / "cache"
    if kind == "no place":
        return None
    if kind == "under a file":
        cache.write_text("a file")
        return cache / "solutions"
    if kind == "full":
        monkeypatch.setattr("search.exact.solution.write_arrays", _full)
    elif kind == "a closed folder":
        monkeypatch.setattr(Path, "mkdir", _closed)
    else:
        load_or_solve(HEXAPAWN, cache)
        (path,) = cache.iterdir()
        if kind == "a folder in the place of the file":
            path.unlink()
            path.mkdir()
        elif kind == "an empty file":
            path.write_bytes(b"")
        elif kind == "a truncated file":
            path.write_bytes(path.read_bytes()[:-100])
        else:
            assert kind == "rubbish"
            path.write_bytes(b"\xff" * 1000)
    return cache


def _full(*_: object) -> int:
    raise full()


def _closed(self: Path, *_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("no place", None),
        ("under a file", "directory"),
        ("full", "No space left on device"),
        ("a closed folder", "Permission denied"),
        ("a folder in the place of the file", "directory"),
        ("an empty file", None),
        ("a truncated file", None),
        ("rubbish", None),
    ],
)
def test_commands_work_without_a_usable_cache(
    kind: str,
    complaint: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cache = spoil(kind, tmp_path, monkeypatch)
    monkeypatch.setattr(players, "solution_cache", lambda: cache)
    assert cli.main(["match", "perfect", "perfect", "hexapawn", "--games", "2", "--json"]) == 0
    printed, complaints = capsys.readouterr()
    assert printed.startswith('{"games": 2')
    assert ("the solution is not kept" in complaints) == (complaint is not None)
    assert (complaint or "") in complaints
    assert not list(tmp_path.glob("**/*.partial"))


def test_a_solution_is_printed_where_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("search.exact.solution.write_arrays", _full)
    assert cli.main(["solve", "hexapawn", "--json", "--out", str(tmp_path / "x")]) == 2
    printed, complaints = capsys.readouterr()
    assert '"winner": 2' in printed
    assert complaints.endswith("pawnscope: No space left on device\n")


def test_endgames_are_printed_where_they_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tablebase, "write_table", _full)
    words = ["solve", "gardner", "--men", "2", "--json", "--out", str(tmp_path)]
    assert cli.main(words) == 2
    printed, complaints = capsys.readouterr()
    assert '"materials": 1' in printed
    assert complaints.endswith("pawnscope: No space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_that_is_full_is_named() -> None:
    with pytest.raises(OSError, match="No space") as caught:
        append_whole(Path("/dev/full"), "text")
    assert caught.value.filename == "/dev/full"
