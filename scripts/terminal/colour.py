"""Colour on a terminal, and nowhere else: never in a file or a pipe, nor where it is not wanted.

Not wanted: the variable NO_COLOR is set (no-color.org), or TERM is `dumb`. A painted text is as
wide as it was; `visible` gives it back without its colour.
"""

import os
import re
from typing import Final, Literal, TextIO

Colour = Literal["red", "yellow", "green", "cyan", "bold", "dim"]

_CODES: Final[dict[Colour, int]] = {
    "bold": 1,
    "dim": 2,
    "red": 31,
    "green": 32,
    "yellow": 33,
    "cyan": 36,
}
_PAINT: Final = re.compile(r"\x1b\[\d*m")
_GOOD: Final = 0.99
_FAIR: Final = 0.9


def is_terminal(stream: TextIO) -> bool:
    """Whether a live line can be drawn there: a terminal that moves its cursor."""
    return _is_a_tty(stream) and os.environ.get("TERM") != "dumb"


def is_coloured(stream: TextIO) -> bool:
    """Whether the stream shows colour, and the person wants it."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def paint(text: str, colour: Colour, stream: TextIO) -> str:
    """The text in a colour, where the stream shows it."""
    if not text or not is_coloured(stream):
        return text
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


def visible(text: str) -> str:
    """What a person sees of a painted text."""
    return _PAINT.sub("", text)


def colour_of_share(share: float) -> Colour:
    """Of a share of kept values: green from 99 %, yellow from 90 %, red below."""
    return "green" if share >= _GOOD else "yellow" if share >= _FAIR else "red"


def _is_a_tty(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:
        # Closed.
        return False
