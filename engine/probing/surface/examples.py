"""Positions to look at: what the best layer's probe of each concept says highest, lowest, wrong."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.activations.layers import LayerFeatures, layer_features
from engine.probing.data.canonical import seen_boards
from engine.probing.data.splits import Indices, Split, thin
from engine.probing.probes.design import Design
from engine.probing.probes.tasks import LinearProbe, Task, class_probabilities
from engine.probing.report.results import Cell, ExampleBoard, Examples
from engine.probing.surface.experiment import Experiment, Target

SHOWN: Final = 3
"""Boards of each kind."""
MOST_ROWS: Final = 10_000
"""Held-out rows that they are chosen from."""


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
    config, sample, main = experiment.config, experiment.sample, experiment.main
    rng = np.random.default_rng((config.seed, 8))
    # The sample has rows of the harder split, too.
    rows = Split(train=main.rows.train, test=thin(main.rows.test, MOST_ROWS, rng))
    chosen = np.concatenate([rows.train, rows.test])
    found: dict[str, Examples] = {}
    for features in layer_features(
        network,
        sample.rows[chosen],
        layers,
        experiment.squares[chosen],
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
            found |= _of_layer(experiment, rows, features, some, penalties)
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
    rows: Split,
    features: LayerFeatures,
    targets: Sequence[Target],
    penalties: dict[str, float],
) -> dict[str, Examples]:
    if not targets:
        return {}
    seen = features.square if targets[0].concept.per_square else features.board
    assert seen is not None, "a cell with a measurement has features"
    fitted = len(rows.train)
    design = Design(seen, np.arange(fitted), experiment.main.folds)
    tasks = [
        Task(
            name=each.concept.name,
            kind=each.concept.kind,
            labels=each.labels[np.concatenate([rows.train, rows.test])],
            penalty=penalties[each.concept.name],
        )
        for each in targets
    ]
    probes = design.fit(tasks)
    outputs = probes.outputs(seen[fitted:])
    boards = seen_boards(experiment.sample.rows[rows.test], experiment.variant)
    return {
        each.concept.name: _examples(
            experiment, rows.test, each, features.layer, probes[i], outputs.of(i), boards
        )
        for i, each in enumerate(targets)
    }


def _examples(
    experiment: Experiment,
    test: Indices,
    target: Target,
    layer: str,
    probe: LinearProbe,
    outputs: npt.NDArray[np.float64],
    boards: npt.NDArray[np.uint8],
) -> Examples:
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
