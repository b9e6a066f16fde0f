"""Is A better than B? A sequential test over pairs of games that stops as soon as it can tell.

The generalised sequential probability ratio test (Li, Liu and Ying 2014, "Generalized sequential
probability ratio test for separate families of hypotheses") as Fishtest uses it for chess programs
(M. Van den Bergh, "A practical introduction to the GSPRT", section 4, and Fishtest's wiki page
"Fishtest mathematics"). H0 says that A's advantage is `elo0`, H1 that it is `elo1`. After every
pair each hypothesis takes the distribution of pair scores with its mean that fits the observations
best. The logarithm of the ratio of the two likelihoods is compared with Wald's bounds log(β / (1 -
α)) and log((1 - β) / α).

Among distributions on the scores a_i with mean s the likelihood of shares q_i is greatest at p_i =
q_i / (1 + x (a_i - s)), where x solves Σ q_i (a_i - s) / (1 + x (a_i - s)) = 0 (Owen 1988,
"Empirical likelihood ratio confidence intervals for a single functional", section 2).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from engine.rules.errors import InputError
from training.evaluation.elo import expected_score
from training.evaluation.pentanomial import PAIR_SCORES

_UNSEEN: Final = 1e-3
"""Pairs added for each score that did not occur, as in Fishtest: no outcome is impossible."""
_HALVINGS: Final = 80
_SMALLEST_SCORE: Final = 1e-300
"""The smallest expected score, however large the difference."""


class Verdict(StrEnum):
    """The result of the test."""

    H0 = "H0"
    """A's advantage is nearer to elo0."""
    H1 = "H1"
    """A's advantage is nearer to elo1."""
    UNDECIDED = "undecided"
    """Not enough games yet."""


@dataclass(frozen=True, kw_only=True)
class Sprt:
    """A test of elo0 against elo1 (logistic Elo). Raises InputError for impossible numbers."""

    # The advantage of A under H0 and under H1; elo0 < elo1.
    elo0: float
    elo1: float
    # Probability of saying H1 where H0 is true, and of saying H0 where H1 is true.
    alpha: float = 0.05
    beta: float = 0.05

    def __post_init__(self) -> None:
        shown = f"--sprt {self.elo0:g} {self.elo1:g}"
        if not (math.isfinite(self.elo0) and math.isfinite(self.elo1)):
            raise InputError(f"{shown}: Elo differences are finite numbers")
        if not self.elo0 < self.elo1:
            raise InputError(f"{shown}: the first must be the smaller")
        for name, chance in (("alpha", self.alpha), ("beta", self.beta)):
            if not 0.0 < chance < 0.5:
                raise InputError(f"--{name} {chance:g}: a chance of error lies between 0 and 0.5")

    @property
    def lower(self) -> float:
        """The log-likelihood ratio at which H0 is accepted."""
        return math.log(self.beta) - math.log1p(-self.alpha)

    @property
    def upper(self) -> float:
        """The log-likelihood ratio at which H1 is accepted."""
        return math.log1p(-self.beta) - math.log(self.alpha)

    def ratio(self, pairs: Sequence[int]) -> float:
        """The log-likelihood ratio of H1 to H0 after int[5] pairs of 0, ½, 1, 1½ and 2 points."""
        if not sum(pairs):
            return 0.0
        counts = [count or _UNSEEN for count in pairs]
        return _log_likelihood(counts, self.elo1) - _log_likelihood(counts, self.elo0)

    def verdict(self, pairs: Sequence[int]) -> Verdict:
        """The result after these pairs."""
        ratio = self.ratio(pairs)
        if ratio >= self.upper:
            return Verdict.H1
        return Verdict.H0 if ratio <= self.lower else Verdict.UNDECIDED


def _log_likelihood(counts: Sequence[float], elo: float) -> float:
    """The log-likelihood, without Σ n log q, of the best fit whose mean is the score expected at
    `elo`."""
    # Near 1 the difference to 1 would be rounded away: it is the score of the other side.
    own, other = (max(_SMALLEST_SCORE, expected_score(each)) for each in (elo, -elo))
    offsets = [value - own if own < other else other - (1.0 - value) for value in PAIR_SCORES]
    tilt = _tilt(counts, offsets)
    return -sum(n * math.log1p(tilt * d) for n, d in zip(counts, offsets, strict=True))


def _tilt(counts: Sequence[float], offsets: Sequence[float]) -> float:
    """The x of the module's formula, by bisection: the sum falls with x from plus to minus
    infinity.

    `offsets` are the a_i - s in ascending order. All probabilities are positive between -1 / (1 -
    s) and 1 / s, because scores are 0 to 1.
    """
    low, high = -1.0 / offsets[-1], -1.0 / offsets[0]
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        total = sum(n * d / (1.0 + middle * d) for n, d in zip(counts, offsets, strict=True))
        low, high = (middle, high) if total > 0 else (low, middle)
    return 0.5 * (low + high)
