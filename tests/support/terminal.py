"""A pseudo-terminal and what stands on its screen."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Iterator


class Terminal:
    """A terminal of some width at standard error; what was written to it."""

    def __init__(self, width: int, rows: int = 24) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(width, rows)
        attributes = termios.tcgetattr(theirs)
        # Output as it is written, without carriage returns of the terminal's own.
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        os.set_blocking(self._ours, False)
        self.file = os.fdopen(theirs, "w", buffering=1)
        self._text = ""

    def resize(self, width: int, rows: int = 24) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, width, 0, 0))

    def text(self) -> str:
        """All of it so far."""
        self.file.flush()
        try:
            while part := os.read(self._ours, 65536):
                self._text += part.decode()
        except BlockingIOError:
            pass
        return self._text

    def rows(self) -> list[str]:
        """The lines as they stand there now, without what was overwritten."""
        return self._screen()[0]

    def widest(self) -> int:
        """Columns of all that ever stood in a row."""
        return self._screen()[1]

    def _screen(self) -> tuple[list[str], int]:
        """The rows of a terminal of any height, and the widest text that ever stood there."""
        rows: list[list[str]] = [[]]
        row = column = widest = 0
        for part in re.findall(r"\x1b\[\d*[A-Za-z]|.|\n|\r", self.text()):
            if part == "\n":
                row, column = row + 1, 0
                rows += [[]] * (row + 1 - len(rows))
            elif part == "\r":
                column = 0
            elif part == "\x1b[A":
                row -= 1
            elif part in ("\x1b[K", "\x1b[J"):
                rows[row] = rows[row][:column]
                rows = rows[: row + 1] if part == "\x1b[J" else rows
            elif part[0] != "\x1b":
                line = rows[row] + [" "] * (column - len(rows[row]))
                rows[row] = [*line[:column], part, *line[column + 1 :]]
                column += 1
                widest = max(widest, column if part != " " else 0)
            else:
                assert part.endswith("m"), f"{part!r} is no colour"
        return ["".join(line).rstrip() for line in rows], widest


@contextlib.contextmanager
def terminal_of(width: int, rows: int = 24) -> Iterator[Terminal]:
    terminal, before = Terminal(width, rows), sys.stderr
    sys.stderr = terminal.file
    try:
        yield terminal
    finally:
        sys.stderr = before
        terminal.file.close()
