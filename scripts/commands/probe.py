"""`pawnscope probe RUN`: the concept report of a run, as one HTML file and as JSON."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np

from engine.network.checkpoint import (
    UniversalDescription,
    load_checkpoint,
    read_description,
    variant_of,
)
from engine.network.inference.backends.allocator import keep_freed_memory
from engine.network.model.policy_value import PolicyValueNet
from engine.probing.activations.capture import Readout
from engine.probing.concepts.registry import registered_concepts
from engine.probing.data.samples import Sample, draw_games, draw_positions, play_random_games
from engine.probing.measure import ProbeConfig, Progress, probe_networks
from engine.probing.report.cells import CheckpointSummary, Report
from engine.probing.report.html import render_html
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from engine.settings import Natural, Range
from engine.system.files import write_whole
from scripts.options import FigureOptions, parse_options, require_writable
from scripts.players import is_solved_quickly, load_solution
from scripts.terminal.interruption import telling
from scripts.terminal.progress import Bars
from search.exact.solution import Solution
from training.data.run_directory import run_checkpoints
from training.data.shards import files_of, game_files, load_games
from training.evaluation.labels.exact import SolutionTruth

_MEASURED: Final = ("material", "mobility", "a pawn can break through", "game value")
"""Of the registered concepts those that a report measures."""


@dataclass(frozen=True, kw_only=True)
class ProbeOptions(FigureOptions):
    """Report what the first and the last network of a run let a linear probe read."""

    # A run's directory, or one checkpoint file.
    run: Path
    # The variant, where the run's networks play several.
    game: str | None = None
    # Where to write the HTML report, with its JSON beside it; unless given, report.html in the
    # run's directory, or report-GAME.html where its networks play several variants.
    out: Path | None = None
    # Positions to probe on, at most.
    positions: Annotated[int, Range(20)] = 12_000
    # How a probe reads the squares of a layer; "squares" is slow and needs many positions.
    readout: Readout = "mean+max"
    # Of positions, splits and controls.
    seed: Natural = 0


def main(arguments: list[str]) -> int:
    """Write the report and print a summary of it."""
    options = parse_options(ProbeOptions, "probe", arguments)
    html = _report_path(options)
    kept = "nothing is kept and no report is written; the same command begins it again"
    with telling(kept), closing(Bars(quiet=options.json)) as bars:
        bars.begin("probing", 0, " layers")
        report = probe_run(
            options.run,
            options.game,
            positions=options.positions,
            config=ProbeConfig(seed=options.seed, readout=options.readout),
            progress=bars.reach,
        )
    write_whole(html.with_suffix(".json"), report.to_json())
    write_whole(html, render_html(report))
    print(report.to_json() if options.json else f"{summary(report)}report: {html}\n", end="")
    return 0


def probe_run(
    run: Path,
    game: str | None = None,
    *,
    positions: int,
    config: ProbeConfig,
    progress: Progress = lambda done, total: None,
    load: Callable[[Variant], Solution] = load_solution,
) -> Report:
    """Probe the first and the last network of a run, or one checkpoint.

    `game` names the variant where the networks play several; `load` solves it where that is quick.
    Raises InputError, OSError.
    """
    paths = _first_and_last(run)
    variant = variant_of(paths[-1], game)
    subjects = _subjects(paths, variant)
    keep_freed_memory()
    solution = load(variant) if is_solved_quickly(variant) else None
    measured = tuple(each for each in registered_concepts() if each.name in _MEASURED)
    rng = np.random.default_rng(config.seed)
    return probe_networks(
        subjects,
        _gather(run, variant, solution, positions, rng),
        measured,
        variant,
        run=str(run),
        config=config,
        truth=None if solution is None else SolutionTruth(solution),
        progress=progress,
    )


def _first_and_last(run: Path) -> list[Path]:
    """The checkpoints to probe: one where there is one."""
    if not run.is_dir():
        return [run]
    paths = run_checkpoints(run)
    return paths if len(paths) == 1 else [paths[0], paths[-1]]


def _report_path(options: ProbeOptions) -> Path:
    if options.out is not None:
        if options.out.suffix not in (".html", ".htm"):
            raise InputError(f"--out {options.out}: the report's name ends in .html")
        require_writable(options.out, "--out")
        return options.out
    last = _first_and_last(options.run)[-1]
    name = "report"
    if isinstance(read_description(last), UniversalDescription):
        name += f"-{variant_of(last, options.game).name}"
    if options.run.is_dir():
        path = options.run / f"{name}.html"
    else:
        path = options.run.with_name(f"{options.run.stem}-{name}.html")
    require_writable(path)
    return path


def _subjects(
    paths: list[Path], variant: Variant
) -> list[tuple[CheckpointSummary, PolicyValueNet]]:
    roles = ["only"] if len(paths) == 1 else ["first", "last"]
    subjects = []
    for path, role in zip(paths, roles, strict=True):
        network, metadata = load_checkpoint(path, variant=variant)
        step = metadata.get("step")
        step = step if isinstance(step, int) else None
        summary = CheckpointSummary(name=path.stem, role=role, step=step)
        subjects.append((summary, network))
    if subjects[0][1].config != subjects[-1][1].config:
        raise InputError(f"{paths[0]} and {paths[-1]} are networks of different builds")
    return subjects


def _gather(
    run: Path, variant: Variant, solution: Solution | None, wanted: int, rng: np.random.Generator
) -> Sample:
    """Unfinished positions of a solved game, else positions of the run's games, else random."""
    if solution is not None:
        return draw_positions(solution.unfinished_positions(), variant, wanted, rng)
    paths = []
    if run.is_dir():
        several = isinstance(read_description(run_checkpoints(run)[-1]), UniversalDescription)
        folder = run / "games"
        paths = files_of(folder, variant) if several else game_files(folder)
    if not paths:
        return play_random_games(variant, wanted, rng)
    shards = (load_games(paths[index], variant) for index in rng.permutation(len(paths)))
    return draw_games(((shard.positions, shard.games) for shard in shards), variant, wanted, rng)


def summary(report: Report) -> str:
    """The last checkpoint's gains, one line for each concept."""
    last = report.checkpoints[-1]
    counts = report.counts
    lines = [
        f"{report.variant}: {counts.source}; {counts.test_distinct:,} distinct ones held out",
        f"gain over the better of raw input and untrained networks, {last.label} (* above zero)",
    ]
    width = max(len(concept.name) for concept in report.concepts)
    for concept in report.concepts:
        if concept.absent is not None:
            lines.append(f"  {concept.name:{width}}  not measured: {concept.absent}")
            continue
        cells = [report.cell(concept.name, layer, last.name) for layer in report.layers]
        figures = [
            f"{each.gain:+.3f}{'*' if each.is_above_controls else ' '}"
            for each in (cell.measurement for cell in cells)
            if each is not None
        ]
        text = " ".join(figures) if figures else cells[0].refused or ""
        lines.append(f"  {concept.name:{width}}  {text}")
    lines.append(f"  layers: {', '.join(report.layers)}")
    return "\n".join(lines) + "\n"
