"""Ridge regression of many numbers on the same features: one Gram matrix, divided by folds.

Labels have zero mean and unit spread, so that the same penalties suit labels of every unit. What
folds leave out is subtracted from the sums over all rows; losses on it follow from the sums too.
Tasks whose labels are missing in different rows have Gram matrices of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from engine.probing.concepts.registry import Labels
from engine.probing.probes.tasks import PENALTIES, Array, LinearProbe, Task
from engine.probing.probes.training_features import TrainingFeatures


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over some rows of standardised features x [W] and targets y [T]."""

    # How many rows.
    count: int
    # [W], [T]
    features: Array
    targets: Array
    # [W, W], [W, T], [T]: of x x', x y' and y².
    gram: Array
    products: Array
    squares: Array

    def __add__(self, other: "Sums") -> "Sums":
        return self._with(other, 1)

    def __sub__(self, other: "Sums") -> "Sums":
        return self._with(other, -1)

    def _with(self, other: "Sums", sign: int) -> "Sums":
        return Sums(
            self.count + sign * other.count,
            self.features + sign * other.features,
            self.targets + sign * other.targets,
            self.gram + sign * other.gram,
            self.products + sign * other.products,
            self.squares + sign * other.squares,
        )

    def ridge(self, penalty: float, tasks: npt.NDArray[np.intp] | slice) -> tuple[Array, Array]:
        """Weights [W, t] and bias [t] of some tasks."""
        mean, middle = self.features / self.count, self.targets[tasks] / self.count
        gram = self.gram / self.count - np.outer(mean, mean)
        gram[np.diag_indices_from(gram)] += penalty
        products = self.products[:, tasks] / self.count - np.outer(mean, middle)
        weights = cho_solve(cho_factor(gram, lower=True, check_finite=False), products)
        return weights, middle - mean @ weights

    def only(self, tasks: npt.NDArray[np.intp]) -> "Sums":
        """Those of some tasks."""
        return Sums(
            self.count,
            self.features,
            self.targets[tasks],
            self.gram,
            self.products[:, tasks],
            self.squares[tasks],
        )

    def squared_errors(self, weights: Array, bias: Array) -> Array:
        """[T] summed over the rows, of weights [W, T] and bias [T]."""
        own = np.einsum("wt,wt->t", weights, self.gram @ weights)
        cross = np.einsum("wt,wt->t", weights, self.products) + bias * self.targets
        errors: Array = self.squares - 2.0 * cross + own
        errors += 2.0 * bias * (self.features @ weights) + self.count * bias**2
        return np.maximum(errors, 0.0)


def sums_of_parts(features: TrainingFeatures, targets: Array) -> list[Sums]:
    """Of each part, for targets [T, M] that are missing (NaN) in the same rows."""
    known = ~np.isnan(targets[0])
    grams, sums = features.whole_gram if known.all() else features.gram(known)
    found = []
    for fold, gram, total in zip(features.parts, grams, sums, strict=True):
        products = np.zeros((len(total), len(targets)))
        for rows in features.chunks(fold):
            own = known[rows]
            products += features.standard(rows)[own].T @ targets[:, rows][:, own].T
        here = targets[:, fold][:, known[fold]]
        found.append(Sums(here.shape[1], total, here.sum(1), gram, products, (here**2).sum(1)))
    return found


def fit_numbers(
    features: TrainingFeatures, tasks: Sequence[Task], labels: Labels
) -> list[LinearProbe]:
    """The probes of tasks that are numbers, with labels [T, M] of the training rows."""
    found: dict[int, LinearProbe] = {}
    for members in same_rows(labels):
        own = labels[members]
        middle, unit = np.nanmean(own, axis=1), np.nanstd(own, axis=1)
        unit[unit == 0.0] = 1.0
        parts = sums_of_parts(features, (own - middle[:, None]) / unit[:, None])
        whole = sum(parts[1:], parts[0])
        given = [tasks[index].penalty for index in members]
        losses = np.empty((len(PENALTIES), 0))
        if None in given:
            losses = _validation_losses(whole, parts[-len(features.folds) :])
        penalties = np.array(
            [
                PENALTIES[int(losses[:, place].argmin())] if penalty is None else penalty
                for place, penalty in enumerate(given)
            ]
        )
        for penalty in np.unique(penalties):
            places = np.flatnonzero(penalties == penalty)
            weights, bias = whole.ridge(float(penalty), places)
            raw, raw_bias = features.raw(
                weights * unit[places], bias * unit[places] + middle[places]
            )
            for column, place in enumerate(places):
                found[members[place]] = LinearProbe(
                    kind=tasks[members[place]].kind,
                    weights=raw[:, [column]],
                    bias=raw_bias[[column]],
                    classes=(0.0,),
                    penalty=float(penalty),
                    losses=tuple(losses[:, place].tolist()) if given[place] is None else (),
                )
    return [found[index] for index in range(len(tasks))]


def same_rows(labels: Labels) -> list[list[int]]:
    """Groups of tasks whose labels [T, M] are missing (NaN) in the same rows."""
    groups: dict[bytes, list[int]] = {}
    for index, own in enumerate(labels):
        groups.setdefault(np.packbits(np.isnan(own)).tobytes(), []).append(index)
    return list(groups.values())


def _validation_losses(whole: Sums, folds: Sequence[Sums]) -> Array:
    """[penalties, T] mean squared errors on the rows that folds leave out."""
    errors, count = np.zeros((len(PENALTIES), len(whole.targets))), 0
    for fold in folds:
        rest = whole - fold
        if rest.count and fold.count:
            count += fold.count
            for index, penalty in enumerate(PENALTIES):
                errors[index] += fold.squared_errors(*rest.ridge(penalty, slice(None)))
    return errors / max(count, 1)
