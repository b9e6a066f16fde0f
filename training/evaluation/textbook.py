"""The textbook's comparison of trained networks on a solved variant, one row for each run.

In D. Klein 2021, "Neural Networks for Chess", chapter 5, a network that learned the solver's
answers and one that taught itself play Hexapawn against random moves. Here no figure against random
moves is sampled.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.rules.kernels import generate_batch
from search.evaluator import Evaluator, evaluate
from search.exact.solution import Solution
from training.evaluation.truth import Truth, search_positions
from training.evaluation.versus_random import (
    RandomOpposition,
    chances_against_random,
    raw_chooser,
)

LARGEST_FOLLOWED: Final = 500_000
"""Most positions of a variant in which a raw network's play against random moves is followed."""
VALUES_EVALUATED: Final = 50_000
"""Most positions on which values are evaluated; all of a variant with fewer."""
LARGEST_SEARCHED: Final = 50_000
"""Most positions for a network with search."""
_EVALUATED_AT_ONCE: Final = 1 << 14


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
    search: str,
    simulations: int,
    *,
    teacher: str | None = None,
    positions: int | None = None,
    seconds: float | None = None,
) -> TextbookRow:
    """Measure a network; `search` is one of `simulations.SEARCHES`."""
    variant, size = solution.variant, solution.position_count
    raw: RandomOpposition | None = None
    searched: RandomOpposition | None = None
    if size <= LARGEST_FOLLOWED:
        raw = chances_against_random(variant, raw_chooser(evaluator))
    if size <= LARGEST_SEARCHED:
        searched = chances_against_random(
            variant,
            lambda rows, *_: search_positions(variant, rows, evaluator, search, simulations).places,
        )
    sign, evaluated = value_sign_accuracy(
        solution, evaluator, VALUES_EVALUATED, np.random.default_rng(0)
    )
    return TextbookRow(
        name=name,
        teacher=teacher,
        win_first=raw.first.win if raw else None,
        win_second=raw.second.win if raw else None,
        win=raw.win if raw else None,
        win_searched=searched.win if searched else None,
        decisions=truth.raw(evaluator),
        value_sign=sign,
        decision_positions=len(truth),
        value_positions=evaluated,
        positions=positions,
        seconds=seconds,
    )


def value_sign_accuracy(
    solution: Solution, evaluator: Evaluator, most: int, rng: np.random.Generator
) -> tuple[float | None, int]:
    """How often the predicted value has the sign of the exact one, and over how many positions.

    Over all unfinished positions that are won for one side, or a random sample of `most`. Drawn
    positions are left out, and a prediction of exactly 0 is wrong. None where all are drawn.
    """
    rows = solution.unfinished_positions()
    if len(rows) > most:
        rows = rows[np.sort(rng.choice(len(rows), size=most, replace=False))]
    right = decided = 0
    for start in range(0, len(rows), _EVALUATED_AT_ONCE):
        part = rows[start : start + _EVALUATED_AT_ONCE]
        values, _ = solution.lookup_batch(part)
        part, values = part[values != 0], values[values != 0]
        if not len(part):
            continue
        moves, offsets = generate_batch(solution.variant.tables, part)
        wdl = evaluate(evaluator, part, moves, offsets).wdl
        right += int((np.sign(wdl[:, 0] - wdl[:, 2]) == values).sum())
        decided += len(part)
    return right / decided if decided else None, decided
