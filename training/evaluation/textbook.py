"""The textbook's comparison of trained networks on a solved variant, one row for each run.

In D. Klein 2021, "Neural Networks for Chess", chapter 5, a network that learned the solver's
answers and one that taught itself play Hexapawn against random moves. Here no figure against random
moves is sampled.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from search.evaluator import Evaluator
from search.exact.solver import Solution
from training.data.run_directory import read_metrics
from training.evaluation.simulations import value_sign_accuracy
from training.evaluation.truth import Truth
from training.evaluation.versus_random import (
    RandomOpposition,
    chances_against_random,
    raw_chooser,
    search_chooser,
)

LARGEST_FOLLOWED: Final = 500_000
"""Most positions of a variant in which a raw network's play against random moves is followed."""
VALUES_EVALUATED: Final = 50_000
"""Most positions on which values are evaluated; all of a variant with fewer."""
LARGEST_SEARCHED: Final = 50_000
"""Most positions for a network with search."""


@dataclass(frozen=True, kw_only=True)
class TextbookRow:
    """One network; None where the variant is too large for a figure or the run lacks it."""

    # The run's directory, or another name.
    name: str
    # "self-play", "solver", ...
    teacher: str | None
    # Exact probability that the raw network wins against uniformly random moves: as the side that
    # moves first, as the other, and the mean of both.
    win_first: float | None
    win_second: float | None
    win: float | None
    # The mean of both with search.
    win_searched: float | None
    # Share of the decision positions in which the raw network keeps the value.
    decisions: float
    # Share of unfinished positions in which the predicted value has the exact one's sign; None
    # where all are drawn.
    value_sign: float | None
    # Positions over which these two shares were taken; samples where they are fewer than all.
    decision_positions: int
    value_positions: int
    # Training positions that were used, and seconds of the run.
    positions: int | None
    seconds: float | None


def measure_row(
    name: str,
    evaluator: Evaluator,
    truth: Truth,
    solution: Solution,
    search: tuple[str, int],
    about: dict[str, Any],
) -> TextbookRow:
    """Measure a network; `search` is one of `simulations.SEARCHES` and its simulations.

    `about` comes from `describe_run`.
    """
    variant, size = solution.variant, solution.position_count
    raw: RandomOpposition | None = None
    searched: RandomOpposition | None = None
    if size <= LARGEST_FOLLOWED:
        raw = chances_against_random(variant, raw_chooser(evaluator))
    if size <= LARGEST_SEARCHED:
        searched = chances_against_random(variant, search_chooser(variant, evaluator, *search))
    sign, evaluated = value_sign_accuracy(
        solution, evaluator, VALUES_EVALUATED, np.random.default_rng(0)
    )
    return TextbookRow(
        name=name,
        win_first=raw.first.win if raw else None,
        win_second=raw.second.win if raw else None,
        win=raw.win if raw else None,
        win_searched=searched.win if searched else None,
        decisions=truth.raw(evaluator),
        value_sign=sign,
        decision_positions=len(truth),
        value_positions=evaluated,
        **about,
    )


def describe_run(run: Path, teacher: str | None) -> dict[str, Any]:
    """The teacher of a run, the positions it used and its seconds."""
    last = read_metrics(run)[-1:]
    values = last[0] if last else {}
    taught = "self-play" if teacher in (None, "none") else teacher
    return {
        "teacher": taught,
        "positions": values.get("positions"),
        "seconds": values.get("seconds"),
    }
