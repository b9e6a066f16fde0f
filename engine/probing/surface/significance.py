"""Intervals of gains: one by one, and of all cells at once.

A gain varies with the positions that were held out (the bootstrap's resamples, the same for all
cells) and with the initialisation of the networks. The second part is estimated by the spread of
untrained networks, or of the runs where there are several. Five networks say little about the
spread of one cell, so the spreads of all cells are shrunk towards each other (Smyth 2004, section
4): each is taken as drawn from a common scaled inverse chi-square distribution, whose degrees of
freedom are added to its own.

All cells at once: the largest studentised deviation of any cell, in each resample, has a
distribution, and its quantile widens all intervals (max-statistic; Westfall and Young 1993, section
2.6). With a chance of `confidence` all intervals hold their gains, so that where nothing is to be
found, any cell is clear of zero with a chance of 1 - confidence at most. Deviations by
initialisation are drawn for each cell by itself, which can only widen the intervals.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, polygamma

Array = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
_ALIKE: Final = 1e-9
"""Gains that differ by less are equal."""
_MOST_DEGREES: Final = 1e6


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Estimated variance of a score by initialisation."""

    # [...] variance of one network's score.
    variance: Array
    # Degrees of freedom of all of these estimates.
    degrees: float

    def deviations(self, share: float, rng: np.random.Generator, resamples: int) -> Array:
        """[..., resamples] deviations of variance `share` times that of one network."""
        drawn = rng.standard_t(self.degrees, size=(*self.variance.shape, resamples))
        deviations: Array = np.sqrt(share * self.variance)[..., None] * drawn
        return deviations


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Bounds of gains [...]."""

    # Pointwise.
    low: Array
    high: Array
    # Of all cells at once.
    corrected_low: Array
    corrected_high: Array
    # The quantile of the largest studentised deviation, and the standard errors that it multiplies.
    quantile: float
    errors: Array


def moderated_spread(scores: Array) -> Spread:
    """The spread of scores [n, ...] of n networks, NaN where there are none.

    Cells without any spread take no part in the common distribution. One network has no spread.
    """
    count = len(scores)
    if count < 2:
        return Spread(variance=np.zeros(scores.shape[1:]), degrees=_MOST_DEGREES)
    variance, own = scores.var(axis=0, ddof=1), count - 1.0
    known = variance[variance > _ALIKE**2]
    if len(known) < 3:
        return Spread(variance=np.nan_to_num(variance), degrees=own)
    logs = np.log(known) - digamma(own / 2) + np.log(own / 2)
    excess = float(logs.var(ddof=1) - polygamma(1, own / 2))
    if excess <= 0:
        common = float(np.exp(logs.mean()))
        spread = np.full(variance.shape, common)
        return Spread(variance=np.where(np.isnan(variance), 0.0, spread), degrees=_MOST_DEGREES)
    prior = 2.0 * _inverse_trigamma(excess)
    centre = float(np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2)))
    shrunk = (prior * centre + own * np.nan_to_num(variance)) / (prior + own)
    return Spread(variance=np.where(np.isnan(variance), 0.0, shrunk), degrees=prior + own)


def _inverse_trigamma(value: float) -> float:
    """x with trigamma(x) = value, by Newton's method on 1 / trigamma (Smyth 2004, appendix)."""
    x = 0.5 + 1.0 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1.0 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-8 * x:
            break
    return x


def intervals(
    gains: Float32,
    luck: list[tuple[Spread, float]],
    unseen: Array,
    confidence: float,
    rng: np.random.Generator,
) -> Intervals:
    """Bounds of gains [..., 1 + B]: the estimate, then each resample; NaN where there is none.

    `luck` has spreads [...] by initialisation, each with the share of its variance that the gain
    has. `unseen` [...] widens the intervals of cells whose resamples are all alike: a bound of how
    far unseen positions could move the gain.
    """
    shape, resamples = gains.shape[:-1], gains.shape[-1] - 1
    flat = gains.reshape(-1, 1 + resamples)
    bounds = np.full((2, len(flat)), np.nan)
    errors, largest = np.full(len(flat), np.nan), np.zeros(resamples)
    outside = (1.0 - confidence) / 2.0
    spreads = [
        (Spread(variance=spread.variance.reshape(-1), degrees=spread.degrees), share)
        for spread, share in luck
    ]
    for index in np.flatnonzero(~np.isnan(flat[:, 0])):
        deviations = flat[index, 1:].astype(np.float64) - float(flat[index, 0])
        variance, extra = float(deviations.var()), 0.0
        if np.ptp(deviations) < _ALIKE:
            extra = float(unseen.reshape(-1)[index])
            variance += (extra / 1.96) ** 2
        for spread, share in spreads:
            one = Spread(variance=spread.variance[index, None], degrees=spread.degrees)
            deviations = deviations + one.deviations(share, rng, resamples)[0]
            variance += share * float(spread.variance[index])
        low, high = np.quantile(deviations, [outside, 1.0 - outside])
        bounds[:, index] = min(low, 0.0) - extra, max(high, 0.0) + extra
        errors[index] = np.sqrt(variance)
        if errors[index] > 0:
            largest = np.maximum(largest, np.abs(deviations) / errors[index])
    quantile = float(np.quantile(largest, confidence))
    estimate = flat[:, 0].astype(np.float64)
    corrected = np.fmax(quantile * errors, np.maximum(-bounds[0], bounds[1]))
    return Intervals(
        low=(estimate + bounds[0]).reshape(shape),
        high=(estimate + bounds[1]).reshape(shape),
        corrected_low=(estimate - corrected).reshape(shape),
        corrected_high=(estimate + corrected).reshape(shape),
        quantile=quantile,
        errors=errors.reshape(shape),
    )
