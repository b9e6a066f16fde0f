"""Level bars with intervals, and marks for what they are compared with."""

from collections.abc import Mapping, Sequence
from typing import Final

from markupsafe import Markup

from engine.probing.report.drawing.scales import Scale, padded_range, tick_text
from engine.probing.report.drawing.svg import (
    clean,
    element,
    interval,
    picture,
    plain,
    rule,
    short,
    shortened,
    text,
    text_width,
)

_ROW: Final = 24
"""Pixels a bar."""


def bars(
    title: str,
    names: Sequence[str],
    values: Sequence[float | None],
    *,
    low: Sequence[float | None] | None = None,
    high: Sequence[float | None] | None = None,
    marks: Mapping[str, Sequence[float | None]] | None = None,
    x_name: str = "",
    x_range: tuple[float, float] | None = None,
    digits: int = 2,
    width: int = 560,
    dots: bool = False,
) -> Markup:
    """A bar for each of N names, from zero; `low` and `high` [N] are the ends of its interval.

    With `dots` each value is a dot instead, for figures that do not begin at zero, such as ranks.

    `marks` are other numbers [N] by name (a control, a true value), drawn as ticks of their own
    colour across the bar and named in the key.
    """
    marks = marks or {}
    shown = [shortened(clean(name), 40) for name in names]
    columns = [values, low or (), high or (), *marks.values()]
    numbers = [number for column in columns for number in column if number is not None]
    ends = x_range or padded_range(numbers, include=() if dots else (0.0,))
    left = 12 + max((text_width(name) for name in shown), default=0)
    right = 52.0
    x = Scale(low=ends[0], high=ends[1], start=left, end=max(width - right, left + 120))
    top, bottom = 8.0, 8.0 + _ROW * len(shown)
    parts = []
    for tick in x.ticks():
        kind = "zero" if tick == 0 else "grid"
        parts.append(rule(kind, (x(tick), top), (x(tick), bottom)))
        parts.append(text(tick_text(tick), x(tick), bottom + 14, anchor="middle", class_="tick"))
    for index, name in enumerate(shown):
        y = top + _ROW * (index + 0.5)
        parts.append(text(name, left - 8, y + 4, anchor="end", class_="row"))
        bounds = (
            None if low is None else low[index],
            None if high is None else high[index],
        )
        others = {mark: found[index] for mark, found in marks.items()}
        parts.append(_bar(name, values[index], bounds, others, x, y, digits, dots=dots))
    y = bottom + 30
    if x_name:
        parts.append(text(x_name, (x.start + x.end) / 2, y, anchor="middle", class_="axis-name"))
        y += 18
    parts.append(_key(tuple(marks), left, y))
    return picture(title, x.end + right, y + (6 if marks else -8), *parts, class_="bars")


def _bar(
    name: str,
    value: float | None,
    bounds: tuple[float | None, float | None],
    others: Mapping[str, float | None],
    x: Scale,
    y: float,
    digits: int,
    *,
    dots: bool,
) -> Markup:
    if value is None:
        return text("no result", x(max(x.low, 0.0)) + 4, y + 4, class_="none")
    zero = x(min(max(0.0, x.low), x.high))
    compared = "".join(
        f"; {mark} {plain(other, digits)}" for mark, other in others.items() if other is not None
    )
    parts = [element("title", f"{name}: {interval(value, *bounds, digits)}{compared}")]
    kind = "up" if value >= 0 else "down"
    if dots:
        parts.append(element("circle", class_="dot", cx=x(value), cy=y, r=4.2))
    else:
        box = {"x": min(zero, x(value)), "y": y - 7, "width": abs(x(value) - zero), "height": 14}
        parts.append(element("rect", class_=f"bar {kind}", **box))
    low, high = bounds
    far = x(value)
    if low is not None and high is not None:
        start, end = x(low), x(high)
        far = max(far, end)
        ends = f"M{short(start)} {short(y - 4)}v8m0 -4H{short(end)}m0 -4v8"
        parts.append(element("path", d=ends, class_="whiskers"))
    for index, other in enumerate(others.values()):
        if other is not None:
            far = max(far, x(other))
            place = x(other)
            parts.append(rule(_mark(index), (place, y - 9), (place, y + 9)))
    parts.append(text(plain(value, digits), far + 6, y + 4, class_="n"))
    return element("g", *parts, class_="cell")


def _mark(index: int) -> str:
    return f"tick-mark m{index % 3 + 1}"


def _key(names: Sequence[str], x: float, y: float) -> Markup:
    parts = []
    for index, name in enumerate(names):
        parts.append(rule(_mark(index), (x + 2, y - 11), (x + 2, y + 1)))
        parts.append(text(name, x + 8, y - 1, class_="key"))
        x += 24 + text_width(clean(name), 11)
    return Markup().join(parts)
