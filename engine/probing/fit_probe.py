"""One probe for one concept, with the controls that can be had: for a notebook or a script.

    >>> fitted = fit_probe(features, labels, kind="binary")     # any features [N, W]
    >>> fitted.score, fitted.interval, fitted.control_task
    >>> fitted.probe.weights                                    # a direction, [W, 1]

    >>> fit_probe(network, concept, rows=rows, variant=variant, layer="block.2.residual").gain

With a network the same probe is also fitted to its input and to untrained networks, and `gain` says
how much training has added. Reports (`surface/`) do the same for all concepts, layers and
checkpoints, and correct their intervals for so many.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.activations.capture import Features, Readout, capture, stream_points
from engine.probing.concepts.registry import Concept, Kind, Labels
from engine.probing.controls.features import raw_input, untrained_networks
from engine.probing.controls.labels import majority
from engine.probing.data.canonical import Rows, canonical_boards, canonical_groups
from engine.probing.data.splits import Indices
from engine.probing.probes.description import DescriptionLength
from engine.probing.probes.design import Design
from engine.probing.probes.scores import METRICS, Bootstrap, Resampled, macro_auc, score
from engine.probing.probes.tasks import LinearProbe, Task
from engine.rules.errors import InputError
from engine.rules.variant import Variant

FOLDS: Final = 4
_FEWEST_GROUPS: Final = 20
_KINDS: Final = ("binary", "categorical", "count", "real")
_MOST_CLASSES: Final = 12
"""Whole numbers with more values than this are taken for a count."""


@dataclass(frozen=True, kw_only=True, repr=False)
class FittedProbe:
    """A probe, and how good it is on held-out rows: R² or balanced accuracy."""

    probe: LinearProbe
    score: float
    # 95 % of a bootstrap over the held-out groups.
    interval: tuple[float, float]
    # Area under the ROC curve, None for numbers.
    auc: float | None
    # Score on the rows it was fitted to.
    training_score: float
    # Score of the best guess without features.
    majority: float
    # Score of the same probe for labels of the groups in random order: chance, unless groups leak.
    shuffled_labels: float
    # The same for random labels of the groups (Hewitt and Liang 2019), held out and on the rows it
    # was fitted to: how much can such a probe memorise?
    control_task: float
    control_task_training: float
    # Bits a row of the training labels by the online code.
    description: DescriptionLength
    # With a network: the same probe on its input, and on untrained networks.
    raw_input: float | None
    untrained: tuple[float, ...]
    # The rows that were held out, int64.
    held_out: Indices

    def __repr__(self) -> str:
        low, high = self.interval
        score = f"{METRICS[self.probe.kind]} {self.score:.3f} ({low:.3f} to {high:.3f})"
        words = [
            f"{score} on {len(self.held_out):,} held-out rows",
            f"guessing {self.majority:.3f}, control task {self.control_task:.3f}",
        ]
        if self.raw_input is not None:
            fresh = " ".join(f"{each:.3f}" for each in self.untrained)
            words.append(f"raw input {self.raw_input:.3f}, untrained networks {fresh or 'none'}")
        return "; ".join(words)

    @property
    def selectivity(self) -> float:
        """The score minus that on the control task."""
        return self.score - self.control_task

    @property
    def gain(self) -> float | None:
        """The score minus the better of raw input and the mean of the untrained networks."""
        if self.raw_input is None or not self.untrained:
            return None
        return self.score - max(self.raw_input, float(np.mean(self.untrained)))


def fit_probe(
    source: npt.ArrayLike | PolicyValueNet,
    labels: npt.ArrayLike | Concept,
    *,
    kind: Kind | None = None,
    groups: npt.ArrayLike | None = None,
    rows: Rows | None = None,
    variant: Variant | None = None,
    layer: str | None = None,
    readout: Readout = "mean+max",
    penalty: float | None = None,
    test_share: float = 0.3,
    untrained: Sequence[int] = (1, 2, 3),
    resamples: int = 1_000,
    seed: int = 0,
) -> FittedProbe:
    """Fit a linear probe on part of the rows and score it on the others.

    `source` is features [N, W], or a network with positions `rows` uint8[N, R] of its `variant` and
    a `layer` (the last one unless noted; its squares are read as `readout` says). `labels` are [N],
    NaN where there is none, or a concept, which needs rows and variant. `groups` [N] are what must
    not be divided between the two parts, such as games: symmetric positions where rows and variant
    are given, else every row is its own. `kind` follows from the labels unless noted. `untrained`
    are the seeds of the networks to compare with. Everything random follows from `seed`.

    Raises InputError for what does not fit together, too few groups, or equal labels.
    """
    network = source if isinstance(source, PolicyValueNet) else None
    if network is not None and (rows is None or variant is None):
        raise InputError("a network needs rows and their variant")
    if isinstance(labels, Concept):
        if rows is None or variant is None:
            raise InputError(f"the concept '{labels.name}' needs rows and their variant")
        name, kind = labels.name, labels.kind
        wanted = labels.labels(rows, variant)
    else:
        name, wanted = "labels", np.asarray(labels, np.float64)
    if wanted.ndim != 1:
        raise InputError(f"{name}: labels of shape {list(wanted.shape)}, not [N]")
    numbers = _groups(groups, rows, variant, len(wanted))
    kind = _kind(wanted) if kind is None else kind
    if kind not in _KINDS:
        raise InputError(f"kind = {kind!r} is not one of {', '.join(_KINDS)}")
    task = Task(name=name, kind=kind, labels=wanted, penalty=penalty)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            features = _features(source, rows, layer, readout, len(wanted))
            sides = _Sides.of(task, numbers, test_share, resamples, np.random.default_rng(seed))
            fitted = _fit(features, task, numbers, sides, np.random.default_rng(seed + 1))
            if network is None or rows is None:
                return fitted
            raw = sides.score(raw_input(network, rows), task)
            others = tuple(
                sides.score(_features(other, rows, layer, readout, len(wanted)), task)
                for other in untrained_networks(network.config, untrained)
            )
            return replace(fitted, raw_input=raw, untrained=others)
    finally:
        torch.set_num_threads(threads)


def _groups(
    groups: npt.ArrayLike | None, rows: Rows | None, variant: Variant | None, count: int
) -> npt.NDArray[np.int64]:
    if rows is not None and len(rows) != count:
        raise InputError(f"{count} labels for {len(rows)} rows")
    if groups is None:
        if rows is None or variant is None:
            return np.arange(count)
        return canonical_groups(canonical_boards(rows, variant))
    numbers = np.asarray(groups)
    if numbers.shape != (count,):
        raise InputError(f"groups of shape {list(numbers.shape)} for {count} labels")
    return np.unique(numbers, return_inverse=True)[1].ravel()


def _kind(labels: Labels) -> Kind:
    values = np.unique(labels[~np.isnan(labels)])
    if len(values) == 2:
        return "binary"
    if (values != np.round(values)).any():
        return "real"
    return "categorical" if len(values) <= _MOST_CLASSES else "count"


def _features(
    source: npt.ArrayLike | PolicyValueNet,
    rows: Rows | None,
    layer: str | None,
    readout: Readout,
    count: int,
) -> Features:
    if isinstance(source, PolicyValueNet):
        if rows is None:
            raise InputError("a network needs rows")
        point = stream_points(source)[-1] if layer is None else layer
        return capture(source, rows, (point,), readout=readout)[point]
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu().numpy()
    features = np.asarray(source, np.float32)
    if features.ndim != 2 or len(features) != count:
        raise InputError(f"features of shape {list(features.shape)}, not [{count}, W]")
    return features


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sides:
    """Rows to fit to with their folds, and rows held out."""

    train: Indices
    folds: npt.NDArray[np.int64]
    test: Indices
    bootstrap: Bootstrap

    @classmethod
    def of(
        cls,
        task: Task,
        groups: npt.NDArray[np.int64],
        share: float,
        resamples: int,
        rng: np.random.Generator,
    ) -> "_Sides":
        if not 0.0 < share < 1.0:
            raise InputError(f"test_share = {share} is not between 0 and 1")
        known = np.flatnonzero(~np.isnan(task.labels))
        different = rng.permutation(np.unique(groups[known]))
        if len(different) < _FEWEST_GROUPS:
            raise InputError(
                f"{task.name}: {len(different)} groups of rows with a label; "
                f"at least {_FEWEST_GROUPS} are needed"
            )
        drawn = different[: max(1, round(share * len(different)))]
        is_test = np.isin(groups[known], drawn)
        train, test = known[~is_test], known[is_test]
        for side, rows in (("to fit to", train), ("held out", test)):
            values = np.unique(task.labels[rows])
            if len(values) < 2:
                raise InputError(f"{task.name}: all {len(rows)} rows {side} are {values[0]:g}")
        places = rng.permutation(int(groups.max()) + 1)
        return cls(
            train=train,
            folds=places[groups[train]] % FOLDS,
            test=test,
            bootstrap=Bootstrap(groups[test], resamples, rng),
        )

    def score(self, features: Features, task: Task) -> float:
        """Held out, of a probe fitted to other features or labels."""
        probe = Design(features, self.train, self.folds).fit([task])[0]
        return score(task.kind, task.labels[self.test], probe.predict(features[self.test]))


def _fit(
    features: Features,
    task: Task,
    groups: npt.NDArray[np.int64],
    sides: _Sides,
    rng: np.random.Generator,
) -> FittedProbe:
    train, test, labels = sides.train, sides.test, task.labels
    design = Design(features, train, sides.folds, groups[train])
    known = np.flatnonzero(~np.isnan(labels))
    _, first, member = np.unique(groups[known], return_index=True, return_inverse=True)
    shuffled, control = labels.copy(), labels.copy()
    shuffled[known] = labels[known[rng.permutation(first)]][member.ravel()]
    control[known] = rng.choice(labels[known], len(first))[member.ravel()]
    probe = design.fit([task])[0]
    on_shuffled, on_control = design.fit(
        [replace(task, labels=other, penalty=probe.penalty) for other in (shuffled, control)]
    ).probes

    def on(rows: Indices, other: LinearProbe, wanted: Labels) -> float:
        return score(task.kind, wanted[rows], other.predict(features[rows]))

    predictions = probe.predict(features[test])
    scores: Resampled = sides.bootstrap.scores(task.kind, labels[test], predictions)
    low, high = sides.bootstrap.interval(scores, task.kind, labels[test], 0.95)
    guess = np.full(len(test), majority(labels[train], task.kind))
    outputs = probe.outputs(features[test])
    (description,) = design.description_lengths([task], [probe.penalty])
    return FittedProbe(
        probe=probe,
        score=float(scores[0]),
        interval=(low, high),
        auc=None if task.is_number else macro_auc(probe, outputs, labels[test]),
        training_score=on(train, probe, labels),
        majority=score(task.kind, labels[test], guess),
        shuffled_labels=on(test, on_shuffled, shuffled),
        control_task=on(test, on_control, control),
        control_task_training=on(train, on_control, control),
        description=description,
        raw_input=None,
        untrained=(),
        held_out=test,
    )
