"""What studies share. `pawnscope study NAME` runs the module of that name, which has

TITLE                             the picture's title
measure(folder, minutes, report)  the figures; resumes what the folder holds
table(figures)                    the figures as lines of Markdown
panels(figures)                   the picture, a panel for each set of curves
"""

from collections.abc import Mapping
from typing import Any, Final

Figures = Mapping[str, Any]
KEPT_AXIS: Final = "decisions in which the raw network\nkeeps the exact value, %"


def elo_text(line: Figures) -> str:
    """The Elo difference of a match, with its interval."""
    return f"{line['elo']:+.0f} ({line['elo_low']:+.0f} to {line['elo_high']:+.0f})"


def match_text(line: Figures) -> str:
    """The result of a match in one line."""
    return (
        f"+{line['wins']} ={line['draws']} -{line['losses']}, {line['score']:.1%},"
        f" Elo {elo_text(line)}"
    )
