"""The scale of a score chart: one layer's scores at every checkpoint, on an axis with the controls.

All layers of a concept share an axis, so that their charts stand under each other as one:

              chance            raw input
                :      ======       |     o---(*)---
                :     untrained     |   first   last, with its interval

`score_chart.svg.j2` draws it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.probing.report.cells import Measurement

WIDTH: Final = 384
HEIGHT: Final = 38
_MARGIN: Final = 14
_LOWEST: Final = -0.25
"""R² has no lower bound; lower scores are drawn here."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A scale from scores to pixels."""

    # Score at the left end.
    low: float
    # Score at the right end.
    high: float

    def x(self, score: float) -> float:
        """Pixels from the left; a score beyond the scale is drawn at its end."""
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
