"""How well a probe does on held-out rows, and how sure that is.

R² for scalars: 1 - squared error / squared error of the test mean. Balanced accuracy for classes:
the mean over the classes of the share that is found, so that chance and always guessing the most
common class are both 1 / classes. Macro AUC is reported with it: for each class against the rest,
the chance that a row of the class ranks above one of the rest, averaged.

Intervals are percentiles of a bootstrap over clusters: games where they are known, since positions
of one game are alike, else canonical positions. A gain is the score minus the better of raw input
and the mean of untrained networks, computed in every resample as in the estimate. A single network,
the trained one too, also depends on its initialisation: every resample adds a deviation such as one
more untrained network would have.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.registry import NUMBERS, Kind, Labels
from engine.probing.probes.linear import LinearProbe

Array = npt.NDArray[np.float64]
Resampled = npt.NDArray[np.float64]
"""[1 + B]: a figure of the held-out rows, then of each of B resamples."""

METRICS: Final = {
    "count": "R²",
    "real": "R²",
    "binary": "balanced accuracy",
    "categorical": "balanced accuracy",
}
_ALIKE: Final = 1e-9
"""Gains that differ by less are equal."""


class Bootstrap:
    """B resamples of the test rows, the same for every probe that is scored with them."""

    def __init__(
        self, clusters: npt.NDArray[np.int64], resamples: int, rng: np.random.Generator
    ) -> None:
        """`clusters` [N] number the units of resampling among the test rows."""
        members = np.unique(clusters, return_inverse=True)[1].ravel()
        self._members = members
        self.clusters: int = int(members.max()) + 1
        """How many units there are."""
        chances = np.full(self.clusters, 1.0 / self.clusters)
        drawn = rng.multinomial(self.clusters, chances, size=resamples)
        self.weights: npt.NDArray[np.float32] = drawn[:, members].astype(np.float32)
        """[B, N] how often each row was drawn."""

    def scores(self, kind: Kind, labels: Labels, predictions: Labels) -> Resampled:
        """R² or balanced accuracy of predictions [N] on labels [N]."""
        weights = np.concatenate([np.ones((1, len(labels)), np.float32), self.weights])
        if kind in NUMBERS:
            return _weighted_r_squared(weights, labels, predictions)
        return _weighted_balanced_accuracy(weights, labels, predictions)

    def gains(
        self, scores: Resampled, raw: Resampled, untrained: Array, rng: np.random.Generator
    ) -> Resampled:
        """Of scores [1 + B] over the better of `raw` [1 + B] and the mean of `untrained`.

        `untrained` [seeds, 1 + B]. The better control is chosen anew in each resample, since that
        choice is uncertain too. Each resample also has a deviation of one more initialisation.
        """
        gains: Resampled = scores - np.maximum(raw, untrained.mean(axis=0))
        gains[1:] += _initialisation_deviations(untrained[:, 1:], rng)
        return gains

    def interval(
        self, gains: Resampled, kind: Kind, labels: Labels, confidence: float
    ) -> tuple[float, float]:
        """Bounds of gains [1 + B] on labels [N], which hold the estimate.

        Where all resamples are equal (every probe gets every row right), they say nothing about
        rows that were not drawn for the test. Then the interval is widened: the exact interval of a
        share (Clopper and Pearson 1934) bounds how many unseen rows of the smallest class may
        differ, each by a whole point.
        """
        low, high = interval(gains[1:], confidence)
        if np.ptp(gains[1:]) < _ALIKE:
            parts = [self._members]
            if kind not in NUMBERS:
                parts = [self._members[labels == label] for label in np.unique(labels)]
            fewest = min(len(np.unique(part)) for part in parts)
            unseen = 1.0 - ((1.0 - confidence) / 2.0 / len(parts)) ** (1.0 / fewest)
            low, high = low - unseen, high + unseen
        return min(low, float(gains[0])), max(high, float(gains[0]))


def _initialisation_deviations(untrained: Array, rng: np.random.Generator) -> Array:
    """[B] deviations from the mean that one more network may have, of scores [seeds, B].

    Student's t: of n normal scores with spread s, a further one deviates from their mean by
    s sqrt(1 + 1 / n) times a t of n - 1 degrees of freedom. One network has no spread.
    """
    seeds, resamples = untrained.shape
    if seeds == 1:
        return np.zeros(resamples)
    drawn = rng.standard_t(seeds - 1, size=resamples)
    deviations: Array = untrained.std(axis=0, ddof=1) * math.sqrt(1.0 + 1.0 / seeds) * drawn
    return deviations


def score(kind: Kind, labels: Labels, predictions: Labels) -> float:
    """R² or balanced accuracy of predictions [N] on labels [N]."""
    weights = np.ones((1, len(labels)), np.float32)
    measure = _weighted_r_squared if kind in NUMBERS else _weighted_balanced_accuracy
    return float(measure(weights, labels, predictions)[0])


def _weighted_r_squared(
    weights: npt.NDArray[np.float32], labels: Labels, predictions: Labels
) -> Array:
    centred = labels - labels.mean()
    # Scaled to the labels' own unit: R² has no unit, but the floor below and float32 do. The unit
    # is a power of two, so that nothing is rounded.
    unit = 2.0 ** -np.frexp(np.abs(centred).max(initial=0.0))[1]
    errors, centred = (labels - predictions) * unit, centred * unit
    parts = np.stack([errors**2, centred**2, centred, np.ones_like(centred)])
    error, square, total, count = (weights @ parts.T.astype(np.float32)).T.astype(np.float64)
    variation = square - total**2 / count
    explained: Array = 1.0 - error / np.maximum(variation, 1e-12)
    return explained


def _weighted_balanced_accuracy(
    weights: npt.NDArray[np.float32], labels: Labels, predictions: Labels
) -> Array:
    members = labels[:, None] == np.unique(labels)
    found = members & (predictions == labels)[:, None]
    drawn = weights @ members.astype(np.float32)
    shares = np.divide(
        weights @ found.astype(np.float32),
        drawn,
        out=np.full(drawn.shape, np.nan, np.float32),
        where=drawn > 0,
    )
    # A resample that lacks a class is averaged over the classes that it has.
    means: Array = np.nanmean(shares, axis=1).astype(np.float64)
    return means


def macro_auc(probe: LinearProbe, outputs: Array, labels: Labels) -> float:
    """Area under the ROC curve, the mean over the classes of one against the rest."""
    # Log-odds of a class against the rest.
    areas = []
    for index, label in enumerate(probe.classes):
        rest = np.delete(outputs, index, axis=1)
        log_odds = outputs[:, index] - np.logaddexp.reduce(rest, axis=1)
        areas.append(_auc(log_odds, labels == label))
    return float(np.mean(areas))


def _auc(scores: Array, positive: npt.NDArray[np.bool_]) -> float:
    """Mann and Whitney's statistic; ties count a half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse.ravel()]
    own, rest = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - own * (own + 1) / 2.0) / (own * rest))


def interval(samples: Array, confidence: float) -> tuple[float, float]:
    """The central `confidence` of samples [B]."""
    outside = (1.0 - confidence) / 2.0
    low, high = np.quantile(samples, [outside, 1.0 - outside])
    return float(low), float(high)
