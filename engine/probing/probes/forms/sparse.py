"""Sparse linear probes: an L1 penalty, as in McGrath et al. 2022, section 4.

    numbers   half the mean squared error of labels of unit spread + penalty * sum of |weights|
    classes   mean cross-entropy, all classes of the same total weight + the same

of standardised features, without the bias. In scikit-learn's terms Lasso(alpha=penalty) and
LogisticRegression(l1_ratio=1, C=1 / (M * penalty), class_weight="balanced") for M rows.

Both are minimised by FISTA (Beck and Teboulle 2009) with restarts (O'Donoghue and Candès 2015), for
all tasks at once. The penalty is the one with the least loss on the first fold.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.registry import Labels
from engine.probing.probes.classes import ClassTask, batches, constant_probe, stack
from engine.probing.probes.design import Design
from engine.probing.probes.logistic import Numbers, Problems, Single
from engine.probing.probes.numbers import Sums, same_rows, sums_of_parts
from engine.probing.probes.tasks import Array, LinearProbe, Probes, Task

SPARSE_PENALTIES: Final = tuple(10.0**exponent for exponent in (-1, -1.5, -2, -2.5, -3, -3.5, -4))
"""Those that are tried, from strong to weak."""
_STEPS: Final = 5_000
_CLOSE: Final = 3e-4
"""Stop once no weight has a slope above this share of the penalty."""
_PATH_CLOSE: Final = 3e-2
"""The same while penalties are compared."""
_CHECK: Final = 10

Gradient = Callable[[npt.NDArray[np.bool_], Array], Array]
"""Of some columns, flagged in [K], at their weights [k, A]: float64[k, A]."""


def fit_sparse(design: Design, tasks: Sequence[Task]) -> Probes:
    """The sparse probe of each task; `Task.penalty` is of the absolute weights here.

    Raises InputError as `Design.fit` does.
    """
    labels = design.labels(tasks)
    found: dict[int, LinearProbe] = {}
    for numbers, fit in ((True, _fit_numbers), (False, _fit_classes)):
        chosen = [index for index, task in enumerate(tasks) if task.is_number == numbers]
        probes = fit(design, [tasks[index] for index in chosen], labels[chosen])
        found.update(zip(chosen, probes, strict=True))
    return Probes(probes=tuple(found[index] for index in range(len(tasks))))


def shrunk(weights: Array, by: Array) -> Array:
    """Towards zero, but not beyond; the bias, which is last, stays."""
    found: Array = np.sign(weights) * np.maximum(np.abs(weights) - by, 0.0)
    found[:, -1] = weights[:, -1]
    return found


def fista(
    gradient: Gradient,
    start: Array,
    smoothness: Array,
    penalties: Array,
    close: float,
    columns: Numbers | None = None,
) -> Array:
    """Weights [K, A] of least loss + penalty * |weights|, from gradients of the loss.

    `smoothness` [K] bounds the largest curvature of the loss. `columns` [P] of each task are one
    unless noted, and stop together.
    """
    columns = np.ones(len(start), np.intp) if columns is None else columns
    first = np.cumsum(columns) - columns
    weights, ahead = start.copy(), start.copy()
    momentum = np.ones(len(start))
    active = np.ones(len(start), np.bool_)
    for step in range(_STEPS):
        rows = np.flatnonzero(active)
        size = 1.0 / smoothness[rows, None]
        slope = gradient(active, ahead[rows])
        new = shrunk(ahead[rows] - size * slope, size * penalties[rows, None])
        change = new - weights[rows]
        mapping = np.abs(ahead[rows] - new).max(axis=1) * smoothness[rows]
        uphill = np.einsum("ka,ka->k", ahead[rows] - new, change) > 0.0
        following = 0.5 + np.sqrt(0.25 + momentum[rows] ** 2)
        push = np.where(uphill, 0.0, (momentum[rows] - 1.0) / following)
        momentum[rows] = np.where(uphill, 1.0, following)
        weights[rows], ahead[rows] = new, new + push[:, None] * change
        if step % _CHECK == 0:
            active[rows] = mapping > close * penalties[rows]
            active = np.repeat(np.logical_or.reduceat(active, first), columns)
            if not active.any():
                break
    return weights


def _fit_numbers(design: Design, tasks: Sequence[Task], labels: Labels) -> list[LinearProbe]:
    found: dict[int, LinearProbe] = {}
    for members in same_rows(labels):
        own = labels[members]
        middle, unit = np.nanmean(own, axis=1), np.nanstd(own, axis=1)
        unit[unit == 0.0] = 1.0
        parts = sums_of_parts(design, (own - middle[:, None]) / unit[:, None])
        whole = sum(parts[1:], parts[0])
        penalties, losses = _given([tasks[index] for index in members])
        searching = np.isnan(penalties)
        if searching.any():
            left_out = parts[-len(design.folds)]  # The first fold.
            losses = _path(
                partial(_lasso, whole - left_out),
                partial(_mean_squared_errors, left_out),
                np.zeros((len(members), design.width + 1)),
            )
            best = np.array(SPARSE_PENALTIES)[losses.argmin(axis=0)]
            penalties = np.where(searching, best, penalties)
        weights = _lasso(whole, np.zeros((len(members), design.width + 1)), penalties, _CLOSE)
        raw, bias = design.raw(weights[:, :-1].T * unit, weights[:, -1] * unit + middle)
        for column, index in enumerate(members):
            found[index] = LinearProbe(
                kind=tasks[index].kind,
                weights=raw[:, [column]],
                bias=bias[[column]],
                classes=(0.0,),
                penalty=float(penalties[column]),
                losses=tuple(losses[:, column].tolist()) if searching[column] else (),
            )
    return [found[index] for index in range(len(tasks))]


def _given(tasks: Sequence[Task]) -> tuple[Array, Array]:
    """Penalties [T], NaN where one is to be chosen, and no losses yet."""
    given = [np.nan if task.penalty is None else task.penalty for task in tasks]
    return np.array(given), np.empty((0, len(tasks)))


def _path(
    solve: Callable[[Array, Array], Array], loss: Callable[[Array], Array], start: Array
) -> Array:
    """[penalties, T] losses on what was left out, each solution from that for the one before."""
    losses, weights = [], start
    for penalty in SPARSE_PENALTIES:
        weights = solve(weights, np.full(len(start), penalty))
        losses.append(loss(weights))
    return np.stack(losses)


def _mean_squared_errors(sums: Sums, weights: Array) -> Array:
    """[T] of weights and bias [T, W + 1]."""
    return sums.squared_errors(weights[:, :-1].T, weights[:, -1]) / max(sums.count, 1)


def _lasso(sums: Sums, start: Array, penalties: Array, close: float = _PATH_CLOSE) -> Array:
    """Weights and bias [T, W + 1] of numbers from their sums."""
    mean, middle = sums.features / sums.count, sums.targets / sums.count
    gram = sums.gram / sums.count - np.outer(mean, mean)
    products = (sums.products / sums.count - np.outer(mean, middle)).T
    largest = max(float(np.linalg.eigvalsh(gram)[-1]), 1e-12)

    def gradient(active: npt.NDArray[np.bool_], weights: Array) -> Array:
        slope = np.zeros_like(weights)
        slope[:, :-1] = weights[:, :-1] @ gram - products[active]
        return slope

    weights = fista(gradient, start, np.full(len(start), 1.01 * largest), penalties, close)
    weights[:, -1] = middle - weights[:, :-1] @ mean
    return weights


def _fit_classes(design: Design, tasks: Sequence[Task], labels: Labels) -> list[LinearProbe]:
    found: dict[int, LinearProbe] = {}
    every = [
        ClassTask.of(index, task, own)
        for index, (task, own) in enumerate(zip(tasks, labels, strict=True))
    ]
    for task in every:
        if len(task.classes) < 2:
            found[task.index] = constant_probe(design, tasks[task.index], task)
    every = [task for task in every if len(task.classes) > 1]
    features = np.ones((design.width + 1, len(design.train)), np.float32)
    for rows in design.chunks(slice(0, len(design.train))):
        features[:-1, rows] = design.standard(rows).T
    for batch in batches(every, 1, design.width, len(design.train)):
        own_tasks = [tasks[task.index] for task in batch]
        penalties, losses = _given(own_tasks)
        searching = np.isnan(penalties)
        if searching.any():
            losses = _class_losses(design, features, batch)
            best = np.array(SPARSE_PENALTIES)[losses.argmin(axis=0)]
            penalties = np.where(searching, best, penalties)
        everything = np.ones(len(design.train), np.bool_)
        problems, bias = stack(batch, [everything], penalties)
        start = np.zeros((len(bias), len(features)))
        start[:, -1] = bias
        weights = _l1_logistic(features, problems, start, _CLOSE)
        for place, (task, first) in enumerate(zip(batch, problems.starts, strict=True)):
            own = weights[first : first + task.columns]
            raw, raw_bias = design.raw(own[:, :-1].T, own[:, -1])
            found[task.index] = LinearProbe(
                kind=tasks[task.index].kind,
                weights=raw,
                bias=raw_bias,
                classes=tuple(task.classes.tolist()),
                penalty=float(penalties[place]),
                losses=tuple(losses[:, place].tolist()) if searching[place] else (),
            )
    return [found[index] for index in range(len(tasks))]


def _class_losses(design: Design, features: Single, batch: Sequence[ClassTask]) -> Array:
    """[penalties, T] of the first fold's rows."""
    fold = design.folds[0]
    kept = np.ones(len(design.train), np.bool_)
    kept[fold] = False
    problems, bias = stack(batch, [kept], np.ones(len(batch)))
    held_out, _ = stack(batch, [~kept], np.ones(len(batch)))
    validation = Problems(
        held_out.targets[:, fold], held_out.weights[:, fold], held_out.columns, held_out.penalties
    )
    start = np.zeros((len(bias), len(features)))
    start[:, -1] = bias

    def solve(weights: Array, penalties: Array) -> Array:
        given = problems.penalised_by(float(penalties[0]))
        return _l1_logistic(features, given, weights, _PATH_CLOSE)

    def loss(weights: Array) -> Array:
        return validation.losses(weights.astype(np.float32) @ features[:, fold])

    return _path(solve, loss, start)


def _l1_logistic(features: Single, problems: Problems, start: Array, close: float) -> Array:
    """Weights and bias [K, W + 1]."""

    def gradient(active: npt.NDArray[np.bool_], weights: Array) -> Array:
        part = problems.take(np.logical_or.reduceat(active, problems.starts))
        logits: Single = np.matmul(weights.astype(np.float32), features)
        part.probabilities(logits)
        logits -= part.targets
        part.weighted(logits)
        slopes: Array = np.matmul(logits, features.T).astype(np.float64)
        return slopes

    smoothness = problems.spread(_smoothness(features, problems))
    return fista(
        gradient, start, smoothness, problems.spread(problems.penalties), close, problems.columns
    )


def _smoothness(features: Single, problems: Problems) -> Array:
    """[P] above the largest curvature: of a sigmoid at most a quarter, of a softmax a half."""
    vectors = np.ones((len(problems), len(features)), np.float32)
    size = np.ones(len(problems))
    for _ in range(_CHECK * 2):
        along: Single = np.matmul(vectors, features)
        along *= problems.weights
        vectors = np.matmul(along, features.T)
        size = np.linalg.norm(vectors, axis=1).astype(np.float64)
        vectors /= np.maximum(size, 1e-30)[:, None].astype(np.float32)
    return 1.1 * size * np.where(problems.columns == 1, 0.25, 0.5)
