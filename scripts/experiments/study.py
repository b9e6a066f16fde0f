"""What a study consists of. `pawnscope study NAME` runs `STUDY` of the module of that name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.plots.curve import Panel
from training.studies.study import Curve, Report

Figures = Mapping[str, Any]
KEPT_AXIS = "decisions in which the raw network\nkeeps the exact value, %"


@dataclass(frozen=True, kw_only=True)
class Study:
    """One comparison of trainings."""

    # The picture's title.
    title: str
    # From the study's folder and the minutes of each training; resumes what the folder holds.
    measure: Callable[[Path, float, Report], dict[str, Any]]
    # The figures as lines of Markdown.
    table: Callable[[Figures], list[str]]
    # The picture, a panel for each set of curves.
    panels: Callable[[Figures], list[Panel]]


def in_per_cent(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """The curves [(seconds, share)] with shares in per cent."""
    return {
        name: [(seconds, 100 * share) for seconds, share in curve] for name, curve in curves.items()
    }


def elo_text(line: Figures) -> str:
    """The Elo difference of a match, with its interval."""
    return f"{line['elo']:+.0f} ({line['elo_low']:+.0f} to {line['elo_high']:+.0f})"


def match_text(line: Figures) -> str:
    """The result of a match in one line."""
    return (
        f"+{line['wins']} ={line['draws']} -{line['losses']}, {line['score']:.1%},"
        f" Elo {elo_text(line)}"
    )
