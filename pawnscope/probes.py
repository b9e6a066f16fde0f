"""Probing from Python: what linear probes read off the layers of a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from engine.rules.errors import InputError
from engine.rules.variant import Variant
from engine.settings import quoted
from engine.system.files import home_expanded, write_whole
from engine.system.processes import usable_cores
from pawnscope.runs import Run
from pawnscope.threads import torch_threads_kept

if TYPE_CHECKING:
    from engine.probing.report.results import Report

_FEWEST: Final = 20
"""Positions below which nothing could be held out."""


@dataclass(frozen=True, repr=False, eq=False)
class ProbeReport:
    """What was found: every probe beside the controls without which it means nothing.

        >>> import pawnscope as ps
        >>> report = ps.probe("runs/hexapawn", positions=60)
        >>> report.save("report.html")
        >>> report.save("report.json")
        >>> report.variant, len(report.cells.cells) > 0
        ('hexapawn', True)

    It prints as a summary of what is supported.
    """

    cells: "Report"
    """All numbers: runs, concepts, layers, checkpoints, and a cell for each of them."""

    @property
    def variant(self) -> str:
        """Name of the variant."""
        return self.cells.variant

    def to_json(self) -> str:
        """All numbers as JSON."""
        return self.cells.to_json()

    def to_html(self) -> str:
        """The report as one page that loads nothing."""
        from engine.probing.report.page import render_page

        return render_page(self.cells)

    @property
    def supported(self) -> tuple[str, ...]:
        """Names of the concepts whose gain is clear of zero after correction."""
        from engine.probing.report.words import supported

        return supported(self.cells)

    def to_csv(self) -> str:
        """One line a cell, for pandas."""
        from engine.probing.report.csv import to_csv

        return to_csv(self.cells)

    def save(self, path: str | Path) -> None:
        """Write the page to a .html file, the numbers to a .json or the cells to a .csv file.

        Raises InputError for another name, OSError.
        """
        path = home_expanded(path)
        kinds = {
            ".html": self.to_html,
            ".htm": self.to_html,
            ".json": self.to_json,
            ".csv": self.to_csv,
        }
        if path.suffix not in kinds:
            raise InputError(f"{path}: the name of a report ends in .html, .json or .csv")
        write_whole(path, kinds[path.suffix]())

    def __repr__(self) -> str:
        from engine.probing.report.words import summary

        return summary(self.cells).rstrip("\n")


def probe(
    run: str | Path | Run | Sequence[str | Path | Run],
    *,
    variant: str | Variant | None = None,
    positions: int = 20_000,
    checkpoints: int = 8,
    seed: int = 0,
    readout: Literal["mean+max", "mean", "squares"] = "mean+max",
    concepts_from: str | Path | None = None,
) -> ProbeReport:
    """Probe what the networks of a run, or one checkpoint, have learned, and since when.

        >>> import pawnscope as ps
        >>> ps.probe("runs/hexapawn", positions=60)
        hexapawn: ...

    Several runs that differ in their seed make one report. `variant` is needed where the networks
    play several. `positions` are probed on and `checkpoints` of a run are probed at most;
    `concepts_from` is a file with concepts of your own, and `readout` says how a probe reads the
    squares of a layer (`engine/probing/activations/capture.py`). Raises InputError, OSError.
    """
    from engine.probing.surface.config import ProbeConfig
    from scripts.commands.probe.running import Question, probe_runs
    from scripts.players import solution_cache
    from search.exact.solver import load_or_solve

    if isinstance(variant, Variant):
        variant = variant.name
    bounds = (("positions", positions, _FEWEST), ("checkpoints", checkpoints, 1), ("seed", seed, 0))
    for name, number, least in bounds:
        if not isinstance(number, int | np.integer) or number < least:
            raise InputError(f"{name} = {number!r} is not a whole number of at least {least}")
    readouts = ("mean+max", "mean", "squares")
    if readout not in readouts:
        raise InputError(f"readout = {readout!r} is not one of {', '.join(readouts)}")
    question = Question(
        runs=_directories(run),
        game=variant,
        positions=int(positions),
        checkpoints=int(checkpoints),
        concepts_from=None if concepts_from is None else home_expanded(concepts_from),
    )
    config = ProbeConfig(seed=int(seed), readout=readout, workers=len(usable_cores()))
    with torch_threads_kept():
        report = probe_runs(
            question,
            config,
            load=lambda solved: load_or_solve(solved, solution_cache()),
        )
    return ProbeReport(report)


def _directories(run: str | Path | Run | Sequence[str | Path | Run]) -> tuple[Path, ...]:
    runs = [run] if isinstance(run, str | Path | Run) else run
    if not isinstance(runs, list | tuple) or not runs:
        raise InputError(f"a run or its directory is expected, not {quoted(run)}")
    paths = [each.path if isinstance(each, Run) else each for each in runs]
    for path in paths:
        if not isinstance(path, str | Path):
            raise InputError(f"a run or its directory is expected, not {quoted(path)}")
    return tuple(home_expanded(path) for path in paths)
