"""How well a probe does on held-out rows, and how sure that is.

R² for scalars: 1 - squared error / squared error of the test mean. Balanced accuracy for classes:
the mean over the classes of the share found, so that chance and always guessing the most common
class are both 1 / classes. Macro AUC beside it: for each class against the rest, the chance that a
row of the class ranks above one of the rest, averaged.

Intervals are percentiles of a bootstrap over clusters: games where they are known, since positions
of one game are alike, else canonical positions. A gain is the score minus the better of raw input
and the mean of untrained networks, in every resample as in the estimate. Around it lies the luck of
an initialisation, which belongs to every single network, a trained one too: in each resample a
deviation such as one more untrained network would have.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.registry import Kind, Labels
from engine.probing.probes.linear import LinearProbe

Array = npt.NDArray[np.float64]
Resampled = npt.NDArray[np.float64]
"""[1 + B]: a figure of the held-out rows, then of each of B resamples."""

METRICS: Final = {
    "scalar": "R²",
    "binary": "balanced accuracy",
    "categorical": "balanced accuracy",
}


_ALIKE: Final = 1e-9


class Bootstrap:
    """B resamples of the test rows, the same for every probe that is scored with them."""

    def __init__(
        self, clusters: npt.NDArray[np.int64], resamples: int, rng: np.random.Generator
    ) -> None:
        """`clusters` [N] number what is drawn as a whole among the test rows."""
        members = np.unique(clusters, return_inverse=True)[1].ravel()
        self._members = members
        count = int(members.max()) + 1
        drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=resamples)
        self.weights: npt.NDArray[np.float32] = drawn[:, members].astype(np.float32)
        """[B, N] how often each row was drawn."""
        self._rng = rng

    def scores(self, kind: Kind, labels: Labels, predictions: Labels) -> Resampled:
        """R² or balanced accuracy of predictions [N] on labels [N]."""
        weights = np.concatenate([np.ones((1, len(labels)), np.float32), self.weights])
        if kind == "scalar":
            return _weighted_r_squared(weights, labels, predictions)
        return _weighted_balanced_accuracy(weights, labels, predictions)

    def gains(self, scores: Resampled, raw: Resampled, untrained: Array) -> Resampled:
        """Of scores [1 + B] over the better of `raw` [1 + B] and the mean of `untrained`.

        `untrained` [seeds, 1 + B]. The resamples hold the luck of one more initialisation as well.
        """
        gains: Resampled = scores - np.maximum(raw, untrained.mean(axis=0))
        gains[1:] += self._luck(untrained[:, 1:])
        return gains

    def _luck(self, untrained: Array) -> Array:
        """[B] deviations from the mean that one more network may have, of scores [seeds, B].

        Student's: of n normal scores with spread s a further one deviates from their mean by
        s sqrt(1 + 1 / n) times a t of n - 1 degrees of freedom. One network alone tells no spread.
        """
        seeds, resamples = untrained.shape
        if seeds == 1:
            return np.zeros(resamples)
        drawn = self._rng.standard_t(seeds - 1, size=resamples)
        luck: Array = untrained.std(axis=0, ddof=1) * math.sqrt(1.0 + 1.0 / seeds) * drawn
        return luck

    def interval(
        self, gains: Resampled, kind: Kind, labels: Labels, confidence: float
    ) -> tuple[float, float]:
        """Bounds of gains [1 + B] on labels [N], which hold the estimate.

        Where all resamples are alike, as where every row is found by all, they say nothing of rows
        that were not drawn for the test. So many as the exact interval of a share (Clopper and
        Pearson 1934) allows, in the smallest class, may have it otherwise, each by a whole point.
        """
        low, high = interval(gains[1:], confidence)
        if np.ptp(gains[1:]) < _ALIKE:
            parts = [self._members]
            if kind != "scalar":
                parts = [self._members[labels == label] for label in np.unique(labels)]
            fewest = min(len(np.unique(part)) for part in parts)
            unseen = 1.0 - ((1.0 - confidence) / 2.0 / len(parts)) ** (1.0 / fewest)
            low, high = low - unseen, high + unseen
        return min(low, float(gains[0])), max(high, float(gains[0]))


def score(kind: Kind, labels: Labels, predictions: Labels) -> float:
    """R² or balanced accuracy of predictions [N] on labels [N]."""
    weights = np.ones((1, len(labels)), np.float32)
    measure = _weighted_r_squared if kind == "scalar" else _weighted_balanced_accuracy
    return float(measure(weights, labels, predictions)[0])


def _weighted_r_squared(
    weights: npt.NDArray[np.float32], labels: Labels, predictions: Labels
) -> Array:
    centred = labels - labels.mean()
    # In the labels' own unit: R² has none, but the floor below and float32 do. A power of two, so
    # that nothing is rounded.
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
    # A resample without a class is averaged over the classes that it has.
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
