"""Logistic regression of many tasks on the same features, with their penalties chosen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.registry import Labels
from engine.probing.probes.logistic import ABSENT, Newton, Problems, Single, penalised, refine
from engine.probing.probes.preconditioning import Dense, data_hessians, dense
from engine.probing.probes.tasks import PENALTIES, Array, LinearProbe, Task
from engine.probing.probes.training_features import TrainingFeatures

_WORSE: Final = 1.02
"""Weaker penalties are not tried once the validation loss is this many times the smallest."""
_PATH_TOLERANCE: Final = 3e-5
"""How far above its least the loss of a fold may be, of about 0.7 without features."""
_FIT_TOLERANCE: Final = 1e-6
"""Of fits in single precision, before the last steps in double precision."""
_OLD: Final = 2
"""Penalties for which a Hessian serves to precondition."""
_ELEMENTS: Final = 2**21
"""Of a working array, if half the features are fewer."""


@dataclass(frozen=True, eq=False)
class ClassTask:
    """A task's classes, and which one each of the M training rows belongs to."""

    # Place among the tasks.
    index: int
    # Labels of C classes, ascending.
    classes: Array
    # int64[M] number of the class, -1 where there is no label.
    codes: npt.NDArray[np.int64]
    penalty: float | None

    @classmethod
    def of(cls, index: int, task: Task, labels: Labels) -> "ClassTask":
        """Of labels [M]."""
        known = ~np.isnan(labels)
        classes, own = np.unique(labels[known], return_inverse=True)
        codes = np.full(len(labels), -1)
        codes[known] = own.ravel()
        return cls(index, classes, codes, task.penalty)

    @property
    def columns(self) -> int:
        """Two classes have one."""
        return 1 if len(self.classes) <= 2 else len(self.classes)

    def targets(self) -> npt.NDArray[np.bool_]:
        """[columns, M]"""
        if self.columns == 1:
            second: npt.NDArray[np.bool_] = (self.codes == 1)[None]
            return second
        members: npt.NDArray[np.bool_] = self.codes == np.arange(self.columns)[:, None]
        return members

    def counts(self, rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """[C] rows of each class among those flagged in [M]."""
        return np.bincount(self.codes[rows] + 1, minlength=len(self.classes) + 1)[1:]

    def row_weights(self, rows: npt.NDArray[np.bool_]) -> Array:
        """[M]: of rows flagged in [M], so that all classes among them weigh the same, 1 in all."""
        counts = self.counts(rows)
        each = np.divide(1.0, counts, out=np.zeros(len(counts)), where=counts > 0)
        each /= max(int((counts > 0).sum()), 1)
        weights: Array = np.where(rows, np.append(each, 0.0)[self.codes], 0.0)
        return weights

    def first_bias(self, rows: npt.NDArray[np.bool_]) -> Array:
        """[columns]: zeros, but classes without such rows are impossible."""
        return first_bias(self.codes[rows], len(self.classes))


def first_bias(codes: npt.NDArray[np.int64], classes: int) -> Array:
    """[columns] zeros, but classes that are not among the codes [n] are impossible."""
    absent = np.bincount(codes + 1, minlength=classes + 1)[1:] == 0
    if classes > 2:
        return np.where(absent, ABSENT, 0.0)
    if classes < 2 or absent.all():
        return np.zeros(1)
    return np.array([ABSENT * (float(absent[1]) - float(absent[0]))])


def batches(
    tasks: Sequence[ClassTask], copies: int, width: int, rows: int
) -> Iterator[list[ClassTask]]:
    """Tasks with equally many columns stand together; `copies` of each make a batch's columns.

    A batch has tasks of two classes or tasks of more.
    """
    most = max(width // 2, _ELEMENTS // rows)
    batch: list[ClassTask] = []
    for task in sorted(tasks, key=lambda task: task.columns):
        full = copies * (sum(each.columns for each in batch) + task.columns) > most
        if batch and (full or (batch[-1].columns == 1 and task.columns > 1)):
            yield batch
            batch = []
        batch.append(task)
    if batch:
        yield batch


def stack(
    tasks: Sequence[ClassTask], kept: Sequence[npt.NDArray[np.bool_]], penalties: Array
) -> tuple[Problems, Single]:
    """A problem for each task and each of some sets of rows, flagged in [M]; and first biases [K].

    All problems of a task stand together; `penalties` [P].
    """
    targets = [task.targets() for task in tasks for _ in kept]
    problems = Problems(
        np.concatenate(targets).astype(np.float32),
        np.stack([task.row_weights(rows) for task in tasks for rows in kept]).astype(np.float32),
        np.array([len(each) for each in targets]),
        penalties,
    )
    bias = np.concatenate([task.first_bias(rows) for task in tasks for rows in kept])
    return problems, bias.astype(np.float32)


def fit_classes(
    features: TrainingFeatures, tasks: Sequence[Task], labels: Labels, *, exact: bool = True
) -> list[LinearProbe]:
    """The probes of tasks that are classes, with labels [T, M] of the training rows."""
    found: dict[int, LinearProbe] = {}
    every = [
        ClassTask.of(index, task, own)
        for index, (task, own) in enumerate(zip(tasks, labels, strict=True))
    ]
    width, rows = features.width, len(features.train)
    chosen: dict[int, _Choice] = {}
    for task in every:
        if len(task.classes) < 2:
            found[task.index] = constant_probe(features, tasks[task.index], task)
    every = [task for task in every if len(task.classes) > 1]
    searching = [task for task in every if task.penalty is None]
    for batch in batches(searching, len(features.folds), width, rows):
        for task, choice in zip(batch, _choose(features, batch), strict=True):
            chosen[task.index] = choice
    for batch in batches(every, 1, width, rows):
        choices = [chosen.get(task.index) for task in batch]
        for task, probe in zip(batch, _fit(features, tasks, batch, choices, exact), strict=True):
            found[task.index] = probe
    return [found[index] for index in range(len(tasks))]


def constant_probe(features: TrainingFeatures, task: Task, found: ClassTask) -> LinearProbe:
    """The probe of a task whose training rows have one class only."""
    return LinearProbe(
        kind=task.kind,
        weights=np.zeros((features.width, 1)),
        bias=np.zeros(1),
        classes=tuple(found.classes.tolist()),
        penalty=PENALTIES[0] if task.penalty is None else task.penalty,
    )


@dataclass(frozen=True, eq=False)
class _Choice:
    """A penalty that cross-validation chose for a task."""

    penalty: float
    # At each of `PENALTIES` that was tried.
    losses: tuple[float, ...]
    # float32[columns, A] the mean of the folds' weights: nearly those of all rows.
    weights: Single


def _choose(features: TrainingFeatures, tasks: Sequence[ClassTask]) -> list[_Choice]:
    """The penalty of least loss on the rows that folds leave out; each row is left out once."""
    newton, folds = features.newton, features.folds
    kept = []
    for fold in folds:
        kept.append(np.ones(len(features.train), np.bool_))
        kept[-1][fold] = False
    problems, bias = stack(tasks, kept, np.full(len(tasks) * len(folds), PENALTIES[0]))
    everything = np.ones(len(features.train), np.bool_)
    row_weights = np.stack([task.row_weights(everything) for task in tasks]).astype(np.float32)
    weights = np.zeros((len(bias), len(newton.features)), np.float32)
    weights[:, -1] = bias
    logits: Single = np.repeat(bias[:, None], len(features.train), axis=1)
    losses = np.full((len(PENALTIES), len(tasks)), np.inf)
    best: list[Single] = [np.zeros(0, np.float32)] * len(tasks)
    active = np.ones(len(tasks), np.bool_)
    shared = _SharedHessians(newton, len(folds))
    for step, penalty in enumerate(PENALTIES):
        part = problems.penalised_by(penalty)
        preconditioner = (
            shared.preconditioner(part, logits) if step and part.columns[0] > 1 else None
        )
        weights, logits = newton.solve(part, weights, _PATH_TOLERANCE, logits, preconditioner)
        losses[step, active] = _left_out_losses(part, logits, row_weights, folds)
        better = losses[step] <= losses[: step + 1].min(axis=0)
        parts = np.split(weights, part.starts[:: len(folds)][1:])
        for own, index in zip(parts, np.flatnonzero(active), strict=True):
            if better[index]:
                best[index] = own.reshape(len(folds), -1, own.shape[1]).mean(axis=0)
        going = losses[step, active] <= _WORSE * losses[:, active].min(axis=0)
        if not going.any():
            break
        # The loss has one minimum along the penalties; weaker ones overfit more.
        going_problems = np.repeat(going, len(folds))
        rows = np.repeat(going_problems, part.columns)
        shared.keep(np.repeat(going, part.columns[:: len(folds)]))
        problems = problems.take(going_problems)
        weights, logits, row_weights = weights[rows], logits[rows], row_weights[going]
        active[active] = going
    return [
        _Choice(PENALTIES[int(own.argmin())], tuple(own[np.isfinite(own)].tolist()), best[index])
        for index, own in enumerate(losses.T)
    ]


class _SharedHessians:
    """Preconditioners along the penalties, one for each task's column: its folds share it."""

    def __init__(self, newton: Newton, folds: int) -> None:
        self._newton, self._folds = newton, folds
        self._hessians: Single | None = None
        self._age = 0

    def keep(self, columns: npt.NDArray[np.bool_]) -> None:
        """Only those of some of the tasks' columns."""
        if self._hessians is not None:
            self._hessians = self._hessians[columns]

    def preconditioner(self, problems: Problems, logits: Single) -> Dense:
        """From logits [K, M] near the solution, or from earlier ones if these are not old."""
        sizes = problems.columns[:: self._folds]
        first = np.cumsum(sizes) - sizes
        matrix = np.concatenate(
            [
                np.tile(np.arange(begin, begin + size), self._folds)
                for begin, size in zip(first, sizes, strict=True)
            ]
        )
        if self._hessians is None or self._age >= _OLD:
            chances = logits.copy()
            problems.probabilities(chances)
            own = problems.own_curvature(problems.curvature(chances))
            mean = np.zeros((int(sizes.sum()), logits.shape[1]), np.float32)
            np.add.at(mean, matrix, own)
            self._hessians, self._age = (
                data_hessians(
                    self._newton.features, self._newton.variances, mean / np.float32(self._folds)
                ),
                0,
            )
        self._age += 1
        width = len(self._newton.features)
        added = problems.penalties[0] * np.broadcast_to(penalised(width), (int(sizes.sum()), width))
        return dense(self._hessians, added, matrix)


def _left_out_losses(
    problems: Problems, logits: Single, row_weights: Single, folds: Sequence[slice]
) -> Array:
    """[T] cross-entropies by `row_weights` [T, M], each by the fold that left it out."""
    total = np.zeros(len(row_weights))
    for number, fold in enumerate(folds):
        own = np.arange(len(problems)) % len(folds) == number
        rows = np.repeat(own, problems.columns)
        # A class without rows to fit to counts for nothing.
        weights = row_weights[:, fold].copy()
        part = Problems(
            problems.targets[rows][:, fold], weights, problems.columns[own], problems.penalties[own]
        )
        total += part.losses(logits[rows][:, fold])
    return total


def _fit(
    features: TrainingFeatures,
    tasks: Sequence[Task],
    batch: Sequence[ClassTask],
    choices: Sequence[_Choice | None],
    exact: bool,
) -> Iterator[LinearProbe]:
    penalties = np.array(
        [
            task.penalty if choice is None else choice.penalty
            for task, choice in zip(batch, choices, strict=True)
        ],
        np.float64,
    )
    newton = features.newton
    everything = np.ones(len(features.train), np.bool_)
    problems, bias = stack(batch, [everything], penalties)
    start = np.zeros((len(bias), len(newton.features)), np.float32)
    start[:, -1] = bias
    for first, task, choice in zip(problems.starts, batch, choices, strict=True):
        if choice is not None:
            start[first : first + task.columns] = choice.weights
    single, _ = newton.solve(problems, start, _FIT_TOLERANCE)
    found = single.astype(np.float64)
    if exact:
        found = refine(newton, features.exact_chunks, problems, single)
    standard, intercept = features.axes[1] @ found[:, :-1].T, found[:, -1]
    for first, task, choice, penalty in zip(
        problems.starts, batch, choices, penalties, strict=True
    ):
        own = slice(first, first + task.columns)
        middle = intercept[own].mean() if task.columns > 1 else 0.0
        weights, raw_bias = features.raw(standard[:, own], intercept[own] - middle)
        yield LinearProbe(
            kind=tasks[task.index].kind,
            weights=weights,
            bias=raw_bias,
            classes=tuple(task.classes.tolist()),
            penalty=float(penalty),
            losses=() if choice is None else choice.losses,
        )
