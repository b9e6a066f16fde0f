"""The picture of one layer: a probe's score at every checkpoint on one axis with its controls.

All layers of a concept share an axis, so that strips stand under each other as one chart:

              chance            raw input
                :      ======       |     o---(*)---
                :     untrained     |   first   last, with its interval

SVG as text, for a page that holds it inline.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from engine.probing.report.cells import Cell, Measurement

WIDTH: Final = 384
HEIGHT: Final = 38
_MARGIN: Final = 14
_LOWEST: Final = -0.25
"""R² has no floor; what lies lower is drawn here."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A scale from scores to pixels."""

    # Score at the left end.
    low: float
    # Score at the right end.
    high: float

    def x(self, score: float) -> float:
        """Pixels from the left; what is off the scale stands at its end."""
        inside = min(max(score, self.low), self.high)
        share = (inside - self.low) / (self.high - self.low)
        return round(_MARGIN + share * (WIDTH - 2 * _MARGIN), 1)

    def ticks(self) -> list[float]:
        """Round scores for labels, at most six."""
        step = next(s for s in (0.05, 0.1, 0.2, 0.25, 0.5) if (self.high - self.low) / s <= 6)
        first = round(self.low / step + 0.499)
        return [round(i * step, 2) for i in range(first, int(self.high / step + 1e-9) + 1)]


def shared_axis(measurements: Sequence[Measurement]) -> Axis:
    """Wide enough for every score and control of these measurements."""
    lowest = min(
        min(each.score, each.majority, each.raw_input, each.gain_low + each.baseline)
        for each in measurements
    )
    lowest = min(lowest, *(min(each.random_init) for each in measurements))
    return Axis(low=max(lowest - 0.02, _LOWEST), high=1.0)


def axis_svg(axis: Axis) -> str:
    """The labels over a column of strips."""
    labels = "".join(
        f'<text x="{axis.x(tick)}" y="11" text-anchor="middle">{tick:g}</text>'
        f'<line class="tick" x1="{axis.x(tick)}" y1="15" x2="{axis.x(tick)}" y2="20"/>'
        for tick in axis.ticks()
    )
    return f'<svg class="axis" width="{WIDTH}" height="20" role="presentation">{labels}</svg>'


def strip_svg(axis: Axis, cells: Sequence[Cell]) -> str:
    """One layer's strip; `cells` are its checkpoints in the order of training."""
    measured = [(cell, cell.measurement) for cell in cells if cell.measurement is not None]
    if not measured:
        return ""
    controls = measured[0][1]
    middle = HEIGHT / 2
    marks = [
        "".join(_line("grid", axis.x(tick)) for tick in axis.ticks()),
        _line("chance", axis.x(controls.majority)),
        _line("raw", axis.x(controls.raw_input)),
        _untrained(axis, controls, middle),
    ]
    for index, (cell, measurement) in enumerate(measured):
        is_last = index == len(measured) - 1
        y = middle + 6 if is_last else middle - 6
        marks.append(_score(axis, cell, measurement, y, "last" if is_last else "first"))
    label = escape(f"{cells[0].concept}, {cells[0].layer}")
    return (
        f'<svg class="strip" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(marks)}</svg>"
    )


def _line(kind: str, x: float) -> str:
    return f'<line class="{kind}" x1="{x}" y1="0" x2="{x}" y2="{HEIGHT}"/>'


def _untrained(axis: Axis, measurement: Measurement, middle: float) -> str:
    left, right = axis.x(min(measurement.random_init)), axis.x(max(measurement.random_init))
    mean = axis.x(sum(measurement.random_init) / len(measurement.random_init))
    width = max(round(right - left, 1), 2.0)
    scores = " ".join(f"{score:.3f}" for score in measurement.random_init)
    return (
        f'<g><title>untrained networks: {scores}</title><rect class="untrained" x="{left}" '
        f'y="{middle - 12}" width="{width}" height="24" rx="2"/>'
        f'<line class="untrained-mean" x1="{mean}" y1="{middle - 12}" x2="{mean}" '
        f'y2="{middle + 12}"/></g>'
    )


def _score(axis: Axis, cell: Cell, measurement: Measurement, y: float, kind: str) -> str:
    baseline = measurement.baseline
    low, high = axis.x(baseline + measurement.gain_low), axis.x(baseline + measurement.gain_high)
    title = escape(f"{cell.checkpoint}: {measurement.score:.3f}")
    return (
        f'<g class="{kind}"><title>{title}</title>'
        f'<line x1="{low}" y1="{y}" x2="{high}" y2="{y}"/>'
        f'<circle cx="{axis.x(measurement.score)}" cy="{y}" r="4.5"/></g>'
    )
