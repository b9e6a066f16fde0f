"""Scores of one form of probe on held-out rows, with resamples of these.

    T  tasks     L  held-out rows     B  resamples

Scores are [T, 1 + B]: R² or balanced accuracy of the held-out rows themselves, then of resamples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from engine.probing.activations.capture import Features
from engine.probing.concepts.registry import Kind, Labels
from engine.probing.data.splits import Indices
from engine.probing.probes.design import Design
from engine.probing.probes.forms.linked_squares import SquareForm, Squares, fit_square_probe
from engine.probing.probes.forms.mlp import fit_networks
from engine.probing.probes.forms.sparse import fit_sparse
from engine.probing.probes.scores import Bootstrap
from engine.probing.probes.tasks import Array, Task

Given = Mapping[str, npt.NDArray[np.int64]]
"""By a task's name: int64[N] the square that is given in each position, -1 for none."""
Scorer = Callable[[Sequence[Task]], Array]
"""Fits a form to tasks on some features; scores [T, 1 + B]."""


@dataclass(frozen=True, kw_only=True)
class FormSplit:
    """Rows to fit to, their fold numbers (not negative), and rows held out."""

    # int64[M]
    train: Indices
    # int64[M]
    folds: npt.NDArray[np.int64]
    # int64[L]
    test: Indices
    # Resamples of the rows held out; None for no intervals.
    bootstrap: Bootstrap | None = None
    # Of the intervals.
    confidence: float = 0.95


def scorer(form: str, features: Features, split: FormSplit, seeds: Sequence[int]) -> Scorer:
    """Of the form "linear", "sparse" or "mlp" on features [N, W]; the mean over the seeds."""
    return partial(_scores, form, features, split, seeds)


def square_scorer(
    form: SquareForm, activations: Squares, given: Given, split: FormSplit, seeds: Sequence[int]
) -> Scorer:
    """Of probes for a square on activations [N, S, D], of tasks that have a given one."""
    return partial(_square_scores, form, activations, given, split, seeds)


def _scores(
    form: str,
    features: Features,
    split: FormSplit,
    seeds: Sequence[int],
    tasks: Sequence[Task],
) -> Array:
    design = Design(features, split.train, split.folds)
    held_out = features[split.test]
    if form == "mlp":
        guesses = fit_networks(design, tasks, seeds).seed_predictions(held_out)
    else:
        probes = design.fit(tasks) if form == "linear" else fit_sparse(design, tasks)
        guesses = probes.outputs(held_out).predictions[None]
    labels = np.stack([task.labels[split.test] for task in tasks])
    return _resampled_scores(split, [task.kind for task in tasks], labels, guesses)


def _square_scores(
    form: SquareForm,
    activations: Squares,
    given: Given,
    split: FormSplit,
    seeds: Sequence[int],
    tasks: Sequence[Task],
) -> Array:
    found = []
    for task in tasks:
        squares = given[task.name]
        held_out = squares[split.test]
        guesses = []
        for seed in seeds:
            probe = fit_square_probe(
                form, activations, squares, task.labels, split.train, split.folds, seed=seed
            )
            guesses.append(probe.predict(activations[split.test], held_out))
        # Positions without a given square are left out.
        wanted = np.where(held_out >= 0, task.labels[split.test], np.nan)
        found.append(
            _resampled_scores(split, [task.kind], wanted[None], np.stack(guesses)[:, None])
        )
    return np.concatenate(found)


def _resampled_scores(
    split: FormSplit, kinds: Sequence[Kind], labels: Labels, guesses: Array
) -> Array:
    """[T, 1 + B] for labels [T, L]: the mean over the seeds of guesses [seeds, T, L]."""
    bootstrap = split.bootstrap
    if bootstrap is None:
        every = np.arange(labels.shape[1])
        bootstrap = Bootstrap(every, 0, np.random.default_rng(0))
    each = [bootstrap.all_scores(kinds, labels, own) for own in guesses]
    return np.asarray(np.mean(each, axis=0))
