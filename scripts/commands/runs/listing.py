"""`pawnscope runs`: a table of the runs in a folder."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

from tyro import conf

from engine.rules.errors import InputError
from scripts.options import FigureOptions, parse_options, print_json
from scripts.players import RUNS
from scripts.terminal.texts import duration_text, size_text
from training.evaluation.strength import Strength
from training.run.listing import RunSummary, list_runs

_KINDS: Final = {"self-play": "", "solver": " (solver)", "language": " (language)"}
_HEADINGS: Final = ("run", "learns", "changed", "trained", "rounds", "games", "disk", "strength")
_LEFT: Final = {"run", "learns", "strength"}


@dataclass(frozen=True, kw_only=True)
class RunsOptions(FigureOptions):
    """List training runs, the last changed first: what each learns, its age, time of training, size
    on disk, and strength where it is measured.

    The strength is the share of decisions in which the network without search keeps the exact
    value, or, where `evaluate` has rated the run, its Elo against alphabeta:4.
    """

    # The folder that holds the runs.
    folder: Annotated[Path, conf.Positional] = RUNS


def main(arguments: list[str]) -> int:
    """Print one line a run."""
    options = parse_options(RunsOptions, "runs", arguments)
    if options.folder != RUNS and not options.folder.is_dir():
        raise InputError(f"{options.folder}: neither a folder nor rm, csv or tensorboard")
    runs = list_runs(options.folder)
    if options.json:
        print_json({"runs": [_figures(run) for run in runs]})
        return 0
    if not runs:
        print(f"no runs in {options.folder}/; 'pawnscope train hexapawn' makes one")
        return 0
    print(table([_HEADINGS, *(_row(run, time.time()) for run in runs)]))
    total = size_text(sum(run.bytes for run in runs))
    print(f"{len(runs)} run{'s' if len(runs) > 1 else ''}, {total}")
    return 0


def _figures(run: RunSummary) -> dict[str, object]:
    strengths = {name: asdict(strength) for name, strength in run.strengths.items()}
    return {**asdict(run), "path": str(run.path), "strengths": strengths}


def _row(run: RunSummary, now: float) -> tuple[str, ...]:
    return (
        str(run.path),
        "+".join(run.variants) + _KINDS[run.kind],
        "now" if run.process else f"{duration_text(now - run.changed)} ago",
        duration_text(run.seconds),
        f"{run.rounds:,}",
        f"{run.games:,}",
        size_text(run.bytes),
        f"damaged: {run.problem}" if run.problem else _strengths(run.strengths),
    )


def _strengths(strengths: Mapping[str, Strength]) -> str:
    texts = {name: strength.short() for name, strength in strengths.items() if strength.known}
    if len(strengths) == 1:
        return next(iter(texts.values()), "")
    return ", ".join(f"{name} {text}" for name, text in texts.items())


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of texts in columns; the first row holds the headings."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (
            f"{cell:{width}}" if heading in _LEFT else f"{cell:>{width}}"
            for heading, cell, width in zip(rows[0], row, widths, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
