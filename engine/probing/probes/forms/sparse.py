"""Sparse linear probes: an L1 penalty, as in McGrath et al. 2022, section 4.

    numbers   half the mean squared error of labels of unit spread + penalty * sum of |weights|
    classes   mean cross-entropy, all classes of the same total weight + the same

of standardised features, without the bias. In scikit-learn's terms Lasso(alpha=penalty) and
LogisticRegression(l1_ratio=1, C=1 / (M * penalty), class_weight="balanced") for M rows.

Solved as in Friedman, Hastie and Tibshirani 2010: numbers by coordinate descent on the Gram matrix,
classes by Newton steps, one class at a time, each of which is such a problem, on the features that
are or may become part of the solution. Each penalty starts from the solution of the one before.
The penalty is the one with the least loss on the first fold; weaker ones are not tried once it
rises.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.registry import Labels
from engine.probing.probes.classes import ClassTask, constant_probe
from engine.probing.probes.design import Design
from engine.probing.probes.forms.quadratic import least
from engine.probing.probes.logistic import ABSENT
from engine.probing.probes.numbers import Sums, same_rows, sums_of_parts
from engine.probing.probes.tasks import Array, LinearProbe, Probes, Task

SPARSE_PENALTIES: Final = tuple(10.0**exponent for exponent in (-1, -1.5, -2, -2.5, -3, -3.5, -4))
"""Those that are tried, from strong to weak."""
_NEWTON_STEPS: Final = 1_000
_CLOSE: Final = 3e-4
"""A solution has no slope above this share of the penalty."""
_PATH_CLOSE: Final = 3e-2
"""The same while penalties are compared."""
_INNER: Final = 0.3
"""A Newton step is solved to this share of that, or of the largest slope there was."""
_WORSE: Final = 1.02
"""Weaker penalties are not tried once the loss is this many times the smallest."""
_NEAR: Final = 0.95
"""Features with a slope above this share of the penalty take part in a Newton step."""
_HALVINGS: Final = 20
_SUFFICIENT: Final = 0.1
"""Of the fall that the slope promises (Nocedal and Wright 2006, equation 3.4)."""
_ROUNDING: Final = 1e-14

Solve = Callable[[float, Array, float], Array]
"""Weights and bias [K, W + 1] for a penalty, from others, to a closeness."""


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


@dataclass(frozen=True, eq=False)
class _Choice:
    """A penalty, the weights that led to it [K, W + 1], and the losses of those tried, if any."""

    penalty: float
    start: Array
    losses: tuple[float, ...] = ()


def _choose(solve: Solve, loss: Callable[[Array], float], start: Array) -> _Choice:
    """The penalty of least loss on what was left out."""
    losses: list[float] = []
    weights = best = start
    for penalty in SPARSE_PENALTIES:
        weights = solve(penalty, weights, _PATH_CLOSE)
        losses.append(loss(weights))
        if losses[-1] == min(losses):
            best = weights
        # The loss has one minimum along the penalties; weaker ones overfit more.
        if losses[-1] > _WORSE * min(losses):
            break
    return _Choice(SPARSE_PENALTIES[int(np.argmin(losses))], best, tuple(losses))


def _fit_numbers(design: Design, tasks: Sequence[Task], labels: Labels) -> list[LinearProbe]:
    found: dict[int, LinearProbe] = {}
    for members in same_rows(labels):
        own = labels[members]
        middle, unit = np.nanmean(own, axis=1), np.nanstd(own, axis=1)
        unit[unit == 0.0] = 1.0
        parts = sums_of_parts(design, (own - middle[:, None]) / unit[:, None])
        whole = sum(parts[1:], parts[0])
        everything = _Quadratic(whole)
        left_out = parts[-len(design.folds)] if design.folds else None  # The first fold.
        rest = everything if left_out is None else _Quadratic(whole - left_out)
        for column, index in enumerate(members):
            start = np.zeros((1, design.width + 1))
            given = tasks[index].penalty
            if given is not None:
                choice = _Choice(given, start)
            else:
                assert left_out is not None
                choice = _choose(rest.of(column), _squared_error(left_out, column), start)
            weights = everything.of(column)(choice.penalty, choice.start, _CLOSE)[0]
            raw, bias = design.raw(
                weights[:-1, None] * unit[column], weights[-1:] * unit[column] + middle[column]
            )
            found[index] = LinearProbe(
                kind=tasks[index].kind,
                weights=raw,
                bias=bias,
                classes=(0.0,),
                penalty=choice.penalty,
                losses=choice.losses,
            )
    return [found[index] for index in range(len(tasks))]


def _squared_error(sums: Sums, column: int) -> Callable[[Array], float]:
    own = sums.only(np.array([column]))

    def loss(weights: Array) -> float:
        return float(own.squared_errors(weights[:, :-1].T, weights[:, -1])[0]) / max(own.count, 1)

    return loss


class _Quadratic:
    """Half the mean squared error of several numbers, from their sums."""

    def __init__(self, sums: Sums) -> None:
        count = max(sums.count, 1)
        self._mean, self._middle = sums.features / count, sums.targets / count
        self._gram = np.ascontiguousarray(sums.gram / count - np.outer(self._mean, self._mean))
        self._products = (sums.products / count - np.outer(self._mean, self._middle)).T

    def of(self, column: int) -> Solve:
        """Solves for one of the numbers."""

        def solve(penalty: float, start: Array, close: float) -> Array:
            weights = start[0, :-1].copy()
            slopes = self._gram @ weights - self._products[column]
            penalties = np.full(len(weights), penalty)
            least(self._gram, slopes, weights, penalties, close * penalty)
            bias = self._middle[column] - weights @ self._mean
            return np.append(weights, bias)[None]

        return solve


@dataclass(frozen=True, eq=False)
class _Logistic:
    """The weighted cross-entropy of one task's classes: a sigmoid for two, else a softmax."""

    # float64[W + 1, M], of which the last is 1, for the bias.
    features: Array
    # bool[K, M] rows of each column's class.
    targets: npt.NDArray[np.bool_]
    # float64[M] how much a row counts; 0 where it is left out.
    weights: Array

    def at(self, rows: slice) -> "_Logistic":
        """On some rows."""
        return _Logistic(self.features[:, rows], self.targets[:, rows], self.weights[rows])

    def loss(self, weights: Array) -> float:
        """Of weights and bias [K, W + 1]."""
        return self._entropy(weights @ self.features)

    def _entropy(self, logits: Array) -> float:
        """Of logits [K, M]."""
        if len(logits) == 1:
            each = np.logaddexp(0.0, np.where(self.targets[0], -logits[0], logits[0]))
        else:
            top = logits.max(axis=0)
            whole = np.log(np.exp(logits - top).sum(axis=0)) + top
            each = whole - (logits * self.targets).sum(axis=0)
        return float(each @ self.weights)

    @staticmethod
    def _chances(logits: Array, column: int) -> Array:
        """[M] of one column."""
        if len(logits) == 1:
            chances: Array = 1.0 / (1.0 + np.exp(-np.clip(logits[0], -80.0, None)))
            return chances
        every = np.exp(logits - logits.max(axis=0))
        chances = every[column] / every.sum(axis=0)
        return chances

    def solve(self, penalty: float, start: Array, close: float) -> Array:
        """Weights and bias [K, W + 1] from others, until no slope is above `close` * penalty."""
        weights = start.copy()
        logits = weights @ self.features
        for _ in range(_NEWTON_STEPS):
            steps = [
                self._step(column, weights, logits, penalty, close * penalty)
                for column in range(len(weights))
            ]
            if not any(steps):
                break
            self._shift(weights, logits)
        return weights

    def _shift(self, weights: Array, logits: Array) -> None:
        """What all classes' weights share changes no chances: what the penalty likes best, which is
        near their median, in place."""
        if len(weights) > 1:
            ranked = np.sort(weights, axis=0)
            shift = np.clip(0.0, ranked[(len(weights) - 1) // 2], ranked[len(weights) // 2])
            shift[-1] = 0.0
            weights -= shift
            logits -= shift @ self.features

    def _step(
        self, column: int, weights: Array, logits: Array, penalty: float, tolerance: float
    ) -> bool:
        """Improve one column of the weights and logits, in place; whether there was need."""
        own, chances = weights[column], self._chances(logits, column)
        slopes = self.features @ (self.weights * (chances - self.targets[column]))
        penalties = np.full(len(own), penalty)
        penalties[-1] = 0.0
        left = np.where(
            own == 0.0,
            np.maximum(np.abs(slopes) - penalties, 0.0),
            np.abs(slopes + penalties * np.sign(own)),
        )
        worst = float(left.max())
        if worst <= tolerance:
            return False
        # Features beyond these have no part in the solution, or join it in a later step.
        some = np.flatnonzero((own != 0.0) | (np.abs(slopes) > _NEAR * penalties))
        features, new, slopes = self.features[some], own[some], slopes[some]
        gram = (features * (self.weights * chances * (1.0 - chances))) @ features.T
        inner = max(_INNER * tolerance, _INNER * _INNER * worst)
        least(gram, slopes.copy(), new, penalties[some], inner)
        step = new - own[some]
        return self._move(column, weights, logits, some, step, slopes, penalties[some])

    def _move(
        self,
        column: int,
        weights: Array,
        logits: Array,
        some: npt.NDArray[np.intp],
        step: Array,
        slopes: Array,
        penalties: Array,
    ) -> bool:
        """Go along a step, half as far until the loss falls; whether it does."""
        own, change = weights[column, some], step @ self.features[some]
        before, size = self._entropy(logits), float(penalties @ np.abs(own))
        line = logits[column].copy()
        length = 1.0
        for _ in range(_HALVINGS):
            new = own + length * step
            grown = float(penalties @ np.abs(new)) - size
            expected = length * float(slopes @ step) + grown
            logits[column] = line + length * change
            fallen = self._entropy(logits) - before + grown
            if fallen <= _SUFFICIENT * expected + _ROUNDING:
                weights[column, some] = new
                return True
            length *= 0.5
        logits[column] = line
        return False


def _fit_classes(design: Design, tasks: Sequence[Task], labels: Labels) -> list[LinearProbe]:
    features = np.ones((design.width + 1, len(design.train)))
    for rows in design.chunks(slice(0, len(design.train))):
        features[:-1, rows] = design.standard(rows).T
    found = []
    for index, (task, own) in enumerate(zip(tasks, labels, strict=True)):
        every = ClassTask.of(index, task, own)
        if len(every.classes) < 2:
            found.append(constant_probe(design, task, every))
            continue
        kept = np.ones(len(design.train), np.bool_)
        everything = _Logistic(features, every.targets(), every.row_weights(kept))
        if task.penalty is None:
            fold = design.folds[0]
            kept[fold] = False
            rest = replace(everything, weights=every.row_weights(kept))
            judged = replace(everything, weights=every.row_weights(~kept)).at(fold)
            choice = _choose(rest.solve, judged.loss, _start(every, kept, design.width))
        else:
            choice = _Choice(task.penalty, _start(every, kept, design.width))
        # Classes that the first fold alone has are impossible there, and only there; of two classes
        # the other one is then certain.
        start = choice.start.copy()
        start[:, -1] = np.where(np.abs(start[:, -1]) >= -ABSENT, 0.0, start[:, -1])
        weights = everything.solve(choice.penalty, start, _CLOSE)
        raw, bias = design.raw(weights[:, :-1].T, weights[:, -1])
        found.append(
            LinearProbe(
                kind=task.kind,
                weights=raw,
                bias=bias,
                classes=tuple(every.classes.tolist()),
                penalty=choice.penalty,
                losses=choice.losses,
            )
        )
    return found


def _start(task: ClassTask, kept: npt.NDArray[np.bool_], width: int) -> Array:
    """[K, W + 1] zeros, but classes without rows are impossible."""
    start = np.zeros((task.columns, width + 1))
    start[:, -1] = task.first_bias(kept)
    return start
