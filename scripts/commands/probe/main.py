"""`pawnscope probe RUN [RUN ...]`: the concept report of runs: HTML, JSON and CSV."""

import dataclasses
import shlex
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro import conf

from engine.network.checkpoint import UniversalDescription, read_description
from engine.probing.activations.capture import Readout
from engine.probing.data.signatures import HeldOut
from engine.probing.report.csv import to_csv
from engine.probing.report.page import render_page
from engine.probing.report.results import Report
from engine.probing.report.words import summary, supported
from engine.probing.surface.config import ProbeConfig
from engine.probing.surface.parts import remove_parts
from engine.rules.errors import InputError
from engine.settings import Natural, Range
from engine.system.files import write_whole
from engine.system.processes import usable_cores
from scripts.commands.probe.running import Question, probe_runs
from scripts.commands.probe.subjects import paths_of, variant_of_all
from scripts.options import ONE_OR_MORE, FigureOptions, parse_options, print_json, require_writable
from scripts.terminal.interruption import telling
from scripts.terminal.progress import Bars
from scripts.terminal.redirection import output_to_messages


@dataclass(frozen=True, kw_only=True)
class ProbeOptions(FigureOptions):
    """Report what probes read off the layers of a run's networks, and since when in training."""

    # Directories of runs that differ in their seed, or one checkpoint file.
    runs: Annotated[tuple[Path, ...], conf.Positional, ONE_OR_MORE]
    # The variant, where the runs' networks play several.
    game: str | None = None
    # Where to write the HTML report, with its JSON and CSV beside it; unless given, report.html in
    # the first run's directory, or report-GAME.html where its networks play several variants.
    out: Path | None = None
    # Positions to probe on, at most; of a solved game all, if there are no more.
    positions: Annotated[int, Range(20)] = 20_000
    # Checkpoints of each run, at most: the first, the last and some between.
    checkpoints: Annotated[int, Range(1)] = 8
    # Untrained networks to compare with; more of them make narrower intervals.
    untrained: Annotated[int, Range(2)] = 5
    # A Python file with concepts of your own (engine/probing/README.md).
    concepts_from: Path | None = None
    # How a probe reads the squares of a layer; "squares" is slow and needs many positions.
    readout: Readout = "mean+max"
    # What the harder split holds out whole; unless given, what suits the game.
    held_out: HeldOut | None = None
    # Keep what probes see of every layer in this folder, which grows large; the next report on the
    # same positions reads it.
    activations: Path | None = None
    # Of positions, splits and controls.
    seed: Natural = 0


def main(arguments: list[str]) -> int:
    """Write the report and print a summary of it."""
    options = parse_options(ProbeOptions, "probe", arguments)
    if not options.runs:
        raise InputError("missing: RUN")
    html = _report_path(options)
    question = Question(
        runs=options.runs,
        game=options.game,
        positions=options.positions,
        checkpoints=options.checkpoints,
        concepts_from=options.concepts_from,
    )
    config = ProbeConfig(
        seed=options.seed,
        readout=options.readout,
        held_out=options.held_out,
        random_networks=options.untrained,
        workers=len(usable_cores()),
        activations=options.activations,
    )
    folder = html.with_suffix(".parts")

    def kept() -> str:
        if not any(folder.rglob("*.npz")):
            return "nothing was measured yet; the same command begins again"
        return f"the layers that are measured are kept in {folder}; the same command continues"

    # A file of concepts is a person's own program, which may print.
    with telling(kept), output_to_messages(), closing(Bars(quiet=options.json)) as bars:
        report = probe_runs(question, config, folder=folder, monitor=bars)
    command = shlex.join(["pawnscope", "probe", *arguments])
    report = dataclasses.replace(report, command=command)
    write_report(report, html)
    remove_parts(folder)
    if options.json:
        print_json(figures(report))
    else:
        print(f"{summary(report)}report: {html}")
    return 0


def write_report(report: Report, html: Path) -> None:
    """The page, its numbers as JSON and its cells as CSV, side by side; raises OSError."""
    write_whole(html.with_suffix(".json"), report.to_json())
    write_whole(html.with_suffix(".csv"), to_csv(report))
    write_whole(html, render_page(report))


def figures(report: Report) -> dict[str, object]:
    """What `--json` prints."""
    return {
        "concepts": len(report.concepts),
        "cells": len(report.cells),
        "supported": list(supported(report)),
        "refused": sum(cell.refused is not None for cell in report.cells),
        "seconds": round(report.seconds, 1),
    }


def _report_path(options: ProbeOptions) -> Path:
    if options.out is not None:
        if options.out.suffix not in (".html", ".htm"):
            raise InputError(f"--out {options.out}: the report's name ends in .html")
        require_writable(options.out, "--out")
        return options.out
    first = options.runs[0]
    name = "report"
    if isinstance(read_description(paths_of(first)[-1]), UniversalDescription):
        name += f"-{variant_of_all(options.runs, options.game).name}"
    path = first / f"{name}.html"
    if not first.is_dir():
        path = first.with_name(f"{first.stem}-{name}.html")
    require_writable(path)
    return path
