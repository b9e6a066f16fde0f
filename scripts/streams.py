"""The standard streams of a program: all three are open, and each takes any character.

A stream that the caller has closed leads nowhere. Left closed, its number would go to the next file
that is opened, here or in a program that is started from here, and whatever is written to the
stream would land in that file.

A character that the encoding of a terminal lacks is written in ASCII: an ellipsis as three dots, a
byte of a file's name that is no text as `\\xff`.

Every start reads this module, so it imports next to nothing.
"""

import codecs
import fcntl
import io
import os
import sys

TYPE_CHECKING = False  # typing's own is slow to import
if TYPE_CHECKING:
    from typing import Final

    from _typeshed import ReadableBuffer

_NAMES: "Final" = ("stdin", "stdout", "stderr")
_IN_ASCII: "Final" = "pawnscope.ascii"
"""Name of the handler of characters that an encoding lacks."""
_PLAIN: "Final" = {
    **dict.fromkeys("‐‑–—−─━═╌", "-"),
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼", "+"),
    **dict.fromkeys("█▉▊▋▌▍▎▏", "#"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”„", '"'),
    "…": "...",
    "×": "x",
    "½": "1/2",
    "²": "^2",
    "±": "+-",
    "→": "->",
    "·": ".",
    "•": "*",
}
_FIRST_BYTE: "Final" = 0xDC00
"""Python shows the byte b of a file's name that is no text as the character of this number + b."""


def open_streams() -> None:
    """Open what is closed, and make the streams of this process take every character.

    To be called first, before any file is opened. Streams that a program has put in the place of
    its own stay as they are.
    """
    for number, name in enumerate(_NAMES):
        if not _is_open(number, os.O_RDONLY if number == 0 else os.O_WRONLY):
            _lead_nowhere(number)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    codecs.register_error(_IN_ASCII, _in_ascii)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and not isinstance(stream, _Text):
            if stream is getattr(sys, f"__{name}__"):
                setattr(sys, name, _Text(stream, _Messages if name == "stderr" else _Output))
            else:
                stream.reconfigure(errors=_IN_ASCII)


def flush_streams() -> OSError | None:
    """Write what is buffered; the error of a stream that takes nothing.

    Such a stream then leads nowhere: Python would try again at its end, and complain.
    """
    problem = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            _lead_nowhere(stream.fileno())
            problem = error
    return problem


def _lead_nowhere(number: int) -> None:
    """Open a standard stream, by its number, so that nothing comes from it or arrives."""
    # The lowest free number, which may be that of the stream.
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
    # Programs that are started from here get it, too.
    os.set_inheritable(number, True)


class _Output(io.FileIO):
    """Standard output: its errors name it."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = "standard output"
            raise


class _Messages(io.FileIO):
    """Standard error: a full disk or a terminal that is gone ends no work, the message is lost.

    A reader that has left does: whoever pipes messages into `head` wants no more of them.
    """

    def write(self, data: "ReadableBuffer", /) -> int:
        written: int | None = None
        try:
            written = super().write(data)
        except BrokenPipeError:
            raise
        except OSError:
            pass
        # Where only a part went out, the caller writes the rest.
        return memoryview(data).nbytes if written is None else written


class _Text(io.TextIOWrapper):
    """A stream in the place of Python's own, which does the same with other errors."""

    def __init__(self, own: io.TextIOWrapper, kind: "type[_Output | _Messages]") -> None:
        raw = kind(own.fileno(), "w", closefd=False)
        super().__init__(
            # Without a buffer where Python is told to use none.
            raw if own.write_through else io.BufferedWriter(raw),
            encoding=own.encoding,
            errors=_IN_ASCII,
            line_buffering=own.line_buffering,
            write_through=own.write_through,
        )


def _is_open(number: int, mode: int) -> bool:
    """Whether a stream is open, and to read or to write as `mode` says."""
    try:
        access = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError:
        return False
    return access in (mode, os.O_RDWR)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """The handler: how each character that cannot be encoded is written."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    number = ord(character)
    if _FIRST_BYTE + 0x80 <= number <= _FIRST_BYTE + 0xFF:
        return f"\\x{number - _FIRST_BYTE:02x}"
    if character in _PLAIN:
        return _PLAIN[character]
    return character.encode("ascii", "backslashreplace").decode()
