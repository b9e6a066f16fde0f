"""Positions to look at: what the best layer's probe of each concept says highest, lowest, wrong."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.activations.layers import LayerFeatures, layer_features
from engine.probing.data.canonical import seen_boards
from engine.probing.probes.design import Design
from engine.probing.probes.tasks import LinearProbe, Task, class_probabilities
from engine.probing.report.results import Cell, ExampleBoard, Examples
from engine.probing.surface.experiment import Experiment, Target

SHOWN: Final = 3
"""Boards of each kind."""


def show_examples(
    experiment: Experiment,
    network: PolicyValueNet,
    cells: Sequence[Cell],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Examples, ...]:
    """Examples of every concept that has a measurement among `cells`, all of this network.

    `progress` is told how many layers are done, of how many.
    """
    best = best_layers(cells)
    layers = [name for name in dict.fromkeys(cell.layer for cell in cells) if name in best.values()]
    config, sample = experiment.config, experiment.sample
    found: dict[str, Examples] = {}
    for features in layer_features(
        network,
        sample.rows,
        layers,
        experiment.squares,
        readout=config.readout,
        memory=config.memory,
    ):
        asked = [
            each for each in experiment.targets if best.get(each.concept.name) == features.layer
        ]
        penalties = {
            cell.concept: cell.measurement.penalty
            for cell in cells
            if cell.measurement is not None and cell.layer == features.layer
        }
        for per_square in (False, True):
            some = [each for each in asked if each.concept.per_square == per_square]
            found |= _of_layer(experiment, features, some, penalties)
        progress(1 + layers.index(features.layer), len(layers))
    return tuple(
        found[each.concept.name] for each in experiment.targets if each.concept.name in found
    )


def best_layers(cells: Sequence[Cell]) -> dict[str, str]:
    """The layer with the largest gain, by concept."""
    best: dict[str, tuple[float, str]] = {}
    for cell in cells:
        if cell.measurement is not None:
            gain = cell.measurement.gain
            best[cell.concept] = max(
                best.get(cell.concept, (-np.inf, "")), (gain, cell.layer), key=lambda each: each[0]
            )
    return {concept: layer for concept, (_, layer) in best.items()}


def _of_layer(
    experiment: Experiment,
    features: LayerFeatures,
    targets: Sequence[Target],
    penalties: dict[str, float],
) -> dict[str, Examples]:
    if not targets:
        return {}
    seen = features.square if targets[0].concept.per_square else features.board
    assert seen is not None, "a cell with a measurement has features"
    rows = experiment.main.rows
    design = Design(seen, rows.train, experiment.main.folds)
    tasks = [
        Task(
            name=each.concept.name,
            kind=each.concept.kind,
            labels=each.labels,
            penalty=penalties[each.concept.name],
        )
        for each in targets
    ]
    probes = design.fit(tasks)
    outputs = probes.outputs(seen[rows.test])
    boards = seen_boards(experiment.sample.rows[rows.test], experiment.variant)
    return {
        each.concept.name: _examples(
            experiment, each, features.layer, probes[i], outputs.of(i), boards
        )
        for i, each in enumerate(targets)
    }


def _examples(
    experiment: Experiment,
    target: Target,
    layer: str,
    probe: LinearProbe,
    outputs: npt.NDArray[np.float64],
    boards: npt.NDArray[np.uint8],
) -> Examples:
    test = experiment.main.rows.test
    labels = target.labels[test]
    predictions, errors = _predictions_and_errors(probe, labels, outputs)

    def boards_of(order: npt.NDArray[np.float64]) -> tuple[ExampleBoard, ...]:
        """The first few canonical positions in this order, without undefined ones."""
        ranked = np.argsort(np.where(np.isnan(labels), np.inf, order), kind="stable")
        shown: dict[int, int] = {}
        for place in ranked[: 50 * SHOWN]:
            if np.isfinite(order[place]) and not np.isnan(labels[place]):
                shown.setdefault(int(experiment.sample.groups[test[place]]), int(place))
        return tuple(
            ExampleBoard(
                codes=tuple(int(code) for code in boards[place]),
                label=float(labels[place]),
                prediction=float(predictions[place]),
                square=int(experiment.squares[test[place]]) if target.concept.per_square else None,
            )
            for place in list(shown.values())[:SHOWN]
        )

    return Examples(
        concept=target.concept.name,
        layer=layer,
        highest=boards_of(-predictions),
        lowest=boards_of(predictions),
        wrong=boards_of(np.where(errors > 0, -errors, np.inf)),
    )


def _predictions_and_errors(
    probe: LinearProbe, labels: npt.NDArray[np.float64], outputs: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """[N] predictions, and [N] by how much each is wrong: 0 where its class is right.

    Of classes the prediction is the probability of the last one.
    """
    if outputs.shape[1] == 1 and probe.classes == (0.0,):
        return outputs[:, 0], np.abs(outputs[:, 0] - labels)
    chances = class_probabilities(outputs)
    classes = np.array(probe.classes)
    own = (labels[:, None] == classes) @ np.ones(len(classes))
    chance = (chances * (labels[:, None] == classes)).sum(axis=1)
    is_wrong = classes[chances.argmax(axis=1)] != labels
    return chances[:, -1], np.where(is_wrong & (own > 0), 1.0 - chance, 0.0)
