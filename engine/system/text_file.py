"""Lines of text files in the encodings that other programs write."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


def text_lines(path: str | Path) -> Iterator[str]:
    """Lines of a file in UTF-8, in UTF-16 with a byte order mark, or in Latin-1; with their ends.

    Latin-1 is taken for a line that is not UTF-8. A UTF-16 file comes in one piece. Raises OSError.
    """
    with open(path, "rb") as file:
        if file.peek(2)[:2] in _UTF16_MARKS:
            yield file.read().decode("utf-16", errors="replace")
            return
        for line in file:
            try:
                yield line.decode()
            except UnicodeDecodeError:
                yield line.decode("latin-1")


def split_lines(text: str) -> Iterator[str]:
    """The lines of a text with their ends, "\\n", "\\r" or both; no other character ends one."""
    yield from io.StringIO(text, newline="")
