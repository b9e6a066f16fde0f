"""Linear probes are scikit-learn's, and look at training rows alone."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from engine.probing.concepts.registry import NUMBERS, Kind
from engine.probing.probes.design import Design
from engine.probing.probes.tasks import PENALTIES, LinearProbe, Task
from engine.probing.probes.training_features import ALWAYS
from engine.rules.errors import InputError
from tests.engine.probing.planted import ROWS, WIDTH, planted_rows

Array = npt.NDArray[np.float64]
TRAIN = np.arange(400)
FOLDS = TRAIN // 5 % 4


def standard(features: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> Array:
    """Standardised on `rows`, without the constant."""
    exact = features.astype(np.float64)
    spread = exact[rows].std(axis=0)
    spread[3] = np.inf
    found: Array = (exact - exact[rows].mean(axis=0)) / spread
    return found


def theirs(task: Task, features: npt.NDArray[np.float32], penalty: float) -> Array:
    """Outputs [N, K] of scikit-learn's probe, without the constant that logits are free by."""
    rows = TRAIN[~np.isnan(task.labels[TRAIN])]
    inputs = standard(features, TRAIN)
    if task.is_number:
        model = Ridge(alpha=penalty * len(rows), solver="cholesky")
        return np.asarray(model.fit(inputs[rows], task.labels[rows]).predict(inputs))[:, None]
    model = LogisticRegression(
        C=1.0 / (penalty * len(rows)),
        class_weight="balanced",
        solver="newton-cholesky",
        max_iter=1000,
        tol=1e-12,
    )
    found = model.fit(inputs[rows], task.labels[rows]).decision_function(inputs)
    return np.asarray(found).reshape(len(inputs), -1)


def difference(ours: Array, other: Array) -> float:
    """Largest difference of outputs [N, K], as a share of the largest output."""
    if ours.shape[1] > 1:
        ours = ours - ours.mean(axis=1, keepdims=True)
        other = other - other.mean(axis=1, keepdims=True)
    return float(np.abs(ours - other).max() / np.abs(other).max())


def planted_tasks(penalty: float | None = None) -> tuple[npt.NDArray[np.float32], list[Task]]:
    """All kinds, with rows that have no label, rare classes, and two classes of a categorical."""
    features, scalar, classes = planted_rows()
    rng = np.random.default_rng(1)
    missing = rng.random(ROWS) < 0.3
    labels: dict[str, tuple[Kind, Array]] = {
        "number": ("real", scalar),
        "number of another unit": ("real", 1e6 * scalar + 1e7),
        "count": ("count", np.floor(np.abs(scalar)).astype(np.float64)),
        "missing number": ("real", np.where(missing, np.nan, scalar)),
        "classes": ("categorical", classes),
        "missing classes": ("categorical", np.where(missing, np.nan, classes)),
        "binary": ("binary", (scalar > 0.0).astype(np.float64)),
        "rare": ("binary", (classes == 0.0).astype(np.float64)),
        "missing binary": ("binary", np.where(missing, np.nan, scalar > 1.0)),
        "two of several": ("categorical", np.where(classes == 0.0, np.nan, classes)),
        "noise": ("binary", (rng.random(ROWS) < 0.5).astype(np.float64)),
    }
    return features, [
        Task(name=name, kind=kind, labels=own, penalty=penalty)
        for name, (kind, own) in labels.items()
    ]


@pytest.mark.parametrize("penalty", [10.0, 1e-1, 1e-3, 1e-5])
def test_probes_are_scikit_learn_s(penalty: float) -> None:
    features, tasks = planted_tasks(penalty)
    outputs = Design(features, TRAIN).fit(tasks).outputs(features)
    for index, task in enumerate(tasks):
        assert difference(outputs.of(index), theirs(task, features, penalty)) < 1e-6, task.name


def test_tasks_are_fitted_together_as_one_by_one() -> None:
    features, tasks = planted_tasks()
    together = Design(features, TRAIN, FOLDS).fit(tasks)
    for task, probe in zip(tasks, together.probes, strict=True):
        (alone,) = Design(features, TRAIN, FOLDS).fit([task]).probes
        assert alone.penalty == probe.penalty
        np.testing.assert_allclose(alone.losses, probe.losses, rtol=1e-3)
        np.testing.assert_allclose(alone.weights, probe.weights, rtol=1e-5, atol=1e-9)


def test_single_precision_is_enough_for_controls() -> None:
    features, tasks = planted_tasks(1e-3)
    design = Design(features, TRAIN)
    quick, exact = (design.fit(tasks, exact=own).outputs(features) for own in (False, True))
    for index, task in enumerate(tasks):
        limit = 0.0 if task.is_number else 0.02
        assert difference(quick.of(index), exact.of(index)) <= limit, task.name
    agree = quick.predictions[4:] == exact.predictions[4:]
    assert agree.mean() > 0.995


def test_losses_are_those_of_the_rows_that_folds_leave_out() -> None:
    features, tasks = planted_tasks()
    probes = Design(features, TRAIN, FOLDS).fit(tasks)
    everything = standard(features, TRAIN)
    for task, probe in zip(tasks, probes.probes, strict=True):
        rows = TRAIN[~np.isnan(task.labels[TRAIN])]
        step = 2
        total = 0.0
        for fold in range(4):
            kept, left = rows[FOLDS[rows] != fold], rows[FOLDS[rows] == fold]
            if task.is_number:
                model = Ridge(alpha=PENALTIES[step] * len(kept))
                model.fit(everything[kept], task.labels[kept])
                errors = model.predict(everything[left]) - task.labels[left]
                total += float((errors**2).sum()) / len(rows) / task.labels[rows].var()
                continue
            model = LogisticRegression(
                C=1.0 / (PENALTIES[step] * len(kept)), class_weight="balanced", tol=1e-8
            )
            model.fit(everything[kept], task.labels[kept])
            logs = model.predict_log_proba(everything[left])
            classes, counts = np.unique(task.labels[rows], return_counts=True)
            own = np.searchsorted(classes, task.labels[left])
            total -= float((logs[np.arange(len(left)), own] / counts[own]).sum()) / len(classes)
        assert probe.losses[step] == pytest.approx(total, rel=5e-3), task.name
        assert probe.penalty == PENALTIES[int(np.argmin(probe.losses))]


@pytest.mark.parametrize("kind", ["real", "categorical", "binary"])
def test_a_probe_never_looks_at_held_out_rows(kind: Kind) -> None:
    features, scalar, classes = planted_rows()
    labels = {"real": scalar, "categorical": classes, "binary": np.minimum(classes, 1.0)}[kind]
    spoiled, other = labels.copy(), features.copy()
    spoiled[400:] = np.where(np.arange(200) % 2, np.nan, 7.0)
    other[400:] = np.inf

    def fit(features: npt.NDArray[np.float32], labels: Array) -> tuple[LinearProbe, float]:
        design = Design(features, TRAIN, FOLDS, TRAIN // 2)
        task = Task(name="planted", kind=kind, labels=labels)
        (probe,) = design.fit([task]).probes
        return probe, design.description_lengths([task], [probe.penalty])[0].bits

    honest, bits = fit(features, labels)
    cheating, cheated_bits = fit(other, spoiled)
    np.testing.assert_array_equal(honest.weights, cheating.weights)
    assert honest.penalty == cheating.penalty
    assert honest.losses == cheating.losses
    assert bits == cheated_bits


def test_validation_finds_strong_penalties_for_noise_and_weak_ones_for_none() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(ROWS, 200)).astype(np.float32)
    exact, noise = features @ rng.normal(size=200), rng.normal(size=ROWS)
    labels: list[tuple[Kind, Array]] = [
        ("real", exact),
        ("real", noise),
        ("binary", (exact > 0).astype(np.float64)),
        ("binary", (noise > 0).astype(np.float64)),
    ]
    tasks = [Task(name=kind, kind=kind, labels=own) for kind, own in labels]
    found = Design(features, np.arange(ROWS), np.arange(ROWS) % 4).fit(tasks).penalties
    assert found[0] == PENALTIES[-1]
    assert found[1] >= 1.0
    assert found[2] <= 0.1
    assert found[3] >= 1.0


def test_rows_of_no_fold_are_never_left_out() -> None:
    features, scalar, classes = planted_rows()
    tasks = [
        Task(name="number", kind="real", labels=scalar),
        Task(name="classes", kind="categorical", labels=classes),
    ]
    folds = np.where(TRAIN < 300, ALWAYS, 0)
    probes = Design(features, TRAIN, folds).fit(tasks)
    everything = standard(features, TRAIN)
    model = Ridge(alpha=PENALTIES[1] * 300).fit(everything[:300], scalar[:300])
    errors = model.predict(everything[300:400]) - scalar[300:400]
    loss = float((errors**2).mean()) / scalar[TRAIN].var()
    assert probes[0].losses[1] == pytest.approx(loss, rel=1e-9)
    assert len(probes[1].losses) > 1


@pytest.mark.parametrize("seed", range(2))
def test_probes_do_not_depend_on_units_or_on_the_order_of_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, tasks = planted_tasks()
    found = Design(features, TRAIN, FOLDS).fit(tasks).outputs(features)
    order = rng.permutation(len(TRAIN))
    shuffled = Design(features, TRAIN[order], FOLDS[order]).fit(tasks).outputs(features)
    measured = features * np.float32(2.0) ** rng.integers(-2, 3, WIDTH).astype(np.float32)
    other = Design(measured, TRAIN, FOLDS).fit(tasks).outputs(measured)
    for index, task in enumerate(tasks):
        for changed in (shuffled, other):
            assert changed.probes[index].penalty == found.probes[index].penalty
            assert difference(changed.of(index), found.of(index)) < 1e-6, task.name


def test_labels_of_another_unit_or_with_other_names_give_the_same_probe() -> None:
    features, scalar, classes = planted_rows()
    design = Design(features, TRAIN, FOLDS)
    names = np.array([7.0, -2.0, 3.0])
    given: list[tuple[Kind, Array]] = [
        ("real", scalar),
        ("real", 4.0 * scalar - 3.0),
        ("categorical", classes),
        ("categorical", names[classes.astype(int)]),
    ]
    outputs = design.fit(
        [Task(name="planted", kind=kind, labels=labels) for kind, labels in given]
    ).outputs(features)
    predicted = outputs.predictions
    np.testing.assert_allclose(4.0 * predicted[0] - 3.0, predicted[1], rtol=1e-9)
    np.testing.assert_array_equal(names[predicted[2].astype(int)], predicted[3])


def test_a_task_of_one_class_has_that_label_everywhere() -> None:
    features, _, _ = planted_rows()
    labels = np.full(ROWS, 4.0)
    labels[400:] = 5.0
    tasks = [Task(name="same", kind="categorical", labels=labels)]
    design = Design(features, TRAIN, FOLDS)
    probe = design.fit(tasks)[0]
    assert (probe.predict(features) == 4.0).all()
    assert design.description_lengths(tasks, [1.0])[0].bits == 0.0


def test_a_class_that_a_fold_lacks_is_no_obstacle() -> None:
    features, scalar, _ = planted_rows()
    labels = (scalar > 0.0).astype(np.float64)
    labels[[4, 8]] = 2.0
    folds = np.where(np.isin(TRAIN, [4, 8]), 0, TRAIN % 3)
    tasks = [Task(name="classes", kind="categorical", labels=labels)]
    probe = Design(features, TRAIN, folds).fit(tasks)[0]
    assert np.isfinite(probe.losses).all()
    assert np.abs(probe.weights).max() < 1e4
    assert (probe.predict(features[[4, 8]]) == 2.0).all()


def test_mistakes_are_named() -> None:
    features, scalar, _ = planted_rows()

    def fit(**changes: Any) -> None:
        task = Task(name="planted", kind="real", labels=scalar, penalty=1.0)
        Design(features, TRAIN).fit([dataclasses.replace(task, **changes)])

    with pytest.raises(InputError, match=r"planted: labels of shape \[3\], not \[600\]"):
        fit(labels=np.zeros(3))
    with pytest.raises(InputError, match="planted: a label is inf"):
        fit(labels=np.where(np.arange(ROWS) == 7, np.inf, scalar))
    with pytest.raises(InputError, match=r"planted: the penalty is -1\.0"):
        fit(penalty=-1.0)
    with pytest.raises(InputError, match="planted: without folds it needs a penalty"):
        fit(penalty=None)
    with pytest.raises(InputError, match="planted: no training row has a label"):
        fit(labels=np.where(np.arange(ROWS) < 400, np.nan, scalar))
    with pytest.raises(InputError, match=r"folds of shape \[3\] for 400 training rows"):
        Design(features, TRAIN, np.arange(3))
    with pytest.raises(InputError, match="all training rows are in one fold"):
        Design(features, TRAIN, np.zeros(400, np.int64))
    with pytest.raises(InputError, match="kind = 'scalar' is not one of binary, categorical"):
        fit(kind="scalar")
    with pytest.raises(InputError, match="training row 600 is none of 600 rows"):
        Design(features, TRAIN + 201)
    with pytest.raises(InputError, match="no training rows"):
        Design(features, TRAIN[:0])
    with pytest.raises(InputError, match="a real has no classes"):
        Design(features, TRAIN).fit(
            [Task(name="planted", kind=NUMBERS[1], labels=scalar, penalty=1.0)]
        )[0].probabilities(features)
    nothing = Design(features, TRAIN).fit([]).outputs(features)
    assert nothing.values.shape == (ROWS, 0)
    assert nothing.predictions.shape == (0, ROWS)
