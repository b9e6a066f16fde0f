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
    """Each canonical position takes the label [N] of another; its rows keep sharing one."""
    _, first = np.unique(sample.groups, return_index=True)
    shuffled: Labels = labels[rng.permutation(first)][sample.groups]
    return shuffled


def control_task_labels(sample: Sample, labels: Labels, seed: int) -> Labels:
    """Labels [N] from the distribution of `labels`, chosen by a hash of the canonical board."""
    chosen = board_fractions(sample.boards, seed) * len(labels)
    drawn: Labels = np.sort(labels)[chosen.astype(np.int64)]
    return drawn
