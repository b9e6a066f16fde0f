"""From numbers to pixels: round ticks, and an axis of steps with a place for step 0."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

AxisKind = Literal["log", "ordinal", "linear"]
"""Of x: by the logarithm, evenly spaced, or by its value."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A linear map from numbers to pixels."""

    # Numbers at the two ends.
    low: float
    high: float
    # Pixels at the two ends; the second may be smaller.
    start: float
    end: float

    def __call__(self, number: float) -> float:
        """Pixels; a number beyond the scale is drawn at its end."""
        inside = min(max(number, self.low), self.high)
        share = (inside - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers for labels, at most so many."""
        return ticks(self.low, self.high, most)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, at most so many."""
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 2.5, 5, 10) if each * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def tick_text(number: float) -> str:
    """A number on an axis."""
    if abs(number) >= 10_000 and number % 1000 == 0:
        return f"{number / 1000:g}k".replace("-", "−")
    return f"{number:g}".replace("-", "−")


def padded_range(
    numbers: Sequence[float], *, least: float = 1e-6, include: Sequence[float] = (0.0,)
) -> tuple[float, float]:
    """Ends of an axis that holds all numbers with a little room; at least `least` apart."""
    numbers = [*numbers, *include] or [0.0, 1.0]
    low, high = min(numbers), max(numbers)
    room = max(0.06 * (high - low), least)
    return (
        low if low in include and low < high else low - room,
        high if high in include and low < high else high + room,
    )


def places(steps: Sequence[float], kind: AxisKind) -> list[float]:
    """Where each of the ascending steps stands, from 0 to 1; 0 has one by the logarithm, too."""
    if kind == "ordinal":
        raw = [float(index) for index in range(len(steps))]
    elif kind == "linear":
        raw = [float(step) for step in steps]
    else:
        positive = [math.log10(step) for step in steps if step > 0]
        first, last = (positive[0], positive[-1]) if positive else (0.0, 1.0)
        before = first - max((last - first) / min(len(positive) or 1, 8), 0.1)
        raw = [math.log10(step) if step > 0 else before for step in steps]
    spread = raw[-1] - raw[0]
    return [(each - raw[0]) / spread if spread else 0.5 for each in raw]


def labelled(at: Sequence[float], wanted: float) -> list[int]:
    """Indices of places [0, 1] that may carry labels `wanted` apart; the two ends always do."""
    if not at:
        return []
    kept = [len(at) - 1]
    for index in reversed(range(len(at) - 1)):
        if at[kept[-1]] - at[index] >= wanted and (index == 0 or at[index] - at[0] >= wanted):
            kept.append(index)
    return kept[::-1]
