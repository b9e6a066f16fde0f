"""Intervals of gains: one by one, and of all cells at once.

A gain varies with the positions that were held out (the bootstrap's resamples, the same for all
cells) and with the initialisation of the networks. The second part is estimated by the spread of
untrained networks, or of the runs where there are several (`engine/probing/probes/spread.py`).

All cells at once: the largest studentised deviation of any cell, in each resample, has a
distribution, and its quantile widens all intervals (max-statistic; Westfall and Young 1993, section
2.6). A cell whose spread is known badly has a long tail, which would set the quantile for all. So
deviations are compared by how rare each is in its own cell (balanced, Beran 1988): under Student's
t with the degrees of freedom of the cell's variance (Satterthwaite 1946). With a chance of
`confidence` all gains are above their lower ends, so that where nothing is to be found, any cell is
above zero with a chance of 1 - confidence at most; with the same chance all are below their upper
ends. Deviations by initialisation are drawn for each concept and network by itself, which can only
widen the intervals; the layers of one network go together as they do among the untrained ones, and
the error of the estimated spread is common to a concept's layers of one kind.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from engine.probing.probes.spread import MOST_DEGREES, Spread

Array = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
_ALIKE: Final = 1e-9
"""Gains that differ by less are equal."""


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Bounds of gains [...]."""

    # Pointwise.
    low: Array
    high: Array
    # Of all cells at once.
    corrected_low: Array
    corrected_high: Array
    # Of the largest deviation upwards, as a normal score.
    quantile: float
    # Standard errors, and the degrees of freedom of these.
    errors: Array
    degrees: Array


def intervals(
    gains: Float32,
    luck: list[tuple[Spread, float]],
    unseen: Array,
    confidence: float,
    rng: np.random.Generator,
) -> Intervals:
    """Bounds of gains [..., C, 1 + B]: the estimate, then each resample; NaN where there is none.

    `luck` has spreads [P, C] by initialisation, P the places [...], each with the share of its
    variance that the gain has. `unseen` [...] widens the intervals of cells whose resamples are all
    alike: a bound of how far unseen positions could move the gain.
    """
    shape, resamples = gains.shape[:-1], gains.shape[-1] - 1
    concepts = shape[-1]
    flat = gains.reshape(-1, concepts, 1 + resamples)
    bounds = np.full((2, *flat.shape[:2]), np.nan)
    errors, degrees = np.full((2, *flat.shape[:2]), np.nan)
    largest = np.zeros((2, resamples))
    outside = (1.0 - confidence) / 2.0
    for concept in range(concepts):
        rows = np.flatnonzero(~np.isnan(flat[:, concept, 0]))
        if not len(rows):
            continue
        found = flat[rows, concept].astype(np.float64)
        deviations = found[:, 1:] - found[:, :1]
        extra = np.where(
            np.ptp(deviations, axis=1) < _ALIKE, unseen.reshape(-1, concepts)[rows, concept], 0.0
        )
        variance = deviations.var(axis=1) + (extra / 1.96) ** 2
        uncertain = np.zeros(len(rows))
        for spread, share in luck:
            deviations = deviations + spread.deviations(concept, rows, share, rng, resamples)
            own = share * spread.variance[rows, concept]
            variance = variance + own
            uncertain += own**2 / spread.degrees[spread.pools[rows]]
        low, high = np.quantile(deviations, [outside, 1.0 - outside], axis=1)
        bounds[0, rows, concept] = np.minimum(low, 0.0) - extra
        bounds[1, rows, concept] = np.maximum(high, 0.0) + extra
        errors[rows, concept] = np.sqrt(variance)
        degrees[rows, concept] = np.minimum(
            variance**2 / np.maximum(uncertain, 1e-300), MOST_DEGREES
        )
        studentised = deviations / np.maximum(np.sqrt(variance), 1e-12)[:, None]
        scores = _normal_scores(studentised, degrees[rows, concept][:, None])
        largest = np.maximum(largest, [scores.max(axis=0), -scores.min(axis=0)])
    upwards, downwards = np.quantile(largest, confidence, axis=1)
    estimate = flat[..., 0].astype(np.float64)
    below = np.fmax(_multiples(upwards, degrees) * errors, -bounds[0])
    above = np.fmax(_multiples(downwards, degrees) * errors, bounds[1])
    return Intervals(
        low=(estimate + bounds[0]).reshape(shape),
        high=(estimate + bounds[1]).reshape(shape),
        corrected_low=(estimate - below).reshape(shape),
        corrected_high=(estimate + above).reshape(shape),
        quantile=float(upwards),
        errors=errors.reshape(shape),
        degrees=degrees.reshape(shape),
    )


def _normal_scores(studentised: Array, degrees: Array) -> Array:
    """Normal deviates that are as rare as these are under Student's t."""
    scores: Array = -np.sign(studentised) * ndtri(stdtr(degrees, -np.abs(studentised)))
    return scores


def _multiples(score: float, degrees: Array) -> Array:
    """Deviates of Student's t that are as rare as a normal one, for each cell's degrees."""
    multiples: Array = -stdtrit(degrees, ndtr(-score))
    return multiples
