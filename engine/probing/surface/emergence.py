"""In which order concepts appear in training, and how sure that order is."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from engine.probing.report.results import (
    SMALLEST_GAIN,
    Emergence,
    FamilyEmergence,
    RunSummary,
)
from engine.probing.surface.cells import Surface
from engine.probing.surface.experiment import Experiment

Places = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]


def order_of_appearance(
    experiment: Experiment, surface: Surface, runs: Sequence[RunSummary]
) -> tuple[tuple[Emergence, ...], tuple[FamilyEmergence, ...]]:
    """Every concept with the first checkpoint at which some layer's gain is clear of zero, and the
    families of concepts.

    Clear by the interval that all cells hold at once. A rank's interval is over resamples of the
    positions, each of one run that is drawn at random.
    """
    config = experiment.config
    margin = surface.gains[..., 0] - surface.single.corrected_low
    estimate = first_places(surface.gains[..., 0], margin)
    drawn = np.stack(
        [
            first_places(surface.gains[..., 1 + index], margin)
            for index in range(surface.gains.shape[-1] - 1)
        ]
    )
    rng = np.random.default_rng((config.seed, 3))
    of_run = rng.integers(len(runs), size=len(drawn))
    ranks = rankdata(drawn[np.arange(len(drawn)), of_run], axis=1)
    rank = rankdata(estimate.mean(axis=0))
    low, high = interval_around(rank, ranks, config.confidence)
    order = np.argsort(rank, kind="stable")
    emergence = tuple(
        Emergence(
            concept=experiment.targets[c].concept.name,
            places=tuple(_place(run, at) for run, at in zip(runs, estimate[:, c], strict=True)),
            steps=tuple(_step(run, at) for run, at in zip(runs, estimate[:, c], strict=True)),
            rank=float(rank[c]),
            rank_low=float(low[c]),
            rank_high=float(high[c]),
        )
        for c in order
    )
    families = [each.concept.family for each in experiment.targets]
    appears = (estimate < surface.gains.shape[1]).all(axis=0)
    return emergence, order_of_families(families, appears, rank, ranks, config.confidence)


def order_of_families(
    families: Sequence[str],
    appears: npt.NDArray[np.bool_],
    rank: Array,
    resampled: Array,
    confidence: float,
) -> tuple[FamilyEmergence, ...]:
    """Of C concepts with their family, whether they appear in every run, their rank, and their
    ranks [B, C] in resamples."""
    found = []
    for family in dict.fromkeys(families):
        own = np.array([each == family for each in families])
        middle = np.median(rank[own])
        low, high = interval_around(middle, np.median(resampled[:, own], axis=1), confidence)
        found.append(
            FamilyEmergence(
                family=family,
                appearing=int(appears[own].sum()),
                concepts=int(own.sum()),
                rank=float(middle),
                rank_low=float(low),
                rank_high=float(high),
            )
        )
    return tuple(found)


def interval_around(
    estimate: npt.NDArray[np.floating] | np.floating, resampled: Array, confidence: float
) -> tuple[Array, Array]:
    """Quantiles of figures resampled [B, ...], which hold the estimate [...] itself."""
    outside = (1.0 - confidence) / 2.0
    low, high = np.quantile(resampled, [outside, 1.0 - outside], axis=0)
    return np.minimum(low, estimate), np.maximum(high, estimate)


def first_places(gains: npt.NDArray[np.float32], margin: npt.NDArray[np.float64]) -> Places:
    """[R, C] of gains and margins [R, K, L, C]: the first of K places with a gain clear of zero in
    some layer; K where there is none."""
    clear = np.logical_and(gains > margin, gains >= SMALLEST_GAIN)
    somewhere = np.any(clear, axis=2)
    first: Places = np.where(
        np.any(somewhere, axis=1), np.argmax(somewhere, axis=1), gains.shape[1]
    )
    return first


def _place(run: RunSummary, place: np.int64) -> int | None:
    return int(place) if place < len(run.checkpoints) else None


def _step(run: RunSummary, place: np.int64) -> int | None:
    return run.checkpoints[int(place)].step if place < len(run.checkpoints) else None
