"""Intervals of means: units are drawn whole, shares of all are not certain, bounds hold at once."""

import numpy as np
import pytest
from scipy.stats import t

from engine.probing.analyses.positions.resampling import Resamples, over_seeds, percentage


def test_a_resample_draws_units_whole() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(40, size=200)
    column = rng.normal(size=200)
    column[::7] = np.nan
    resamples = Resamples(groups, 50)
    means = resamples.means(column[:, None])[:, 0]
    assert means[0] == pytest.approx(np.nanmean(column))
    members = np.unique(groups, return_inverse=True)[1]
    for drawn, mean in zip(resamples.weights[1:], means[1:], strict=True):
        repeated = np.repeat(column, drawn[members].astype(int))
        assert mean == pytest.approx(np.nanmean(repeated))


def test_intervals_of_shares_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(300):
        # Two positions a unit that are alike: half as many are independent.
        column = np.repeat(rng.random(100) < 0.3, 2)
        resamples = Resamples(np.repeat(np.arange(100), 2), 200, seed, confidence=0.9)
        found = resamples.share(column, np.ones(200, bool))
        assert found is not None
        hits += found.low <= 0.3 <= found.high
    assert 0.84 <= hits / 300 <= 0.95


def test_a_share_of_all_or_none_is_not_certain() -> None:
    resamples = Resamples(np.arange(20), 100)
    everywhere = np.ones(20, bool)
    every, none = resamples.share(everywhere, everywhere), resamples.share(~everywhere, everywhere)
    assert every is not None
    assert none is not None
    # With that share of others, none of twenty would be seen with a chance of 2.5 %.
    assert every.low**20 == pytest.approx(0.025)
    assert (1 - none.high) ** 20 == pytest.approx(0.025)
    assert (every.high, none.low) == (1.0, 0.0)
    assert resamples.share(everywhere, ~everywhere) is None


def test_simultaneous_bounds_hold_together() -> None:
    rng = np.random.default_rng(2)
    together = 0
    for seed in range(200):
        columns = rng.normal(size=(150, 12))
        resamples = Resamples(np.arange(150), 200, seed, confidence=0.9)
        low, high = resamples.simultaneous(resamples.means(columns))
        together += bool(((low <= 0) & (high >= 0)).all())
    assert 0.83 <= together / 200 <= 0.96


def test_many_units_are_merged_without_a_change_of_spread() -> None:
    rng = np.random.default_rng(3)
    column = rng.normal(size=5_000)
    found = Resamples(np.arange(5_000), 400).mean(column)
    assert found is not None
    reach = 1.96 * column.std() / 5_000**0.5
    assert found.high - found.low == pytest.approx(2 * reach, rel=0.12)


def test_over_training_seeds_the_interval_is_student_s() -> None:
    values = [0.1, 0.2, 0.4]
    found = over_seeds(values)
    assert found is not None
    reach = t.ppf(0.975, 2) * np.std(values, ddof=1) / 3**0.5
    assert (found.low, found.high) == pytest.approx((0.7 / 3 - reach, 0.7 / 3 + reach))
    assert over_seeds([0.3]) is None


def test_a_share_below_all_is_not_told_as_all() -> None:
    assert (percentage(1.0), percentage(0.99999), percentage(0.5)) == ("100.0", "99.9", "50.0")
