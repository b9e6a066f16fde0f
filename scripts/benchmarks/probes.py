"""Probes of a whole surface: how long a layer takes, what memory, and how near to scikit-learn.

The layer is made: random features of random boards, as a network that has learned nothing gives
them, and concepts of which some are linear in them, with noise. One thread.
"""

import importlib.util
import tracemalloc
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from engine.probing.probes.design import Design
from engine.probing.probes.scores import Bootstrap
from engine.probing.probes.tasks import Probes, Task
from engine.rules.compilation.compile_time import working_time
from scripts.benchmarks.rows import Row, rates, row

POSITIONS: Final = 20_000
WIDTH: Final = 128
CONCEPTS: Final = 60
LAYERS: Final = 8
CHECKPOINTS: Final = 20
_SQUARES, _CODES = 25, 13
_PEERS: Final = 3
"""Logistic regressions that scikit-learn fits, and tasks of each kind that are compared with it."""
_NAME: Final = f"probes/{CONCEPTS} concepts, {POSITIONS:,} x {WIDTH}"

Single = npt.NDArray[np.float32]


class Layer:
    """Features, concepts, and the rows that each part of a report has."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        codes = rng.integers(_CODES, size=(POSITIONS, _SQUARES))
        codes[rng.random(codes.shape) < 0.5] = 0
        boards = (codes[..., None] == np.arange(_CODES)).reshape(POSITIONS, -1)
        mixed = boards @ rng.normal(size=(boards.shape[1], WIDTH)) / _SQUARES**0.5
        self.features: Single = np.maximum(mixed + 0.5, 0.0).astype(np.float32)
        self.train = np.flatnonzero(rng.random(POSITIONS) < 0.7)
        self.test = np.setdiff1d(np.arange(POSITIONS), self.train)
        self.folds = rng.integers(4, size=len(self.train))
        self.bootstrap = Bootstrap(self.test, 1_000, rng)
        self.tasks = _concepts(mixed, rng)

    def probe(self, count: int = CONCEPTS) -> Probes:
        """What a report does with one layer of a trained network."""
        tasks = self.tasks[:: CONCEPTS // count]
        design = Design(self.features, self.train, self.folds, self.train)
        probes = design.fit(tasks)
        labels = np.stack([task.labels[self.test] for task in tasks])
        outputs = probes.outputs(self.features[self.test])
        self.bootstrap.all_scores([task.kind for task in tasks], labels, outputs.predictions)
        design.description_lengths(tasks, probes.penalties)
        rng = np.random.default_rng(1)
        for _ in range(2):
            controls = [
                Task(
                    name=task.name, kind=task.kind, labels=rng.permutation(task.labels), penalty=own
                )
                for task, own in zip(tasks, probes.penalties, strict=True)
            ]
            design.fit(controls, exact=False)
        return probes


def _concepts(mixed: npt.NDArray[np.float64], rng: np.random.Generator) -> list[Task]:
    """Half are numbers; of the others two thirds have two classes, some of them rare."""
    found = []
    for index in range(CONCEPTS):
        scores = mixed @ rng.normal(size=WIDTH) / WIDTH**0.5
        scores = scores + rng.choice([0.1, 0.5, 2.0]) * rng.normal(size=len(scores))
        if index % 2:
            found.append(Task(name=f"number {index}", kind="real", labels=scores))
        elif index % 3:
            common = np.quantile(scores, rng.choice([0.5, 0.8, 0.97]))
            labels = (scores > common).astype(np.float64)
            found.append(Task(name=f"binary {index}", kind="binary", labels=labels))
        else:
            edges = np.quantile(scores, [0.2, 0.5, 0.9])
            labels = np.digitize(scores, edges).astype(np.float64)
            found.append(Task(name=f"classes {index}", kind="categorical", labels=labels))
    return found


def probes() -> Iterator[Row]:
    """A layer with all controls; the surface that follows from it; memory; scikit-learn."""
    layer = Layer()
    with threadpool_limits(limits=1):
        layer.probe(CONCEPTS // 10)

        def work() -> float:
            layer.probe()
            return 1.0

        found = rates(work)
        yield row(f"{_NAME}/a layer", "layers/s", found)
        minutes = [LAYERS * CHECKPOINTS / rate / 60.0 for rate in found]
        yield row(f"{_NAME}/{LAYERS} layers x {CHECKPOINTS} checkpoints", "minutes", minutes)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        layer.probe()
        peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
        share = peak / layer.features.nbytes
        yield row(f"{_NAME}/most memory besides the layer", "layers", [share])
        if importlib.util.find_spec("sklearn"):
            yield from _scikit_learn(layer)


def _scikit_learn(layer: Layer) -> Iterator[Row]:
    from sklearn.linear_model import LogisticRegression, Ridge

    exact = layer.features.astype(np.float64)
    train = layer.train
    inputs = (exact - exact[train].mean(axis=0)) / exact[train].std(axis=0)
    for kind in ("real", "binary", "categorical"):
        tasks = [
            Task(name=task.name, kind=task.kind, labels=task.labels, penalty=1e-3)
            for task in layer.tasks
            if task.kind == kind
        ]
        outputs = Design(layer.features, train).fit(tasks[:_PEERS]).outputs(layer.features)
        differences, seconds = [], []
        for index, task in enumerate(tasks[:_PEERS]):
            model = (
                Ridge(alpha=1e-3 * len(train))
                if task.is_number
                else LogisticRegression(
                    C=1e3 / len(train),
                    class_weight="balanced",
                    solver="newton-cholesky",
                    tol=1e-10,
                )
            )
            begun = working_time()
            model.fit(inputs[train], task.labels[train])
            seconds.append(working_time() - begun)
            theirs = model.predict(inputs) if task.is_number else model.decision_function(inputs)
            theirs = np.asarray(theirs).reshape(POSITIONS, -1)
            ours = outputs.of(index)
            if theirs.shape[1] > 1:
                theirs = theirs - theirs.mean(axis=1, keepdims=True)
                ours = ours - ours.mean(axis=1, keepdims=True)
            differences.append(float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
        yield row(f"probes/{kind}/difference from scikit-learn", "of the largest", differences)

        def fit(tasks: list[Task] = tasks) -> float:
            Design(layer.features, train).fit(tasks)
            return float(len(tasks))

        peer = ("scikit-learn", len(seconds) / sum(seconds))
        yield row(f"probes/{kind}/fits at a given penalty", "fits/s", rates(fit), peer)
