"""Small boards by the hundred: each piece is drawn once in the page and used again.

A page that shows them holds `piece_symbols` once, anywhere.
"""

from collections.abc import Sequence

from markupsafe import Markup

from engine.probing.report.drawing.svg import element, picture, text


def piece_symbols(letters: Sequence[str]) -> Markup:
    """Discs for the upper-case `letters` in both colours, to be used by `small_board`."""
    symbols = [
        element(
            "symbol",
            element("circle", class_=f"disc {side}", cx=10, cy=10, r=8),
            text(letter, 10, 14, anchor="middle", class_=f"letter {side}"),
            id=f"{side}-{letter}",
            viewBox="0 0 20 20",
        )
        for letter in letters
        for side in ("white", "black")
    ]
    return element("svg", *symbols, class_="pic", width=0, height=0, aria_hidden="true")


def small_board(
    title: str,
    pieces: Sequence[str],
    width: int,
    height: int,
    *,
    marked: int | None = None,
    square: int = 20,
) -> Markup:
    """A position of `width` files by `height` ranks, its squares as in board.py.

    `pieces` [S] are letters, upper case light, lower case dark, "" an empty square; `marked` is a
    square with a frame. The title is read with the position after it.
    """
    dark = "".join(
        f"M{file * square} {(height - 1 - rank) * square}h{square}v{square}h-{square}z"
        for rank in range(height)
        for file in range(width)
        if (file + rank) % 2 == 0
    )
    frame = {"width": width * square, "height": height * square}
    parts = [element("rect", class_="light", **frame), element("path", class_="dark", d=dark)]
    for index, letter in enumerate(pieces):
        if letter:
            side = "white" if letter.isupper() else "black"
            x, y = index % width * square, (height - 1 - index // width) * square
            place = {"x": x, "y": y, "width": square, "height": square}
            parts.append(element("use", href=f"#{side}-{letter.upper()}", **place))
    if marked is not None:
        x, y = marked % width * square + 1, (height - 1 - marked // width) * square + 1
        size = square - 2
        parts.append(element("rect", class_="asked", x=x, y=y, width=size, height=size))
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
