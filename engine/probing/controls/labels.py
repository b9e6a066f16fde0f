"""Control labels, which no probe can learn, and the best guess without any features."""

import numpy as np

from engine.probing.concepts.registry import NUMBERS, Kind, Labels
from engine.probing.data.canonical import board_fractions
from engine.probing.data.samples import Sample


def majority(labels: Labels, kind: Kind) -> float:
    """The best constant guess from training labels [N]: their most common class, or their mean."""
    values, counts = np.unique(labels, return_counts=True)
    return float(labels.mean() if kind in NUMBERS else values[counts.argmax()])


def shuffled_labels(sample: Sample, labels: Labels, rng: np.random.Generator) -> Labels:
    """Each canonical position takes the label [N] of another; its rows keep sharing one.

    Positions without a label, NaN, stay without one.
    """
    rows = np.flatnonzero(~np.isnan(labels))
    _, first, member = np.unique(sample.groups[rows], return_index=True, return_inverse=True)
    shuffled = labels.copy()
    shuffled[rows] = labels[rows[rng.permutation(first)]][member.ravel()]
    return shuffled


def control_task_labels(sample: Sample, labels: Labels, seed: int) -> Labels:
    """Labels [N] from the distribution of `labels`, chosen by a hash of the canonical board.

    Positions without a label, NaN, stay without one.
    """
    defined = ~np.isnan(labels)
    values = np.sort(labels[defined])
    chosen = (board_fractions(sample.boards, seed) * len(values)).astype(np.int64)
    drawn = np.full(len(labels), np.nan)
    drawn[defined] = values[chosen[defined]]
    return drawn
