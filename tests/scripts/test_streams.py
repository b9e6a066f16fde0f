"""Standard streams: what is closed leads nowhere, and any character can be written."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.streams import _Messages

ROOT = Path(__file__).resolve().parents[2]
# Starts the program in argv[2] after the streams of these numbers are closed.
CLOSING = """
import os, sys
for number in map(int, filter(None, sys.argv[1].split(","))):
    os.close(number)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2]])
"""
BEGIN = "import os, subprocess, sys; from scripts.streams import *; open_streams(); "


def run(
    code: str, closed: Sequence[int] = (), stderr: int | None = None, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", CLOSING, ",".join(map(str, closed)), BEGIN + code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if stderr is None else stderr,
    )


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_what_goes_to_a_missing_stream_lands_nowhere(
    closed: tuple[int, ...], tmp_path: Path
) -> None:
    """Neither in a file that is opened later, here or in a program started from here, nor on
    another stream."""
    later, theirs = tmp_path / "later", tmp_path / "theirs"
    child = f"import os; f = os.open({str(theirs)!r}, os.O_CREAT | os.O_WRONLY); os.write(f, b'!')"
    child += "; [os.write(number, b'child') for number in (1, 2)]"
    code = (
        f"file = open({str(later)!r}, 'w'); file.write('content'); file.flush();"
        "print('figures', flush=True); print('message', file=sys.stderr); print(sys.stdin.read());"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    done = run(code, closed)
    assert done.returncode == 0
    assert later.read_text() == "content"
    assert theirs.read_text() == "!"
    assert (b"figures" in done.stdout, b"child" in done.stdout) == (1 not in closed,) * 2
    assert (b"message" in done.stderr, b"child" in done.stderr) == (2 not in closed,) * 2
    assert b"message" not in done.stdout
    assert b"figures" not in done.stderr


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", rb"+-| ... x 1/2 \xe4 \u2654 \xff"),
        ("latin-1", b"+-| ... \xd7 \xbd \xe4 \\u2654 \\xff"),
        ("utf-8", "╭─│ … × ½ ä ♔ ".encode() + rb"\xff"),
    ],
)
def test_every_character_can_be_written(encoding: str, written: bytes) -> None:
    text = "╭─│ … × ½ ä ♔ \udcff"
    done = run(f"print({text!r}); print({text!r}, file=sys.stderr)", PYTHONIOENCODING=encoding)
    assert done.stdout == done.stderr == written + b"\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_named_once_and_loses_only_messages(unbuffered: str) -> None:
    code = (
        "sys.stdout.flush()\nfor turn in range(2):\n"
        "    try: print('figures', flush=True)\n"
        "    except OSError as error: print(error.filename, file=sys.stderr)\n"
        "print(flush_streams() is None or flush_streams() is None, file=sys.stderr)"
    )
    full = f"import os; os.dup2(os.open('/dev/full', os.O_WRONLY), {{}}); {BEGIN}{code}"
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}

    def start(number: int) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-c", full.format(number)]
        return subprocess.run(program, cwd=ROOT, env=variables, capture_output=True, text=True)

    output, messages = start(1), start(2)
    assert output.stderr.splitlines() == ["standard output", "standard output", "True"]
    assert output.returncode == messages.returncode == 0
    assert messages.stdout == "figures\nfigures\n"


def test_of_a_message_that_is_half_written_the_rest_is_not_lost() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(reader, "rb", buffering=0) as ours, _Messages(writer, "w") as messages:
        # More than a pipe takes at once.
        said = messages.write(bytes(1 << 22))
        assert said == len(ours.read(1 << 22))
