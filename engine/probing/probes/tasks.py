"""What probes are fitted to, and the fitted probes: one for each task, applied all at once.

    N  rows     W  width of the features     T  tasks     K  outputs of all tasks together

A number has one output, the prediction. Two classes have one output, the log-odds of the second
class; more classes have one a class, log-probabilities up to a constant of the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, get_args

import numpy as np
import numpy.typing as npt

from engine.probing.activations.capture import Features
from engine.probing.concepts.registry import NUMBERS, Kind, Labels
from engine.probing.data.splits import Indices
from engine.rules.errors import InputError

Array = npt.NDArray[np.float64]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

PENALTIES: Final = tuple(10.0**exponent for exponent in (1, 0, -1, -2, -3, -4, -5))
"""Those that are tried, from strong to weak; a weaker one is taken only where it is better."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Labels to fit a probe to."""

    # How errors name it; tasks of one fit need not have different names.
    name: str
    kind: Kind
    # float64[N]: a label for every row of the sample. Rows with NaN are left out.
    labels: Labels
    # Of the squared weights; None lets cross-validation choose one of `PENALTIES`.
    penalty: float | None = None

    @property
    def is_number(self) -> bool:
        """Whether it is fitted by ridge regression and measured by R²."""
        return self.kind in NUMBERS

    def at(self, rows: Indices) -> "Task":
        """The task on some rows only, such as those held out."""
        return replace(self, labels=self.labels[rows])

    def checked(self, rows: int) -> Labels:
        """The labels.

        Raises InputError unless they are `rows` finite numbers or NaN, of a known kind and with a
        positive penalty, if any.
        """
        labels = np.asarray(self.labels, np.float64)
        if labels.shape != (rows,):
            raise InputError(f"{self.name}: labels of shape {list(labels.shape)}, not [{rows}]")
        if self.kind not in KINDS:
            raise InputError(f"{self.name}: kind = {self.kind!r} is not one of {', '.join(KINDS)}")
        if np.isinf(labels).any():
            raise InputError(f"{self.name}: a label is {labels[np.isinf(labels)][0]}")
        if self.penalty is not None and not 0.0 < self.penalty < np.inf:
            raise InputError(f"{self.name}: the penalty is {self.penalty}, not a positive number")
        return labels


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearProbe:
    """outputs = features @ weights + bias."""

    kind: Kind
    # float64[W, K], in the units of the raw features.
    weights: Array = field(repr=False)
    # float64[K].
    bias: Array = field(repr=False)
    # The labels of the classes among the training rows, ascending; (0.0,) for a number.
    classes: tuple[float, ...]
    # The penalty that was given, or that cross-validation chose.
    penalty: float
    # Mean validation loss at each of `PENALTIES` that was tried; empty where one was given.
    losses: tuple[float, ...] = ()

    def outputs(self, features: Features) -> Array:
        """[N, K]."""
        outputs: Array = features @ self.weights + self.bias
        return outputs

    def predict(self, features: Features) -> Labels:
        """The prediction [N] of a number, or the most likely label."""
        return predictions(self.kind, self.classes, self.outputs(features))

    def probabilities(self, features: Features) -> Array:
        """Of each class [N, C]. They sum to 1, and count all classes as equally common.

        Raises InputError for a number.
        """
        if self.kind in NUMBERS:
            raise InputError(f"a {self.kind} has no classes and so no probabilities")
        return class_probabilities(self.outputs(features))


def predictions(kind: Kind, classes: Sequence[float], outputs: Array) -> Labels:
    """Labels [N] of one task's outputs [N, K]."""
    if kind in NUMBERS:
        numbers: Labels = outputs[:, 0]
        return numbers
    if outputs.shape[1] > 1:
        chosen = outputs.argmax(axis=1)
    else:
        # A task whose training rows have one class only has that label everywhere.
        chosen = (outputs[:, 0] > 0.0).astype(np.int64) * (len(classes) - 1)
    labels: Labels = np.array(classes)[chosen]
    return labels


def class_probabilities(outputs: Array) -> Array:
    """[N, C] of outputs [N, K]: a sigmoid for one column, else a softmax."""
    logits = outputs
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    chances: Array = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    return chances


@dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """Outputs of T probes on N rows."""

    # float64[N, K].
    values: Array
    probes: tuple[LinearProbe, ...]

    @cached_property
    def _ends(self) -> list[int]:
        return [0, *np.cumsum([len(probe.bias) for probe in self.probes]).tolist()]

    def of(self, index: int) -> Array:
        """Those of one task, [N, its K]."""
        return self.values[:, self._ends[index] : self._ends[index + 1]]

    @cached_property
    def predictions(self) -> Labels:
        """Labels [T, N]."""
        if not self.probes:
            return np.zeros((0, len(self.values)))
        return np.stack(
            [
                predictions(probe.kind, probe.classes, self.of(index))
                for index, probe in enumerate(self.probes)
            ]
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Probes:
    """The probes of T tasks, in their order."""

    probes: tuple[LinearProbe, ...]

    def __len__(self) -> int:
        return len(self.probes)

    def __getitem__(self, index: int) -> LinearProbe:
        return self.probes[index]

    @property
    def penalties(self) -> tuple[float, ...]:
        """That of each task."""
        return tuple(probe.penalty for probe in self.probes)

    @cached_property
    def weights(self) -> Array:
        """[W, K]"""
        return np.concatenate([probe.weights for probe in self.probes], axis=1)

    def outputs(self, features: Features) -> Outputs:
        """Those of all tasks for features [N, W] of any rows."""
        if not self.probes:
            return Outputs(values=np.zeros((len(features), 0)), probes=())
        bias = np.concatenate([probe.bias for probe in self.probes])
        return Outputs(values=features @ self.weights + bias, probes=self.probes)
