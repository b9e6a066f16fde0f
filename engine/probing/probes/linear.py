"""Probes of one concept at a time, for `measure.py`."""

import numpy as np

from engine.probing.activations.capture import Features
from engine.probing.concepts.registry import Kind, Labels
from engine.probing.data.splits import Indices, Split
from engine.probing.probes.design import Design
from engine.probing.probes.tasks import LinearProbe, Task
from engine.probing.probes.training_features import ALWAYS


class ProbeFitter:
    """Fits probes of many concepts to one set of features [N, W] of a sample."""

    def __init__(self, features: Features, train: Indices, inner: Split) -> None:
        """`train` are the training rows; on those of `inner.test` penalties are chosen."""
        self.features = features
        folds = np.where(np.isin(train, inner.test), 0, ALWAYS)
        self._design = Design(features, train, folds)

    @property
    def width(self) -> int:
        """W."""
        return int(self.features.shape[1])

    def fit(self, labels: Labels, kind: Kind, penalty: float | None = None) -> LinearProbe:
        """The probe of labels [N] of the whole sample; only training rows are used.

        Validation chooses the penalty unless one is given.
        """
        task = Task(name="concept", kind=kind, labels=labels, penalty=penalty)
        return self._design.fit([task])[0]
