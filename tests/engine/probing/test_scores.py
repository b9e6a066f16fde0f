"""Scores and their intervals agree with scikit-learn and with what they say."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import t
from sklearn import metrics

from engine.probing.concepts.registry import Kind
from engine.probing.probes.design import Design
from engine.probing.probes.scores import (
    MOST_UNITS,
    Bootstrap,
    all_macro_aucs,
    all_scores,
    interval,
    macro_auc,
    score,
)
from engine.probing.probes.tasks import Task
from tests.engine.probing.planted import ROWS, planted_rows

Array = npt.NDArray[np.float64]


def test_scores_are_scikit_learn_s() -> None:
    features, scalar, classes = planted_rows()
    train, test = np.arange(400), np.arange(400, ROWS)
    pair = (classes > 0).astype(np.float64)
    given: tuple[tuple[Kind, Array], ...] = (
        ("categorical", classes),
        ("binary", pair),
        ("real", scalar),
    )
    tasks = [Task(name=kind, kind=kind, labels=labels, penalty=1e-2) for kind, labels in given]
    outputs = Design(features, train).fit(tasks).outputs(features[test])
    predicted = outputs.predictions
    assert outputs.probes[0].classes == (0.0, 1.0, 2.0)
    held_out = np.stack([labels[test] for _, labels in given])
    found = all_scores([kind for kind, _ in given], held_out, predicted)
    accuracy = metrics.balanced_accuracy_score
    assert found[0] == pytest.approx(accuracy(classes[test], predicted[0]), abs=1e-12)
    assert found[1] == pytest.approx(accuracy(pair[test], predicted[1]), abs=1e-12)
    assert found[2] == pytest.approx(metrics.r2_score(scalar[test], predicted[2]), abs=1e-12)
    areas = all_macro_aucs(outputs, held_out)
    logits = outputs.of(0)
    chances = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    theirs = metrics.roc_auc_score(classes[test], chances, multi_class="ovr", average="macro")
    assert areas[0] == pytest.approx(theirs, abs=1e-12)
    rounded = np.round(outputs.of(1), 0)
    theirs = metrics.roc_auc_score(pair[test], rounded[:, 0])
    assert macro_auc(outputs.probes[1], rounded, pair[test]) == pytest.approx(theirs, abs=1e-12)
    assert np.isnan(areas[2])


def test_rows_without_a_label_do_not_count() -> None:
    rng = np.random.default_rng(0)
    labels = np.stack([rng.integers(3, size=90), rng.normal(size=90)]).astype(np.float64)
    guesses = np.stack([rng.integers(3, size=90), labels[1] + rng.normal(size=90)])
    kinds: list[Kind] = ["categorical", "real"]
    known = np.arange(90) >= 40
    bootstrap = Bootstrap(np.arange(90) // 3, 50, rng)
    missing = np.where(known, labels, np.nan)
    found = bootstrap.all_scores(kinds, missing, guesses)
    np.testing.assert_allclose(found[:, 0], all_scores(kinds, labels[:, known], guesses[:, known]))
    # A resample by hand.
    rows = np.repeat(np.arange(90), bootstrap.weights[7].astype(int))
    rows = rows[known[rows]]
    np.testing.assert_allclose(found[:, 8], all_scores(kinds, labels[:, rows], guesses[:, rows]))
    nothing = np.full((1, 90), np.nan)
    assert np.isnan(bootstrap.all_scores(["real"], nothing, nothing)).all()


def test_many_clusters_are_merged_into_a_thousand_units_without_another_interval() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(4 * MOST_UNITS), 3)
    # All rows of a cluster are right, or none: a third of that many independent rows.
    labels = np.tile([0.0, 1.0, 1.0], 4 * MOST_UNITS)
    right = np.repeat(rng.random(4 * MOST_UNITS) < 0.7, 3)
    bootstrap = Bootstrap(clusters, 2000, rng)
    assert bootstrap.clusters == 4 * MOST_UNITS
    assert bootstrap.draws.shape == (2001, MOST_UNITS)
    assert (np.bincount(bootstrap.units) == 12).all()
    for cluster in (0, 17):
        assert len(set(bootstrap.units[clusters == cluster])) == 1
    scores = bootstrap.scores("binary", labels, np.where(right, labels, 1.0 - labels))
    assert scores[1:].std() == pytest.approx((0.21 / (4 * MOST_UNITS)) ** 0.5, rel=0.1)


def test_resamples_whose_labels_are_nearly_alike_have_no_absurd_score() -> None:
    labels = np.zeros(300)
    labels[:2] = 1.0
    rng = np.random.default_rng(0)
    guesses = labels + 0.1 * rng.normal(size=300)
    bootstrap = Bootstrap(np.arange(300), 400, rng)
    scores = bootstrap.scores("real", labels, guesses)
    assert (bootstrap.weights[:, :2].sum(axis=1) == 0).any(), "some draw none of the two"
    assert scores[0] == pytest.approx(metrics.r2_score(labels, guesses))
    # The mean squared error of any resample is at most three times that of all rows.
    assert scores.min() > 1.0 - 2.0 * 3.0 * (1.0 - scores[0])
    assert np.isnan(bootstrap.scores("real", np.ones(300), guesses)).all()


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
