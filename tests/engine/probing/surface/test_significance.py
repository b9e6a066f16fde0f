"""Intervals hold what they promise, one by one and all at once."""

import numpy as np
import pytest
from scipy.special import polygamma

from engine.probing.probes.spread import (
    Array,
    Spread,
    _inverse_trigamma,
    _pooled_degrees,
    moderated_spread,
)
from engine.probing.surface.significance import intervals


def certain(variance: Array) -> Spread:
    """A spread [C] that is known, at one place."""
    return Spread(
        variance=variance[None],
        pools=np.zeros(1, np.int64),
        degrees=np.array([np.inf]),
        correlations=np.zeros(1),
        networks=np.zeros(1, np.int64),
    )


NONE = certain(np.zeros(40))


@pytest.mark.parametrize("value", [1e-4, 0.1, 1.0, 30.0])
def test_the_inverse_of_the_trigamma_function(value: float) -> None:
    assert polygamma(1, _inverse_trigamma(value)) == pytest.approx(value, rel=1e-6)


def test_spreads_of_one_kind_are_pooled() -> None:
    """All cells have spread .02: five networks each say little, 400 cells together say it."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0.6, 0.02, (5, 8, 50))
    spread = moderated_spread(scores)
    assert np.sqrt(np.median(spread.variance)) == pytest.approx(0.02, rel=0.1)
    assert spread.degrees[0] > 30


def test_cells_that_go_together_say_no_more_than_one() -> None:
    rng = np.random.default_rng(0)
    alone = rng.normal(0.6, 0.02, (5, 1, 400))
    assert _pooled_degrees(np.repeat(alone, 8, axis=1)) == pytest.approx(4.0, abs=0.1)
    apart = rng.normal(0.6, 0.02, (5, 8, 400))
    assert _pooled_degrees(apart) == pytest.approx(32.0, rel=0.1)
    half = np.sqrt(0.5) * (alone + rng.normal(0.0, 0.02, (5, 8, 400)))
    # Correlation 1/2 of the scores is 1/4 of the variances; five networks see a little less.
    assert 32.0 / (1.0 + 7.0 / 4.0) <= _pooled_degrees(half) < 15.5


def test_spreads_of_many_kinds_are_shrunk_a_little() -> None:
    rng = np.random.default_rng(0)
    sizes = 0.01 * np.exp(rng.normal(1.0, 0.8, 300))
    scores = 0.6 + sizes * rng.normal(size=(5, 300))
    spread = moderated_spread(scores[:, None])
    assert 4.0 < spread.degrees[0] < 12.0
    own = scores.var(axis=0, ddof=1)
    # Small variances grow and large ones shrink.
    assert np.corrcoef(np.log(own), np.log(spread.variance[0]))[0, 1] > 0.9
    assert spread.variance[0, own.argmin()] > own.min()
    assert spread.variance[0, own.argmax()] < own.max()


def test_shrinking_recovers_the_degrees_of_the_prior() -> None:
    """Variances from a scaled inverse chi-square distribution of 6 degrees (Smyth 2004)."""
    rng = np.random.default_rng(1)
    variances = 0.05**2 * 6.0 / rng.chisquare(6.0, 5000)
    scores = np.sqrt(variances) * rng.normal(size=(5, 5000))
    assert moderated_spread(scores[:, None]).degrees[0] == pytest.approx(4.0 + 6.0, abs=1.5)


def test_a_cell_of_unusual_spread_keeps_a_bound_of_its_own() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0.6, 0.01, (5, 6, 50))
    scores[:, 5, 7] = [0.1, 0.9, 0.3, 0.8, 0.5]
    spread = moderated_spread(scores)
    own = scores[:, 5, 7].var(ddof=1)
    assert 0.3 * own < spread.variance[5, 7] < own
    assert spread.variance[4, 7] < 0.2 * own


def test_layers_of_another_kind_have_a_spread_of_their_own() -> None:
    """The pooled board varies ten times as much as the squares: it must not widen these."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0.6, 0.01, (5, 6, 60))
    scores[:, 5] = rng.normal(0.6, 0.1, (5, 60))
    spread = moderated_spread(scores, np.array([0, 0, 0, 0, 0, 1]))
    assert np.sqrt(np.median(spread.variance[:5])) == pytest.approx(0.01, rel=0.15)
    assert np.sqrt(np.median(spread.variance[5])) == pytest.approx(0.1, rel=0.3)


def test_scores_near_one_have_a_spread_all_the_same() -> None:
    spread = moderated_spread(np.ones((5, 6, 50)))
    assert (np.sqrt(spread.variance) >= 0.0025).all()
    assert (np.sqrt(spread.variance) < 0.0035).all()


def test_missing_cells_have_no_spread_and_one_network_has_none() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 10))
    scores[:, 3] = np.nan
    assert moderated_spread(scores[:, None]).variance[0, 3] == 0.0
    assert (moderated_spread(scores[:1, None]).variance == 0.0).all()


@pytest.mark.parametrize("kinds", [1, 2])
def test_a_network_like_the_untrained_ones_seldom_stands_out_anywhere(kinds: int) -> None:
    """Six networks of one kind, one taken for the trained one: 20 concepts of unlike spread at 6
    layers that go together. In 5 % of surfaces some cell may be clear of zero; also where the last
    layer is of another kind, whose spread is known less well."""
    rng = np.random.default_rng(0)
    pools = np.zeros(6, np.int64)
    pools[-1] = kinds - 1
    surfaces, missed = 250, 0
    for _ in range(surfaces):
        sizes = 0.02 * np.exp(rng.normal(0.0, 0.7, 20))
        common, apart = rng.normal(size=(6, 1, 20)), rng.normal(size=(6, 6, 20))
        scores = 0.6 + sizes * np.sqrt(0.5) * (common + apart)
        gains = np.repeat((scores[5] - scores[:5].mean(axis=0))[..., None], 201, axis=-1)
        gains[..., 1:] += rng.normal(0.0, 0.003, (6, 20, 200))
        spread = moderated_spread(scores[:5], pools)
        unseen = np.zeros((6, 20))
        found = intervals(gains.astype(np.float32), [(spread, 1.2)], unseen, 0.95, rng)
        missed += bool((found.corrected_low > 0).any())
    assert missed / surfaces <= 0.05 + 2 * (0.05 * 0.95 / surfaces) ** 0.5


def test_a_spread_that_is_known_badly_does_not_widen_other_intervals() -> None:
    spread = Spread(
        variance=np.full((2, 30), 0.02**2),
        pools=np.array([0, 1]),
        degrees=np.array([1e6, 4.0]),
        correlations=np.zeros(2),
        networks=np.zeros(2, np.int64),
    )
    rng = np.random.default_rng(0)
    gains = rng.normal(0.0, 0.001, (2, 30, 2001)).astype(np.float32)
    found = intervals(gains, [(spread, 1.0)], np.zeros((2, 30)), 0.95, rng)
    known, unknown = ((gains[..., 0] - found.corrected_low) / found.errors).mean(axis=1)
    # Of 60 normal deviates the largest is 3.14 at most in 95 %; as rare is 7.5 of Student's t.
    assert known == pytest.approx(3.14, abs=0.1)
    assert unknown == pytest.approx(7.5, abs=0.6)
    assert found.degrees == pytest.approx(np.array([[1e6], [4.0]]) + np.zeros(30), rel=0.02)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_all_intervals_at_once_miss_seldom(correlation: float) -> None:
    """40 cells of gain zero, whose resamples go together: in 5 % of surfaces one may be clear."""
    rng = np.random.default_rng(0)
    surfaces, cells, resamples, missed, alone = 200, 40, 300, np.zeros(2), 0
    for _ in range(surfaces):
        common = rng.normal(size=(1, 1 + resamples))
        noise = rng.normal(size=(cells, 1 + resamples))
        drawn = np.sqrt(correlation) * common + np.sqrt(1.0 - correlation) * noise
        gains = 0.01 * drawn
        gains[:, 1:] += gains[:, :1]
        found = intervals(gains.astype(np.float32), [(NONE, 1.0)], np.zeros(cells), 0.95, rng)
        missed += np.array([(found.corrected_low > 0).any(), (found.corrected_high < 0).any()])
        alone += bool(((found.low > 0) | (found.high < 0)).any())
    # The lower ends hold together, and so do the upper ones.
    assert (missed / surfaces <= 0.05 + 3 * (0.05 * 0.95 / surfaces) ** 0.5).all()
    # Pointwise intervals do not promise that.
    assert alone / surfaces > 0.12


def test_initialisations_widen_the_intervals() -> None:
    rng = np.random.default_rng(0)
    gains = np.full((40, 2001), 0.1, np.float32)
    gains[:, 1:] += rng.normal(0.0, 0.001, (40, 2000)).astype(np.float32)
    spread = certain(np.full(40, 0.02**2))
    found = intervals(gains, [(spread, 1.2)], np.zeros(40), 0.95, rng)
    reach = 1.96 * (1.2 * 0.02**2 + 0.001**2) ** 0.5
    assert found.low == pytest.approx(0.1 - reach, abs=0.004)
    assert found.high == pytest.approx(0.1 + reach, abs=0.004)
    # Of 40 independent cells the largest deviation upwards is about 3.0 standard errors.
    assert found.quantile == pytest.approx(3.02, abs=0.15)
    assert found.corrected_low == pytest.approx(0.1 - 3.02 / 1.96 * reach, abs=0.005)


def test_resamples_that_are_all_alike_are_not_certain_and_refused_cells_stay_out() -> None:
    gains = np.full((3, 101), 0.2, np.float32)
    gains[2] = np.nan
    none = certain(np.zeros(3))
    unseen = np.array([0.3, 0.1, 0.1])
    found = intervals(gains, [(none, 1.0)], unseen, 0.95, np.random.default_rng(0))
    assert found.low[:2] == pytest.approx([-0.1, 0.1])
    assert found.corrected_low[0] <= found.low[0]
    assert np.isnan([found.low[2], found.corrected_high[2]]).all()
