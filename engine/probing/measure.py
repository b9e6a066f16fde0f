"""From networks, positions and concepts to a report: every probe beside every control.

sample, concepts  ->  Experiment  the split, the resamples, the concepts' labels
control features  ->  baselines   scores of raw input and of untrained networks
features          ->  cells       scores of one layer, compared with the baselines
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.activations.capture import Features, Readout, capture, stream_points
from engine.probing.concepts.registry import Concept, ConceptUndefinedError, Labels
from engine.probing.concepts.truth import Truth
from engine.probing.controls.features import raw_input, untrained_networks
from engine.probing.controls.labels import control_task_labels, majority, shuffled_labels
from engine.probing.data.samples import Sample
from engine.probing.data.splits import Indices, Split, clusters, count_distinct, split
from engine.probing.probes.linear import ProbeFitter
from engine.probing.probes.scores import METRICS, Bootstrap, Resampled, macro_auc, score
from engine.probing.probes.tasks import Array, LinearProbe
from engine.probing.report.cells import (
    Cell,
    CheckpointSummary,
    ClassCount,
    ConceptSummary,
    Counts,
    Measurement,
    Report,
)
from engine.rules.errors import InputError
from engine.rules.variant import Variant

SMALLEST_CLASS: Final = 10
"""Distinct positions that each class needs on either side of the split."""
FEWEST_CLUSTERS: Final = 10
"""Games, or distinct positions, that must be held out for an interval to mean anything."""

Progress = Callable[[int, int], None]
"""Called with the number of layers probed so far and the number in all."""


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """How to probe. Everything random follows from `seed`."""

    # Of splits, controls and resamples.
    seed: int = 0
    # Points to probe; empty means the stream after each block and the pooled board.
    layers: tuple[str, ...] = ()
    # How a probe reads squares (capture.py).
    readout: Readout = "mean+max"
    # Share of the games, or canonical positions, that is held out.
    test_share: float = 0.3
    # Share of the training side on which the penalty is chosen.
    validation_share: float = 0.25
    # Untrained networks to compare with.
    random_networks: int = 5
    # Bootstrap resamples.
    resamples: int = 1000
    # Of the intervals.
    confidence: float = 0.95

    @property
    def random_seeds(self) -> tuple[int, ...]:
        """Seeds of the untrained networks."""
        return tuple(self.seed + 1 + index for index in range(self.random_networks))


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a probe is fitted to: a concept's labels [N], and those of two controls."""

    concept: Concept
    labels: Labels
    shuffled: Labels
    control_task: Labels


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What all networks, layers and concepts of a report share."""

    config: ProbeConfig
    sample: Sample
    # Rows to fit to and rows held out.
    outer: Split
    # The training rows again, split for the choice of a penalty.
    inner: Split
    # Resamples of the held-out rows.
    bootstrap: Bootstrap
    # The concepts that are measured.
    targets: tuple[Target, ...]
    # All concepts, with the reason where one is not measured.
    summaries: tuple[ConceptSummary, ...]

    def fitter(self, features: Features) -> ProbeFitter:
        """Fits probes to the training rows of features [N, W]."""
        return ProbeFitter(features, self.outer.train, self.inner)

    def scores(self, target: Target, probe: LinearProbe, features: Features) -> Resampled:
        """[1 + B]: on the held-out rows, and on each resample."""
        test = self.outer.test
        predictions = probe.predict(features[test])
        return self.bootstrap.scores(target.concept.kind, target.labels[test], predictions)


Baselines = Mapping[tuple[str, str], Sequence[Resampled]]
"""Scores of control features [1 + B], by concept and layer: one for each untrained network, none
where it is refused; and one of `RAW_INPUT` in place of a layer."""
RAW_INPUT: Final = "raw input"


def probe_networks(
    subjects: Sequence[tuple[CheckpointSummary, PolicyValueNet]],
    sample: Sample,
    concepts: Sequence[Concept],
    variant: Variant,
    *,
    run: str,
    config: ProbeConfig | None = None,
    truth: Truth | None = None,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Probe every layer of every network for every concept; exact ones need `truth`.

    `subjects` are the networks, all of one configuration, and how the report describes them; `run`
    names the run there. Raises InputError for an unknown layer, and where there are
    too few positions to hold any out.
    """
    config = config or ProbeConfig()
    network = subjects[0][1]
    layers = config.layers or stream_points(network)
    rng = np.random.default_rng(config.seed)
    total = (config.random_networks + len(subjects)) * len(layers)
    done = itertools.count(1)

    def features_of(probed: PolicyValueNet) -> Iterator[tuple[str, Features]]:
        """The features of each layer; counts it once it has been probed."""
        for found in capture(probed, sample.rows, layers, readout=config.readout).items():
            yield found
            progress(next(done), total)

    with _single_thread():
        experiment = prepare(sample, concepts, variant, config, rng, truth)
        baselines = measure_baselines(
            experiment,
            raw_input(network, sample.rows),
            map(features_of, untrained_networks(network.config, config.random_seeds)),
        )
        cells = [
            cell
            for summary, probed in subjects
            for layer, features in features_of(probed)
            for cell in measure_layer(experiment, baselines, summary.name, layer, features, rng)
        ]
    order = [summary.name for summary in experiment.summaries]
    return Report(
        run=run,
        variant=variant.name,
        network=describe_network(network),
        readout=config.readout,
        seed=config.seed,
        random_seeds=config.random_seeds,
        resamples=config.resamples,
        confidence=config.confidence,
        counts=_counts(experiment),
        checkpoints=tuple(summary for summary, _ in subjects),
        layers=tuple(layers),
        concepts=experiment.summaries,
        cells=tuple(sorted(cells, key=lambda cell: order.index(cell.concept))),
    )


@contextmanager
def _single_thread() -> Iterator[None]:
    """Matrices this small gain nothing from threads, which stall on a busy machine. With one
    thread the sums, and so the report, do not depend on the number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


def describe_network(network: PolicyValueNet) -> str:
    """The build in a few words."""
    config = network.config
    heads = f", {config.heads} heads" if config.trunk == "transformer" else ""
    return (
        f"{config.trunk}, {config.blocks} blocks of {config.channels} channels{heads}, "
        f"{network.parameter_count:,} parameters"
    )


def prepare(
    sample: Sample,
    concepts: Sequence[Concept],
    variant: Variant,
    config: ProbeConfig,
    rng: np.random.Generator,
    truth: Truth | None = None,
) -> Experiment:
    """Split the sample and label it; raises InputError where nothing can be held out."""
    outer = split(sample, config.test_share, rng)
    inner = split(sample, config.validation_share, rng, among=outer.train)
    outer, inner = outer.without_repeats(sample), inner.without_repeats(sample)
    if not all(map(len, (outer.test, inner.train, inner.test))):
        raise InputError(f"{sample.distinct} distinct positions are too few to hold some out")
    bootstrap = Bootstrap(clusters(sample, outer.test), config.resamples, rng)
    targets, summaries = [], []
    for concept in concepts:
        try:
            labels = _labels(concept, sample, variant, outer, truth)
        except ConceptUndefinedError as reason:
            summaries.append(_summary(concept, absent=str(reason)))
            continue
        summaries.append(_summary(concept, **_balance(concept, labels, outer)))
        shuffled = shuffled_labels(sample, labels, rng)
        control_task = control_task_labels(sample, labels, config.seed)
        targets.append(
            Target(concept=concept, labels=labels, shuffled=shuffled, control_task=control_task)
        )
    return Experiment(
        config=config,
        sample=sample,
        outer=outer,
        inner=inner,
        bootstrap=bootstrap,
        targets=tuple(targets),
        summaries=tuple(summaries),
    )


def _labels(
    concept: Concept, sample: Sample, variant: Variant, outer: Split, truth: Truth | None
) -> Labels:
    """Raises ConceptUndefinedError, also where all training labels are equal or one is missing."""
    if concept.per_square:
        raise ConceptUndefinedError("has a label for each square, and this report one a position")
    labels = concept.labels(sample.rows, variant, truth=truth)
    if np.isnan(labels).any():
        raise ConceptUndefinedError("is not defined for every position")
    first = labels[outer.train[0]]
    if (labels[outer.train] == first).all():
        name = f"{first:g}" if concept.is_number else concept.class_name(first)
        raise ConceptUndefinedError(f"'{name}' in every training position")
    return labels


def _summary(concept: Concept, **found: Any) -> ConceptSummary:
    return ConceptSummary(
        name=concept.name,
        kind=concept.kind,
        metric=METRICS[concept.kind],
        definition=concept.definition,
        **found,
    )


def _balance(concept: Concept, labels: Labels, outer: Split) -> dict[str, Any]:
    """Fields of ConceptSummary: how the labels are distributed."""
    if concept.is_number:
        return {"mean": float(labels.mean()), "spread": float(labels.std())}
    train, test = labels[outer.train], labels[outer.test]
    classes = (
        ClassCount(
            name=concept.class_name(label),
            train=int((train == label).sum()),
            test=int((test == label).sum()),
        )
        for label in np.unique(np.concatenate([train, test]))
    )
    return {"classes": tuple(classes)}


def _counts(experiment: Experiment) -> Counts:
    sample = experiment.sample
    train, test = sample.groups[experiment.outer.train], sample.groups[experiment.outer.test]
    has_games = sample.games is not None
    return Counts(
        source=sample.source,
        rows=len(train) + len(test),
        distinct=sample.distinct,
        train_rows=len(train),
        train_distinct=count_distinct(train),
        test_rows=len(test),
        test_distinct=count_distinct(test),
        test_games=experiment.bootstrap.clusters if has_games else None,
        split_by="canonical position and game" if has_games else "canonical position",
    )


def measure_baselines(
    experiment: Experiment,
    raw: Features,
    untrained: Iterator[Iterator[tuple[str, Features]]],
) -> Baselines:
    """Score raw input [N, W], and each layer's features [N, W] of each untrained network."""
    found: dict[tuple[str, str], list[Resampled]] = {}
    for layer, features in itertools.chain(
        [(RAW_INPUT, raw)], itertools.chain.from_iterable(untrained)
    ):
        fitter = experiment.fitter(features)
        for target in experiment.targets:
            if layer == RAW_INPUT or _refusal(experiment, target, fitter.width) is None:
                probe = fitter.fit(target.labels, target.concept.kind)
                scores = experiment.scores(target, probe, features)
                found.setdefault((target.concept.name, layer), []).append(scores)
    return found


def measure_layer(
    experiment: Experiment,
    baselines: Baselines,
    checkpoint: str,
    layer: str,
    features: Features,
    rng: np.random.Generator,
) -> list[Cell]:
    """The cells of a layer's features [N, W], one for every target."""
    fitter = experiment.fitter(features)
    cells = []
    for target in experiment.targets:
        name = target.concept.name
        refused = _refusal(experiment, target, fitter.width)
        measurement = None
        if refused is None:
            raw, untrained = baselines[name, RAW_INPUT][0], np.stack(baselines[name, layer])
            measurement = _measure(experiment, target, fitter, raw, untrained, rng)
        cells.append(
            Cell(
                concept=name,
                layer=layer,
                checkpoint=checkpoint,
                width=fitter.width,
                measurement=measurement,
                refused=refused,
            )
        )
    return cells


def _measure(
    experiment: Experiment,
    target: Target,
    fitter: ProbeFitter,
    raw: Resampled,
    untrained: Array,
    rng: np.random.Generator,
) -> Measurement:
    """One probe beside its controls: raw input's scores [1 + B], untrained ones [seeds, 1 + B]."""
    kind, features = target.concept.kind, fitter.features
    train, test = experiment.outer.train, experiment.outer.test

    def score_on(rows: Indices, probe: LinearProbe, labels: Labels) -> float:
        return score(kind, labels[rows], probe.predict(features[rows]))

    probe = fitter.fit(target.labels, kind)
    shuffled_probe = fitter.fit(target.shuffled, kind)
    control_probe = fitter.fit(target.control_task, kind, penalty=probe.penalty)
    scores = experiment.scores(target, probe, features)
    gains = experiment.bootstrap.gains(scores, raw, untrained, rng)
    held_out = target.labels[test]
    low, high = experiment.bootstrap.interval(gains, kind, held_out, experiment.config.confidence)
    is_scalar = target.concept.is_number
    guess = np.full(len(test), majority(target.labels[train], kind))
    return Measurement(
        score=float(scores[0]),
        auc=None if is_scalar else macro_auc(probe, probe.outputs(features[test]), held_out),
        training_score=score_on(train, probe, target.labels),
        penalty=probe.penalty,
        majority=score(kind, held_out, guess),
        raw_input=float(raw[0]),
        random_init=tuple(untrained[:, 0].tolist()),
        shuffled_labels=score_on(test, shuffled_probe, target.shuffled),
        control_task_training=score_on(train, control_probe, target.control_task),
        control_task=score_on(test, control_probe, target.control_task),
        gain=float(gains[0]),
        gain_low=low,
        gain_high=high,
    )


def _refusal(experiment: Experiment, target: Target, width: int) -> str | None:
    """Why a probe of this width may not be scored, or None."""
    groups, outer = experiment.sample.groups, experiment.outer
    distinct = count_distinct(groups[outer.train])
    if width > distinct:
        return f"refused: {distinct} distinct training positions, width {width}"
    drawn = experiment.bootstrap.clusters
    if drawn < FEWEST_CLUSTERS:
        unit = "positions" if experiment.sample.games is None else "games"
        return f"refused: {drawn} held-out {unit}, too few for an interval"
    if target.concept.is_number:
        return None
    for label in np.unique(target.labels):
        for side, rows in (("training", outer.train), ("held-out", outer.test)):
            count = count_distinct(groups[rows[target.labels[rows] == label]])
            if count < SMALLEST_CLASS:
                name = target.concept.class_name(label)
                return f"refused: {count} distinct {side} positions with '{name}'"
    return None
