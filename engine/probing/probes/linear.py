"""Linear probes: ridge regression for scalars, logistic regression for classes.

    N  rows     W  width of the features     K  outputs: one for a scalar, else one a class

Both minimise a mean loss (half the squared error, or cross-entropy) plus half the penalty times the
squared weights, on features standardised with the mean and spread of the training rows. The loss of
a class is weighted by its inverse frequency, so that a rare class counts as much as a common one,
as in balanced accuracy. The penalty is chosen by the loss on a validation part *of the
training rows*; then the probe is fitted to all of them.

A training set is rotated to its principal axes once, for all concepts. There ridge regression is a
division for each penalty, and logistic regression is so well conditioned that L-BFGS needs a few
dozen steps. The penalty does not change under rotation, so the solutions are the usual ones (tests
compare them with scikit-learn's).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from engine.probing.activations.capture import Features
from engine.probing.concepts.registry import NUMBERS, Kind, Labels
from engine.probing.data.splits import Indices, Split

Array = npt.NDArray[np.float64]

PENALTIES: Final = tuple(10.0**exponent for exponent in (1, 0, -1, -2, -3, -4, -5))
"""From strong to weak; a weaker one is taken only where it is better."""
_WORSE: Final = 1.02
"""Weaker penalties are not tried once the validation loss is this many times the smallest."""
_FLAT: Final = 1e-5
"""A feature is constant if its spread is below this share of the largest spread."""
_STEPS: Final = 300
_TOLERANCE: Final = 1e-5
"""Largest gradient at which the logistic loss (about 1) counts as minimal."""


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """outputs = features @ weights + bias."""

    # A number has one output, the prediction; other kinds have one log-probability a class, up
    # to a constant.
    kind: Kind
    # float64[W, K], in the units of the raw features.
    weights: Array
    # float64[K].
    bias: Array
    # The labels of the K classes, ascending; (0.0,) for a scalar.
    classes: tuple[float, ...]
    # The penalty that validation chose.
    penalty: float

    def outputs(self, features: Features) -> Array:
        """[N, K]."""
        return features @ self.weights + self.bias

    def predict(self, features: Features) -> Labels:
        """The prediction [N] of a scalar, or the most likely label."""
        outputs = self.outputs(features)
        if self.kind in NUMBERS:
            return outputs[:, 0]
        labels: Labels = np.array(self.classes)[outputs.argmax(axis=1)]
        return labels


class Design:
    """The features of a training set, standardised and rotated to their principal axes.

    Axes without variance are left out: A <= W remain.
    """

    def __init__(self, features: Features) -> None:
        self.mean = features.mean(axis=0, dtype=np.float64)
        spread = features.std(axis=0, dtype=np.float64)
        varies = spread > _FLAT * spread.max(initial=0.0)
        self.inverse_spread = np.divide(1.0, spread, out=np.zeros_like(spread), where=varies)
        standard = self._standardise(features)
        variances, axes = np.linalg.eigh(standard.T @ standard / len(features))
        has_variance = variances > 1e-10 * max(variances.max(initial=0.0), 1e-300)
        self.variances: Array = variances[has_variance]
        """[A]"""
        self.axes: Array = axes[:, has_variance]
        """[W, A]"""
        self.rotated: Array = standard @ self.axes
        """[N, A]"""

    def _standardise(self, features: Features) -> Array:
        standard: Array = (features - self.mean) * self.inverse_spread
        return standard

    def rotate(self, features: Features) -> Array:
        """Other rows' features in the same axes, [M, A]."""
        return self._standardise(features) @ self.axes

    def raw(self, weights: Array, bias: Array) -> tuple[Array, Array]:
        """Weights [A, K] and bias [K] in the units of the raw features: [W, K] and [K]."""
        weights = self.inverse_spread[:, None] * (self.axes @ weights)
        return weights, bias - self.mean @ weights


def ridge(design: Design, targets: Array, penalty: float) -> tuple[Array, Array]:
    """Weights [A, 1] and bias [1] for targets float64[N] of unit spread."""
    covariance = design.rotated.T @ (targets - targets.mean()) / len(targets)
    weights = covariance / (design.variances + penalty)
    return weights[:, None], targets.mean(keepdims=True)


def class_weights(chosen: Array) -> Array:
    """[N] with mean 1: all classes of the one-hot `chosen` [K, N] have the same total weight."""
    shares = chosen.mean(axis=1)
    weights: Array = (1.0 / (len(shares) * np.maximum(shares, 1e-12))) @ chosen
    return weights


def cross_entropy(logits: Array, chosen: Array, weights: Array) -> tuple[float, Array]:
    """Weighted mean loss and its gradient [K, N] by the logits [K, N], which are overwritten.

    The classes are the first axis, so that sums over them run along whole rows of memory.
    """
    logits -= logits.max(axis=0)
    own = (logits * chosen).sum(axis=0)
    np.exp(logits, out=logits)
    total = logits.sum(axis=0)
    loss = float(weights @ (np.log(total) - own)) / len(weights)
    logits /= total
    logits -= chosen
    logits *= weights / len(weights)
    return loss, logits


def logistic(
    design: Design, chosen: Array, penalty: float, start: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """Weights [A, K] and bias [K] for one-hot classes `chosen` [K, N]; the bias is not penalised.

    `start` is a guess, such as the solution for a neighbouring penalty.
    """
    axes, classes = design.rotated.shape[1], len(chosen)
    weight_of = class_weights(chosen)
    # A quarter of an axis's variance bounds the curvature of the loss along it: in these units the
    # curvature is about the same along all axes.
    scale = 1.0 / np.sqrt(0.25 * design.variances + penalty)

    def loss_and_gradient(flat: Array) -> tuple[float, Array]:
        parameters = flat.reshape(classes, axes + 1)
        weights = parameters[:, :-1] * scale
        logits = weights @ design.rotated.T
        logits += 2.0 * parameters[:, -1:]
        loss, slope = cross_entropy(logits, chosen, weight_of)
        gradient = np.empty_like(parameters)
        gradient[:, :-1] = (slope @ design.rotated + penalty * weights) * scale
        gradient[:, -1] = 2.0 * slope.sum(axis=1)
        return loss + 0.5 * penalty * float((weights**2).sum()), gradient.ravel()

    weights, bias = start or (np.zeros((axes, classes)), np.zeros(classes))
    guess = np.concatenate([weights.T / scale, bias[:, None] / 2.0], axis=1)
    found = minimize(
        loss_and_gradient,
        guess.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _STEPS, "gtol": _TOLERANCE, "ftol": 1e-10, "maxcor": 20},
    )
    parameters = found.x.reshape(classes, axes + 1)
    return (parameters[:, :-1] * scale).T, 2.0 * parameters[:, -1]


class ProbeFitter:
    """Fits probes of many concepts to one set of features [N, W] of a sample."""

    def __init__(self, features: Features, train: Indices, inner: Split) -> None:
        """`train` are the training rows, `inner` their split for the choice of a penalty."""
        self.features, self.train, self.inner = features, train, inner
        self._design = Design(features[train])
        self._inner_design = Design(features[inner.train])
        self._validation = self._inner_design.rotate(features[inner.test])

    @property
    def width(self) -> int:
        """W."""
        return int(self.features.shape[1])

    def fit(self, labels: Labels, kind: Kind, penalty: float | None = None) -> LinearProbe:
        """The probe of labels [N] of the whole sample; only training rows are used.

        Validation chooses the penalty unless one is given.
        """
        if kind in NUMBERS:
            return self._fit_scalar(labels, kind, penalty)
        return self._fit_classes(labels, kind, penalty)

    def _fit_scalar(self, labels: Labels, kind: Kind, penalty: float | None) -> LinearProbe:
        # Standardised, so that the same penalties suit labels of every unit.
        middle, unit = labels[self.train].mean(), labels[self.train].std() or 1.0
        targets = (labels - middle) / unit
        if penalty is None:
            penalty = self._scalar_penalty(targets)
        weights, bias = ridge(self._design, targets[self.train], penalty)
        weights, bias = self._design.raw(weights * unit, bias * unit + middle)
        return LinearProbe(kind=kind, weights=weights, bias=bias, classes=(0.0,), penalty=penalty)

    def _scalar_penalty(self, targets: Array) -> float:
        wanted = targets[self.inner.test]
        losses = []
        for penalty in PENALTIES:
            weights, bias = ridge(self._inner_design, targets[self.inner.train], penalty)
            errors = (self._validation @ weights + bias)[:, 0] - wanted
            losses.append(float((errors**2).mean()))
        return PENALTIES[int(np.argmin(losses))]

    def _fit_classes(self, labels: Labels, kind: Kind, penalty: float | None) -> LinearProbe:
        classes = np.unique(labels[self.train])
        chosen = (labels == classes[:, None]).astype(np.float64)
        if penalty is None:
            penalty = self._class_penalty(chosen)
        weights, bias = logistic(self._design, chosen[:, self.train], penalty)
        weights, bias = self._design.raw(weights, bias)
        return LinearProbe(
            kind=kind,
            weights=weights,
            bias=bias,
            classes=tuple(classes.tolist()),
            penalty=penalty,
        )

    def _class_penalty(self, chosen: Array) -> float:
        fitted, wanted = chosen[:, self.inner.train], chosen[:, self.inner.test]
        weight_of = class_weights(wanted)
        solution, best, chosen_penalty = None, np.inf, PENALTIES[0]
        for penalty in PENALTIES:
            solution = logistic(self._inner_design, fitted, penalty, solution)
            logits = (self._validation @ solution[0] + solution[1]).T
            loss, _ = cross_entropy(np.ascontiguousarray(logits), wanted, weight_of)
            if loss > _WORSE * best:
                # The loss has one minimum along the penalties; weaker ones overfit more.
                break
            if loss < best:
                best, chosen_penalty = loss, penalty
        return chosen_penalty
