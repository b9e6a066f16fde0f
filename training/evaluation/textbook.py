"""The textbook's comparison of trained networks on a solved game, a row for each run.

D. Klein 2021, "Neural Networks for Chess", chapter 5, lets a network that was taught the solver's
answers and one that taught itself play Hexapawn against random moves. Here nothing is sampled.
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
"""Positions of a game in which a raw network is followed through all play against random moves."""
VALUES_JUDGED: Final = 50_000
"""Positions on which the values are judged; of a game with fewer all."""
LARGEST_SEARCHED: Final = 50_000
"""The same for a network with search."""


@dataclass(frozen=True, kw_only=True)
class TextbookRow:
    """One network; None where the game is too large for a figure, or the run does not tell it."""

    # The run's directory, or who else was measured.
    name: str
    # Who taught it: "self-play", "solver", ...
    teacher: str | None
    # Probability of a win by the raw network against uniformly random moves, exact: as the side
    # that moves first, as the other, and where a coin decides.
    win_first: float | None
    win_second: float | None
    win: float | None
    # The last of these with search.
    win_searched: float | None
    # Share of the decision positions in which the raw network keeps the value.
    decisions: float
    # Share of unfinished positions in which the predicted value has the exact one's sign; None
    # where all are drawn.
    value_sign: float | None
    # Positions that these two shares were taken over: samples where they are not all.
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

    `about` is what `describe_run` says.
    """
    variant, size = solution.variant, solution.position_count
    raw: RandomOpposition | None = None
    searched: RandomOpposition | None = None
    if size <= LARGEST_FOLLOWED:
        raw = chances_against_random(variant, raw_chooser(evaluator))
    if size <= LARGEST_SEARCHED:
        searched = chances_against_random(variant, search_chooser(variant, evaluator, *search))
    sign, judged = value_sign_accuracy(solution, evaluator, VALUES_JUDGED, np.random.default_rng(0))
    return TextbookRow(
        name=name,
        win_first=raw.first.win if raw else None,
        win_second=raw.second.win if raw else None,
        win=raw.win if raw else None,
        win_searched=searched.win if searched else None,
        decisions=truth.raw(evaluator),
        value_sign=sign,
        decision_positions=len(truth),
        value_positions=judged,
        **about,
    )


def describe_run(run: Path, teacher: str | None) -> dict[str, Any]:
    """Who taught a run, what it used and how long it took, from its configuration and metrics."""
    last = read_metrics(run)[-1:]
    values = last[0] if last else {}
    taught = "self-play" if teacher in (None, "none") else teacher
    return {
        "teacher": taught,
        "positions": values.get("positions"),
        "seconds": values.get("seconds"),
    }
