"""Which form of probe does a concept need, and is what a richer form adds in the network?

Every form is scored on held-out rows of a layer, and beside it on control features (raw input,
untrained networks) and on control labels, which nothing can be learned from. A richer form finds
more in every feature: what counts is its gain over the same form on the controls.

    linear     ridge or logistic regression
    sparse     the same with an L1 penalty: is it read off few directions?
    bilinear   which square, as seen from a given one; where that is passed in
    mlp        one hidden layer: the mean over several seeds
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.activations.capture import Features
from engine.probing.concepts.registry import Kind, Labels
from engine.probing.data.splits import Indices
from engine.probing.probes.design import Design
from engine.probing.probes.forms.bilinear import Squares, fit_bilinear
from engine.probing.probes.forms.mlp import SEEDS, fit_networks
from engine.probing.probes.forms.sparse import fit_sparse
from engine.probing.probes.scores import all_scores
from engine.probing.probes.tasks import Array, Task
from engine.rules.errors import InputError

FORMS: Final = ("linear", "sparse", "mlp")
"""From simple to rich; "bilinear" is added to tasks that have a given square."""
ENOUGH: Final = 0.01
"""A form suffices if no other scores better by more."""


@dataclass(frozen=True)
class FormScore:
    """One form of probe for one task; R² or balanced accuracy on held-out rows."""

    form: str
    score: float
    # The same form on each control's features, by its name: the mean over several of them.
    controls: tuple[tuple[str, float], ...]
    # The score minus that of the best control; None without controls.
    gain: float | None
    # The same form on the control task's labels, and the score minus that; None without them.
    control_task: float | None
    selectivity: float | None


@dataclass(frozen=True)
class FormComparison:
    """All forms of probe for one task."""

    task: str
    kind: Kind
    forms: tuple[FormScore, ...]

    @property
    def sufficient(self) -> str:
        """The simplest form that is within `ENOUGH` of the best score."""
        best = max(each.score for each in self.forms)
        return next(each.form for each in self.forms if each.score >= best - ENOUGH)


@dataclass(frozen=True, kw_only=True)
class GivenSquares:
    """What bilinear probes need besides."""

    # float32[N, S, D] activations of every square.
    activations: Squares
    # By the task's name: int64[N] the square that is given in each position, -1 for none.
    given: Mapping[str, npt.NDArray[np.int64]]
    # Those of the controls, by the same names as their features.
    controls: Mapping[str, Sequence[Squares]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FormSplit:
    """Rows to fit to, their fold numbers (not negative), and rows held out."""

    # int64[M]
    train: Indices
    # int64[M]
    folds: npt.NDArray[np.int64]
    # int64[L]
    test: Indices


def compare_forms(
    features: Features,
    tasks: Sequence[Task],
    split: FormSplit,
    *,
    controls: Mapping[str, Sequence[Features]] | None = None,
    control_labels: Sequence[Labels] | None = None,
    squares: GivenSquares | None = None,
    forms: Sequence[str] = FORMS,
    seeds: Sequence[int] = SEEDS,
) -> tuple[FormComparison, ...]:
    """Every form of probe for each task on one layer's features [N, W].

    `controls` are other features of the same rows, several of a kind under one name (raw input:
    one; untrained networks: five). `control_labels` [N] of each task are those of its control task.
    Penalties are chosen by each form itself. Raises InputError for an unknown form.
    """
    for form in forms:
        if form not in FORMS:
            raise InputError(f"form = {form!r} is not one of {', '.join(FORMS)}")
    free = [replace(task, penalty=None) for task in tasks]
    found: list[list[FormScore]] = [[] for _ in tasks]
    for form in forms:
        everywhere = _by_features(form, free, split, seeds, features, controls or {})
        on_control = _on_control_labels(form, features, free, split, seeds, control_labels)
        for index, own in enumerate(found):
            score = float(everywhere[""][index])
            others = {name: float(all_of[index]) for name, all_of in everywhere.items() if name}
            own.append(_form_score(form, score, others, on_control[index]))
    for index, task in enumerate(free):
        if squares is not None and task.name in squares.given:
            labels = None if control_labels is None else control_labels[index]
            found[index].append(_bilinear(task, split, squares, labels, seeds))
    return tuple(
        FormComparison(task.name, task.kind, tuple(own))
        for task, own in zip(tasks, found, strict=True)
    )


def _form_score(
    form: str, score: float, controls: Mapping[str, float], control_task: float | None
) -> FormScore:
    return FormScore(
        form=form,
        score=score,
        controls=tuple(controls.items()),
        gain=score - max(controls.values()) if controls else None,
        control_task=control_task,
        selectivity=None if control_task is None else score - control_task,
    )


Predict = Callable[[Features], Labels]
"""Labels [seeds, T, N] of features [N, W]."""


def _fitted(form: str, design: Design, tasks: Sequence[Task], seeds: Sequence[int]) -> Predict:
    if form == "mlp":
        return fit_networks(design, tasks, seeds).seed_predictions
    probes = design.fit(tasks) if form == "linear" else fit_sparse(design, tasks)
    return lambda features: probes.outputs(features).predictions[None]


def _scores(
    form: str, features: Features, tasks: Sequence[Task], split: FormSplit, seeds: Sequence[int]
) -> Array:
    """[T], the mean over the seeds."""
    predict = _fitted(form, Design(features, split.train, split.folds), tasks, seeds)
    labels = np.stack([task.labels[split.test] for task in tasks])
    kinds = [task.kind for task in tasks]
    each = [all_scores(kinds, labels, own) for own in predict(features[split.test])]
    return np.asarray(np.mean(each, axis=0))


def _by_features(
    form: str,
    tasks: Sequence[Task],
    split: FormSplit,
    seeds: Sequence[int],
    features: Features,
    controls: Mapping[str, Sequence[Features]],
) -> dict[str, Array]:
    """Scores [T] of the layer, under the empty name, and of each control: the mean over those of
    one name."""
    every = {"": [features], **controls}
    return {
        name: np.asarray(
            np.mean([_scores(form, each, tasks, split, seeds) for each in own], axis=0)
        )
        for name, own in every.items()
    }


def _on_control_labels(
    form: str,
    features: Features,
    tasks: Sequence[Task],
    split: FormSplit,
    seeds: Sequence[int],
    labels: Sequence[Labels] | None,
) -> list[float | None]:
    if labels is None:
        return [None] * len(tasks)
    others = [replace(task, labels=own) for task, own in zip(tasks, labels, strict=True)]
    return list(map(float, _scores(form, features, others, split, seeds)))


def _bilinear(
    task: Task,
    split: FormSplit,
    squares: GivenSquares,
    control_labels: Labels | None,
    seeds: Sequence[int],
) -> FormScore:
    given = squares.given[task.name]

    def score(activations: Squares, labels: Labels) -> float:
        """The mean over the seeds; positions without a given square are left out."""
        wanted = np.where(given[split.test] >= 0, labels[split.test], np.nan)[None]
        found = []
        for seed in seeds:
            probe = fit_bilinear(activations, given, labels, split.train, split.folds, seed=seed)
            guesses = probe.predict(activations[split.test], given[split.test])[None]
            found.append(float(all_scores([task.kind], wanted, guesses)[0]))
        return float(np.mean(found))

    controls = {
        name: float(np.mean([score(own, task.labels) for own in every]))
        for name, every in squares.controls.items()
    }
    control_task = None if control_labels is None else score(squares.activations, control_labels)
    return _form_score("bilinear", score(squares.activations, task.labels), controls, control_task)
