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
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.registry import NUMBERS, Kind, Labels
from engine.probing.probes.tasks import LinearProbe, Outputs

Array = npt.NDArray[np.float64]
Resampled = npt.NDArray[np.float64]
"""[1 + B]: a figure of the held-out rows, then of each of B resamples."""
Units = npt.NDArray[np.int64]
"""[M] the unit of resampling that each held-out row belongs to, 0 .. U - 1."""

METRICS: Final = {
    "count": "R²",
    "real": "R²",
    "binary": "balanced accuracy",
    "categorical": "balanced accuracy",
}
MOST_UNITS: Final = 1_000
"""Clusters beyond this number are merged at random: resamples need not be larger."""
_ALIKE: Final = 1e-9
"""Gains that differ by less are equal."""


class Bootstrap:
    """B resamples of the M test rows, the same for every probe that is scored with them."""

    def __init__(
        self, clusters: npt.NDArray[np.int64], resamples: int, rng: np.random.Generator
    ) -> None:
        """`clusters` [M] number what is resampled as a whole among the test rows.

        Each of at most `MOST_UNITS` units of resampling is one cluster, or equally many drawn at
        random.
        """
        members = np.unique(clusters, return_inverse=True)[1].ravel()
        self._members = members
        self.clusters: int = int(members.max()) + 1
        """How many there are."""
        self.units: Units = members
        """[M] the unit of each row."""
        if self.clusters > MOST_UNITS:
            self.units = (rng.permutation(self.clusters) % MOST_UNITS)[members]
        count = min(self.clusters, MOST_UNITS)
        drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=resamples)
        self.draws: Array = np.concatenate([np.ones((1, count)), drawn])
        """[1 + B, U] how often each unit was drawn; the first is the test rows themselves."""

    @property
    def weights(self) -> Array:
        """[B, M] how often each row was drawn."""
        weights: Array = self.draws[1:][:, self.units]
        return weights

    def scores(self, kind: Kind, labels: Labels, predictions: Labels) -> Resampled:
        """R² or balanced accuracy of predictions [M] on labels [M]."""
        scores: Resampled = self.all_scores([kind], labels[None], predictions[None])[0]
        return scores

    def all_scores(self, kinds: Sequence[Kind], labels: Labels, predictions: Labels) -> Array:
        """[T, 1 + B] of predictions [T, M] on labels [T, M].

        Rows without a label (NaN) are left out; a task without labels has NaN for scores.
        """
        return _scores(kinds, labels, predictions, self.units, self.draws)

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
    """R² or balanced accuracy of predictions [M] on labels [M]."""
    return float(all_scores([kind], labels[None], predictions[None])[0])


def all_scores(kinds: Sequence[Kind], labels: Labels, predictions: Labels) -> Array:
    """[T] of predictions [T, M] on labels [T, M], without resamples."""
    one = np.zeros(labels.shape[1], np.int64)
    return _scores(kinds, labels, predictions, one, np.ones((1, 1)))[:, 0]


def _scores(
    kinds: Sequence[Kind], labels: Labels, predictions: Labels, units: Units, draws: Array
) -> Array:
    """[T, D] for draws [D, U]: sums over each unit's rows, then over the units that were drawn."""
    count = draws.shape[1]
    sums, ends = [], [0]
    for kind, own, guesses in zip(kinds, labels, predictions, strict=True):
        known = ~np.isnan(own)
        sums_of = _number_sums if kind in NUMBERS else _class_sums
        sums.append(sums_of(own[known], guesses[known], units[known], count))
        ends.append(ends[-1] + len(sums[-1]))
    drawn = draws @ np.concatenate(sums).T
    scores = np.full((len(sums), len(draws)), np.nan)
    for index, kind in enumerate(kinds):
        if len(sums[index]):
            of_sums = _r_squared if kind in NUMBERS else _balanced_accuracy
            scores[index] = of_sums(drawn[:, ends[index] : ends[index + 1]])
    return scores


def _number_sums(labels: Labels, predictions: Labels, units: Units, count: int) -> Array:
    """[4, U]: squared errors, squares and sums of centred labels, numbers of rows."""
    if not len(labels):
        return np.zeros((0, count))
    centred = labels - labels.mean()
    # Scaled to the labels' own unit: R² has none, but the floor below does. The unit is a power of
    # two, so that nothing is rounded.
    unit = 2.0 ** -np.frexp(np.abs(centred).max())[1]
    errors, centred = (labels - predictions) * unit, centred * unit
    figures = (errors**2, centred**2, centred, np.ones_like(centred))
    return np.stack([np.bincount(units, figure, count) for figure in figures])


def _r_squared(sums: Array) -> Array:
    """Of all rows, then of resamples; NaN where the labels of all rows are alike.

    A resample whose labels are nearly alike would have any score: its variance counts as at least
    half of that of all rows.
    """
    error, square, total, count = sums.T
    count = np.maximum(count, 1.0)
    variance = square / count - (total / count) ** 2
    if variance[0] <= 1e-12:
        return np.full(len(sums), np.nan)
    explained: Array = 1.0 - error / count / np.maximum(variance, 0.5 * variance[0])
    return explained


def _class_sums(labels: Labels, predictions: Labels, units: Units, count: int) -> Array:
    """[2 C, U]: rows of each class, then those that are found."""
    classes, codes = np.unique(labels, return_inverse=True)
    places, size = codes.ravel() * count + units, len(classes) * count
    members = np.bincount(places, minlength=size)
    found = np.bincount(places, predictions == labels, size)
    return np.concatenate([members, found]).reshape(2 * len(classes), count)


def _balanced_accuracy(sums: Array) -> Array:
    """A resample that lacks a class is averaged over the classes that it has."""
    members, found = np.split(sums, 2, axis=1)
    shares = np.divide(found, members, out=np.zeros_like(found), where=members > 0)
    accuracies: Array = shares.sum(axis=1) / np.maximum((members > 0).sum(axis=1), 1)
    return accuracies


def macro_auc(probe: LinearProbe, outputs: Array, labels: Labels) -> float:
    """Area under the ROC curve, the mean over the classes of one against the rest.

    Of outputs [M, K] on labels [M]; NaN for a number, or where no class has both rows of its own
    and others.
    """
    known = ~np.isnan(labels)
    outputs, labels = outputs[known], labels[known]
    if probe.kind in NUMBERS or len(probe.classes) < 2:
        return math.nan
    if outputs.shape[1] == 1:
        return _auc(outputs[:, 0], labels == probe.classes[1])
    areas = []
    for index, label in enumerate(probe.classes):
        # Log-odds of the class against the rest.
        rest = np.delete(outputs, index, axis=1)
        log_odds = outputs[:, index] - np.logaddexp.reduce(rest, axis=1)
        areas.append(_auc(log_odds, labels == label))
    return math.nan if np.isnan(areas).all() else float(np.nanmean(areas))


def all_macro_aucs(outputs: Outputs, labels: Labels) -> Array:
    """[T] for labels [T, M]."""
    return np.array(
        [
            macro_auc(probe, outputs.of(index), labels[index])
            for index, probe in enumerate(outputs.probes)
        ]
    )


def _auc(scores: Array, positive: npt.NDArray[np.bool_]) -> float:
    """Mann and Whitney's statistic; ties count a half. NaN without rows on either side."""
    own, rest = int(positive.sum()), int((~positive).sum())
    if not own or not rest:
        return math.nan
    order = np.argsort(scores)
    ordered, is_own = scores[order], positive[order]
    # Equal scores share the mean of their ranks.
    first = np.flatnonzero(np.append(True, np.diff(ordered) > 0.0))
    ends = np.append(first[1:], len(ordered))
    ranks = (first + ends + 1) / 2.0
    total = float(ranks @ np.add.reduceat(is_own.astype(np.float64), first))
    return (total - own * (own + 1) / 2.0) / (own * rest)


def interval(samples: Array, confidence: float) -> tuple[float, float]:
    """The central `confidence` of samples [B]."""
    outside = (1.0 - confidence) / 2.0
    low, high = np.quantile(samples, [outside, 1.0 - outside])
    return float(low), float(high)
