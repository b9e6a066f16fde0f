"""Boards of any variant: pieces as letters on discs, shades and numbers on squares, arrows.

Squares are numbered as in a row of positions: a1 first, file fastest.

    8  9 10 11
    4  5  6  7        width 4, height 3
    0  1  2  3
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from markupsafe import Markup

from engine.probing.report.drawing.svg import (
    element,
    is_strong,
    picture,
    plain,
    shade,
    short,
    signed,
    text,
)

_EDGE: Final = 14
"""Pixels for the coordinates."""


@dataclass(frozen=True, kw_only=True)
class Arrow:
    """A move, or any two squares that belong together."""

    from_square: int
    to_square: int
    # Its colour: "plain", "right" (a good one) or "wrong".
    kind: Literal["plain", "right", "wrong"] = "plain"
    # From 0 to 1: how thick it is.
    weight: float = 0.5
    # What a person reads who points at it.
    name: str = ""


def board(
    title: str,
    width: int,
    height: int,
    *,
    pieces: Sequence[str] = (),
    shades: Sequence[float | None] = (),
    numbers: Sequence[float | str | None] = (),
    arrows: Sequence[Arrow] = (),
    full: float | None = None,
    digits: int = 2,
    square: int = 30,
    coordinates: bool = True,
) -> Markup:
    """A board of `width` files and `height` ranks, at most 8 by 8 in mind, from White's side.

    `pieces` [S] are letters as in a FEN (upper case is White's, "" an empty square). `shades` [S]
    colour the squares, about zero, `full` being the strongest. `numbers` [S] are written on them,
    small where a piece stands. Each may be left out. Without `coordinates` no files and ranks are
    named, as on a board that stands for the view of the side to move.
    """
    count = width * height
    for name, given in (("pieces", pieces), ("shades", shades), ("numbers", numbers)):
        if given and len(given) != count:
            raise ValueError(f"{len(given)} {name} for {width}x{height} squares")
    edge = _EDGE if coordinates else 1
    strongest = full or max((abs(each) for each in shades if each is not None), default=1.0) or 1.0
    parts = []
    for index in range(count):
        file, rank = index % width, index // width
        x, y = edge + file * square, 1 + (height - 1 - rank) * square
        parts.append(
            _square(
                (x, y, square),
                f"{'abcdefgh'[file % 8]}{rank + 1}",
                "dark" if (file + rank) % 2 == 0 else "light",
                pieces[index] if pieces else "",
                (shades[index] if shades else None, strongest),
                numbers[index] if numbers else None,
                digits,
            )
        )
    if coordinates:
        parts += _coordinates(width, height, square)
    centres = [
        (edge + (i % width + 0.5) * square, 1 + (height - 0.5 - i // width) * square)
        for i in range(count)
    ]
    parts += [_arrow(each, centres, square) for each in arrows]
    outer = element(
        "rect", class_="frame", x=edge, y=1, width=width * square, height=height * square
    )
    return picture(
        title,
        edge + width * square + 1,
        height * square + 2 + (_EDGE if coordinates else 0),
        *parts[:count],
        outer,
        *parts[count:],
        class_="board shaded" if shades else "board",
    )


def _square(
    box: tuple[float, float, float],
    name: str,
    colour: str,
    piece: str,
    shaded: tuple[float | None, float],
    number: float | str | None,
    digits: int,
) -> Markup:
    x, y, size = box
    value, full = shaded
    classes = None if not value else shade(value, full)
    parts = [element("rect", class_=colour, x=x, y=y, width=size, height=size)]
    if classes is not None:
        parts.append(element("rect", class_=classes, x=x, y=y, width=size, height=size))
    if piece:
        side = "white" if piece.isupper() else "black"
        middle_x, middle_y = x + size / 2, y + size / 2
        parts.append(
            element("circle", class_=f"disc {side}", cx=middle_x, cy=middle_y, r=size * 0.36)
        )
        parts.append(
            text(piece.upper(), middle_x, middle_y + 4.5, anchor="middle", class_=f"letter {side}")
        )
    words = _number(number, digits)
    if words:
        strong = " strong" if classes is not None and is_strong(classes) else ""
        at = (
            (x + size - 2, y + size - 2, "end")
            if piece
            else (x + size / 2, y + size / 2 + 4, "middle")
        )
        class_ = f"n{' corner' if piece else ''}{strong}"
        parts.append(text(words, at[0], at[1], anchor=at[2], class_=class_))
    told = [_piece(piece)] if piece else []
    told += [words or _number(value, digits + 1)] if value is not None or words else []
    title = element("title", f"{name}: {', '.join(told)}" if told else name)
    return element("g", title, *parts, class_="cell")


def _piece(letter: str) -> str:
    return f"{'White' if letter.isupper() else 'Black'} {letter.upper()}"


def _number(number: float | str | None, digits: int) -> str:
    if number is None or isinstance(number, str):
        return number or ""
    # Without the zero before the point: squares are small.
    return (
        signed(number, digits).replace("0.", ".", 1) if abs(number) < 1 else plain(number, digits)
    )


def _coordinates(width: int, height: int, square: int) -> list[Markup]:
    below = 1 + height * square + 11
    centres = [(index + 0.5) * square for index in range(max(width, height))]
    files = [
        text(letter, _EDGE + x, below, anchor="middle", class_="tick")
        for letter, x in zip("abcdefgh", centres[:width], strict=False)
    ]
    ranks = [
        text(str(height - row), _EDGE - 4, 5 + y, anchor="end", class_="tick")
        for row, y in enumerate(centres[:height])
    ]
    return files + ranks


def _arrow(arrow: Arrow, centres: Sequence[tuple[float, float]], square: int) -> Markup:
    (x1, y1), (x2, y2) = centres[arrow.from_square], centres[arrow.to_square]
    length = math.hypot(x2 - x1, y2 - y1)
    if length == 0:
        return Markup()
    along = ((x2 - x1) / length, (y2 - y1) / length)
    thick = square * (0.05 + 0.13 * min(max(arrow.weight, 0.0), 1.0))
    head = thick * 1.4 + 3

    def point(forward: float, aside: float) -> str:
        x = x1 + along[0] * forward - along[1] * aside
        y = y1 + along[1] * forward + along[0] * aside
        return f"{short(x)} {short(y)}"

    start, neck, end = square * 0.18, length - 1.3 * head, length - 1.0
    half = thick / 2
    corners = [
        point(start, half),
        point(neck, half),
        point(neck, head),
        point(end, 0.0),
        point(neck, -head),
        point(neck, -half),
        point(start, -half),
    ]
    path = element("path", d=f"M{'L'.join(corners)}z", class_=f"arrow {arrow.kind}")
    title = [element("title", arrow.name)] if arrow.name else []
    return element("g", *title, path, class_="cell" if arrow.name else None)
