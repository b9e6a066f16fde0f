"""Sparse, bilinear, shared and two-layer probes find what is planted for them, and only they."""

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import Lasso, LogisticRegression

from engine.probing.probes.design import Design
from engine.probing.probes.forms.compare import compare_forms, compare_square_forms
from engine.probing.probes.forms.linked_squares import fit_square_probe
from engine.probing.probes.forms.mlp import fit_networks
from engine.probing.probes.forms.scoring import FormSplit
from engine.probing.probes.forms.sparse import SPARSE_PENALTIES, fit_sparse
from engine.probing.probes.forms.squares import (
    square_design,
    square_features,
    square_rows,
    square_task,
)
from engine.probing.probes.scores import Bootstrap, all_scores
from engine.probing.probes.tasks import LinearProbe, Task
from engine.rules.errors import InputError
from tests.engine.probing.planted import ROWS
from tests.engine.probing.test_probes import FOLDS, TRAIN, planted_tasks, standard

Array = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]


def objective(task: Task, outputs: Array, weights: Array, penalty: float) -> float:
    """Of outputs [M, K] on the training rows with a label and standardised weights [W, K]."""
    labels = task.labels[TRAIN]
    known = ~np.isnan(labels)
    labels, outputs = labels[known], outputs[known]
    cost = penalty * float(np.abs(weights).sum())
    if task.is_number:
        return float(((labels - outputs[:, 0]) ** 2).mean() / labels.var()) / 2.0 + cost
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    logits = outputs if outputs.shape[1] > 1 else np.concatenate([0 * outputs, outputs], axis=1)
    losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), codes]
    return float((losses / counts[codes]).sum()) / len(classes) + cost


def their_sparse_objective(task: Task, features: Single, penalty: float) -> float:
    rows = TRAIN[~np.isnan(task.labels[TRAIN])]
    inputs, labels = standard(features, TRAIN), task.labels
    if task.is_number:
        unit = labels[rows].std()
        model = Lasso(alpha=penalty, tol=1e-10, max_iter=100_000).fit(
            inputs[rows], labels[rows] / unit
        )
        return objective(
            task, model.predict(inputs[TRAIN])[:, None] * unit, model.coef_[:, None], penalty
        )
    model = LogisticRegression(
        l1_ratio=1.0,
        C=1.0 / (penalty * len(rows)),
        class_weight="balanced",
        solver="saga",
        tol=1e-8,
        max_iter=3_000,
        random_state=0,
    ).fit(inputs[rows], labels[rows])
    outputs = model.decision_function(inputs[TRAIN]).reshape(len(TRAIN), -1)
    return objective(task, outputs, model.coef_.T, penalty)


def standard_weights(probe: LinearProbe, features: Single) -> Array:
    """[W, K] of standardised features, and of labels of unit spread."""
    spread = features[TRAIN].astype(np.float64).std(axis=0)
    return np.asarray(probe.weights * spread[:, None])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("penalty", [1e-1, 1e-2, 1e-3])
def test_sparse_probes_are_scikit_learn_s(penalty: float) -> None:
    features, tasks = planted_tasks(penalty)
    chosen = [task for task in tasks if task.name in ("missing number", "classes", "rare")]
    probes = fit_sparse(Design(features, TRAIN), chosen)
    for task, probe in zip(chosen, probes.probes, strict=True):
        labels = task.labels[TRAIN]
        unit = np.nanstd(labels) if task.is_number else 1.0
        ours = objective(
            task,
            probe.outputs(features[TRAIN]),
            standard_weights(probe, features) / unit,
            penalty,
        )
        best = their_sparse_objective(task, features, penalty)
        assert ours <= best + 1e-6, task.name
        # The unpenalised bias of a rare class is where scikit-learn's solver does not arrive.
        if task.name != "rare":
            assert ours == pytest.approx(best, abs=1e-6), task.name


def test_sparse_probes_of_features_that_are_alike_have_the_least_loss() -> None:
    """Nearly the same features, equal ones, a constant, and more of them than rows."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(ROWS, 30))
    mixed = base @ rng.normal(size=(30, 400)) + 0.05 * rng.normal(size=(ROWS, 400))
    features = np.concatenate([mixed, mixed[:, :20], np.ones((ROWS, 1))], axis=1, dtype=np.float32)
    signal = base[:, 0] + 0.5 * base[:, 1]
    classes = np.digitize(signal + 0.3 * rng.normal(size=ROWS), (-0.7, 0.0, 0.8))
    tasks = [
        Task(name="number", kind="real", labels=signal, penalty=1e-3),
        Task(name="binary", kind="binary", labels=(signal > 0.4).astype(float), penalty=1e-3),
        Task(name="classes", kind="categorical", labels=classes.astype(float), penalty=1e-2),
    ]
    design = Design(features, TRAIN)
    varies = design.inverse_spread > 0.0
    spread = np.divide(1.0, design.inverse_spread, out=np.zeros(421), where=varies)
    inputs = standard(features[:, varies], TRAIN)[TRAIN]
    for task, probe in zip(tasks, fit_sparse(design, tasks).probes, strict=True):
        weights = probe.weights * spread[:, None]
        outputs, labels = probe.outputs(features[TRAIN]), task.labels[TRAIN]
        if task.is_number:
            weights, unit = weights / labels.std(), labels.std()
            residuals = (outputs - labels[:, None]) / unit / len(TRAIN)
        else:
            logits = outputs if outputs.shape[1] > 1 else np.concatenate([0 * outputs, outputs], 1)
            known, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
            chances = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
            rows = 1.0 / counts[codes] / len(known)
            residuals = (chances - (labels[:, None] == known)) * rows[:, None]
            residuals = residuals[:, -outputs.shape[1] :]
        slopes, own = inputs.T @ residuals, weights[varies]
        # The conditions of a least loss: slopes that the penalty balances, and no larger ones.
        penalty = task.penalty or 0.0
        moved = own != 0.0
        assert 5 < moved.sum() < own.size / 4, task.name
        np.testing.assert_allclose(slopes[moved], -penalty * np.sign(own[moved]), rtol=1e-3)
        assert np.abs(slopes).max() <= 1.001 * penalty
        assert not weights[~varies].any()


def test_a_sparse_truth_is_recovered() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(ROWS, 60)).astype(np.float32)
    number = 2.0 * features[:, 7] - features[:, 30] + 0.3 * rng.normal(size=ROWS)
    binary = 3.0 * features[:, 4] + 3.0 * features[:, 9] + rng.logistic(size=ROWS) > 0.0
    tasks = [
        Task(name="number", kind="real", labels=number.astype(np.float64)),
        Task(name="binary", kind="binary", labels=binary.astype(np.float64)),
    ]
    design = Design(features, TRAIN, FOLDS)
    probes = fit_sparse(design, tasks)
    for probe, true in zip(probes.probes, ([7, 30], [4, 9]), strict=True):
        sizes = np.abs(probe.weights[:, 0])
        assert sorted(np.argsort(sizes)[-2:]) == true
        assert (sizes == 0.0).sum() >= 20
        assert probe.penalty in SPARSE_PENALTIES
        assert probe.penalty == SPARSE_PENALTIES[int(np.argmin(probe.losses))]
    dense = design.fit(tasks)
    assert (np.abs(dense[0].weights) > 0.0).all()


def parity(rng: np.random.Generator, rows: int = 1_200) -> tuple[Single, Array]:
    features = rng.normal(size=(rows, 8)).astype(np.float32)
    return features, ((features[:, 0] > 0.0) ^ (features[:, 1] > 0.0)).astype(np.float64)


def test_only_a_hidden_layer_finds_a_parity() -> None:
    rng = np.random.default_rng(0)
    features, labels = parity(rng)
    missing = np.where(rng.random(1_200) < 0.2, np.nan, labels)
    tasks = [
        Task(name="parity", kind="binary", labels=labels),
        Task(name="linear", kind="real", labels=features[:, 3].astype(np.float64) * 50.0 + 7.0),
        Task(name="missing", kind="categorical", labels=missing + 3.0),
    ]
    rows = np.arange(1_200)
    split = FormSplit(
        train=rows[:840],
        folds=rows[:840] % 4,
        test=rows[840:],
        bootstrap=Bootstrap(rows[840:], 100, rng),
    )
    noise = rng.normal(size=(1_200, 8)).astype(np.float32)
    control_labels = [rng.permutation(task.labels) for task in tasks]
    found = compare_forms(
        features,
        tasks,
        split,
        controls={"raw input": [noise], "untrained networks": [noise, noise]},
        control_labels=control_labels,
        seeds=(0, 1),
    )
    by_name = {each.task: {form.form: form for form in each.forms} for each in found}
    for name in ("parity", "missing"):
        assert by_name[name]["linear"].score < 0.6
        assert by_name[name]["sparse"].score < 0.6
        assert by_name[name]["mlp"].score > 0.85
        assert (by_name[name]["mlp"].gain or 0.0) > 0.3
        assert (by_name[name]["mlp"].selectivity or 0.0) > 0.3
        assert by_name[name]["mlp"].is_added
        assert not by_name[name]["sparse"].is_added
    assert not by_name["linear"]["mlp"].is_added
    assert found[0].sufficient == "mlp"
    assert found[1].sufficient == "linear"
    assert by_name["linear"]["linear"].score > 0.999
    assert by_name["linear"]["mlp"].score > 0.855
    assert [name for name, _ in found[0].forms[0].controls] == ["raw input", "untrained networks"]


def test_a_comparison_is_the_same_on_any_number_of_workers_and_tells_its_progress() -> None:
    features, labels = parity(np.random.default_rng(2), 400)
    tasks = [
        Task(name="parity", kind="binary", labels=labels),
        Task(name="number", kind="real", labels=features[:, 3].astype(np.float64)),
    ]
    rows = np.arange(400)
    split = FormSplit(train=rows[:280], folds=rows[:280] % 4, test=rows[280:])
    told: list[tuple[int, int]] = []
    found = [
        compare_forms(
            features,
            tasks,
            split,
            controls={"untrained": [features[:, :4], features[:, 4:]]},
            control_labels=[labels, labels],
            seeds=(0,),
            workers=workers,
            progress=lambda done, total: told.append((done, total)),
        )
        for workers in (1, 4)
    ]
    assert found[0] == found[1]
    # Three forms of the layer, two controls and the control labels.
    assert told == [(done, 12) for done in range(1, 13)] * 2
    assert [(each.train, each.test) for each in found[0]] == [(280, 120)] * 2


def test_nothing_is_added_where_there_is_nothing() -> None:
    """For none of many concepts at once, though some look better by chance."""
    rng = np.random.default_rng(0)
    rows = np.arange(500)
    tasks = [
        Task(name=f"noise {n}", kind="binary", labels=(rng.random(500) < 0.5).astype(np.float64))
        for n in range(20)
    ]
    split = FormSplit(
        train=rows[:300],
        folds=rows[:300] % 4,
        test=rows[300:],
        bootstrap=Bootstrap(rows[300:], 200, rng),
    )
    features, raw, *fresh = rng.normal(size=(4, 500, 10)).astype(np.float32)
    found = compare_forms(
        features,
        tasks,
        split,
        controls={"raw input": [raw], "untrained": fresh},
        forms=("linear", "mlp"),
        seeds=(0,),
    )
    assert any((each.forms[1].added or 0.0) > 0.03 for each in found)
    assert not any(each.forms[1].is_added for each in found)
    assert all((each.forms[0].gain_interval or (1.0, 1.0))[0] < 0.0 for each in found)


def test_a_form_that_only_does_worse_on_the_controls_adds_nothing() -> None:
    """Raw input is wide and linear in the concept, so that a hidden layer overfits it."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(1_500, 20)).astype(np.float32)
    wide = np.concatenate([features, rng.normal(size=(1_500, 300))], axis=1).astype(np.float32)
    labels = features @ rng.normal(size=20) + 2.0 * rng.normal(size=1_500)
    split = FormSplit(
        train=np.arange(500),
        folds=np.arange(500) % 4,
        test=np.arange(500, 1_500),
        bootstrap=Bootstrap(np.arange(1_000), 100, rng),
    )
    task = Task(name="linear", kind="real", labels=labels)
    (found,) = compare_forms(
        features, [task], split, controls={"raw input": [wide]}, forms=("linear", "mlp"), seeds=(0,)
    )
    linear, mlp = found.forms
    assert mlp.gain is not None
    assert linear.gain is not None
    assert mlp.gain - linear.gain > 0.03
    assert mlp.added is not None
    assert mlp.added < 0.01
    assert not mlp.is_added


def test_what_no_network_and_no_resample_changes_has_an_interval_all_the_same() -> None:
    """A form that always guesses one class scores one half everywhere."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 4)).astype(np.float32)
    labels = rng.integers(2, size=300).astype(np.float64)
    split = FormSplit(
        train=np.arange(200),
        folds=np.arange(200) % 4,
        test=np.arange(200, 300),
        bootstrap=Bootstrap(np.arange(100), 20, rng),
    )
    flat = np.zeros_like(features)
    (found,) = compare_forms(
        flat,
        [Task(name="coin", kind="binary", labels=labels)],
        split,
        controls={"untrained": [flat, flat]},
        forms=("linear", "sparse"),
    )
    for each in found.forms:
        assert each.gain == 0.0
        assert each.gain_interval is not None
        assert np.isfinite(each.gain_interval).all()


@pytest.mark.parametrize("absent", [0.0, 1.0])
def test_a_class_that_the_first_fold_alone_has_is_learned(absent: float) -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, 3)).astype(np.float32)
    folds = np.repeat(np.arange(4), 100)
    labels = np.full(400, 1.0 - absent)
    labels[:100] = np.where((features[:100, 0] > 0.0) == bool(absent), absent, 1.0 - absent)
    design = Design(features, np.arange(400), folds)
    probes = fit_sparse(design, [Task(name="late", kind="binary", labels=labels)])
    guesses = probes.outputs(features).predictions[0]
    assert (guesses[labels == absent] == absent).mean() > 0.5


def test_two_layer_probes_follow_from_their_seeds_and_never_see_held_out_rows() -> None:
    features, labels = parity(np.random.default_rng(1), 600)
    tasks = [Task(name="parity", kind="binary", labels=labels)]
    spoiled = features.copy()
    spoiled[400:] = np.nan
    other = [Task(name="parity", kind="binary", labels=np.where(np.arange(600) < 400, labels, 5.0))]

    def fit(features: Single, tasks: list[Task], seeds: tuple[int, ...]) -> list[Array]:
        probes = fit_networks(Design(features, TRAIN, FOLDS), tasks, seeds, hidden=8)
        return [part.numpy() for part in probes.parameters]

    first = fit(features, tasks, (3, 4))
    for ours, again, spoiled_part in zip(
        first, fit(features, tasks, (3, 4)), fit(spoiled, other, (3, 4)), strict=True
    ):
        np.testing.assert_array_equal(ours, again)
        np.testing.assert_array_equal(ours, spoiled_part)
    assert not np.array_equal(first[0][0], first[0][1])
    with pytest.raises(InputError, match="folds of which the first judges"):
        fit_networks(Design(features, TRAIN), tasks)


def linked_squares(
    rng: np.random.Generator, rows: int = 1_500
) -> tuple[Single, npt.NDArray[np.int64], Array]:
    """Squares whose activation is a turned copy of that at the given one: activations [N, S, D],
    the given square and the linked one [N]."""
    squares, channels = 9, 12
    activations = rng.normal(size=(rows, squares, channels))
    given = rng.integers(squares, size=rows)
    linked = (given + rng.integers(1, squares, size=rows)) % squares
    turn = np.linalg.qr(rng.normal(size=(channels, channels)))[0]
    rows_of = np.arange(rows)
    activations[rows_of, linked] = activations[rows_of, given] @ turn
    return activations.astype(np.float32), given, linked.astype(np.float64)


def test_a_bilinear_probe_finds_the_linked_square_and_a_linear_one_does_not() -> None:
    rng = np.random.default_rng(0)
    activations, given, linked = linked_squares(rng)
    rows = np.arange(1_500)
    split = FormSplit(train=rows[:1_100], folds=rows[:1_100] % 4, test=rows[1_100:])
    labels = np.where(rng.random(1_500) < 0.1, np.nan, linked)
    noise = rng.normal(size=activations.shape).astype(np.float32)
    (found,) = compare_square_forms(
        activations,
        {"linked": np.where(rng.random(1_500) < 0.1, -1, given)},
        [Task(name="linked", kind="categorical", labels=labels)],
        split,
        controls={"raw input": [noise]},
        seeds=(0,),
    )
    linear, bilinear = found.forms
    assert (linear.form, bilinear.form) == ("linear", "bilinear")
    assert bilinear.score > 0.9
    assert linear.score < 0.35
    assert bilinear.gain is not None
    assert bilinear.gain > 0.6
    assert found.sufficient == "bilinear"


def test_bilinear_probes_follow_from_their_seed_and_never_see_held_out_rows() -> None:
    activations, given, linked = linked_squares(np.random.default_rng(1), 600)
    spoiled = activations.copy()
    spoiled[400:] = np.nan
    first = fit_square_probe("bilinear", activations, given, linked, TRAIN, FOLDS, rank=4)
    again = fit_square_probe(
        "bilinear",
        spoiled,
        given,
        np.where(np.arange(600) < 400, linked, 0.0),
        TRAIN,
        FOLDS,
        rank=4,
    )
    other = fit_square_probe("bilinear", activations, given, linked, TRAIN, FOLDS, rank=4, seed=1)
    np.testing.assert_array_equal(first.parameters[0].numpy(), again.parameters[0].numpy())
    assert first.parameters[0].shape == (12, 4)
    assert not np.array_equal(first.parameters[0].numpy(), other.parameters[0].numpy())
    with pytest.raises(InputError, match="a label is 9; there are 9 squares"):
        fit_square_probe("bilinear", activations, given, np.full(600, 9.0), TRAIN, FOLDS)
    with pytest.raises(InputError, match="0 rows to fit to"):
        fit_square_probe("bilinear", activations, given, np.full(600, np.nan), TRAIN, FOLDS)


def test_one_probe_is_shared_by_all_squares() -> None:
    """It finds a direction that is the same on every square, from fewer positions than a probe of
    each square needs."""
    rng = np.random.default_rng(0)
    activations = rng.normal(size=(120, 9, 16)).astype(np.float32)
    labels = (activations @ rng.normal(size=16) > 0.0).astype(np.float64)
    labels[3, 4] = np.nan
    train, test = np.arange(60), np.arange(60, 120)
    task = Task(name="square", kind="binary", labels=labels)
    flat = square_task(task, 9)
    shared = square_design(activations, train, train % 4).fit([flat])
    rows = square_rows(test, 9)
    predicted = shared.outputs(square_features(activations)[rows]).predictions
    together = all_scores(["binary"], flat.labels[rows][None], predicted)[0]
    alone = Design(activations[:, 0], train, train % 4)
    own = alone.fit([Task(name="first", kind="binary", labels=labels[:, 0])])
    apart = all_scores(
        ["binary"], labels[test, 0][None], own.outputs(activations[test, 0]).predictions
    )[0]
    assert together > 0.93
    assert together > apart + 0.05
    with pytest.raises(InputError, match=r"square: labels of shape \[120, 9\], not \[N, 16\]"):
        square_task(task, 16)


def test_unknown_forms_are_refused() -> None:
    features, tasks = planted_tasks()
    split = FormSplit(train=TRAIN, folds=FOLDS, test=np.arange(400, ROWS))
    with pytest.raises(InputError, match="form = 'cubic' is not one of linear, sparse, mlp"):
        compare_forms(features, tasks, split, forms=("cubic",))
