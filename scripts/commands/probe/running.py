"""From runs to a report: what `pawnscope probe` and `pawnscope.probe` do."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from engine.network.inference.backends.allocator import keep_freed_memory
from engine.probing.analyses.analyse import AnalysisConfig, analyse
from engine.probing.analyses.analyse import Subject as Analysed
from engine.probing.analyses.entanglement import entanglement
from engine.probing.analyses.factors import factors
from engine.probing.analyses.sections import sections
from engine.probing.analyses.units import units
from engine.probing.concepts.loading import load_concepts
from engine.probing.concepts.registry import Concept, Labels, registered_concepts
from engine.probing.data.samples import Sample
from engine.probing.data.searched import Searched
from engine.probing.data.splits import thin
from engine.probing.report.factors import factors_section
from engine.probing.report.grid import short_runs
from engine.probing.report.results import Report
from engine.probing.report.rounding import rounded
from engine.probing.report.words import CONTROL_FAMILY
from engine.probing.surface.config import ProbeConfig
from engine.probing.surface.experiment import label_all
from engine.probing.surface.measure import Subject, surface
from engine.rules.variant import Variant
from scripts.commands.probe.positions import gather
from scripts.commands.probe.subjects import choose_subjects, variant_of_all
from scripts.players import is_solved_quickly, load_solution
from search.exact.solution import Solution
from training.evaluation.labels.exact import SolutionTruth
from training.evaluation.labels.search import search_with_network
from training.evaluation.labels.searched_moves import search_of

SIMULATIONS: Final = 32
"""Of the search that the raw network is compared with, where exact values are known."""
PARTS: Final = 6
"""Of a report, beside the analyses of each run: searches, layers, examples, forms of probes,
looking ahead, and what is of the last network alone."""
SEARCHED: Final = 100
"""Decisions of each concept that it plays, at most."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is probed."""

    # Runs' directories of one build that differ in their seed, or one checkpoint file.
    runs: Sequence[Path]
    # The variant, where the runs' networks play several.
    game: str | None = None
    # Positions, at most.
    positions: int = 20_000
    # Checkpoints of each run, at most.
    checkpoints: int = 8
    # A file with concepts of a person's own.
    concepts_from: Path | None = None
    # Positions for the analyses beside the probes, at most.
    analysed: int = 8_000
    # Positions that are searched for concepts of search, at most.
    searched: int = 3_000


class Monitor(Protocol):
    """Is told what is done."""

    def begin(self, name: str, total: int, unit: str, *, logged: bool = True) -> None:
        """A new part begins."""

    def reach(self, done: int, total: int) -> None:
        """So much of it is done."""


class _Numbered:
    """Tells a monitor also which part of how many begins: the time left is that of one part."""

    def __init__(self, monitor: Monitor, parts: int) -> None:
        self._monitor, self._parts = monitor, parts
        self._number = 0
        self.reach = monitor.reach

    def begin(self, name: str, total: int, unit: str, *, logged: bool = True) -> None:
        self._number += 1
        self._monitor.begin(f"{self._number}/{self._parts} {name}", total, unit, logged=logged)


def probe_runs(
    question: Question,
    config: ProbeConfig,
    *,
    folder: Path | None = None,
    monitor: Monitor | None = None,
    load: Callable[[Variant], Solution] = load_solution,
) -> Report:
    """Probe networks of runs; `load` solves the variant where that is quick.

    What is measured is kept in `folder`, which is the caller's to remove. Raises InputError,
    OSError.
    """
    started = time.monotonic()
    variant = variant_of_all(question.runs, question.game)
    own = () if question.concepts_from is None else load_concepts(question.concepts_from)
    concepts = (*registered_concepts(), *own)
    runs = choose_subjects(question.runs, variant, question.checkpoints)
    if monitor is not None:
        monitor = _Numbered(monitor, PARTS + len(runs))
    keep_freed_memory()
    solution = load(variant) if is_solved_quickly(variant) else None
    truth = None if solution is None else SolutionTruth(solution)
    rng = np.random.default_rng(config.seed)
    sample = gather(question.runs, variant, solution, question.positions, rng)
    searched = _searched(question, config, runs, sample, variant, monitor)
    told = _begin(monitor, "probing", " layers")
    report = surface(
        runs,
        sample,
        concepts,
        variant,
        config=config,
        truth=truth,
        searched=searched,
        folder=folder,
        progress=told,
        begin=partial(_begin, monitor),
    )
    found = _sections(question, config, runs, sample, concepts, variant, truth, searched, monitor)
    seconds = time.monotonic() - started
    whole = dataclasses.replace(report, sections=report.sections | found, seconds=seconds)
    # Once for all that is said of it: a verdict must not differ between page, files and summary.
    final: Report = rounded(whole)
    return final


def _searched(
    question: Question,
    config: ProbeConfig,
    runs: Sequence[tuple[str, Sequence[Subject]]],
    sample: Sample,
    variant: Variant,
    monitor: Monitor | None,
) -> Searched:
    """Searches of some positions with the last network of the first run."""
    rng = np.random.default_rng((config.seed, 6))
    rows = sample.rows[thin(np.arange(len(sample)), question.searched, rng)]
    name, subjects = runs[0]
    told = _begin(monitor, "searching", " positions")
    return search_with_network(subjects[-1].load(), variant, rows, source=name, progress=told)


def _reach(monitor: Monitor | None) -> Callable[[int, int], None]:
    return (lambda done, total: None) if monitor is None else monitor.reach


def _begin(monitor: Monitor | None, name: str, unit: str) -> Callable[[int, int], None]:
    """Where the progress of a part that begins goes."""
    if monitor is not None:
        monitor.begin(name, 0, unit)
    return _reach(monitor)


def _sections(
    question: Question,
    config: ProbeConfig,
    runs: Sequence[tuple[str, Sequence[Subject]]],
    sample: Sample,
    concepts: Sequence[Concept],
    variant: Variant,
    truth: SolutionTruth | None,
    searched: Searched,
    monitor: Monitor | None,
) -> dict[str, Any]:
    """The analyses beside the probes, on some of the positions."""
    rng = np.random.default_rng((config.seed, 4))
    rows = sample.rows[thin(np.arange(len(sample)), question.analysed, rng)]
    labelled = label_all(concepts, rows, variant, truth, None)
    binary: dict[str, Labels] = {
        concept.name: labels
        for concept, labels in labelled
        if not isinstance(labels, str)
        and concept.kind == "binary"
        and not concept.per_square
        # A network plays well where a random function holds, too: that says nothing of it.
        and concept.family != CONTROL_FAMILY
    }
    search = None if truth is None else search_of(variant, SIMULATIONS, positions=SEARCHED)
    analysis = AnalysisConfig(
        seed=config.seed,
        untrained=config.random_networks,
        resamples=config.resamples,
        confidence=config.confidence,
        workers=config.workers,
    )
    found, short = {}, short_runs(name for name, _ in runs)
    for name, subjects in runs:
        told = _begin(monitor, f"analysing {short[name]}", " networks")
        found[name] = analyse(
            [_analysed(subject) for subject in subjects],
            rows,
            variant,
            truth=truth,
            concepts=binary,
            search=search,
            # Over all positions where exact values are known: forgotten solutions are rare.
            more=None if truth is None or len(rows) == len(sample) else sample.rows,
            config=analysis,
            progress=told,
        )
    result: dict[str, Any] = dict(sections(found))
    last = runs[0][1][-1].load()
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "factors": lambda: factors_section(
            [
                factors(last, "final", rows, concepts, variant, method=method, count=6, truth=truth)
                for method in ("nmf", "pca")
            ]
        ),
        "units": lambda: dataclasses.asdict(units(last, "final", rows, variant)),
        "entanglement": lambda: dataclasses.asdict(
            entanglement(concepts, sample.rows, variant, truth=truth, searched=searched)
        ),
    }
    told = _begin(monitor, "factors, units, entanglement", " parts")
    for place, (name, part) in enumerate(parts.items()):
        told(place, len(parts))
        result[name] = part()
    told(len(parts), len(parts))
    return result


def _analysed(subject: Subject) -> Analysed:
    summary = subject.summary
    return Analysed(name=summary.name, step=summary.step, load=subject.load)
