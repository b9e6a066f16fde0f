"""Means over positions with intervals: a bootstrap that draws canonical positions whole.

Where the positions are a census of the game, the interval says how far the figure depends on single
positions. It does not cover the training seed: only several runs do.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.data.canonical import Groups
from engine.rules.errors import InputError

Array = npt.NDArray[np.float64]
MOST_UNITS: Final = 1_000
"""Units of resampling: where there are more canonical positions, they are merged at random into so
many, which leaves the spread of a mean as it is."""
_ALIKE: Final = 1e-12
"""Resamples that differ by less are equal."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with the bounds of its interval."""

    value: float
    low: float
    high: float
    # Positions that it is a mean of.
    positions: int

    @property
    def is_above_zero(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low > 0.0

    @property
    def is_below_zero(self) -> bool:
        """Whether the whole interval is below zero."""
        return self.high < 0.0

    def percent(self) -> str:
        """As "61.2 % (59.0 to 63.4)"."""
        return f"{percentage(self.value)} % ({percentage(self.low)} to {percentage(self.high)})"


class Resamples:
    """B resamples of N positions, the same for every figure that is computed with them."""

    def __init__(
        self, groups: Groups, resamples: int, seed: int = 0, confidence: float = 0.95
    ) -> None:
        """`groups` int64[N] number the canonical positions, which are drawn whole.

        Raises InputError for fewer than two resamples and a confidence outside of 0 to 1.
        """
        if resamples < 2:
            raise InputError(f"resamples = {resamples}: an interval needs at least two")
        if not 0.0 < confidence < 1.0:
            raise InputError(f"confidence = {confidence} is not between 0 and 1")
        rng = np.random.default_rng(seed)
        members = np.unique(groups, return_inverse=True)[1].ravel()
        count = int(members.max(initial=-1)) + 1
        if count > MOST_UNITS:
            members = (rng.permutation(count) % MOST_UNITS)[members]
            count = MOST_UNITS
        self.confidence = confidence
        self.groups = groups
        self._order = np.argsort(members, kind="stable")
        self._starts = np.searchsorted(members[self._order], np.arange(count))
        drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=resamples)
        self.weights: Array = np.concatenate([np.ones((1, count)), drawn])
        """[1 + B, U] how often each unit is drawn; the first row is the sample itself."""

    def unit_sums(self, columns: npt.NDArray[np.generic]) -> Array:
        """Columns [N, ...], finite, summed over the positions of each unit: [U, ...]."""
        sums: Array = np.add.reduceat(columns[self._order], self._starts, axis=0, dtype=np.float64)
        return sums

    def means(self, columns: npt.NDArray[np.floating]) -> Array:
        """[1 + B, K] means of columns [N, K], without NaN; NaN where a resample has no number."""
        known = np.isfinite(columns)
        sums = self.weights @ self.unit_sums(np.where(known, columns, 0.0))
        counts = self.weights @ self.unit_sums(known)
        with np.errstate(invalid="ignore", divide="ignore"):
            means: Array = sums / counts
        return means

    def estimate(self, resampled: Array, positions: int, *, unseen: int = 0) -> Estimate:
        """The estimate of figures [1 + B]; resamples without a figure are left out.

        Of a share, `unseen` is the number of canonical positions that it is a share of: where all
        resamples are equal, the exact interval of a share (Clopper and Pearson 1934) bounds what
        positions may do that were not seen.
        """
        value, drawn = float(resampled[0]), resampled[1:][np.isfinite(resampled[1:])]
        outside = (1.0 - self.confidence) / 2.0
        low, high = np.quantile(drawn, [outside, 1.0 - outside]) if len(drawn) else (value, value)
        if unseen and np.ptp(drawn) < _ALIKE:
            reach = 1.0 - outside ** (1.0 / unseen)
            low, high = max(0.0, value - reach), min(1.0, value + reach)
        return Estimate(
            value=value,
            low=min(float(low), value),
            high=max(float(high), value),
            positions=positions,
        )

    def mean(self, column: npt.NDArray[np.floating]) -> Estimate | None:
        """The mean of a column [N] without NaN; None where it is NaN everywhere."""
        known = np.isfinite(column)
        if not known.any():
            return None
        return self.estimate(self.means(column[:, None])[:, 0], int(known.sum()))

    def share(
        self, column: npt.NDArray[np.generic], among: npt.NDArray[np.bool_]
    ) -> Estimate | None:
        """Mean of a column [N] of flags, or shares, `among` some positions bool[N]; None of
        none."""
        if not among.any():
            return None
        distinct = len(np.unique(self.groups[among]))
        means = self.means(np.where(among, column, np.nan)[:, None])[:, 0]
        return self.estimate(means, int(among.sum()), unseen=distinct)

    def simultaneous(self, resampled: Array) -> tuple[Array, Array]:
        """Bounds [K], [K] that hold for all K figures [1 + B, K] at once with the confidence.

        The largest standardised deviation over all figures (max-statistic): each bound is so many
        standard deviations away as the largest of all is seldom exceeded.
        """
        estimates, drawn = resampled[0], resampled[1:]
        spread = np.nanstd(drawn, axis=0)
        scale = np.where(spread > _ALIKE, spread, np.inf)
        largest = np.nanmax(np.abs(drawn - estimates) / scale, axis=1, initial=0.0)
        reach = float(np.quantile(largest, self.confidence))
        return estimates - reach * spread, estimates + reach * spread


def over_seeds(values: npt.ArrayLike, confidence: float = 0.95) -> Estimate | None:
    """Mean of one figure over training runs [K] with Student's interval; None for one run."""
    from scipy.stats import t

    found = np.asarray(values, dtype=np.float64)
    if len(found) < 2:
        return None
    reach = float(t.ppf(0.5 + confidence / 2.0, len(found) - 1)) * found.std(ddof=1)
    mean, reach = float(found.mean()), float(reach / math.sqrt(len(found)))
    return Estimate(value=mean, low=mean - reach, high=mean + reach, positions=len(found))


def present(estimate: Estimate | None) -> Estimate:
    """An estimate that cannot be missing, since there are positions."""
    assert estimate is not None
    return estimate


def counted(number: int, thing: str) -> str:
    """As "1 position", "1,310 positions"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def percentage(share: float) -> str:
    """A share of one, as a number of per cent with one place that does not round up to all."""
    shown = f"{100.0 * share:.1f}"
    return "99.9" if shown == "100.0" and share < 1.0 else shown
