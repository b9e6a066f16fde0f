"""Probes and scores agree with scikit-learn, and look at training rows alone."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import t
from sklearn import metrics
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from engine.probing.concepts.registry import Kind
from engine.probing.data.splits import Split
from engine.probing.probes.linear import PENALTIES, Design, ProbeFitter, logistic, ridge
from engine.probing.probes.scores import Bootstrap, interval, macro_auc, score

ROWS, WIDTH = 600, 12
Array = npt.NDArray[np.float64]


def planted(seed: int = 0) -> tuple[npt.NDArray[np.float32], Array, Array]:
    """Features with unlike spreads and a constant, a scalar of them with noise, three classes."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(ROWS, WIDTH)) @ rng.normal(size=(WIDTH, WIDTH))
    features = features * 10.0 ** rng.integers(-2, 3, WIDTH) + 5.0
    features[:, 3] = 7.0
    standard = (features - features.mean(0)) / np.maximum(features.std(0), 1e-9)
    scalar = standard @ rng.normal(size=WIDTH) + rng.normal(size=ROWS)
    classes = np.digitize(scalar + rng.normal(size=ROWS), [-6.0, 2.0]).astype(np.float64)
    return features.astype(np.float32), scalar, classes


def fitter(features: npt.NDArray[np.float32]) -> ProbeFitter:
    train = np.arange(400)
    return ProbeFitter(features, train, Split(train=train[:300], test=train[300:]))


@pytest.mark.parametrize("penalty", [1.0, 1e-3])
def test_ridge_is_scikit_learn_s(penalty: float) -> None:
    features, scalar, _ = planted()
    design = Design(features)
    weights, bias = design.raw(*ridge(design, scalar, penalty))
    standard = StandardScaler().fit_transform(features.astype(np.float64))
    theirs = Ridge(alpha=penalty * ROWS).fit(standard, scalar).predict(standard)
    np.testing.assert_allclose((features @ weights + bias)[:, 0], theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("penalty", [1.0, 1e-2, 1e-4])
def test_logistic_regression_is_scikit_learn_s(penalty: float) -> None:
    features, _, classes = planted()
    design = Design(features)
    chosen = (classes == np.unique(classes)[:, None]).astype(np.float64)
    weights, bias = design.raw(*logistic(design, chosen, penalty))
    ours = features @ weights + bias
    standard = StandardScaler().fit_transform(features.astype(np.float64))
    model = LogisticRegression(
        C=1.0 / (penalty * ROWS), class_weight="balanced", max_iter=20_000, tol=1e-8
    )
    theirs = model.fit(standard, classes).decision_function(standard)
    # Logits are free up to a constant for each row.
    ours -= ours.mean(axis=1, keepdims=True)
    theirs -= theirs.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(ours, theirs, atol=0.02 * np.abs(theirs).max())


def test_a_start_near_by_leads_to_the_same_place() -> None:
    features, _, classes = planted()
    design = Design(features)
    chosen = (classes == np.unique(classes)[:, None]).astype(np.float64)
    near = logistic(design, chosen, 1e-1)
    cold, warm = logistic(design, chosen, 1e-2), logistic(design, chosen, 1e-2, near)
    np.testing.assert_allclose(cold[0], warm[0], atol=1e-3 * np.abs(cold[0]).max())


@pytest.mark.parametrize("kind", ["real", "categorical"])
def test_a_probe_never_looks_at_held_out_rows(kind: Kind) -> None:
    features, scalar, classes = planted()
    labels = scalar if kind == "real" else classes
    honest = fitter(features).fit(labels, kind)
    spoiled = labels.copy()
    spoiled[400:] = 2.0 - spoiled[400:]
    other = features.copy()
    other[400:] *= -3.0
    cheating = fitter(other).fit(spoiled, kind)
    np.testing.assert_array_equal(honest.weights, cheating.weights)
    assert honest.penalty == cheating.penalty


def test_validation_finds_strong_penalties_for_noise_and_weak_ones_for_none() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(ROWS, 200)).astype(np.float32)
    weights = rng.normal(size=200)
    exact = features @ weights
    noise = rng.normal(size=ROWS)
    assert fitter(features).fit(exact, "real").penalty == PENALTIES[-1]
    assert fitter(features).fit(noise, "real").penalty >= 1.0
    signs = (exact > 0).astype(np.float64)
    coins = (noise > 0).astype(np.float64)
    assert fitter(features).fit(coins, "binary").penalty >= 1.0
    assert fitter(features).fit(signs, "binary").penalty <= 0.1
    assert fitter(features).fit(coins, "binary", penalty=1e-3).penalty == 1e-3


def test_scores_are_scikit_learn_s() -> None:
    features, scalar, classes = planted()
    probe = fitter(features).fit(classes, "categorical")
    test = np.arange(400, ROWS)
    predicted, outputs = probe.predict(features[test]), probe.outputs(features[test])
    assert probe.classes == (0.0, 1.0, 2.0)
    assert score("categorical", classes[test], predicted) == pytest.approx(
        metrics.balanced_accuracy_score(classes[test], predicted), abs=1e-6
    )
    chances = np.exp(outputs - np.logaddexp.reduce(outputs, axis=1, keepdims=True))
    theirs = metrics.roc_auc_score(classes[test], chances, multi_class="ovr", average="macro")
    assert macro_auc(probe, outputs, classes[test]) == pytest.approx(theirs, abs=1e-6)
    numbers = fitter(features).fit(scalar, "real").predict(features[test])
    assert score("real", scalar[test], numbers) == pytest.approx(
        metrics.r2_score(scalar[test], numbers), abs=1e-4
    )


def test_guessing_is_chance() -> None:
    labels = np.array([0.0] * 90 + [1.0] * 10)
    assert score("binary", labels, np.zeros(100)) == 0.5
    assert score("real", labels, np.full(100, labels.mean())) == pytest.approx(0, abs=1e-6)
    # In whatever unit the labels are told.
    guesses = labels + 0.25 * np.arange(100) / 100
    for unit in (2.0**-60, 2.0**90):
        assert score("real", unit * labels, unit * guesses) == score("real", labels, guesses)


def test_resamples_draw_clusters_whole() -> None:
    rng = np.random.default_rng(0)
    members = rng.integers(50, size=400)
    bootstrap = Bootstrap(members, 200, rng)
    for cluster in range(50):
        drawn = bootstrap.weights[:, members == cluster]
        assert (drawn == drawn[:, :1]).all()
    labels = rng.integers(2, size=400).astype(np.float64)
    predicted = np.where(rng.random(400) < 0.8, labels, 1 - labels)
    scores = bootstrap.scores("binary", labels, predicted)
    assert scores[0] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted), abs=1e-6)
    # One resample by hand: rows repeated as often as they were drawn.
    repeated = np.repeat(np.arange(400), bootstrap.weights[7].astype(int))
    assert scores[8] == pytest.approx(
        metrics.balanced_accuracy_score(labels[repeated], predicted[repeated]), abs=1e-6
    )
    numbers = labels + rng.normal(size=400)
    assert bootstrap.scores("real", labels, numbers)[8] == pytest.approx(
        metrics.r2_score(labels[repeated], numbers[repeated]), abs=1e-4
    )


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        labels = np.tile([0.0, 1.0], 100)
        predicted = np.where(rng.random(200) < 0.7, labels, 1 - labels)
        scores = Bootstrap(np.arange(200), 300, rng).scores("binary", labels, predicted)
        low, high = interval(scores[1:], 0.9)
        hits += low <= 0.7 <= high
    assert 0.84 <= hits / 200 <= 0.95


RESAMPLES = 20_000


def constant(*scores: float) -> Array:
    """[seeds, 1 + RESAMPLES]: scores that are the same in every resample."""
    return np.repeat(np.array(scores)[:, None], 1 + RESAMPLES, axis=1)


def test_the_interval_is_that_of_the_estimated_gain() -> None:
    """Raw input scores .5, of six untrained networks half .4 and half .6: the mean of the better of
    raw input and one network would be .55, the better of raw input and their mean is .5."""
    rng = np.random.default_rng(0)
    bootstrap = Bootstrap(np.arange(20), RESAMPLES, rng)
    untrained = constant(*[0.4, 0.6] * 3)
    gains = bootstrap.gains(constant(0.8)[0], constant(0.5)[0], untrained, rng)
    assert gains[0] == pytest.approx(0.3)
    assert gains[1:].mean() == pytest.approx(0.3, abs=0.01)
    low, high = bootstrap.interval(gains, "real", np.zeros(20), 0.95)
    assert (low + high) / 2 == pytest.approx(0.3, abs=0.02)


def test_a_seed_s_luck_is_part_of_the_interval() -> None:
    rng = np.random.default_rng(0)
    bootstrap = Bootstrap(np.arange(20), RESAMPLES, rng)
    scores = [0.56, 0.58, 0.6, 0.62, 0.64]
    gains = bootstrap.gains(constant(0.9)[0], constant(0.0)[0], constant(*scores), rng)
    assert gains[0] == pytest.approx(0.3)
    reach = t.ppf(0.975, 4) * np.std(scores, ddof=1) * 1.2**0.5
    low, high = bootstrap.interval(gains, "real", np.zeros(20), 0.95)
    assert (low, high) == pytest.approx((0.3 - reach, 0.3 + reach), abs=0.01)
    one = bootstrap.gains(constant(0.9)[0], constant(0.0)[0], constant(0.6), rng)
    assert one == pytest.approx(0.3)


def test_an_untrained_network_seldom_stands_out_from_others() -> None:
    """Six networks of one kind, of which one is taken for the trained one: 5 % may stand out."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(400):
        bootstrap = Bootstrap(np.arange(40), 400, rng)
        each = rng.normal(0.6, 0.03, size=(6, 1)) + rng.normal(0.0, 0.005, size=(6, 401))
        gains = bootstrap.gains(each[0], np.full(401, 0.3), each[1:], rng)
        low, high = bootstrap.interval(gains, "real", np.zeros(40), 0.95)
        found += not low <= 0.0 <= high
    # Three standard errors above five per cent.
    assert found / 400 <= 0.083


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_resamples_that_are_all_alike_are_not_certain(kind: Kind) -> None:
    """Nothing was seen to differ in 12 games, 5 of them with the rarer class."""
    games = np.repeat(np.arange(12), 3)
    labels = np.where(games < 5, 1.0, 0.0)
    rng = np.random.default_rng(0)
    bootstrap = Bootstrap(games, RESAMPLES, rng)
    gains = bootstrap.gains(constant(1.0)[0], constant(0.5)[0], constant(0.5, 0.5), rng)
    low, high = bootstrap.interval(gains, kind, labels, 0.95)
    count, tail = (5, 0.0125) if kind == "binary" else (12, 0.025)
    # With that share of others, none of so many would be seen with a chance of `tail`.
    assert (1 - (high - 0.5)) ** count == pytest.approx(tail)
    assert (1 - (0.5 - low)) ** count == pytest.approx(tail)
