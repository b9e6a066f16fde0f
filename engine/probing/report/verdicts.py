"""For each concept, by rule: whether a gain is supported, else why not.

A concept is *supported* where some cell's gain over both controls is at least `SMALLEST_GAIN` and
its interval, corrected for all cells of the report, is above zero. Otherwise the reason is the
first of `REASONS` that holds at the cell with the largest gain.
"""

from dataclasses import dataclass
from typing import Final, Literal

from engine.probing.report.drawing.svg import plain, signed
from engine.probing.report.grid import Averages, Grid
from engine.probing.report.results import SMALLEST_GAIN, Combined, ConceptSummary

Status = Literal["supported", "refused", "chance", "raw input", "untrained", "spans", "corrected"]
REASONS: Final[dict[Status, str]] = {
    "refused": "too few data",
    "chance": "no better than guessing",
    "raw input": "raw input shows as much",
    "untrained": "untrained networks show as much",
    "spans": "the interval spans zero",
    "corrected": "clear of zero alone, not after correction",
}
"""Why a concept is not supported."""
NEAR_CHANCE: Final = 0.02
"""A score within this of the majority's, or within half the pointwise interval of the gain, is no
better than guessing."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a report says of one concept."""

    concept: ConceptSummary
    status: Status
    # The cell that it is about: the best one; None where all are refused.
    best: Combined | None
    # Its scores.
    scores: Averages | None
    # The first cell in training that is clear of zero; None where none is.
    first: Combined | None
    # Whether some cell of the last checkpoint is clear of zero.
    holds_at_last: bool
    # The reason in figures.
    words: str

    @property
    def is_supported(self) -> bool:
        """Whether it is."""
        return self.status == "supported"


def verdicts(grid: Grid) -> tuple[Verdict, ...]:
    """Of all concepts that are measured, in the order of the report."""
    return tuple(_verdict(grid, each) for each in grid.measured)


def _verdict(grid: Grid, concept: ConceptSummary) -> Verdict:
    best = grid.best(concept.name)
    scores = None if best is None else grid.averages(best)
    status = _status(best, scores)
    return Verdict(
        concept=concept,
        status=status,
        best=best,
        scores=scores,
        first=grid.first(concept.name),
        holds_at_last=any(point.is_above for point in grid.points(concept.name, grid.last)),
        words=_words(grid, concept, status, best, scores),
    )


def _status(best: Combined | None, scores: Averages | None) -> Status:
    if best is None or scores is None:
        return "refused"
    if best.is_above:
        return "supported"
    chance = max(NEAR_CHANCE, (best.gain_high - best.gain_low) / 2.0)
    if max(scores.score, scores.baseline) - scores.majority < chance:
        return "chance"
    if best.gain < SMALLEST_GAIN:
        return "raw input" if scores.raw_input >= scores.untrained else "untrained"
    return "spans" if best.gain_low <= 0.0 else "corrected"


def _words(
    grid: Grid,
    concept: ConceptSummary,
    status: Status,
    best: Combined | None,
    scores: Averages | None,
) -> str:
    if best is None or scores is None:
        reasons = (
            grid.refusal(concept.name, layer, place)
            for place in grid.places
            for layer in grid.report.layers
        )
        found = next((reason for reason in reasons if reason), "nothing was measured")
        return found.removeprefix("refused: ")
    where = f"{best.layer}, {grid.step(best.place)}"
    controls = f"raw input {plain(scores.raw_input)}, untrained networks {plain(scores.untrained)}"
    own = f"{concept.metric} {plain(scores.score)}"
    if status == "chance":
        return f"{own}, guessing {plain(scores.majority)}"
    if status in ("raw input", "untrained"):
        return f"{own} at best ({where}); {controls}"
    low, high = best.corrected_low, best.corrected_high
    if status == "spans":
        low, high = best.gain_low, best.gain_high
    gain = f"gain {signed(best.gain, 3)} ({signed(low, 3)} to {signed(high, 3)}) at {where}"
    return f"{gain}: {own}, {controls}"
