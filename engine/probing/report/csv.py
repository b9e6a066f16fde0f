"""The cells as a table for pandas or a spreadsheet: one row a cell.

CSV and no Parquet: a report has tens of thousands of rows, which pandas reads in a blink, and no
further library is needed.
"""

import csv
import dataclasses
import io
from typing import Final

from engine.probing.report.grid import untrained_mean
from engine.probing.report.results import Cell, ConceptSummary, Gain, Measurement, Report
from engine.probing.report.rounding import rounded

_APART: Final = ("random_init", "self_play", "harder")
"""Fields of a measurement that are no single numbers."""
_NUMBERS: Final = tuple(
    each.name for each in dataclasses.fields(Measurement) if each.name not in _APART
)
_OTHER: Final = ("score", "baseline", "gain", "gain_low", "gain_high", "rows")
_NAMES: Final = (
    "run", "variant", "concept", "family", "kind", "metric", "layer", "checkpoint", "step",
    "width", "refused",
)  # fmt: skip


def columns(report: Report) -> tuple[str, ...]:
    """The header: names, numbers of the cell, each untrained network, and the other settings."""
    return (
        *_NAMES,
        *_NUMBERS,
        "baseline",
        "is_above_controls",
        "is_below_controls",
        "random_init_mean",
        *(f"random_init_{seed}" for seed in report.random_seeds),
        *(f"{setting}_{name}" for setting in ("self_play", "harder") for name in _OTHER),
    )


def to_csv(report: Report) -> str:
    """All cells, in the order of the report, below a header; a field without a number is empty.

    Floats have six significant digits.
    """
    concepts = {each.name: each for each in report.concepts}
    steps = {(run.name, each.name): each.step for run in report.runs for each in run.checkpoints}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns(report))
    blank = [""] * (len(columns(report)) - len(_NAMES))
    for cell in report.cells:
        names = _names(report, cell, concepts[cell.concept], steps[cell.run, cell.checkpoint])
        numbers = blank if cell.measurement is None else _numbers(cell.measurement)
        writer.writerow([*names, *rounded(numbers)])
    return text.getvalue()


def _names(report: Report, cell: Cell, concept: ConceptSummary, step: int | None) -> list[object]:
    return [
        cell.run,
        report.variant,
        cell.concept,
        concept.family,
        concept.kind,
        concept.metric,
        cell.layer,
        cell.checkpoint,
        step,
        cell.width,
        cell.refused,
    ]


def _numbers(it: Measurement) -> list[object]:
    return [
        *(getattr(it, name) for name in _NUMBERS),
        it.baseline,
        it.is_above_controls,
        it.is_below_controls,
        untrained_mean(it),
        *it.random_init,
        *_other(it.self_play),
        *_other(it.harder),
    ]


def _other(gain: Gain | None) -> list[object]:
    return [None] * len(_OTHER) if gain is None else [getattr(gain, name) for name in _OTHER]
