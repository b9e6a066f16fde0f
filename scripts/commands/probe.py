"""`pawnscope probe RUN`: the concept report of a run, as one HTML file and as JSON."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from engine.network.checkpoint import (
    UniversalDescription,
    load_checkpoint,
    read_description,
    variant_of,
)
from engine.network.inference.backends.allocator import keep_freed_memory
from engine.probing.activations.capture import Readout
from engine.probing.concepts.registry import Concept, game_value, registered_concepts
from engine.probing.data.splits import Sample
from engine.probing.measure import ProbeConfig, Subject, absent_concept, probe_networks
from engine.probing.report.cells import CheckpointSummary, ConceptSummary, Report
from engine.probing.report.html import render_page
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import Variant
from engine.system.files import write_whole
from scripts.options import FigureOptions, parse_options, require_writable
from scripts.players import is_solved_quickly, load_solution
from search.exact.solver import Solution
from training.data.run_directory import run_checkpoints
from training.data.shards import load_games, shards_of

FEWEST_POSITIONS: Final = 20
_SPARE_SHARDS: Final = 4
"""Times the positions asked for that are read from a run's games, before some are drawn."""
_LONGEST_GAME: Final = 300


@dataclass(frozen=True, kw_only=True)
class ProbeOptions(FigureOptions):
    """Report what the first and the last network of a run let a linear probe read."""

    # A run's directory, or one checkpoint file.
    run: Path
    # The game, where the run's networks play several.
    game: str | None = None
    # Where the page goes, its JSON beside it; report.html in the run's directory if left out, or
    # report-GAME.html where its networks play several.
    out: Path | None = None
    # Positions to probe on, at most.
    positions: int = 12_000
    # How a probe reads the squares of a layer; "squares" is slow and wants many positions.
    readout: Readout = "mean+max"
    # Where positions, splits and controls come from.
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class _Positions:
    """What the probes look at."""

    # uint8[N, R], none of them finished.
    rows: npt.NDArray[np.uint8]
    # int64[N] the game of each; None where they are not from games.
    games: npt.NDArray[np.int64] | None
    # Where they are from, for the report.
    source: str


def main(arguments: list[str]) -> int:
    """Write the report and print its gist."""
    options = parse_options(ProbeOptions, "probe", arguments)
    if options.positions < FEWEST_POSITIONS:
        raise InputError(f"--positions {options.positions}: at least {FEWEST_POSITIONS}")
    paths = _first_and_last(options.run)
    several = isinstance(read_description(paths[-1]), UniversalDescription)
    variant = variant_of(paths[-1], options.game)
    page = _page_path(options, f"report-{variant.name}" if several else "report")
    subjects = _subjects(paths, variant)
    keep_freed_memory()
    solution = load_solution(variant) if is_solved_quickly(variant) else None
    positions = _gather(options, variant, solution, np.random.default_rng(options.seed))
    concepts, absent = _concepts(variant, solution)
    with tqdm(desc="probing", unit=" layers", leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = probe_networks(
            subjects,
            Sample.from_rows(positions.rows, variant, positions.games),
            concepts,
            variant,
            run=str(options.run),
            source=positions.source,
            absent=absent,
            config=ProbeConfig(seed=options.seed, readout=options.readout),
            progress=progress,
        )
    write_whole(page.with_suffix(".json"), report.to_json())
    write_whole(page, render_page(report))
    print(report.to_json() if options.json else _gist(report, page), end="")
    return 0


def _first_and_last(run: Path) -> list[Path]:
    """The checkpoints to probe: one where there is one."""
    if not run.is_dir():
        return [run]
    paths = run_checkpoints(run)
    return paths if len(paths) == 1 else [paths[0], paths[-1]]


def _page_path(options: ProbeOptions, name: str) -> Path:
    if options.out is not None:
        if options.out.suffix not in (".html", ".htm"):
            raise InputError(f"--out {options.out}: the page's name ends in .html")
        require_writable(options.out, "--out")
        return options.out
    if options.run.is_dir():
        page = options.run / f"{name}.html"
    else:
        page = options.run.with_name(f"{options.run.stem}-{name}.html")
    require_writable(page)
    return page


def _subjects(paths: list[Path], variant: Variant) -> list[Subject]:
    roles = ["only"] if len(paths) == 1 else ["first", "last"]
    subjects = []
    for path, role in zip(paths, roles, strict=True):
        network, metadata = load_checkpoint(path, variant=variant)
        step = metadata.get("step")
        summary = CheckpointSummary(
            name=path.stem, role=role, step=step if isinstance(step, int) else None
        )
        subjects.append(Subject(summary=summary, network=network))
    if subjects[0].network.config != subjects[-1].network.config:
        raise InputError(f"{paths[0]} and {paths[-1]} are networks of different builds")
    return subjects


def _concepts(
    variant: Variant, solution: Solution | None
) -> tuple[tuple[Concept, ...], tuple[ConceptSummary, ...]]:
    """The concepts to measure, and those that cannot be."""
    if solution is not None:
        solved = solution
        return (*registered_concepts(), game_value(lambda rows: solved.lookup_batch(rows)[0])), ()
    unknown = game_value(lambda rows: np.zeros(len(rows), np.int8))
    reason = f"{variant.name} is not solved, so that the exact value is not known"
    return registered_concepts(), (absent_concept(unknown, reason),)


def _gather(
    options: ProbeOptions, variant: Variant, solution: Solution | None, rng: np.random.Generator
) -> _Positions:
    """Unfinished positions of a solved game, else positions of the run's games, else random."""
    wanted = options.positions
    if solution is not None:
        rows = solution.unfinished_positions()
        count = len(rows)
        if count <= wanted:
            source = f"all {count:,} reachable unfinished positions of the solved game"
            return _Positions(rows=rows, games=None, source=source)
        rows = rows[np.sort(rng.choice(count, wanted, replace=False))]
        source = f"a random {wanted:,} of {count:,} reachable unfinished positions"
        return _Positions(rows=rows, games=None, source=source)
    shards = _shards(options.run, variant) if options.run.is_dir() else []
    if shards:
        return _from_shards(shards, variant, wanted, rng)
    return _from_random_games(variant, wanted, rng)


def _shards(run: Path, variant: Variant) -> list[Path]:
    """The games of a run; of a run of several games those of one."""
    if isinstance(read_description(run_checkpoints(run)[-1]), UniversalDescription):
        return shards_of(run / "games", variant)
    return sorted((run / "games").glob("*.safetensors"))


def _from_shards(
    shards: list[Path], variant: Variant, wanted: int, rng: np.random.Generator
) -> _Positions:
    """Whole games of the run, drawn at random."""
    rows, games, total, game_count = [], [], 0, 0
    for index in rng.permutation(len(shards)):
        shard = load_games(shards[index], variant)
        rows.append(shard.positions)
        games.append(shard.games.astype(np.int64) + game_count)
        total += len(shard)
        game_count += shard.game_count
        if total >= _SPARE_SHARDS * wanted:
            break
    all_rows, all_games = np.concatenate(rows), np.concatenate(games)
    sizes = np.bincount(all_games)
    drawn = rng.permutation(len(sizes))
    drawn = drawn[: np.searchsorted(np.cumsum(sizes[drawn]), wanted) + 1]
    kept = np.isin(all_games, drawn)
    source = f"{int(kept.sum()):,} positions of {len(drawn):,} self-play games of the run"
    return _Positions(rows=all_rows[kept], games=all_games[kept], source=source)


def _from_random_games(variant: Variant, wanted: int, rng: np.random.Generator) -> _Positions:
    rows: list[npt.NDArray[np.uint8]] = []
    games: list[int] = []
    game = 0
    with tqdm(desc="random games", total=wanted, leave=False, delay=0.5, disable=None) as bar:
        while len(rows) < wanted:
            position = Position(variant)
            for _ in range(_LONGEST_GAME):
                moves = position.legal_moves
                if not moves:
                    break
                rows.append(position.row)
                games.append(game)
                bar.update()
                position.push(moves[int(rng.integers(len(moves)))])
            game += 1
    source = f"{len(rows):,} positions of {game:,} games of random moves"
    return _Positions(rows=np.stack(rows), games=np.array(games, np.int64), source=source)


def _gist(report: Report, page: Path) -> str:
    """The last checkpoint's gains, a line a concept."""
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
    lines += [f"  layers: {', '.join(report.layers)}", f"report: {page}"]
    return "\n".join(lines) + "\n"
