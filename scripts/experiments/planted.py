"""How far the surface of probes can be trusted: networks whose answer is known.

Each surface is measured as `probe` does: all concepts at all layers of one network, beside raw
input and untrained networks, with intervals that hold for all cells at once. It has its own
positions, split, untrained networks and hash concepts. Its network is one of

    direction, layer, unused   a pattern is planted (`engine/probing/controls/planted.py`): it must
                               be found where it is, and not where it is not
    noise                      a pattern is planted under as strong a noise in the same direction
    absent                     a count of pieces is planted: no cell may be clear of zero
    re-initialised             fresh weights: likewise

In every surface, concepts that are a hash of the position, and the planted pattern's labels
permuted over the positions, must not be found.

Some patterns are nearly read by raw input or by untrained networks: what training could add to them
is hardly more than untrained networks differ. So shares of what is found are of the patterns that
leave room, by three untrained networks that are none of the surface's controls; the others are
counted by themselves.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from scipy.stats import binomtest

from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.probing.concepts.control import by_hash
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import (
    Concept,
    ConceptUndefinedError,
    Kind,
    Labels,
    registered_concepts,
)
from engine.probing.controls.features import untrained_networks
from engine.probing.controls.labels import shuffled_labels
from engine.probing.controls.patterns import draw_pattern
from engine.probing.controls.planted import PlantedKind, plant
from engine.probing.data.samples import Sample, draw_positions
from engine.probing.fit_probe import fit_probe
from engine.probing.report.results import CheckpointSummary, Report
from engine.probing.surface.config import ProbeConfig
from engine.probing.surface.measure import Subject, surface
from engine.rules.variant import get_variant
from scripts.experiments.study import Figures
from scripts.plots.curve import Panel
from search.exact.solver import load_or_solve
from training.studies import study
from training.studies.side_by_side import run_side_by_side

TITLE: Final = "Planted networks: what the surface finds"
VARIANT: Final = "hexapawn4x4"
SURFACES: Final = 36
"""Of each kind."""
POSITIONS: Final = 3_000
RESAMPLES: Final = 500
NUMBERS: Final = 20
CLASSES: Final = 4
"""Concepts of the library, drawn anew for each surface, beside the planted ones and those by hash.
Probes for classes take ten times as long."""
NOISES: Final = (4.0, 2.0, 1.0, 0.5, 0.25)
"""Spreads of the planted pattern's count, in spreads of the noise in its direction."""
NOISE_SURFACES: Final = 4
HASH_SHARES: Final = (0.5, 0.1)
"""Prevalences of the hash concepts of a surface."""
LEAST_ROOM: Final = 0.3
"""Of the way from chance to a perfect score, what raw input and untrained networks leave."""
PRESENT: Final = ("direction", "layer", "unused")
NULLS: Final = ("absent", "re-initialised")
PERMUTED: Final = "planted labels, permuted"
BUILDS: Final[Mapping[str, Mapping[str, object]]] = {
    "transformer": {"blocks": 2, "channels": 48, "heads": 2, "hidden": 64},
    "residual tower": {"trunk": "residual", "blocks": 2, "channels": 40},
    "tower without LayerNorm": {
        "trunk": "residual",
        "blocks": 2,
        "channels": 32,
        "norm": "none",
        "excitation": False,
    },
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One surface to measure."""

    # "direction", "layer", "unused", "absent", "re-initialised", or "noise".
    kind: str
    # From 0; the seed, and which of `BUILDS`.
    number: int
    # The game's solution is kept here.
    folder: Path
    # Of "noise".
    signal_to_noise: float | None = None
    positions: int = POSITIONS
    resamples: int = RESAMPLES

    @property
    def seed(self) -> int:
        """So far from others that no two surfaces share an untrained network: shares are of
        independent ones."""
        kinds = (*PRESENT, *NULLS, "noise")
        own = 10_000 * (1 + kinds.index(self.kind)) + 10 * self.number
        return own + int(1_000_000 * (self.signal_to_noise or 0.0))

    @property
    def key(self) -> tuple[str | int, ...]:
        """Of the result."""
        noise = "" if self.signal_to_noise is None else f"{self.signal_to_noise:g}"
        return (
            "independent surface",
            self.kind,
            noise,
            self.number,
            self.positions,
            self.resamples,
        )


def tasks(folder: Path, surfaces: int = SURFACES, noises: int = NOISE_SURFACES) -> list[Task]:
    """All surfaces, in turn of every kind."""
    found = [
        Task(kind=kind, number=number, folder=folder)
        for number in range(surfaces)
        for kind in (*PRESENT, *NULLS)
    ]
    found += [
        Task(kind="noise", number=number, folder=folder, signal_to_noise=noise)
        for number in range(noises)
        for noise in NOISES
    ]
    return found


def measure(folder: Path, minutes: float, report: study.Report) -> dict[str, Any]:
    """The surfaces, and the shares that follow from them. Nothing is trained: `minutes` is not
    used.

    Resumes as `training.studies.study` says; raises InputError, OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    load_or_solve(get_variant(VARIANT), folder)
    return measure_tasks(tasks(folder), folder, report)


def measure_tasks(
    wanted: Sequence[Task],
    folder: Path,
    report: study.Report,
    run: Callable[..., Any] = run_side_by_side,
) -> dict[str, Any]:
    """The lines of these surfaces, those that are missing measured on all cores, and the shares."""
    results = study.Results(folder)
    missing = [task for task in wanted if not results.has(task.key)]
    for done, line in enumerate(run(measure_surface, missing), 1):
        results.get(line.pop("key"), dict, line)
        report(f"{done} of {len(missing)} surfaces: {line['kind']}, {line['seconds']:.0f} s")
    lines = [results.get(task.key, dict) for task in wanted]
    return {"lines": lines, "shares": shares(lines)}


def measure_surface(task: Task) -> study.Line:
    """What one surface says of its network."""
    variant = get_variant(VARIANT)
    seed = task.seed
    rng = np.random.default_rng(seed)
    rows = load_or_solve(variant, task.folder).unfinished_positions()
    sample = draw_positions(rows, variant, task.positions, rng)
    build = list(BUILDS)[task.number % len(BUILDS)]
    config = NetworkConfig.for_variant(variant, BUILDS[build])
    pattern = draw_pattern(sample.rows, variant, rng)
    kind: Kind = "count" if task.number // len(BUILDS) % 2 == 0 else "binary"
    concept = pattern.concept(variant, kind)
    layers: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    if task.kind == "re-initialised":
        # Far from the seeds of the untrained networks, which follow the surface's.
        network = next(untrained_networks(config, (seed + 5_000,)))
    else:
        planted_kind = task.kind if task.kind in get_args(PlantedKind) else "direction"
        planted = plant(
            config,
            variant,
            planted_kind,  # type: ignore[arg-type]
            pattern,
            seed + 5_000,
            signal_to_noise=task.signal_to_noise,
            rows=sample.rows,
        )
        network, layers, without = planted.network, planted.layers, planted.without
    hashes = tuple(
        by_hash(share, seed + index, f"hash {share:g}") for index, share in enumerate(HASH_SHARES)
    )
    concepts = (concept, _permuted(concept, sample, rng), *hashes, *_library(sample, rng))
    room = _room(network, concept, sample, layers[0], seed + 6_000) if layers else None
    found = surface(
        [("planted", [_subject(network)])],
        sample,
        concepts,
        variant,
        config=ProbeConfig(seed=seed, resamples=task.resamples, details=False),
    )
    return {
        "key": list(task.key),
        "kind": task.kind,
        "signal_to_noise": task.signal_to_noise,
        "build": build,
        "pattern": concept.name,
        "layers": list(layers),
        "without": list(without),
        "room": room,
        **_findings(found, concept.name, [each.name for each in hashes]),
        "seconds": round(found.seconds, 1),
    }


def _room(
    network: PolicyValueNet, concept: Concept, sample: Sample, layer: str, seed: int
) -> float:
    """Of the way from chance to a perfect score, what controls leave to a probe of this layer."""
    fitted = fit_probe(
        network,
        concept,
        rows=sample.rows,
        variant=get_variant(VARIANT),
        layer=layer,
        untrained=(seed, seed + 1, seed + 2),
        resamples=1,
        seed=seed,
    )
    chance = 0.5 if concept.kind == "binary" else 0.0
    gain = fitted.gain
    assert gain is not None
    return round((1.0 - fitted.score + gain) / (1.0 - chance), 4)


def _library(sample: Sample, rng: np.random.Generator) -> list[Concept]:
    """Concepts that are defined here and differ among the first positions."""
    variant, some = get_variant(VARIANT), sample.rows[:200]
    numbers: list[Concept] = []
    classes: list[Concept] = []
    for concept in registered_concepts():
        try:
            labels = concept.labels(some, variant)
        except ConceptUndefinedError:
            continue
        if np.ptp(labels[np.isfinite(labels)]) > 0:
            (numbers if concept.is_number else classes).append(concept)
    return [
        found[place]
        for found, count in ((numbers, NUMBERS), (classes, CLASSES))
        for place in np.sort(rng.permutation(len(found))[:count])
    ]


def _subject(network: PolicyValueNet) -> Subject:
    summary = CheckpointSummary(name="planted", role="only", step=None)
    return Subject(summary=summary, load=lambda: network)


def _permuted(concept: Concept, sample: Sample, rng: np.random.Generator) -> Concept:
    """The concept's labels, permuted over the canonical positions of the sample."""
    variant = get_variant(VARIANT)
    labels = shuffled_labels(sample, concept.labels(sample.rows, variant), rng)
    of_row = {row.tobytes(): label for row, label in zip(sample.rows, labels, strict=True)}

    def function(positions: Positions) -> Labels:
        return np.array([of_row[row.tobytes()] for row in positions.rows])

    return Concept(
        name=PERMUTED,
        kind=concept.kind,
        definition="The labels of the planted pattern, each at another position.",
        function=function,
        class_names=concept.class_names,
    )


def _findings(found: Report, planted: str, hashes: Sequence[str]) -> study.Line:
    """Cells that are clear of zero, and the planted pattern's gains by layer."""
    cells = [(each, each.measurement) for each in found.cells if each.measurement is not None]
    clear = [(each.concept, each.layer) for each, result in cells if result.is_above_controls]
    of_planted = [(each.layer, result) for each, result in cells if each.concept == planted]
    return {
        "cells": len(cells),
        "clear": sorted(clear),
        "gains": {layer: round(result.gain, 4) for layer, result in of_planted},
        "low": {layer: round(result.corrected_low, 4) for layer, result in of_planted},
        "raw_input": round(of_planted[0][1].raw_input, 4),
        "random_init": round(float(np.mean([r.random_init for _, r in of_planted])), 4),
        "hashes": list(hashes),
    }


def shares(lines: Sequence[study.Line]) -> dict[str, Any]:
    """What the surfaces say of the method, each with how many, of how many, and its interval."""
    found: dict[str, Any] = {}
    present = [line for line in lines if line["kind"] in PRESENT]
    clear = [line for line in present if line["room"] >= LEAST_ROOM]
    for kind in PRESENT:
        of_kind = [line for line in clear if line["kind"] == kind]
        found[f"found where it is: {kind}"] = _share(map(_is_found, of_kind))
    for metric in ("count", "binary"):
        of_metric = [line for line in clear if line["pattern"].endswith(f"({metric})")]
        found[f"found where it is: {metric}"] = _share(map(_is_found, of_metric))
    found["found where it is: all"] = _share(map(_is_found, clear))
    found["found where it is, though controls nearly read it"] = _share(
        _is_found(line) for line in present if line["room"] < LEAST_ROOM
    )
    for kind in PRESENT:
        of_kind = [line for line in present if line["kind"] == kind]
        found[f"found where it is not: {kind}"] = _share(map(_is_misplaced, of_kind))
    found["found where it is not: all"] = _share(map(_is_misplaced, present))
    for kind in NULLS:
        of_kind = [line for line in lines if line["kind"] == kind]
        found[f"any cell clear: {kind}"] = _share(bool(line["clear"]) for line in of_kind)
    nulls = [line for line in lines if line["kind"] in NULLS]
    found["any cell clear: all"] = _share(bool(line["clear"]) for line in nulls)
    found["permuted labels found"] = _share(
        any(name == PERMUTED for name, _ in line["clear"]) for line in lines
    )
    found["a hash found"] = _share(
        any(name in line["hashes"] for name, _ in line["clear"]) for line in lines
    )
    for noise in NOISES:
        of_noise = [line for line in lines if line["signal_to_noise"] == noise]
        found[f"found under noise: {noise:g}"] = _share(map(_is_found, of_noise))
    return found


def _is_found(line: study.Line) -> bool:
    """Whether the pattern is found in the layer that writes it."""
    return [line["pattern"], line["layers"][0]] in [list(each) for each in line["clear"]]


def _is_misplaced(line: study.Line) -> bool:
    """Whether the pattern is found in a layer that does not have it."""
    return any(
        name == line["pattern"] and layer in line["without"] for name, layer in line["clear"]
    )


def _share(flags: Any) -> study.Line:
    """A share with its exact interval (Clopper and Pearson 1934)."""
    known = [bool(flag) for flag in flags]
    if not known:
        return {"count": 0, "of": 0, "share": None, "low": 0.0, "high": 1.0}
    interval = binomtest(sum(known), len(known)).proportion_ci(0.95, method="exact")
    return {
        "count": sum(known),
        "of": len(known),
        "share": sum(known) / len(known),
        "low": float(interval.low),
        "high": float(interval.high),
    }


def table(found: Figures) -> list[str]:
    """A row for each share."""
    rows = ["| what | surfaces | share | 95 % interval |", "|---|---|---|---|"]
    for name, share in found["shares"].items():
        if share["of"]:
            bounds = f"{share['low']:.1%} to {share['high']:.1%}"
            counted = f"{share['count']} of {share['of']}"
            rows.append(f"| {name} | {counted} | {share['share']:.1%} | {bounds} |")
    return rows


def panels(found: Figures) -> list[Panel]:
    """The share that is found by how strong the noise is."""
    curve = [
        (noise, share["share"])
        for noise in sorted(NOISES)
        if (share := found["shares"][f"found under noise: {noise:g}"])["of"]
    ]
    return [
        Panel(
            title=f"{VARIANT}: a pattern under noise in its own direction",
            curves={"found in its layer": curve},
            level=("95 %", 0.95),
            unit="planted patterns that are found, %",
            across="spread of the pattern's count, in spreads of the noise",
            lowest=0.0,
        )
    ]
