"""Intervals hold what they promise, one by one and all at once."""

import numpy as np
import pytest
from scipy.special import polygamma

from engine.probing.surface.significance import (
    Spread,
    _inverse_trigamma,
    intervals,
    moderated_spread,
)

NONE = Spread(variance=np.zeros(40), degrees=1e6)


@pytest.mark.parametrize("value", [1e-4, 0.1, 1.0, 30.0])
def test_the_inverse_of_the_trigamma_function(value: float) -> None:
    assert polygamma(1, _inverse_trigamma(value)) == pytest.approx(value, rel=1e-6)


def test_spreads_of_one_kind_are_pooled() -> None:
    """All cells have spread .02: five networks each say little, 400 cells together say it."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0.6, 0.02, (5, 8, 50))
    spread = moderated_spread(scores)
    assert np.sqrt(spread.variance) == pytest.approx(0.02, rel=0.1)
    assert spread.degrees > 100


def test_spreads_of_many_kinds_are_shrunk_a_little() -> None:
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.normal(-4.0, 1.5, 300))
    scores = 0.6 + sizes * rng.normal(size=(5, 300))
    spread = moderated_spread(scores)
    assert 4.0 < spread.degrees < 8.0
    own = scores.var(axis=0, ddof=1)
    # Small variances grow and large ones shrink, and none passes another.
    assert np.corrcoef(np.log(own), np.log(spread.variance))[0, 1] > 0.95
    assert spread.variance[own.argmin()] > own.min()
    assert spread.variance[own.argmax()] < own.max()


def test_shrinking_recovers_the_degrees_of_the_prior() -> None:
    """Variances from a scaled inverse chi-square distribution of 6 degrees (Smyth 2004)."""
    rng = np.random.default_rng(1)
    variances = 0.01**2 * 6.0 / rng.chisquare(6.0, 5000)
    scores = np.sqrt(variances) * rng.normal(size=(5, 5000))
    assert moderated_spread(scores).degrees == pytest.approx(4.0 + 6.0, abs=1.5)


def test_missing_cells_have_no_spread_and_one_network_has_none() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 10))
    scores[:, 3] = np.nan
    assert moderated_spread(scores).variance[3] == 0.0
    assert (moderated_spread(scores[:1]).variance == 0.0).all()


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_all_intervals_at_once_miss_seldom(correlation: float) -> None:
    """40 cells of gain zero, whose resamples go together: in 5 % of surfaces one may be clear."""
    rng = np.random.default_rng(0)
    surfaces, cells, resamples, missed, alone = 200, 40, 200, 0, 0
    for _ in range(surfaces):
        common = rng.normal(size=(1, 1 + resamples))
        noise = rng.normal(size=(cells, 1 + resamples))
        drawn = np.sqrt(correlation) * common + np.sqrt(1.0 - correlation) * noise
        gains = 0.01 * drawn
        gains[:, 1:] += gains[:, :1]
        found = intervals(gains.astype(np.float32), [(NONE, 1.0)], np.zeros(cells), 0.95, rng)
        missed += bool(((found.corrected_low > 0) | (found.corrected_high < 0)).any())
        alone += bool(((found.low > 0) | (found.high < 0)).any())
    assert missed / surfaces <= 0.05 + 3 * (0.05 * 0.95 / surfaces) ** 0.5
    # Pointwise intervals do not promise that.
    assert alone / surfaces > 0.12


def test_initialisations_widen_the_intervals() -> None:
    rng = np.random.default_rng(0)
    gains = np.full((40, 2001), 0.1, np.float32)
    gains[:, 1:] += rng.normal(0.0, 0.001, (40, 2000)).astype(np.float32)
    spread = Spread(variance=np.full(40, 0.02**2), degrees=1e6)
    found = intervals(gains, [(spread, 1.2)], np.zeros(40), 0.95, rng)
    reach = 1.96 * (1.2 * 0.02**2 + 0.001**2) ** 0.5
    assert found.low == pytest.approx(0.1 - reach, abs=0.004)
    assert found.high == pytest.approx(0.1 + reach, abs=0.004)
    # Of 40 independent cells the largest deviation is about 3.2 standard errors.
    assert found.quantile == pytest.approx(3.2, abs=0.15)
    assert found.corrected_low == pytest.approx(0.1 - 3.2 / 1.96 * reach, abs=0.004)


def test_resamples_that_are_all_alike_are_not_certain_and_refused_cells_stay_out() -> None:
    gains = np.full((3, 101), 0.2, np.float32)
    gains[2] = np.nan
    none = Spread(variance=np.zeros(3), degrees=1e6)
    unseen = np.array([0.3, 0.1, 0.1])
    found = intervals(gains, [(none, 1.0)], unseen, 0.95, np.random.default_rng(0))
    assert found.low[:2] == pytest.approx([-0.1, 0.1])
    assert found.corrected_low[0] <= found.low[0]
    assert np.isnan([found.low[2], found.corrected_high[2]]).all()
