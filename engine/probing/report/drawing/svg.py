"""Elements of SVG as text. Names and titles are escaped here; templates insert the result as it is.

Colours are classes of `drawing.css`, so that a picture follows the page: light, dark or print.
"""

import math
import re
from typing import Final

from markupsafe import Markup, escape

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document may hold, however they are written."""
LEVELS: Final = 8
"""Strengths of a colour, 1 to 8."""


def clean(text: str) -> str:
    """The text with the replacement character for what XML cannot hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def element(tag: str, *children: str, **attributes: str | float | None) -> Markup:
    """`<tag name="…">children</tag>`; children that are no Markup are escaped.

    `class_` stands for class, `stroke_width` for stroke-width. None leaves an attribute out.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    safe = (child if isinstance(child, Markup) else escape(clean(child)) for child in children)
    inside = "".join(safe)
    return Markup(f"<{tag}{written}>{inside}</{tag}>" if inside else f"<{tag}{written}/>")


def _attribute(value: str | float) -> str:
    return str(escape(clean(value))) if isinstance(value, str) else short(value)


def picture(title: str, width: float, height: float, *children: str, class_: str = "") -> Markup:
    """A whole picture of so many pixels; screen readers say its title."""
    return element(
        "svg",
        element("title", title),
        *children,
        class_=f"pic {class_}".strip(),
        role="img",
        width=width,
        height=height,
        viewBox=f"0 0 {short(width)} {short(height)}",
    )


def text(words: str, x: float, y: float, *, class_: str = "", anchor: str | None = None) -> Markup:
    """A line of text; `anchor` is start, middle or end."""
    return element("text", words, x=x, y=y, class_=class_ or None, text_anchor=anchor)


def short(number: float) -> str:
    """A coordinate, to a tenth of a pixel; raises ValueError for what is not finite."""
    if not math.isfinite(number):
        raise ValueError(f"{number} is no coordinate")
    # Adding 0 makes -0 a 0.
    return f"{round(number, 1) + 0.0:g}"


def rule(class_: str, start: tuple[float, float], end: tuple[float, float]) -> Markup:
    """A straight line from one point (x, y) to another."""
    (x1, y1), (x2, y2) = start, end
    return element("line", class_=class_, x1=x1, y1=y1, x2=x2, y2=y2)


def text_width(words: str, size: float = 12) -> float:
    """About how many pixels the text takes in a font of this size."""
    return 0.56 * size * len(words)


def shortened(words: str, most: int) -> str:
    """The text, or its beginning and an ellipsis."""
    return words if len(words) <= most else words[: most - 1].rstrip() + "…"


def signed(number: float, digits: int = 2) -> str:
    """With a sign, a true minus, and no sign at zero."""
    if round(number, digits) == 0:
        return f"{0:.{digits}f}"
    return f"{number:+.{digits}f}".replace("-", "−")


def plain(number: float, digits: int = 2) -> str:
    """Without a plus."""
    return signed(number, digits).removeprefix("+")


def interval(number: float, low: float | None, high: float | None, digits: int = 3) -> str:
    """`0.123 (0.100 to 0.140)`."""
    if low is None or high is None:
        return plain(number, digits)
    return f"{plain(number, digits)} ({plain(low, digits)} to {plain(high, digits)})"


def shade(value: float, full: float) -> str:
    """Classes of a colour: its sign, and how strong it is where `full` is the strongest."""
    level = min(max(math.ceil(LEVELS * abs(value) / full), 1), LEVELS)
    return f"{'up' if value >= 0 else 'down'} l{level}"


def faint(value: float, full: float) -> str:
    """The same where the value is not clear of zero: at most the second level, or grey."""
    level = min(round(LEVELS * abs(value) / full), 2)
    return f"{'up' if value >= 0 else 'down'} l{level}" if level else "unclear"


def is_strong(classes: str) -> bool:
    """Whether text on this shade needs the other colour."""
    return int(classes.rpartition("l")[2]) > LEVELS // 2
