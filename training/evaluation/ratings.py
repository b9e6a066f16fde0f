"""Elo of many players from all games between them.

Maximum likelihood under the logistic model: a player r points stronger scores on average 1 / (1 +
10^(-r / 400)), and a draw is half a win and half a loss (Bradley and Terry 1952; for chess Hunter
2004, "MM algorithms for generalized Bradley-Terry models", section 1). Only the mean score is
modelled, not the share of draws, so the estimate is right whatever draws depend on. Intervals do
not come from the model: they take the variance of each pairing's score from its pairs of games (the
sandwich estimator of White 1982, section 3; `elo.mean_score`).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from training.evaluation.elo import NORMAL_WIDTH, mean_score, shown_score
from training.evaluation.pentanomial import Score

ELO_UNIT: Final = 400.0 / math.log(10.0)
"""Elo points that multiply the odds by e."""
_MOST_STEPS: Final = 100
_LONGEST_STEP: Final = 2.0
"""In units of `ELO_UNIT`: Newton's method overshoots at extreme scores."""
_PRECISION: Final = 1e-10

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Pairing(Score):
    """The score of two players by name."""

    a: str
    b: str


@dataclass(frozen=True, kw_only=True)
class Rating:
    """A player's strength above the player at zero; `low` and `high` bound the 95 % interval."""

    name: str
    elo: float
    low: float
    high: float
    games: int


def fit_ratings(pairings: Iterable[Pairing], zero: str) -> dict[str, Rating]:
    """The ratings of `zero` (0 by definition) and of all players connected with it by games.

    A pairing in which one side won all points counts as if it had lost half a point in one more
    game, beside the independent games, so that every rating is finite.
    """
    played = [pairing for pairing in pairings if pairing.games]
    names = _joined(played, zero)
    played = [pairing for pairing in played if pairing.a in names]
    index = {name: place for place, name in enumerate(names)}
    weights = np.array([_weight(pairing) for pairing in played])
    scores = np.array(
        [
            shown_score(weight * (pairing.wins + 0.5 * pairing.draws) / pairing.games, weight)
            for weight, pairing in zip(weights.tolist(), played, strict=True)
        ]
    )
    # [P, N - 1]: 1 for A and -1 for B; the player at zero, who comes first, has no column.
    design = np.zeros((len(played), len(names)))
    for row, pairing in enumerate(played):
        design[row, index[pairing.a]], design[row, index[pairing.b]] = 1.0, -1.0
    design = design[:, 1:]
    strengths = _most_likely(design, weights, scores)
    errors = _standard_errors(design, weights, strengths, played)
    elos = ELO_UNIT * np.concatenate([[0.0], strengths])
    widths = ELO_UNIT * NORMAL_WIDTH * np.concatenate([[0.0], errors])
    return {
        name: Rating(
            name=name,
            elo=float(elo),
            low=float(elo - width),
            high=float(elo + width),
            games=sum(pairing.games for pairing in played if name in (pairing.a, pairing.b)),
        )
        for name, elo, width in zip(names, elos, widths, strict=True)
    }


def _joined(pairings: Sequence[Pairing], zero: str) -> list[str]:
    """`zero` and all players connected with it, in the order in which they are found."""
    found = [zero]
    for name in found:
        for pairing in pairings:
            if name in (pairing.a, pairing.b):
                other = pairing.b if name == pairing.a else pairing.a
                if other not in found:
                    found.append(other)
    return found


def _weight(pairing: Pairing) -> float:
    """Games, without those that repeat others."""
    pairs = sum(pairing.pairs)
    return pairing.games * (pairing.independent_pairs / pairs if pairs else 1.0)


def _information(design: Matrix, weights: Matrix, expected: Matrix) -> Matrix:
    information: Matrix = design.T @ (design * (weights * expected * (1 - expected))[:, None])
    return information


def _most_likely(design: Matrix, weights: Matrix, scores: Matrix) -> Matrix:
    """Newton's method on a concave function, with limited steps."""
    strengths: Matrix = np.zeros(design.shape[1])
    for _ in range(_MOST_STEPS):
        expected = expit(design @ strengths)
        gradient = design.T @ (weights * (scores - expected))
        step = np.linalg.solve(_information(design, weights, expected), gradient)
        longest = np.abs(step).max(initial=0.0)
        strengths = strengths + step * min(1.0, _LONGEST_STEP / max(longest, _PRECISION))
        if longest < _PRECISION:
            break
    return strengths


def _standard_errors(
    design: Matrix, weights: Matrix, strengths: Matrix, played: Sequence[Pairing]
) -> Matrix:
    """Standard errors of the strengths: the root of the diagonal of A^-1 B A^-1.

    A is the information of the model, B the variance of the gradient of the likelihood. The
    gradient of a pairing varies as its score does: what the model expects of independent games,
    times the design effect (`mean_score`).
    """
    expected = expit(design @ strengths)
    effects = np.empty(len(played))
    for row, pairing in enumerate(played):
        mean, variance = mean_score(
            pairing.wins, pairing.draws, pairing.losses, pairing.pairs, pairing.independent_pairs
        )
        effects[row] = variance * weights[row] / (mean * (1.0 - mean))
    inverse = np.linalg.inv(_information(design, weights, expected))
    middle = _information(design, weights * effects, expected)
    errors: Matrix = np.sqrt(np.maximum(np.diag(inverse @ middle @ inverse), 0.0))
    return errors
