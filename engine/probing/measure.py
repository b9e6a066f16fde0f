"""From networks, positions and concepts to a report: every probe beside every control."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.probing.activations.capture import Features, Readout, capture, raw_input, stream_points
from engine.probing.concepts.registry import Concept, ConceptUndefinedError, Labels
from engine.probing.controls.controls import control_task_labels, random_networks, shuffled_labels
from engine.probing.data.splits import Indices, Sample, clusters, count_distinct, split
from engine.probing.probes.linear import LinearProbe, ProbeFitter
from engine.probing.probes.scores import METRICS, Bootstrap, Resampled, macro_auc, score
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

    # Where splits, controls and resamples come from.
    seed: int = 0
    # Points to probe; none means the stream after each block and the pooled board.
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
class Subject:
    """A network to probe."""

    # What is said of it in the report.
    summary: CheckpointSummary
    # All subjects of a report have one configuration.
    network: PolicyValueNet


def probe_networks(
    subjects: Sequence[Subject],
    sample: Sample,
    concepts: Sequence[Concept],
    variant: Variant,
    *,
    run: str,
    source: str,
    absent: Sequence[ConceptSummary] = (),
    config: ProbeConfig | None = None,
    progress: Progress | None = None,
) -> Report:
    """Probe every layer of every subject for every concept.

    `source` says in words where the sample is from; `absent` are concepts that the caller has no
    labels for, with the reason. Raises InputError for an unknown layer, and where there are too few
    positions to hold any out.
    """
    config = config or ProbeConfig()
    with _single_thread():
        prober, cells = _probe(subjects, sample, concepts, variant, config, progress)
    order = [summary.name for summary in prober.summaries]
    network = subjects[0].network
    return Report(
        run=run,
        variant=variant.name,
        network=describe_network(network),
        readout=config.readout,
        seed=config.seed,
        random_seeds=config.random_seeds,
        resamples=config.resamples,
        confidence=config.confidence,
        counts=prober.counts(source),
        checkpoints=tuple(subject.summary for subject in subjects),
        layers=_layers(network, config),
        concepts=(*prober.summaries, *absent),
        cells=tuple(sorted(cells, key=lambda cell: order.index(cell.concept))),
    )


@contextmanager
def _single_thread() -> Iterator[None]:
    """Matrices this small gain nothing from threads, which stall on a busy machine; and with one
    the sums, and so the report, do not depend on the number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


def _layers(network: PolicyValueNet, config: ProbeConfig) -> tuple[str, ...]:
    return config.layers or stream_points(network)


def _probe(
    subjects: Sequence[Subject],
    sample: Sample,
    concepts: Sequence[Concept],
    variant: Variant,
    config: ProbeConfig,
    progress: Progress | None,
) -> tuple["Prober", list[Cell]]:
    """All cells, and the prober that made them."""
    network = subjects[0].network
    layers = _layers(network, config)
    prober = Prober(sample, concepts, variant, config)
    prober.see_raw_input(raw_input(network, sample.rows))
    count = _Count(progress, (config.random_networks + len(subjects)) * len(layers))
    for untrained in random_networks(network.config, config.random_seeds):
        found = capture(untrained, sample.rows, layers, readout=config.readout)
        for layer, features in found.items():
            prober.see_untrained(layer, features)
            count.one_more()
    cells: list[Cell] = []
    for subject in subjects:
        found = capture(subject.network, sample.rows, layers, readout=config.readout)
        for layer, features in found.items():
            cells += prober.cells(layer, features, subject.summary.name)
            count.one_more()
    return prober, cells


class _Count:
    """Tells how far the work is."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def one_more(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


def describe_network(network: PolicyValueNet) -> str:
    """The build in a few words."""
    config: NetworkConfig = network.config
    heads = f", {config.heads} heads" if config.trunk == "transformer" else ""
    return (
        f"{config.trunk}, {config.blocks} blocks of {config.channels} channels{heads}, "
        f"{network.parameter_count:,} parameters"
    )


def absent_concept(concept: Concept, reason: str) -> ConceptSummary:
    """The summary of a concept that is not measured."""
    return ConceptSummary(
        name=concept.name,
        kind=concept.kind,
        metric=METRICS[concept.kind],
        definition=concept.definition,
        classes=(),
        mean=None,
        spread=None,
        absent=reason,
    )


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A concept that is measured, with its own labels [N] and those of two controls."""

    concept: Concept
    labels: Labels
    shuffled: Labels
    hashed: Labels


class Prober:
    """One sample, one split and one set of resamples, for all networks, layers and concepts.

    First `see_raw_input`, then `see_untrained` for each layer of each untrained network, then
    `cells` for each layer of each network in question.
    """

    def __init__(
        self, sample: Sample, concepts: Sequence[Concept], variant: Variant, config: ProbeConfig
    ) -> None:
        """Splits, labels and resamples; raises InputError where nothing can be held out."""
        self.sample, self.config = sample, config
        self._rng = np.random.default_rng(config.seed)
        outer = split(sample, config.test_share, self._rng)
        inner = split(sample, config.validation_share, self._rng, among=outer.train)
        self._outer = outer.without_repeats(sample)
        self._inner = inner.without_repeats(sample)
        if not all(map(len, (self._outer.test, self._inner.train, self._inner.test))):
            raise InputError(f"{sample.distinct} distinct positions are too few to hold some out")
        self._clusters = clusters(sample, self._outer.test)
        self._bootstrap = Bootstrap(self._clusters, config.resamples, self._rng)
        self._questions: list[_Question] = []
        self.summaries: list[ConceptSummary] = []
        """Of all concepts, in their order."""
        for concept in concepts:
            self._ask(concept, variant)
        self._raw_input: dict[str, Resampled] = {}
        self._untrained: dict[tuple[str, str], list[Resampled]] = {}

    def see_raw_input(self, features: Features) -> None:
        """Score the control on what the network is shown, features [N, W]."""
        fitter = self._fitter(features)
        for question in self._questions:
            probe = fitter.fit(question.labels, question.concept.kind)
            self._raw_input[question.concept.name] = self._scores(question, probe, features)

    def see_untrained(self, layer: str, features: Features) -> None:
        """Score a layer of an untrained network, features [N, W]."""
        fitter = self._fitter(features)
        for question in self._questions:
            if self._refusal(question, fitter.width) is None:
                probe = fitter.fit(question.labels, question.concept.kind)
                scores = self._scores(question, probe, features)
                self._untrained.setdefault((question.concept.name, layer), []).append(scores)

    def cells(self, layer: str, features: Features, checkpoint: str) -> list[Cell]:
        """The cells of a layer, features [N, W], for every concept that is measured."""
        fitter = self._fitter(features)
        cells = []
        for question in self._questions:
            refused = self._refusal(question, fitter.width)
            measurement = self._measure(question, fitter, layer) if refused is None else None
            cells.append(
                Cell(
                    concept=question.concept.name,
                    layer=layer,
                    checkpoint=checkpoint,
                    width=fitter.width,
                    measurement=measurement,
                    refused=refused,
                )
            )
        return cells

    def counts(self, source: str) -> Counts:
        """Of rows and canonical positions."""
        train, test = (self.sample.groups[rows] for rows in (self._outer.train, self._outer.test))
        has_games = self.sample.games is not None
        return Counts(
            source=source,
            rows=len(train) + len(test),
            distinct=self.sample.distinct,
            train_rows=len(train),
            train_distinct=count_distinct(train),
            test_rows=len(test),
            test_distinct=count_distinct(test),
            test_games=count_distinct(self._clusters) if has_games else None,
            split_by="canonical position and game" if has_games else "canonical position",
        )

    def _ask(self, concept: Concept, variant: Variant) -> None:
        try:
            labels = concept.labels(self.sample.rows, variant)
        except ConceptUndefinedError as reason:
            self.summaries.append(absent_concept(concept, str(reason)))
            return
        train, test = labels[self._outer.train], labels[self._outer.test]
        if np.ptp(train) == 0:
            same = f"{train[0]:g}" if concept.kind == "scalar" else concept.class_name(train[0])
            reason_text = f"'{same}' in every training position"
            self.summaries.append(absent_concept(concept, reason_text))
            return
        is_scalar = concept.kind == "scalar"
        self.summaries.append(
            ConceptSummary(
                name=concept.name,
                kind=concept.kind,
                metric=METRICS[concept.kind],
                definition=concept.definition,
                classes=() if is_scalar else _class_counts(concept, train, test),
                mean=float(labels.mean()) if is_scalar else None,
                spread=float(labels.std()) if is_scalar else None,
                absent=None,
            )
        )
        self._questions.append(
            _Question(
                concept=concept,
                labels=labels,
                shuffled=shuffled_labels(self.sample, labels, self._rng),
                hashed=control_task_labels(self.sample, labels, self.config.seed),
            )
        )

    def _refusal(self, question: _Question, width: int) -> str | None:
        """Why a probe of this width may not be scored, or None."""
        groups = self.sample.groups
        distinct = count_distinct(groups[self._outer.train])
        if width > distinct:
            return f"refused: {distinct} distinct training positions, width {width}"
        drawn = count_distinct(self._clusters)
        if drawn < FEWEST_CLUSTERS:
            unit = "positions" if self.sample.games is None else "games"
            return f"refused: {drawn} held-out {unit}, too few for an interval"
        if question.concept.kind == "scalar":
            return None
        for label in np.unique(question.labels):
            for side, rows in (("training", self._outer.train), ("held-out", self._outer.test)):
                count = count_distinct(groups[rows[question.labels[rows] == label]])
                if count < SMALLEST_CLASS:
                    name = question.concept.class_name(label)
                    return f"refused: {count} distinct {side} positions with '{name}'"
        return None

    def _fitter(self, features: Features) -> ProbeFitter:
        return ProbeFitter(features, self._outer.train, self._inner)

    def _scores(self, question: _Question, probe: LinearProbe, features: Features) -> Resampled:
        """[1 + B]: held out, and for each resample."""
        test = self._outer.test
        return self._bootstrap.scores(
            question.concept.kind, question.labels[test], probe.predict(features[test])
        )

    def _majority(self, question: _Question) -> float:
        kind = question.concept.kind
        train, test = (question.labels[rows] for rows in (self._outer.train, self._outer.test))
        values, counts = np.unique(train, return_counts=True)
        guess = train.mean() if kind == "scalar" else values[counts.argmax()]
        return score(kind, test, np.full(len(test), guess))

    def _measure(self, question: _Question, fitter: ProbeFitter, layer: str) -> Measurement:
        kind, features = question.concept.kind, fitter.features
        train, test = self._outer.train, self._outer.test

        def score_on(probe: LinearProbe, labels: Labels, rows: Indices) -> float:
            return score(kind, labels[rows], probe.predict(features[rows]))

        probe = fitter.fit(question.labels, kind)
        shuffled_probe = fitter.fit(question.shuffled, kind)
        control_probe = fitter.fit(question.hashed, kind, penalty=probe.penalty)
        scores = self._scores(question, probe, features)
        raw_scores = self._raw_input[question.concept.name]
        untrained = np.stack(self._untrained[question.concept.name, layer])
        # The better control is chosen anew in each resample: the choice is uncertain as well.
        gains = self._bootstrap.gains(scores, raw_scores, untrained)
        held_out, confidence = question.labels[test], self.config.confidence
        low, high = self._bootstrap.interval(gains, kind, held_out, confidence)
        auc = None
        if kind != "scalar":
            auc = macro_auc(probe, probe.outputs(features[test]), question.labels[test])
        return Measurement(
            score=float(scores[0]),
            auc=auc,
            training_score=score_on(probe, question.labels, train),
            penalty=probe.penalty,
            majority=self._majority(question),
            raw_input=float(raw_scores[0]),
            random_init=tuple(float(each) for each in untrained[:, 0]),
            shuffled_labels=score_on(shuffled_probe, question.shuffled, test),
            control_task_training=score_on(control_probe, question.hashed, train),
            control_task=score_on(control_probe, question.hashed, test),
            gain=float(gains[0]),
            gain_low=low,
            gain_high=high,
        )


def _class_counts(concept: Concept, train: Labels, test: Labels) -> tuple[ClassCount, ...]:
    return tuple(
        ClassCount(
            name=concept.class_name(label),
            train=int((train == label).sum()),
            test=int((test == label).sum()),
        )
        for label in np.unique(np.concatenate([train, test]))
    )
