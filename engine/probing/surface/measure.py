"""From networks, positions and concepts to a report: every probe beside every control.

sample, concepts   ->  Experiment   splits, resamples, labels
networks           ->  LayerScores  of raw input, untrained networks, and every checkpoint
scores             ->  Surface      gains over the controls, and their intervals
"""

import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.activations.capture import stream_points
from engine.probing.activations.layers import LayerFeatures, layer_features, layer_pools
from engine.probing.activations.store import ActivationStore
from engine.probing.concepts.registry import Concept
from engine.probing.concepts.truth import Truth
from engine.probing.controls.features import raw_input, raw_square_input, untrained_networks
from engine.probing.data.samples import Sample
from engine.probing.data.searched import Searched
from engine.probing.report.forms import forms_section
from engine.probing.report.results import (
    Cell,
    CheckpointSummary,
    Examples,
    Report,
    RunSummary,
)
from engine.probing.report.words import CONTROL_FAMILY
from engine.probing.surface.cells import Scores, make_cells, make_combined, measure_gains
from engine.probing.surface.config import ProbeConfig
from engine.probing.surface.emergence import order_of_appearance
from engine.probing.surface.examples import show_examples
from engine.probing.surface.experiment import Experiment, counts, prepare
from engine.probing.surface.forms import compare_at_best_layer
from engine.probing.surface.layer_scores import LayerScores, Role, score_layer
from engine.probing.surface.parts import Parts
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from engine.system.threads import in_threads

Progress = Callable[[int, int], None]
"""Called with the number of layers probed so far and the number in all."""
Begin = Callable[[str, str], Progress]
"""Called with the name of a part that begins after the layers, and the unit of its progress."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network to probe, loaded when its turn comes."""

    # How the report describes it.
    summary: CheckpointSummary
    # Loads it; raises InputError or OSError.
    load: Callable[[], PolicyValueNet]
    # Of its weights: results of an interrupted measurement are kept under it.
    digest: str = ""


def surface(
    runs: Sequence[tuple[str, Sequence[Subject]]],
    sample: Sample,
    concepts: Sequence[Concept],
    variant: Variant,
    *,
    config: ProbeConfig | None = None,
    truth: Truth | None = None,
    searched: Searched | None = None,
    folder: Path | None = None,
    progress: Progress = lambda done, total: None,
    begin: Begin = lambda name, unit: lambda done, total: None,
) -> Report:
    """Probe every layer of every network of every run for every concept.

    `runs` have a name and as many networks each, all of one configuration. What is measured is kept
    in `folder`, so that the same call continues after an interruption; the caller removes it
    (`parts.remove_parts`) once the report is safe. Raises InputError for an unknown layer, and
    where there are too few positions to hold any out.
    """
    started = time.monotonic()
    config = config or ProbeConfig()
    network = runs[0][1][0].load().eval()
    layers = config.layers or stream_points(network)
    keeps = folder is not None or config.activations is not None
    if keeps and not all(each.digest for _, subjects in runs for each in subjects):
        raise InputError("a network without a digest: what is kept of it could not be told apart")
    experiment = prepare(sample, concepts, variant, config, truth=truth, searched=searched)
    parts = Parts(folder, experiment)
    scores = _measure_all(experiment, network, runs, layers, parts, progress)
    pools = layer_pools(network, sample.rows[:1], layers)
    found = measure_gains(experiment, scores, pools)
    summaries = tuple(
        RunSummary(name=name, checkpoints=tuple(each.summary for each in subjects))
        for name, subjects in runs
    )
    cells = make_cells(experiment, scores, found, summaries, layers, pools)
    emergence, families = order_of_appearance(experiment, found, summaries)
    name, subjects = runs[0]
    last = subjects[-1]
    of_last = [each for each in cells if (each.run, each.checkpoint) == (name, last.summary.name)]
    examples: tuple[Examples, ...] = ()
    sections: dict[str, Any] = {}
    if config.details:
        examples, sections = _details(experiment, last, of_last, truth, begin)
    return Report(
        runs=summaries,
        variant=variant.name,
        width=variant.width,
        height=variant.height,
        letters=tuple((code, letter.upper()) for code, letter in variant.piece_letters.items()),
        network=describe_network(network),
        readout=config.readout,
        seed=config.seed,
        random_seeds=config.random_seeds,
        resamples=config.resamples,
        confidence=config.confidence,
        counts=counts(experiment),
        layers=tuple(layers),
        concepts=experiment.summaries,
        cells=cells,
        combined=make_combined(experiment, found, layers),
        emergence=emergence,
        families=families,
        examples=examples,
        sections=sections,
        seconds=time.monotonic() - started,
    )


def _details(
    experiment: Experiment,
    last: Subject,
    cells: Sequence[Cell],
    truth: Truth | None,
    begin: Begin,
) -> tuple[tuple[Examples, ...], dict[str, Any]]:
    """Positions to look at, and the section about forms of probes, of the last network."""
    with _single_thread():
        network = last.load().eval()
        told = begin("choosing examples", " layers")
        examples = show_examples(experiment, network, cells, progress=told)
        found = compare_at_best_layer(experiment, network, cells, truth, begin=begin)
    if not found.concepts and not found.look_ahead:
        return examples, {}
    section = forms_section(
        found.concepts,
        found.look_ahead,
        layer=found.layer,
        checkpoint=last.summary.label,
        left_out=found.left_out,
        random={each.name for each in experiment.summaries if each.family == CONTROL_FAMILY},
    )
    return examples, {"forms": section}


def describe_network(network: PolicyValueNet) -> str:
    """The build in a few words."""
    config = network.config
    heads = f", {config.heads} heads" if config.trunk == "transformer" else ""
    return (
        f"{config.trunk}, {config.blocks} blocks of {config.channels} channels{heads}, "
        f"{network.parameter_count:,} parameters"
    )


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The layers of one network, or raw input."""

    role: Role
    name: str
    load: Callable[[], PolicyValueNet]


def _measure_all(
    experiment: Experiment,
    network: PolicyValueNet,
    runs: Sequence[tuple[str, Sequence[Subject]]],
    layers: Sequence[str],
    parts: Parts,
    progress: Progress,
) -> Scores:
    config = experiment.config
    # Made here and not by the workers: weights are drawn from a generator that threads share.
    fresh = list(untrained_networks(network.config, config.random_seeds))
    build = hashlib.sha256(repr(network.config).encode()).hexdigest()[:16]
    jobs = [_Job(role="raw input", name=f"raw-{build}", load=lambda: network)]
    jobs += [
        _Job(
            role="untrained",
            name=f"untrained-{build}-{seed}",
            load=partial(fresh.__getitem__, number),
        )
        for number, seed in enumerate(config.random_seeds)
    ]
    jobs += [
        _Job(role="trained", name=f"trained-{each.digest or f'{r}-{k}'}", load=each.load)
        for r, (_, subjects) in enumerate(runs)
        for k, each in enumerate(subjects)
    ]
    # Runs of like steps may share a network.
    different = {job.name: job for job in jobs}
    total = 1 + (len(different) - 1) * len(layers)
    done, lock, stopped = itertools.count(1), threading.Lock(), threading.Event()

    def count() -> None:
        """Ends other threads after their layer, once one has failed or was interrupted."""
        if stopped.is_set():
            raise CancelledError
        with lock:
            progress(next(done), total)

    work = [
        partial(_measure_network, experiment, job, layers, parts, count)
        for job in different.values()
    ]
    # What came before was no layer.
    progress(0, total)
    with _single_thread():
        results = in_threads(work, config.workers, stopped=stopped)
    measured = dict(zip(different, results, strict=True))
    found = [measured[job.name] for job in jobs]
    n, places = config.random_networks, [len(subjects) for _, subjects in runs]
    trained = iter(found[1 + n :])
    return Scores(
        raw=found[0][0],
        untrained=found[1 : 1 + n],
        trained=[[next(trained) for _ in range(place)] for place in places],
    )


def _measure_network(
    experiment: Experiment,
    job: _Job,
    layers: Sequence[str],
    parts: Parts,
    count: Callable[[], None],
) -> list[LayerScores]:
    """Scores of each layer of a job's network, those that are kept on disk not again."""
    wanted = [job.role] if job.role == "raw input" else list(layers)
    kept = {layer: parts.load(job.name, layer) for layer in wanted}
    missing = [layer for layer in wanted if kept[layer] is None]
    for _ in range(len(wanted) - len(missing)):
        count()
    for features in _features(experiment, job, missing) if missing else ():
        scores = score_layer(experiment, features, role=job.role)
        parts.save(job.name, features.layer, scores)
        kept[features.layer] = scores
        count()
    return [known for layer in wanted if (known := kept[layer]) is not None]


def _features(experiment: Experiment, job: _Job, layers: Sequence[str]) -> Iterator[LayerFeatures]:
    config, rows, squares = experiment.config, experiment.sample.rows, experiment.squares
    network = job.load().eval()
    if job.role == "raw input":
        board, square = raw_input(network, rows), raw_square_input(network, rows, squares)
        return iter([LayerFeatures(layer=job.role, board=board, square=square)])

    def compute(wanted: Sequence[str]) -> Iterator[LayerFeatures]:
        return layer_features(
            network, rows, wanted, squares, readout=config.readout, memory=config.memory
        )

    if config.activations is None:
        return compute(layers)
    store = ActivationStore(config.activations, rows, squares, config.readout)
    return store.through(job.name, layers, compute)


@contextmanager
def _single_thread() -> Iterator[None]:
    """Matrices this small gain nothing from threads, which stall on a busy machine. With one
    thread a worker the sums, and so the report, do not depend on the number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)
