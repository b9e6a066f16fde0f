"""Text tables for results that a person reads, and values and probabilities in words."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

MOST_LINES: Final = 12
"""Lines of a table that is printed; what is beyond is counted."""


def table(head: Sequence[str], lines: Iterable[Sequence[str]], count: int) -> str:
    """The first lines under their head, the first column to the left and the others to the right.

    A column without any entry is left out. `lines` may be made one by one: only those that are
    shown are taken, of `count` in all.
    """
    shown = list(itertools.islice(lines, count if count <= MOST_LINES else MOST_LINES - 1))
    used = [any(column) for column in zip(*shown, strict=True)]
    cells = [list(itertools.compress(line, used)) for line in (head, *shown)]
    widths = [max(len(text) for text in column) for column in zip(*cells, strict=True)]
    texts = []
    for line in cells:
        first, *others = (
            text.rjust(width) if place else text.ljust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        texts.append("  ".join(["", first, *others]).rstrip())
    if len(shown) < count:
        texts.append(f"  … and {count - len(shown):,} more")
    return "\n".join(texts)


def value_text(value: float) -> str:
    """A value in [-1, 1]."""
    # Adding zero turns -0.0 into 0.0.
    return f"{round(float(value), 3) + 0.0:+.3f}"


def share_text(share: float) -> str:
    """A probability in per cent."""
    return f"{float(share):.1%}".replace("%", " %")


def wdl_text(wdl: Sequence[float] | npt.NDArray[np.float32]) -> str:
    """Probabilities of win, draw and loss."""
    win, draw, loss = (share_text(part) for part in wdl)
    return f"win {win}, draw {draw}, loss {loss}"


def counted(number: int, word: str) -> str:
    """A number of things, e.g. "1 game" and "2 games"."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
