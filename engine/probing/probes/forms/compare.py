"""Which form of probe does a concept need, and is what a richer form adds in the network?

Every form is scored on held-out rows of a layer, and beside it on control features (raw input,
untrained networks) and on control labels, which nothing can be learned from. A richer form finds
more in every feature: what counts is its gain over the same form on the controls, and what it adds
to the gain of the linear form. Both have intervals that hold for all tasks of a comparison together
(Bonferroni). They cover the draw of the held-out rows, by a bootstrap, and what one more network of
other initial weights would score, by the spread of the untrained ones; not another training run.

    linear     ridge or logistic regression
    sparse     the same with an L1 penalty: is it read off few directions?
    bilinear   which square, as seen from a given one; where that is passed in
    mlp        one hidden layer: the mean over several seeds
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from scipy import stats

from engine.probing.activations.capture import Features
from engine.probing.concepts.registry import Kind, Labels
from engine.probing.probes.forms.linked_squares import SquareForm, Squares
from engine.probing.probes.forms.mlp import SEEDS
from engine.probing.probes.forms.scoring import (
    FormSplit,
    Given,
    Scorer,
    scorer,
    square_scorer,
)
from engine.probing.probes.spread import moderated_spread
from engine.probing.probes.tasks import Array, Task
from engine.rules.errors import InputError
from engine.system.threads import in_threads

FORMS: Final = ("linear", "sparse", "mlp")
"""From simple to rich."""
SQUARE_FORMS: Final[tuple[SquareForm, ...]] = ("linear", "bilinear")
"""Of tasks that ask for a square and have a given one."""
ENOUGH: Final = 0.01
"""A form suffices if no other scores better by more."""
_CONTROL_LABELS: Final = "control labels"


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
    # Bounds of the gain; None without controls or resamples.
    gain_interval: tuple[float, float] | None = None
    # The lesser of what it adds to the linear form's gain and to its score, and the bounds; None
    # for the linear form itself.
    added: float | None = None
    added_interval: tuple[float, float] | None = None

    @property
    def is_added(self) -> bool:
        """Whether it adds to the linear form's gain and score, clear of zero and above `ENOUGH`."""
        if self.added is None or self.added_interval is None:
            return False
        return self.added > ENOUGH and self.added_interval[0] > 0.0


@dataclass(frozen=True)
class FormComparison:
    """All forms of probe for one task."""

    task: str
    kind: Kind
    forms: tuple[FormScore, ...]
    # Rows with a label that were fitted to, and those that were scored.
    train: int = 0
    test: int = 0

    @property
    def sufficient(self) -> str:
        """The simplest form that is within `ENOUGH` of the best score."""
        best = max(each.score for each in self.forms)
        return next(each.form for each in self.forms if each.score >= best - ENOUGH)


Progress = Callable[[int, int], None]
"""Called with the number of fits that are done, and of all."""


def compare_forms(
    features: Features,
    tasks: Sequence[Task],
    split: FormSplit,
    *,
    controls: Mapping[str, Sequence[Features]] | None = None,
    control_labels: Sequence[Labels] | None = None,
    forms: Sequence[str] = FORMS,
    seeds: Sequence[int] = SEEDS,
    workers: int = 1,
    progress: Progress = lambda done, total: None,
) -> tuple[FormComparison, ...]:
    """Every form of probe for each task on one layer's features [N, W].

    `controls` are other features of the same rows, several of a kind under one name (raw input:
    one; untrained networks: five). `control_labels` [N] of each task are those of its control task.
    Penalties are chosen by each form itself. So many `workers` share the fits, and no figure
    depends on their number; `progress` is told how many fits are done, of how many. Raises
    InputError for an unknown form.
    """
    for form in forms:
        if form not in FORMS:
            raise InputError(f"form = {form!r} is not one of {', '.join(FORMS)}")
    every = {"": [features], **(controls or {})}
    scorers = {
        form: {
            name: [scorer(form, each, split, seeds) for each in own] for name, own in every.items()
        }
        for form in forms
    }
    return _compare(scorers, tasks, split, control_labels, workers, progress)


def compare_square_forms(
    activations: Squares,
    given: Given,
    tasks: Sequence[Task],
    split: FormSplit,
    *,
    controls: Mapping[str, Sequence[Squares]] | None = None,
    control_labels: Sequence[Labels] | None = None,
    seeds: Sequence[int] = SEEDS,
    workers: int = 1,
    progress: Progress = lambda done, total: None,
) -> tuple[FormComparison, ...]:
    """The linear and the bilinear form of tasks that ask for a square, from activations [N, S, D]
    and a given square; `controls` are other activations. The rest is as in `compare_forms`.
    """
    every = {"": [activations], **(controls or {})}
    scorers: dict[str, dict[str, list[Scorer]]] = {
        form: {
            name: [square_scorer(form, each, given, split, seeds) for each in own]
            for name, own in every.items()
        }
        for form in SQUARE_FORMS
    }
    return _compare(scorers, tasks, split, control_labels, workers, progress)


def _compare(
    scorers: Mapping[str, Mapping[str, Sequence[Scorer]]],
    tasks: Sequence[Task],
    split: FormSplit,
    control_labels: Sequence[Labels] | None,
    workers: int,
    progress: Progress,
) -> tuple[FormComparison, ...]:
    free = [replace(task, penalty=None) for task in tasks]
    others = None
    if control_labels is not None:
        others = [replace(t, labels=own) for t, own in zip(free, control_labels, strict=True)]
    jobs = _jobs(scorers, free, others)
    found = dict(zip(jobs, in_threads(list(jobs.values()), workers, progress), strict=True))
    results = {form: _Result.of(found, form, scorers[form]) for form in scorers}
    forms_of = _form_scores(results, [task.is_number for task in tasks], split)
    return tuple(
        FormComparison(
            task.name,
            task.kind,
            own,
            *(int((~np.isnan(task.labels[rows])).sum()) for rows in (split.train, split.test)),
        )
        for task, own in zip(tasks, forms_of, strict=True)
    )


_Place = tuple[str, str, int]
"""A form; the name of a control, empty for the layer; which of several features."""


def _jobs(
    scorers: Mapping[str, Mapping[str, Sequence[Scorer]]],
    tasks: Sequence[Task],
    others: Sequence[Task] | None,
) -> dict[_Place, Callable[[], Array]]:
    """All fits, those of rich forms first: they take longest."""
    jobs: dict[_Place, Callable[[], Array]] = {}
    for form, of_form in reversed(list(scorers.items())):
        for name, own in of_form.items():
            jobs |= {(form, name, place): partial(each, tasks) for place, each in enumerate(own)}
        if others is not None:
            jobs[form, _CONTROL_LABELS, 0] = partial(of_form[""][0], others)
    return jobs


@dataclass(frozen=True, eq=False)
class _Result:
    """Scores of one form on all features, [T, 1 + B] each."""

    layer: Array
    # By name: [n, T, 1 + B].
    controls: Mapping[str, Array]
    control_task: Array | None

    @classmethod
    def of(
        cls, found: Mapping[_Place, Array], form: str, scorers: Mapping[str, Sequence[Scorer]]
    ) -> "_Result":
        controls = {
            name: np.stack([found[form, name, place] for place in range(len(own))])
            for name, own in scorers.items()
            if name and own
        }
        return cls(found[form, "", 0], controls, found.get((form, _CONTROL_LABELS, 0)))

    @property
    def gains(self) -> Array | None:
        """[T, 1 + B] over the better control; it is chosen anew in every resample."""
        if not self.controls:
            return None
        means = [every.mean(axis=0) for every in self.controls.values()]
        gains: Array = self.layer - np.max(means, axis=0)
        return gains

    @property
    def initialisations(self) -> Array | None:
        """[n, T] scores of the control of which there are most, if several; R² not below zero."""
        several = [every for every in self.controls.values() if len(every) > 1]
        if not several:
            return None
        most: Array = np.maximum(max(several, key=len)[:, :, 0], 0.0)
        return most


@dataclass(frozen=True, eq=False)
class _Measured:
    """What a form has of each task, and by how much it may be wrong."""

    # float64[T], NaN where there is none.
    values: Array
    # float64[T] half the width of intervals that hold for all tasks; None without resamples.
    margins: Array | None

    def at(self, index: int) -> tuple[float, tuple[float, float] | None]:
        """The value and its interval."""
        value = float(self.values[index])
        if self.margins is None:
            return value, None
        margin = float(self.margins[index])
        return value, (value - margin, value + margin)


def _measured(
    samples: Array,
    networks: Array | None,
    is_number: Sequence[bool],
    comparisons: int,
    confidence: float,
) -> _Measured:
    """Of samples [T, 1 + B], and the same figure of untrained networks [n, T].

    The variance by initialisation, of few networks, is shrunk towards those of the other tasks of
    its metric (spread.py).
    """
    values = samples[:, 0]
    if samples.shape[1] < 2:
        return _Measured(values, None)
    variances = samples[:, 1:].var(axis=1)
    tail = 1.0 - (1.0 - confidence) / 2.0 / max(comparisons, 1)
    quantiles = np.full(len(values), stats.norm.ppf(tail))
    if networks is not None:
        n, numbers = len(networks), np.asarray(is_number)
        for group in (numbers, ~numbers):
            if not group.any():
                continue
            spread = moderated_spread(networks[:, None, group])
            own = spread.variance[0] * (1.0 + 1.0 / n)
            variances[group] += own
            # Degrees of freedom of the sum (Welch 1947; Satterthwaite 1946).
            shares = variances[group] / own
            quantiles[group] = stats.t.ppf(tail, spread.degrees[0] * shares**2)
    return _Measured(values, quantiles * np.sqrt(variances))


def _form_scores(
    results: Mapping[str, _Result], is_number: Sequence[bool], split: FormSplit
) -> list[tuple[FormScore, ...]]:
    """Of each task."""
    gains: dict[str, _Measured] = {}
    added: dict[str, _Measured] = {}
    linear = results.get("linear")
    for form, own in results.items():
        if own.gains is None:
            continue
        networks = own.initialisations
        tasks = len(is_number)
        gains[form] = _measured(own.gains, networks, is_number, tasks, split.confidence)
        if linear is None or linear.gains is None or form == "linear":
            continue
        if networks is not None and linear.initialisations is not None:
            networks = networks - linear.initialisations
        count = tasks * (len(results) - 1)
        # A form that scores no better here adds nothing, even if it does worse on the controls.
        samples = np.minimum(own.gains - linear.gains, own.layer - linear.layer)
        added[form] = _measured(samples, networks, is_number, count, split.confidence)
    return [
        tuple(
            _form_score(form, own, index, gains.get(form), added.get(form))
            for form, own in results.items()
        )
        for index in range(len(is_number))
    ]


def _form_score(
    form: str, own: _Result, index: int, gains: _Measured | None, added: _Measured | None
) -> FormScore:
    score = float(own.layer[index, 0])
    control_task = None if own.control_task is None else float(own.control_task[index, 0])
    if control_task is not None and np.isnan(control_task):
        # Its labels, which are drawn, are all alike.
        control_task = None
    gain, gain_interval = (None, None) if gains is None else gains.at(index)
    more, more_interval = (None, None) if added is None else added.at(index)
    return FormScore(
        form=form,
        score=score,
        controls=tuple(
            (name, float(every[:, index, 0].mean())) for name, every in own.controls.items()
        ),
        gain=gain,
        control_task=control_task,
        selectivity=None if control_task is None else score - control_task,
        gain_interval=gain_interval,
        added=more,
        added_interval=more_interval,
    )
