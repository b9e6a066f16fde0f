"""Heat maps: numbers by row and column, with what is not clear of zero and what is refused marked.

filled           clear of zero; teal above, rust below, the stronger the farther
pale, a slash    not clear of zero
a cross          refused: no number
empty            not measured
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from engine.probing.report.drawing.svg import (
    LEVELS,
    clean,
    element,
    faint,
    interval,
    is_strong,
    picture,
    shade,
    short,
    shortened,
    signed,
    text,
    text_width,
)

Table = Sequence[Sequence[float | None]]
"""[rows, columns]; None where there is no number."""
_LABEL: Final = 44
"""Most characters of a row's name."""


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """What a heat map shows: R rows by C columns."""

    # What screen readers say of it.
    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    # [R, C].
    values: Table
    # Ends of the intervals [R, C].
    low: Table | None = None
    high: Table | None = None
    # Whether a value is clear of zero [R, C]; without, all are.
    clear: Sequence[Sequence[bool]] | None = None
    # Why there is no value [R, C]; None where there is one, or where nothing was measured.
    refused: Sequence[Sequence[str | None]] | None = None
    # The value that has the strongest colour; unless given, the largest.
    full: float | None = None
    # What the values are, for the key.
    unit: str = ""

    @property
    def strongest(self) -> float:
        """`full`, or the largest of the values."""
        if self.full is not None:
            return self.full
        found = [abs(value) for row in self.values for value in row if value is not None]
        return max(found, default=1.0) or 1.0

    def reason(self, row: int, column: int) -> str | None:
        """Why there is no value."""
        return None if self.refused is None else self.refused[row][column]

    def is_clear(self, row: int, column: int) -> bool:
        """Whether the value is clear of zero."""
        return self.clear is None or self.clear[row][column]

    def words(self, row: int, column: int) -> str:
        """The cell in words, as a person who points at it reads them."""
        name = f"{self.rows[row]}, {self.columns[column]}"
        value, reason = self.values[row][column], self.reason(row, column)
        if value is None:
            return f"{name}: {reason or 'not measured'}"
        low = None if self.low is None else self.low[row][column]
        high = None if self.high is None else self.high[row][column]
        unclear = "" if self.is_clear(row, column) else ", not clear of zero"
        return f"{name}: {interval(value, low, high)}{unclear}"


def heat_map(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Table,
    *,
    low: Table | None = None,
    high: Table | None = None,
    clear: Sequence[Sequence[bool]] | None = None,
    refused: Sequence[Sequence[str | None]] | None = None,
    full: float | None = None,
    unit: str = "",
    cell: tuple[int, int] = (46, 24),
    digits: int | None = 2,
    groups: Sequence[tuple[str, int]] = (),
    class_: str = "",
) -> Markup:
    """A heat map whose cells say their numbers on hover, on click and to screen readers.

    `rows` and `columns` are names; `values`, the interval's ends `low` and `high`, `clear` (clear
    of zero) and `refused` (the reason) are [rows, columns]. `full` is the value of the strongest
    colour. `cell` is the size in pixels; numbers with so many `digits` are written in, none where
    it is None. `groups` are headings with the number of rows under each.
    """
    chart = HeatMap(
        title=title,
        rows=[shortened(clean(row), _LABEL) for row in rows],
        columns=columns,
        values=values,
        low=low,
        high=high,
        clear=clear,
        refused=refused,
        full=full,
        unit=unit,
    )
    width, height = cell
    left = 18 + max((text_width(row) for row in chart.rows), default=0)
    top, labels = _column_labels(columns, left, width)
    parts, y = [labels], float(top)
    headings = _headings(groups)
    for index, row in enumerate(chart.rows):
        if index in headings:
            parts.append(text(headings[index], 4, y + height - 7, class_="group"))
            y += height
        parts.append(text(row, left - 8, y + height / 2 + 4, anchor="end", class_="row"))
        parts += [
            _cell(chart, index, column, (left + column * width, y, width, height), digits)
            for column in range(len(columns))
        ]
        y += height
    key, key_width = _key(chart, 8, y + 10)
    whole = max(left + len(columns) * width + 12, key_width)
    return picture(title, whole, y + 34, *parts, key, class_=f"heat {class_}".strip())


def _headings(groups: Sequence[tuple[str, int]]) -> dict[int, str]:
    """The headings by the row that they stand above."""
    found, start = {}, 0
    for name, count in groups:
        if count:
            found[start] = name
        start += count
    return found


def _column_labels(columns: Sequence[str], left: float, width: float) -> tuple[float, Markup]:
    """Pixels that they take, and the names above the columns, on end where they are wide."""
    widest = max((text_width(name, 11) for name in columns), default=0)
    if widest <= width - 4:
        places = [
            text(name, left + (index + 0.5) * width, 14, anchor="middle", class_="column")
            for index, name in enumerate(columns)
        ]
        return 20, Markup().join(places)
    top = min(widest, 130) + 8
    foot = short(top - 6)
    turned = [
        element(
            "text",
            shortened(name, 20),
            class_="column",
            transform=f"translate({short(left + (index + 0.5) * width + 4)} {foot}) rotate(-90)",
        )
        for index, name in enumerate(columns)
    ]
    return top, Markup().join(turned)


def _cell(
    chart: HeatMap,
    row: int,
    column: int,
    box: tuple[float, float, float, float],
    digits: int | None,
) -> Markup:
    x, y, width, height = box
    value = chart.values[row][column]
    inside = {"x": x + 0.5, "y": y + 0.5, "width": width - 1, "height": height - 1}
    marks: list[Markup] = []
    if value is None:
        kind = "refused" if chart.reason(row, column) else "empty"
        if kind == "refused":
            marks = [element("path", d=_cross(x, y, width, height), class_="mark")]
    elif not chart.is_clear(row, column):
        kind = faint(value, chart.strongest)
        marks = [element("path", d=_slash(x, y, width, height), class_="mark")]
    else:
        kind = shade(value, chart.strongest)
    if value is not None and digits is not None:
        strong = " strong" if kind != "unclear" and is_strong(kind) else ""
        words = signed(value, digits).replace("0.", ".", 1)
        marks.append(
            text(words, x + width / 2, y + height / 2 + 4, anchor="middle", class_=f"n{strong}")
        )
    title = element("title", chart.words(row, column))
    return element("g", title, element("rect", class_=kind, **inside), *marks, class_="cell")


def _slash(x: float, y: float, width: float, height: float) -> str:
    size = min(width, height) / 4
    left, bottom = x + width - 1.5 * size - 2, y + height - 2
    return f"M{short(left)} {short(bottom)}l{short(1.5 * size)} {short(-1.5 * size)}"


def _cross(x: float, y: float, width: float, height: float) -> str:
    size = min(width, height) / 4
    left, top = x + width / 2 - size, y + height / 2 - size
    side = short(2 * size)
    return f"M{short(left)} {short(top)}l{side} {side}m0 -{side}l-{side} {side}"


def _key(chart: HeatMap, x: float, y: float) -> tuple[Markup, float]:
    """The strip of colours with its ends, and what the marks mean; where it ends."""
    full = chart.strongest
    values = [value for row in chart.values for value in row if value is not None]
    signs = (-1, 1) if any(value < 0 for value in values) else (1,)
    steps = [
        sign * level / LEVELS
        for sign in signs
        for level in (range(LEVELS, 0, -1) if sign < 0 else range(1, LEVELS + 1))
    ]
    parts = []
    start = plain_end(-full if len(signs) == 2 else 0.0)
    parts.append(text(start, x, y + 10, class_="key"))
    x += text_width(start, 11) + 5
    for share in steps:
        parts.append(element("rect", x=x, y=y, width=9, height=12, class_=shade(share, 1.0)))
        x += 9
    end = plain_end(full) + (f" {chart.unit}" if chart.unit else "")
    parts.append(text(end, x + 5, y + 10, class_="key"))
    x += text_width(end, 11) + 16
    marks = []
    if chart.clear is not None and not all(all(row) for row in chart.clear):
        marks.append(("unclear", _slash(0, 0, 14, 12), "not clear of zero"))
    if chart.refused is not None and any(any(row) for row in chart.refused):
        marks.append(("refused", _cross(0, 0, 14, 12), "refused"))
    for kind, path, words in marks:
        box = element("rect", width=14, height=12, class_=kind)
        mark = element("path", d=path, class_="mark")
        parts.append(element("g", box, mark, transform=f"translate({short(x)} {short(y)})"))
        parts.append(text(words, x + 19, y + 10, class_="key"))
        x += 19 + text_width(words, 11) + 14
    return Markup().join(parts), x


def plain_end(number: float) -> str:
    """An end of the key's scale."""
    return f"{number:.2g}".replace("-", "−")


def small_map(
    title: str,
    values: Table,
    *,
    clear: Sequence[Sequence[bool]] | None = None,
    refused: Sequence[Sequence[str | None]] | None = None,
    full: float = 0.2,
    cell: tuple[int, int] = (14, 14),
) -> Markup:
    """The cells alone, one path for each colour: thousands of them take few bytes.

    Row r and column c stand at (c, r) times the size of a cell, so that a script can tell which one
    is pointed at. Arguments as of `heat_map`.
    """
    width, height = cell
    paths: dict[str, list[str]] = {}
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            x, y = column * width, row * height
            box = f"M{x} {y}h{width - 1}v{height - 1}h-{width - 1}z"
            if value is not None and (clear is None or clear[row][column]):
                paths.setdefault(shade(value, full), []).append(box)
                continue
            has_reason = refused is not None and refused[row][column]
            kind = "refused" if has_reason else "empty"
            if value is not None:
                kind = faint(value, full)
            paths.setdefault(kind, []).append(box)
            if kind != "empty":
                mark = _cross if kind == "refused" else _slash
                paths.setdefault("mark", []).append(mark(x, y, width - 1, height - 1))
    # Marks last, on top.
    order = sorted(paths, key=lambda kind: (kind == "mark", kind))
    return picture(
        title,
        max((len(line) for line in values), default=0) * width,
        len(values) * height,
        *(element("path", d="".join(paths[kind]), class_=kind) for kind in order),
        class_="small-map",
    )
