"""Differences in strength from results of matches, with their uncertainty.

The Elo difference of an expected score s is 400 log10(s / (1 - s)) (Elo 1978, the logistic form). A
draw is half a win.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from scipy.special import betaincinv, expit

from training.evaluation.pentanomial import PAIR_SCORES

TAIL: Final = 0.025
"""Probability beyond each bound of a 95 % interval."""
NORMAL_WIDTH: Final = 1.959964
"""Standard deviations on each side of the mean that contain 95 % of a normal distribution."""
_HALF: Final = 0.5


class EloDifference(NamedTuple):
    """How much stronger A is than B; always finite."""

    elo: float
    low: float
    high: float
    """Bounds of the 95 % interval."""


class MeanScore(NamedTuple):
    """A's mean score in (0, 1), shrunk slightly towards ½, and the variance of that mean."""

    mean: float
    variance: float


def elo_of_score(score: float) -> float:
    """The Elo difference at which `score` (strictly between 0 and 1) is expected."""
    return 400.0 * math.log10(score / (1.0 - score))


def expected_score(elo: float) -> float:
    """The expected share of the points at an Elo advantage; the inverse of `elo_of_score`.

    Near 1 the difference to 1 is rounded away: use the other side's, `expected_score(-elo)`.
    """
    return float(expit(elo * math.log(10.0) / 400.0))


def mean_score(
    wins: int,
    draws: int,
    losses: int,
    pairs: Sequence[int] | None = None,
    independent: int | None = None,
) -> MeanScore:
    """The mean score and its variance, from at least one game; arguments as `elo_difference`.

    One imagined unit, half won and half lost, is added to those observed: equal results never give
    a variance of 0.
    """
    games = wins + draws + losses
    seen: list[tuple[float, float]] = [(losses, 0.0), (draws, 0.5), (wins, 1.0)]
    paired = games
    if pairs is not None and sum(pairs) > 0:
        seen = [*zip(pairs, PAIR_SCORES, strict=True)]
        paired = 2 * sum(pairs)
        if paired > games:
            raise ValueError(f"{sum(pairs)} pairs in {games} games")
        if independent is not None:
            if not 1 <= independent <= sum(pairs):
                raise ValueError(f"{independent} independent ones of {sum(pairs)} pairs")
            seen = [(count * independent / sum(pairs), value) for count, value in seen]
    units = sum(count for count, _ in seen)
    imagined = [*seen, (_HALF, 0.0), (_HALF, 1.0)]
    mean = sum(count * value for count, value in imagined) / (units + 1)
    variance = sum(count * (value - mean) ** 2 for count, value in imagined) / (units + 1)
    return MeanScore(mean, variance / (units * games / paired))


def elo_difference(
    wins: int,
    draws: int,
    losses: int,
    pairs: Sequence[int] | None = None,
    independent: int | None = None,
) -> EloDifference:
    """The Elo difference of A over B with its 95 % interval, from A's results.

    `pairs` int[5] counts the pairs of games, played from one opening with colours swapped, in which
    A took 0, ½, 1, 1½ and 2 points (see `pentanomial.py`). Games outside a pair count for the score
    only. Without `pairs` every game is a unit. Where only some pairs are `independent`
    (`pentanomial.PairTally`), the others count for the score but not for the interval. Raises
    ValueError for counts that contradict each other.

    The interval is Jeffreys' (Brown, Cai and DasGupta 2001, "Interval estimation for a binomial
    proportion", section 4.1.2). In place of the number of games it takes the effective number: as
    many win-or-loss games as would give the same variance of the mean score (the design effect of
    Kish; for proportions Korn and Graubard 1998). The interval stays finite where all games are won
    or lost. The difference itself would be infinite there; it is that of half a point lost in one
    more game, beside the independent games.
    """
    games = wins + draws + losses
    if games == 0:
        return _difference(_HALF, 1.0, _HALF)
    mean, variance = mean_score(wins, draws, losses, pairs, independent)
    effective = mean * (1.0 - mean) / variance
    points = wins + 0.5 * draws
    new = independent / sum(pairs) if pairs and sum(pairs) and independent is not None else 1.0
    return _difference(points / games, effective, shown_score(points * new, games * new))


def shown_score(points: float, games: float) -> float:
    """The score, strictly between 0 and 1: half a point of one more game keeps it from both."""
    return points / games if 0.0 < points < games else (points + _HALF) / (games + 1)


def lower_bound(successes: float, failures: float) -> float:
    """The lower bound of Jeffreys' 95 % interval for the probability of a success."""
    return float(betaincinv(successes + _HALF, failures + _HALF, TAIL))


def _difference(score: float, games: float, shown: float) -> EloDifference:
    points, given_up = score * games, (1.0 - score) * games
    # By the other side's score: near 1 the difference to 1 would be rounded away.
    low, below = lower_bound(points, given_up), lower_bound(given_up, points)
    elo = elo_of_score(shown)
    # A score that rests on few independent games can lie outside their interval.
    return EloDifference(elo, min(elo, elo_of_score(low)), max(elo, -elo_of_score(below)))
