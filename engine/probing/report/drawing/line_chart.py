"""Line charts over training steps: several lines with interval bands, each named at its end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from engine.probing.report.drawing.scales import (
    AxisKind,
    Scale,
    labelled,
    padded_range,
    places,
    tick_text,
)
from engine.probing.report.drawing.svg import (
    clean,
    element,
    interval,
    picture,
    rule,
    short,
    shortened,
    text,
    text_width,
)

COLOURS: Final = 7
"""Colours of lines; the eighth line has the first again, with dashes."""
_LINE: Final = 13
"""Pixels between two names."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Numbers over the steps of a chart, N of them; None where there is none."""

    name: str
    # [N].
    values: Sequence[float | None]
    # Ends of the intervals [N].
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None

    def ends(self, index: int) -> tuple[float | None, float | None]:
        """The interval at a step."""
        low = None if self.low is None else self.low[index]
        high = None if self.high is None else self.high[index]
        return low, high

    def numbers(self) -> list[float]:
        """All that the axis must hold."""
        parts = (self.values, self.low or (), self.high or ())
        return [number for part in parts for number in part if number is not None]


def line_chart(
    title: str,
    steps: Sequence[float],
    lines: Sequence[Line],
    *,
    axis: AxisKind = "log",
    x_name: str = "training step",
    y_name: str = "",
    levels: Sequence[tuple[str, float]] = (),
    y_range: tuple[float, float] | None = None,
    digits: int = 3,
    size: tuple[int, int] = (560, 260),
) -> Markup:
    """Lines over ascending steps, with bands where they have intervals.

    `levels` are numbers to compare with, by name, drawn as level dotted lines. `y_range` is chosen
    to hold everything and zero unless given.
    """
    width, height = size
    names = [shortened(clean(line.name), 30) for line in lines]
    levels = [(shortened(clean(name), 30), level) for name, level in levels]
    numbers = [number for line in lines for number in line.numbers()]
    ends = y_range or padded_range([*numbers, *(level for _, level in levels)])
    right = 18 + max((text_width(name, 11.5) for name in (*names, *dict(levels))), default=0)
    plot = (44.0, 22.0, max(width - right, 150.0), height - 40.0)
    y = Scale(low=ends[0], high=ends[1], start=plot[3], end=plot[1])
    at = [plot[0] + 8 + share * (plot[2] - plot[0] - 16) for share in places(steps, axis)]
    parts = [_axes(plot, y, at, steps, x_name, y_name)]
    for _, level in levels:
        parts.append(rule("level", (plot[0], y(level)), (plot[2], y(level))))
    parts += [_band(line, at, y, _classes(index)) for index, line in enumerate(lines)]
    drawn = list(zip(lines, names, strict=True))
    parts += [
        _line(line, name, steps, at, y, index, x_name, digits)
        for index, (line, name) in enumerate(drawn)
    ]
    parts.append(_names(drawn, levels, plot, y))
    return picture(title, plot[2] + right, height, *parts, class_="lines")


def _classes(index: int) -> str:
    dashed = " dashed" if index >= COLOURS else ""
    return f"c{index % COLOURS + 1}{dashed}"


def _axes(
    plot: tuple[float, float, float, float],
    y: Scale,
    at: Sequence[float],
    steps: Sequence[float],
    x_name: str,
    y_name: str,
) -> Markup:
    left, _, right, bottom = plot
    parts = [text(y_name, 4, 11, class_="axis-name")] if y_name else []
    for tick in y.ticks():
        kind = "zero" if tick == 0 else "grid"
        parts.append(rule(kind, (left, y(tick)), (right, y(tick))))
        parts.append(text(tick_text(tick), left - 6, y(tick) + 4, anchor="end", class_="tick"))
    shares = [(x - left) / (right - left) for x in at]
    widest = max((text_width(_step(step), 11) for step in steps), default=0) + 8
    for index in labelled(shares, widest / (right - left)):
        parts.append(rule("grid", (at[index], bottom), (at[index], bottom + 4)))
        parts.append(
            text(_step(steps[index]), at[index], bottom + 17, anchor="middle", class_="tick")
        )
    parts.append(text(x_name, (left + right) / 2, bottom + 33, anchor="middle", class_="axis-name"))
    return element("g", *parts, class_="axes")


def _step(step: float) -> str:
    return f"{step:,.0f}" if float(step).is_integer() else f"{step:g}"


def _runs(line: Line, need: Sequence[Sequence[float | None]]) -> list[list[int]]:
    """Indices without a gap, in pieces."""
    pieces: list[list[int]] = [[]]
    for index in range(len(line.values)):
        if any(part[index] is None for part in need):
            pieces.append([])
        else:
            pieces[-1].append(index)
    return [piece for piece in pieces if piece]


def _band(line: Line, at: Sequence[float], y: Scale, classes: str) -> Markup:
    low, high = line.low, line.high
    if low is None or high is None:
        return Markup()
    bands = []
    for piece in _runs(line, [line.values, low, high]):
        edge = [(at[i], y(high[i] or 0.0)) for i in piece]
        edge += [(at[i], y(low[i] or 0.0)) for i in reversed(piece)]
        if len(piece) == 1:
            x = at[piece[0]]
            bands.append(rule(f"whisker {classes}", (x, edge[0][1]), (x, edge[1][1])))
        else:
            bands.append(element("path", d=f"M{_points(edge)}z", class_=f"band {classes}"))
    return Markup().join(bands)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return "L".join(f"{short(x)} {short(y)}" for x, y in points)


def _line(
    line: Line,
    name: str,
    steps: Sequence[float],
    at: Sequence[float],
    y: Scale,
    index: int,
    x_name: str,
    digits: int,
) -> Markup:
    classes = _classes(index)
    parts = []
    for piece in _runs(line, [line.values]):
        points = [(at[i], y(line.values[i] or 0.0)) for i in piece]
        if len(points) > 1:
            parts.append(element("path", d=f"M{_points(points)}", class_=f"line {classes}"))
    for i, value in enumerate(line.values):
        if value is None:
            continue
        words = interval(value, *line.ends(i), digits)
        title = element("title", f"{name}, {x_name} {_step(steps[i])}: {words}")
        point = element("path", d=marker(index, at[i], y(value)), class_=f"point {classes}")
        parts.append(element("g", title, point, class_="cell"))
    return element("g", *parts)


def marker(index: int, x: float, y: float, size: float = 3.4) -> str:
    """The path of the marker of line `index`: circle, square, triangle, diamond or its reverse."""
    if index % 5 == 0:
        r, across = short(size), short(2 * size)
        halves = f"a{r} {r} 0 1 0 {across} 0a{r} {r} 0 1 0 -{across} 0z"
        return f"M{short(x - size)} {short(y)}{halves}"
    turns = {1: 45, 2: 90, 3: 0, 4: -90}[index % 5]
    corners = 4 if index % 5 in (1, 3) else 3
    size *= 1.25
    points = [
        (
            x + size * math.cos(math.radians(turns + 360 * corner / corners)),
            y - size * math.sin(math.radians(turns + 360 * corner / corners)),
        )
        for corner in range(corners)
    ]
    return f"M{_points(points)}z"


def _names(
    lines: Sequence[tuple[Line, str]],
    levels: Sequence[tuple[str, float]],
    plot: tuple[float, float, float, float],
    y: Scale,
) -> Markup:
    """Names at the ends of the lines, moved apart; levels' names likewise."""
    wanted = []
    for index, (line, name) in enumerate(lines):
        last = next((value for value in reversed(line.values) if value is not None), None)
        if last is not None:
            wanted.append((y(last), index, name))
    wanted += [(y(level), -1, name) for name, level in levels]
    wanted.sort()
    heights = _apart([height for height, _, _ in wanted], plot[1], plot[3] + 6)
    parts = []
    for height, (_, index, name) in zip(heights, wanted, strict=True):
        classes = "level-name" if index < 0 else "name"
        if index >= 0:
            mark = marker(index, plot[2] + 4, height)
            parts.append(element("path", d=mark, class_=f"point {_classes(index)}"))
        parts.append(text(name, plot[2] + 12, height + 4, class_=classes))
    return Markup().join(parts)


def _apart(heights: Sequence[float], top: float, bottom: float) -> list[float]:
    """The ascending heights, at least a line apart where there is room, and not below `bottom`."""
    found: list[float] = []
    for height in heights:
        found.append(max(height, found[-1] + _LINE if found else top))
    limit = bottom
    for index in reversed(range(len(found))):
        found[index] = min(found[index], limit)
        limit = found[index] - _LINE
    return found
