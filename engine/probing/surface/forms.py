"""What richer forms of probe add at the layer where most concepts are best read.

On some of the rows: a network for each concept, each control and each seed is trained.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.activations.capture import Features, capture
from engine.probing.concepts.registry import Labels
from engine.probing.concepts.truth import Truth
from engine.probing.controls.features import raw_input, untrained_networks
from engine.probing.data.splits import Indices, clusters, fold_numbers, thin
from engine.probing.probes.forms.compare import FormComparison, Progress, compare_forms
from engine.probing.probes.forms.scoring import FormSplit
from engine.probing.probes.scores import Bootstrap
from engine.probing.probes.tasks import Task
from engine.probing.report.forms import LookAhead
from engine.probing.report.results import Cell
from engine.probing.surface.examples import best_layers
from engine.probing.surface.experiment import SMALLEST_CLASS, Experiment, Target
from engine.probing.surface.look_ahead import RESAMPLES, compare_look_ahead

MOST_ROWS: Final = 1_500
"""Rows to fit to."""
MOST_HELD_OUT: Final = 6_000
"""Rows to score on, which cost little."""
FEWEST_ROWS: Final = 200
FEWEST_LABELS: Final = 100
"""Rows on either side that a concept is defined for, without which it is not compared."""
_SEEDS: Final = (0,)
"""Of the initial weights of probes that are networks."""
_PLAIN: Final = 0.99
"""A score of raw input from here on leaves nothing to add."""


Begin = Callable[[str, str], Progress]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What forms of probe read off one layer."""

    layer: str
    # Of concepts that raw input does not already show there.
    concepts: tuple[FormComparison, ...] = ()
    # Those of which too few of the rows have a label.
    left_out: tuple[str, ...] = ()
    # Of squares that best moves reach later.
    look_ahead: tuple[LookAhead, ...] = ()


def compare_at_best_layer(
    experiment: Experiment,
    network: PolicyValueNet,
    cells: Sequence[Cell],
    truth: Truth | None,
    *,
    begin: Begin = lambda name, unit: lambda done, total: None,
) -> Compared:
    """At the layer where most concepts are best read, by the network's `cells`.

    `begin` is told what begins and the unit of its progress, and returns where that goes. Concepts
    are not compared where there are fewer than `FEWEST_ROWS` rows on either side.
    """
    layer = common_layer(experiment, cells)
    if not layer:
        return Compared(layer=layer)
    seeds = experiment.config.random_seeds
    # Made here and not by workers: weights are drawn from a generator that threads share.
    untrained = list(untrained_networks(network.config, seeds))
    told = begin("comparing forms of probes", " fits")
    concepts, left_out = _compare_concepts(experiment, network, untrained, layer, cells, told)
    told = begin("comparing look-ahead", " fits")
    look_ahead = compare_look_ahead(experiment, network, untrained, layer, truth, progress=told)
    return Compared(layer=layer, concepts=concepts, left_out=left_out, look_ahead=look_ahead)


def _compare_concepts(
    experiment: Experiment,
    network: PolicyValueNet,
    untrained: Sequence[PolicyValueNet],
    layer: str,
    cells: Sequence[Cell],
    progress: Progress,
) -> tuple[tuple[FormComparison, ...], tuple[str, ...]]:
    """The comparisons, and the names of concepts with too few labels."""
    shown = {
        cell.concept
        for cell in cells
        if cell.measurement is not None
        and cell.layer == layer
        and cell.measurement.raw_input < _PLAIN
    }
    targets = [
        each
        for each in experiment.targets
        if each.concept.name in shown and not each.concept.per_square
    ]
    sample, config = experiment.sample, experiment.config
    rng = np.random.default_rng((config.seed, 5))
    train = thin(experiment.main.rows.train, MOST_ROWS, rng)
    test = thin(experiment.main.rows.test, MOST_HELD_OUT, rng)
    if min(len(train), len(test)) < FEWEST_ROWS:
        return (), ()
    left_out = tuple(each.concept.name for each in targets if not _has_labels(each, train, test))
    targets = [each for each in targets if each.concept.name not in left_out]
    if not targets:
        return (), left_out
    chosen = np.concatenate([train, test])
    rows = sample.rows[chosen]
    split = FormSplit(
        train=np.arange(len(train)),
        folds=fold_numbers(sample, train, config.folds, rng),
        test=np.arange(len(train), len(chosen)),
        bootstrap=Bootstrap(clusters(sample, test), RESAMPLES, rng),
        confidence=config.confidence,
    )

    def features(probed: PolicyValueNet) -> Features:
        return capture(probed, rows, [layer], readout=config.readout)[layer]

    found = compare_forms(
        features(network),
        [_task(each, chosen) for each in targets],
        split,
        controls={
            "raw input": [raw_input(network, rows)],
            "untrained": [features(each) for each in untrained],
        },
        control_labels=[each.control_task[chosen] for each in targets],
        seeds=_SEEDS,
        workers=config.workers,
        progress=progress,
    )
    return found, left_out


def _has_labels(target: Target, train: Indices, test: Indices) -> bool:
    """Whether enough rows on either side have a label, and every class of either is on both."""
    classes: Labels | None = None
    if not target.concept.is_number:
        both = target.labels[np.concatenate([train, test])]
        classes = np.unique(both[~np.isnan(both)])
    for rows in (train, test):
        own = target.labels[rows]
        if (~np.isnan(own)).sum() < FEWEST_LABELS:
            return False
        if classes is None and np.nanmin(own) == np.nanmax(own):
            return False
        if classes is not None and (
            len(classes) < 2 or min((own == value).sum() for value in classes) < SMALLEST_CLASS
        ):
            return False
    return True


def common_layer(experiment: Experiment, cells: Sequence[Cell]) -> str:
    """Where most concepts of the board have their largest gain, of the layers with squares."""
    by_square = {each.concept.name for each in experiment.targets if each.concept.per_square}
    with_squares = [each for each in cells if each.layer != "value.hidden"]
    best = best_layers([each for each in with_squares if each.concept not in by_square])
    return Counter(best.values()).most_common(1)[0][0] if best else ""


def _task(target: Target, chosen: npt.NDArray[np.int64]) -> Task:
    concept = target.concept
    return Task(name=concept.name, kind=concept.kind, labels=target.labels[chosen])
