"""Probing from Python: what linear probes read off the layers of a network."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from engine.rules.errors import InputError
from engine.rules.variant import Variant
from engine.settings import quoted
from engine.system.files import home_expanded, write_whole
from pawnscope.runs import Run
from pawnscope.threads import torch_threads_kept

if TYPE_CHECKING:
    from engine.probing.report.cells import Report

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

    It prints as a summary of the last network's gains.
    """

    cells: "Report"
    """All numbers: concepts, layers, checkpoints, and a cell for each of them."""

    @property
    def variant(self) -> str:
        """Name of the variant."""
        return self.cells.variant

    def to_json(self) -> str:
        """All numbers as JSON."""
        return self.cells.to_json()

    def to_html(self) -> str:
        """The report as one page that loads nothing."""
        from engine.probing.report.html import render_html

        return render_html(self.cells)

    def save(self, path: str | Path) -> None:
        """Write the page to a file whose name ends in .html, or the numbers to one in .json.

        Raises InputError for another name, OSError.
        """
        path = home_expanded(path)
        kinds = {".html": self.to_html, ".htm": self.to_html, ".json": self.to_json}
        if path.suffix not in kinds:
            raise InputError(f"{path}: the name of a report ends in .html or .json")
        write_whole(path, kinds[path.suffix]())

    def __repr__(self) -> str:
        from scripts.commands.probe import summary

        return summary(self.cells).rstrip("\n")


def probe(
    run: str | Path | Run,
    *,
    variant: str | Variant | None = None,
    positions: int = 12_000,
    seed: int = 0,
    readout: Literal["mean+max", "mean", "squares"] = "mean+max",
) -> ProbeReport:
    """Probe what the first and the last network of a run, or one checkpoint, have learned.

        >>> import pawnscope as ps
        >>> ps.probe("runs/hexapawn", positions=60)
        hexapawn: ...

    `variant` is needed where the networks play several. `positions` are probed on at most, drawn by
    `seed`; `readout` says how a probe reads the squares of a layer
    (`engine/probing/activations/capture.py`). Raises InputError, OSError.
    """
    from engine.probing.measure import ProbeConfig
    from scripts.commands.probe import probe_run
    from scripts.players import solution_cache
    from search.exact.solver import load_or_solve

    path = run.path if isinstance(run, Run) else run
    if not isinstance(path, str | Path):
        raise InputError(f"a run or its directory is expected, not {quoted(run)}")
    if isinstance(variant, Variant):
        variant = variant.name
    for name, number, least in (("positions", positions, _FEWEST), ("seed", seed, 0)):
        if not isinstance(number, int | np.integer) or number < least:
            raise InputError(f"{name} = {number!r} is not a whole number of at least {least}")
    readouts = ("mean+max", "mean", "squares")
    if readout not in readouts:
        raise InputError(f"readout = {readout!r} is not one of {', '.join(readouts)}")
    config = ProbeConfig(seed=int(seed), readout=readout)
    with torch_threads_kept():
        report = probe_run(
            home_expanded(path),
            variant,
            positions=int(positions),
            config=config,
            load=lambda solved: load_or_solve(solved, solution_cache()),
        )
    return ProbeReport(report)
