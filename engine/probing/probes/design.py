"""The features of one layer, made ready once, and the probes of all tasks fitted to them.

    design = Design(features, train, folds)         # [N, W], rows to fit to, their fold numbers
    probes = design.fit(tasks)                      # one for each task, with penalties chosen
    outputs = probes.outputs(features[test])        # all tasks at once
    lengths = design.description_lengths(tasks, probes.penalties)

    N  rows of the sample     M  training rows     W  width     F  folds     T  tasks

A number is fitted by ridge regression: half the mean squared error of labels of unit spread, plus
half the penalty times the squared weights. Classes are fitted by logistic regression: the mean
cross-entropy, in which all classes have the same total weight, plus the same term. The features are
standardised with the mean and the spread of the training rows. In scikit-learn's terms:

    Ridge(alpha=M * penalty)     LogisticRegression(C=1 / (M * penalty), class_weight="balanced")

with M the training rows that have a label. A penalty is chosen by cross-validation over the folds:
the one with the least loss on the rows that were left out. `folds` number the training rows; those
of one canonical position or game belong to one fold. Rows of fold -1 are never left out.

Memory: besides the features, at most about five times their size, or 100 MB where that is more.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from engine.probing.concepts.registry import Labels
from engine.probing.probes.classes import fit_classes
from engine.probing.probes.description import DescriptionLength, description_lengths
from engine.probing.probes.numbers import fit_numbers
from engine.probing.probes.tasks import LinearProbe, Probes, Task
from engine.probing.probes.training_features import TrainingFeatures
from engine.rules.errors import InputError


class Design(TrainingFeatures):
    """Features to which the probes of any number of tasks are fitted."""

    def fit(self, tasks: Sequence[Task], *, exact: bool = True) -> Probes:
        """The probe of each task; only training rows are used.

        Without `exact`, logistic regressions stay in single precision: quicker by a third, their
        loss within 1e-5 of the least. That is enough for the labels of controls.
        Raises InputError for a task without labels among the training rows, or without a penalty
        where there are no folds.
        """
        labels = self.labels(tasks)
        numbers = [index for index, task in enumerate(tasks) if task.is_number]
        classes = [index for index, task in enumerate(tasks) if not task.is_number]
        found: list[LinearProbe | None] = [None] * len(tasks)
        for fit, chosen in ((fit_numbers, numbers), (partial(fit_classes, exact=exact), classes)):
            fitted = fit(self, [tasks[index] for index in chosen], labels[chosen])
            for index, probe in zip(chosen, fitted, strict=True):
                found[index] = probe
        return Probes(probes=tuple(probe for probe in found if probe is not None))

    def description_lengths(
        self, tasks: Sequence[Task], penalties: Sequence[float]
    ) -> tuple[DescriptionLength, ...]:
        """Of the training rows' labels, by probes with these penalties: one for each task.

        Raises InputError for a task without labels among the training rows.
        """
        given = [replace(task, penalty=own) for task, own in zip(tasks, penalties, strict=True)]
        return tuple(description_lengths(self, given, self.labels(given), penalties))

    def labels(self, tasks: Sequence[Task]) -> Labels:
        """[T, M] of the training rows."""
        labels = np.empty((len(tasks), len(self.train)))
        for own, task in zip(labels, tasks, strict=True):
            own[:] = task.checked(self.rows_in_all)[self.train]
            if np.isnan(own).all():
                raise InputError(f"{task.name}: no training row has a label")
            if task.penalty is None and not self.folds:
                raise InputError(f"{task.name}: without folds it needs a penalty")
        return labels
