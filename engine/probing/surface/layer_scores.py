"""Fit every concept's probe to one layer, and score it: the same for networks and for controls."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engine.probing.activations.capture import Features
from engine.probing.activations.layers import LayerFeatures
from engine.probing.data.splits import Indices, clusters
from engine.probing.probes.design import Design
from engine.probing.probes.scores import all_macro_aucs, all_scores
from engine.probing.probes.tasks import Probes, Task
from engine.probing.surface.experiment import Experiment, Setting, Target, secondary

Array = npt.NDArray[np.float64]
Role = Literal["raw input", "untrained", "trained"]


@dataclass(frozen=True, kw_only=True)
class LayerScores:
    """Figures of C concepts at one layer, NaN where a probe is refused; B resamples."""

    # int64[C] numbers that each probe sees, 0 where the layer has none for it.
    widths: npt.NDArray[np.int64]
    # [C, 1 + B] R² or balanced accuracy: the estimate, then each resample.
    scores: npt.NDArray[np.float32]
    # [C, 1 + B'], B' fewer, on the held-out rows that occur in self-play.
    self_play: npt.NDArray[np.float32]
    # [C, 1 + B'] with whole signatures or skeletons held out.
    harder: npt.NDArray[np.float32]
    # [C] macro area under the ROC curve, NaN for numbers.
    auc: Array
    # [C] score on the training rows.
    training: Array
    # [C] that cross-validation chose.
    penalty: Array
    # [C] bits a position of the online code.
    bits: Array
    # [C] bits a position of the code without features.
    marginal_bits: Array
    # [C] score for permuted labels; NaN where controls are left out.
    shuffled: Array
    # [C] score on training rows for labels by hash; likewise.
    control_training: Array
    # [C] the same on held-out rows; likewise.
    control: Array

    @classmethod
    def empty(cls, concepts: int, resamples: int) -> "LayerScores":
        """Nothing measured yet."""
        sizes = {"scores": resamples, "self_play": secondary(resamples)}
        sizes["harder"] = sizes["self_play"]
        whole: dict[str, Any] = {
            name: np.full((concepts, 1 + size), np.nan, np.float32) for name, size in sizes.items()
        }
        names = {field.name for field in fields(cls)} - {"widths", *whole}
        figures = {name: np.full(concepts, np.nan) for name in names}
        return cls(widths=np.zeros(concepts, np.int64), **whole, **figures)


def score_layer(experiment: Experiment, found: LayerFeatures, *, role: Role) -> LayerScores:
    """All concepts at one layer.

    Only of a trained network are the probes for other labels fitted. Raw input is never refused for
    its width: without it a gain would have one control less.
    """
    controls = role == "trained"
    targets, config = experiment.targets, experiment.config
    scores = LayerScores.empty(len(targets), config.resamples)
    for features, per_square in ((found.board, False), (found.square, True)):
        if features is None:
            continue
        asked = [i for i, each in enumerate(targets) if each.concept.per_square == per_square]
        scores.widths[asked] = features.shape[1]
        width = 0 if role == "raw input" else features.shape[1]
        fit = [i for i in asked if experiment.refusal(i, width, experiment.main) is None]
        if fit:
            _score_main(experiment, features, fit, scores, controls=controls)
        fit = [
            i
            for i in fit
            if experiment.harder is not None
            and experiment.refusal(i, width, experiment.harder) is None
        ]
        if fit and experiment.harder is not None:
            _score_harder(experiment, experiment.harder, features, fit, scores)
    return scores


def _score_main(
    experiment: Experiment,
    features: Features,
    asked: Sequence[int],
    scores: LayerScores,
    *,
    controls: bool,
) -> None:
    setting = experiment.main
    train, test = setting.rows.train, setting.rows.test
    targets = [experiment.targets[i] for i in asked]
    # No probe of the online code learns from part of a game whose rest it codes.
    groups = clusters(experiment.sample, train)
    design = Design(features, train, setting.folds, groups)
    tasks = [_task(each, each.labels) for each in targets]
    probes = design.fit(tasks)
    outputs = probes.outputs(features[test])
    labels = np.stack([each.labels[test] for each in targets])
    kinds = [each.kind for each in tasks]
    scores.scores[asked] = setting.bootstrap.all_scores(kinds, labels, outputs.predictions)
    scores.auc[asked] = all_macro_aucs(outputs, labels)
    if experiment.self_play is not None:
        places, bootstrap = experiment.self_play
        predictions = outputs.predictions[:, places]
        scores.self_play[asked] = bootstrap.all_scores(kinds, labels[:, places], predictions)
    scores.training[asked] = _score_rows(
        probes, features[train], [each.labels for each in targets], train
    )
    scores.penalty[asked] = probes.penalties
    lengths = design.description_lengths(tasks, probes.penalties)
    scores.bits[asked] = [each.bits for each in lengths]
    scores.marginal_bits[asked] = [each.without for each in lengths]
    if controls:
        _score_controls(experiment, design, features, asked, scores)


def _score_controls(
    experiment: Experiment,
    design: Design,
    features: Features,
    asked: Sequence[int],
    scores: LayerScores,
) -> None:
    """The same probes, with the penalties of the concepts, for labels that nothing can learn."""
    rows, targets = experiment.main.rows, [experiment.targets[i] for i in asked]
    penalties = scores.penalty[asked]
    for attribute, trained, held_out in (
        ("shuffled", None, scores.shuffled),
        ("control_task", scores.control_training, scores.control),
    ):
        labels = [getattr(each, attribute) for each in targets]
        tasks = [
            _task(each, of, penalty)
            for each, of, penalty in zip(targets, labels, penalties, strict=True)
        ]
        probes = design.fit(tasks, exact=False)
        held_out[asked] = _score_rows(probes, features[rows.test], labels, rows.test)
        if trained is not None:
            trained[asked] = _score_rows(probes, features[rows.train], labels, rows.train)


def _score_harder(
    experiment: Experiment,
    setting: Setting,
    features: Features,
    asked: Sequence[int],
    scores: LayerScores,
) -> None:
    rows, targets = setting.rows, [experiment.targets[i] for i in asked]
    design = Design(features, rows.train, setting.folds)
    tasks = [
        _task(each, each.labels, penalty)
        for each, penalty in zip(targets, scores.penalty[asked], strict=True)
    ]
    probes = design.fit(tasks)
    labels = np.stack([each.labels[rows.test] for each in targets])
    predictions = probes.outputs(features[rows.test]).predictions
    kinds = [each.kind for each in tasks]
    scores.harder[asked] = setting.bootstrap.all_scores(kinds, labels, predictions)


def _task(target: Target, labels: npt.NDArray[np.float64], penalty: float | None = None) -> Task:
    return Task(name=target.concept.name, kind=target.concept.kind, labels=labels, penalty=penalty)


def _score_rows(
    probes: Probes, features: Features, labels: Sequence[Array], rows: Indices
) -> Array:
    """[C] scores on these rows alone, without resamples.

    Drawn labels may be all alike there, which leaves nothing to explain: 0.
    """
    predictions = probes.outputs(features).predictions
    kinds = [each.kind for each in probes.probes]
    found = all_scores(kinds, np.stack([each[rows] for each in labels]), predictions)
    return np.nan_to_num(found, nan=0.0)
