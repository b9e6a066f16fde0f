"""Small boards by the hundred: each piece is drawn once in the page and used again.

A page that shows them holds `piece_symbols` once, anywhere.
"""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from engine.probing.report.drawing.svg import element, picture, text

_SQUARE: Final = 20
"""Pixels of a square."""


def piece_symbols(letters: Sequence[str]) -> Markup:
    """Discs for the upper-case `letters` in both colours, to be used by `small_board`."""
    middle = _SQUARE / 2
    symbols = [
        element(
            "g",
            element("circle", class_=f"disc {side}", cx=middle, cy=middle, r=0.4 * _SQUARE),
            text(letter, middle, middle + 4, anchor="middle", class_=f"letter {side}"),
            id=_symbol(letter if side == "white" else letter.lower()),
        )
        for letter in letters
        for side in ("white", "black")
    ]
    defined = element("defs", *symbols)
    return element("svg", defined, class_="pic", width=0, height=0, aria_hidden="true")


def _symbol(letter: str) -> str:
    return f"{'w' if letter.isupper() else 'b'}{letter.upper()}"


def small_board(
    title: str, pieces: Sequence[str], width: int, height: int, *, marked: int | None = None
) -> Markup:
    """A position of `width` files by `height` ranks, its squares as in board.py.

    `pieces` [S] are letters, upper case light, lower case dark, "" an empty square; `marked` is a
    square with a frame. The title is read with the position after it.
    """
    places = [
        (index % width * _SQUARE, (height - 1 - index // width) * _SQUARE)
        for index in range(width * height)
    ]
    dark = "".join(
        f"M{x} {y}h{_SQUARE}v{_SQUARE}h-{_SQUARE}z"
        for index, (x, y) in enumerate(places)
        if (index % width + index // width) % 2 == 0
    )
    frame = {"width": width * _SQUARE, "height": height * _SQUARE}
    parts = [element("rect", class_="light", **frame), element("path", class_="dark", d=dark)]
    parts += [
        element("use", href=f"#{_symbol(letter)}", x=x or None, y=y or None)
        for letter, (x, y) in zip(pieces, places, strict=True)
        if letter
    ]
    if marked is not None:
        x, y = places[marked]
        size = _SQUARE - 2
        parts.append(element("rect", class_="asked", x=x + 1, y=y + 1, width=size, height=size))
    parts.append(element("rect", class_="frame", **frame))
    words = f"{title}: {placement(pieces, width)}"
    return picture(words, frame["width"], frame["height"], *parts, class_="board")


def placement(pieces: Sequence[str], width: int) -> str:
    """The position as in a FEN."""
    ranks = []
    for start in range(len(pieces) - width, -1, -width):
        rank, empty = "", 0
        for letter in pieces[start : start + width]:
            if letter:
                rank += (str(empty) if empty else "") + letter
                empty = 0
            else:
                empty += 1
        ranks.append(rank + (str(empty) if empty else ""))
    return "/".join(ranks)
