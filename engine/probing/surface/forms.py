"""What richer forms of probe add at the layer where most concepts are best read.

On some of the rows: a network for each concept, each control and each seed is trained.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.tokens import TOKENS
from engine.probing.activations.capture import Features, capture
from engine.probing.concepts.facts.forced_lines import best_squares
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.truth import Truth
from engine.probing.controls.features import raw_input, untrained_networks
from engine.probing.controls.labels import control_task_labels
from engine.probing.data.canonical import Rows
from engine.probing.data.samples import Sample
from engine.probing.data.splits import fold_numbers, thin
from engine.probing.probes.forms.bilinear import Squares
from engine.probing.probes.forms.compare import (
    FormComparison,
    FormSplit,
    GivenSquares,
    compare_forms,
)
from engine.probing.probes.tasks import Task
from engine.probing.report.results import Cell
from engine.probing.surface.examples import best_layers
from engine.probing.surface.experiment import Experiment, Target

MOST_ROWS: Final = 1_500
"""Rows to fit to, and rows to score on."""
FEWEST_ROWS: Final = 200
_UNTRAINED: Final = 2
"""Untrained networks to compare with."""
_SEEDS: Final = (0,)
"""Of the initial weights of probes that are networks."""
_PLAIN: Final = 0.99
"""A score of raw input from here on leaves nothing to add."""
_LOOK_AHEAD: Final = {2: "square of the best move in two plies", 4: "… in four plies"}
"""Tasks of the bilinear form: plies ahead in a forced line, and their names."""


def compare_at_best_layer(
    experiment: Experiment,
    network: PolicyValueNet,
    cells: Sequence[Cell],
    truth: Truth | None,
) -> tuple[str, tuple[FormComparison, ...]]:
    """The layer, and the forms of each concept that raw input does not already show there.

    `cells` are the network's. Nothing is compared where there are fewer than `FEWEST_ROWS` rows.
    """
    layer = common_layer(experiment, cells)
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
    rng = np.random.default_rng((experiment.config.seed, 5))
    train = thin(experiment.main.rows.train, MOST_ROWS, rng)
    test = thin(experiment.main.rows.test, MOST_ROWS, rng)
    if not layer or not targets or min(len(train), len(test)) < FEWEST_ROWS:
        return layer, ()
    chosen = np.concatenate([train, test])
    rows = experiment.sample.rows[chosen]
    split = FormSplit(
        train=np.arange(len(train)),
        folds=fold_numbers(experiment.sample, train, experiment.config.folds, rng),
        test=np.arange(len(train), len(chosen)),
    )
    seeds = experiment.config.random_seeds[:_UNTRAINED]
    networks = list(untrained_networks(network.config, seeds))
    readout = experiment.config.readout

    def features(probed: PolicyValueNet) -> Features:
        return capture(probed, rows, [layer], readout=readout)[layer]

    controls = {
        "raw input": [raw_input(network, rows)],
        "untrained": [features(each) for each in networks],
    }
    found = compare_forms(
        features(network),
        [_task(each, chosen) for each in targets],
        split,
        controls=controls,
        control_labels=[each.control_task[chosen] for each in targets],
        seeds=_SEEDS,
    )
    further = _compare_look_ahead(
        experiment, network, networks, layer, chosen, split, controls, features(network), truth
    )
    return layer, (*further, *found)


def _compare_look_ahead(
    experiment: Experiment,
    network: PolicyValueNet,
    untrained: Sequence[PolicyValueNet],
    layer: str,
    chosen: npt.NDArray[np.int64],
    split: FormSplit,
    controls: Mapping[str, Sequence[Features]],
    features: Features,
    truth: Truth | None,
) -> tuple[FormComparison, ...]:
    """The linear and the bilinear form for squares of later moves; none without forced lines."""
    ahead = _look_ahead(experiment, chosen, truth)
    if not ahead:
        return ()
    rows = experiment.sample.rows[chosen]
    squares = GivenSquares(
        activations=_squares(network, layer, rows),
        given={task.name: given for task, given in ahead},
        controls={
            "raw input": [_tokens(network, rows)],
            "untrained": [_squares(each, layer, rows) for each in untrained],
        },
    )
    sample = Sample.from_rows(rows, experiment.variant)
    control_labels = [
        control_task_labels(sample, task.labels, experiment.config.seed) for task, _ in ahead
    ]
    return compare_forms(
        features,
        [task for task, _ in ahead],
        split,
        controls=controls,
        control_labels=control_labels,
        squares=squares,
        forms=("linear",),
        seeds=_SEEDS,
    )


def common_layer(experiment: Experiment, cells: Sequence[Cell]) -> str:
    """Where most concepts of the board have their largest gain, of the layers with squares."""
    by_square = {each.concept.name for each in experiment.targets if each.concept.per_square}
    with_squares = [each for each in cells if each.layer != "value.hidden"]
    best = best_layers([each for each in with_squares if each.concept not in by_square])
    return Counter(best.values()).most_common(1)[0][0] if best else ""


def _task(target: Target, chosen: npt.NDArray[np.int64]) -> Task:
    concept = target.concept
    return Task(name=concept.name, kind=concept.kind, labels=target.labels[chosen])


def _look_ahead(
    experiment: Experiment, chosen: npt.NDArray[np.int64], truth: Truth | None
) -> list[tuple[Task, npt.NDArray[np.int64]]]:
    """The squares that best moves reach later in forced lines, each with that of the first move.

    Lines that come back to the first square are left out: they would be found without looking
    ahead (Jenner et al. 2024, section 4.1).
    """
    if truth is None:
        return []
    positions = Positions(experiment.sample.rows[chosen], experiment.variant, truth)
    first, is_known = best_squares(positions, 0)
    tasks = []
    for ply, name in _LOOK_AHEAD.items():
        later, is_forced = best_squares(positions, ply)
        labels = np.where(is_known & is_forced & (later != first), later, np.nan).astype(float)
        known = labels[~np.isnan(labels)]
        if len(known) >= FEWEST_ROWS and np.ptp(known) > 0:
            task = Task(name=name, kind="categorical", labels=labels)
            tasks.append((task, np.where(np.isnan(labels), -1, first)))
    return tasks


def _squares(network: PolicyValueNet, layer: str, rows: Rows) -> Squares:
    """[N, S, D]."""
    flat = capture(network, rows, [layer], readout="squares")[layer]
    return flat.reshape(len(rows), network.config.squares, -1)


def _tokens(network: PolicyValueNet, rows: Rows) -> Squares:
    """[N, S, T] one-hot tokens of every square: raw input as a bilinear probe can read it."""
    squares = network.encoder(torch.from_numpy(np.ascontiguousarray(rows))).squares.numpy()
    one_hot = (squares[:, :, None] == np.arange(TOKENS)).astype(np.float32)
    kept: Squares = one_hot[:, :, one_hot.any(axis=(0, 1))]
    return kept
