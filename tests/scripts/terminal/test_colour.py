"""What goes to a terminal, and how much: colour where it is wanted; --quiet and --verbose."""

import contextlib
import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from scripts.players import solution_cache
from scripts.terminal.colour import is_coloured, is_terminal, paint, visible

ROOT = Path(__file__).resolve().parents[3]


@contextlib.contextmanager
def terminal() -> Iterator[TextIO]:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as file:
        yield file
    os.close(ours)


@pytest.fixture(autouse=True)
def wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal_shows_colour_and_its_width_stays() -> None:
    with terminal() as file:
        painted = paint("truth 100 %", "green", file)
        assert painted == "\x1b[32mtruth 100 %\x1b[0m"
        assert visible(painted) == "truth 100 %"
        assert paint("", "green", file) == ""


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_person_may_not_want_it(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with terminal() as file:
        assert paint("text", "red", file) == "text"
        # NO_COLOR is about colour alone.
        assert is_terminal(file) == (name == "NO_COLOR")


def test_an_empty_wish_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    with terminal() as file:
        assert is_coloured(file)


def test_files_and_pipes_and_closed_streams_show_none(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file:
        for stream in (io.StringIO(), file):
            assert paint("text", "red", stream) == "text"
    assert paint("text", "red", file) == "text"


def on_a_terminal(*words: str, **variables: str) -> str:
    """What a command writes to a terminal that is its standard output and error."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.cli", *words],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm", **variables},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text = b""
    # Linux ends with an error where other systems end with nothing.
    with contextlib.suppress(OSError):
        while part := os.read(ours, 65536):
            text += part
    process.wait()
    os.close(ours)
    # A busy machine says that it loads the libraries.
    return text.decode().replace("loading …\r         \r", "")


def test_an_error_is_red_and_the_rest_of_it_plain() -> None:
    shown = on_a_terminal("perft", "gardner", "abc")
    assert shown.startswith("\x1b[31mpawnscope:\x1b[0m DEPTH 'abc' is not")
    assert shown.count("\x1b") == 2


@pytest.mark.parametrize("words", [["perft", "gardner", "abc"], ["variants", "--help"]])
def test_no_command_paints_against_the_wish(words: list[str]) -> None:
    assert "\x1b" not in on_a_terminal(*words, NO_COLOR="1")


def test_quiet_leaves_results_alone_and_verbose_says_where_files_are() -> None:
    words = ["match", "perfect", "random", "hexapawn", "--games", "4"]
    usual, quiet, verbose = (on_a_terminal(*words, *more) for more in ([], ["-q"], ["-v"]))
    result = usual[usual.index("perfect against random") :]
    assert "4/4" in usual
    assert quiet == result
    assert verbose.endswith(result)
    kept = f"the solution of hexapawn is kept in {solution_cache()}"
    assert kept in verbose
    assert kept not in usual
