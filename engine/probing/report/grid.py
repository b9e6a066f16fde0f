"""One figure for each concept, layer and place of training: of one run, or over all of them.

A *place* is the index of a checkpoint in its run. Where there are several runs, a figure is their
mean gain, with the interval over training seeds; else it is the gain of the only run.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from engine.probing.report.results import (
    Cell,
    CheckpointSummary,
    Combined,
    ConceptSummary,
    Measurement,
    Report,
)


@dataclass(frozen=True, kw_only=True)
class Averages:
    """Scores of the cells of all runs at one point, averaged."""

    score: float
    majority: float
    raw_input: float
    untrained: float

    @property
    def baseline(self) -> float:
        """The better control."""
        return max(self.raw_input, self.untrained)


class Grid:
    """The figures of a report, by place."""

    def __init__(self, report: Report) -> None:
        self.report = report
        places = {
            (run.name, checkpoint.name): place
            for run in report.runs
            for place, checkpoint in enumerate(run.checkpoints)
        }
        self._cells: dict[tuple[str, str, int], list[Cell]] = defaultdict(list)
        for cell in report.cells:
            place = places[cell.run, cell.checkpoint]
            self._cells[cell.concept, cell.layer, place].append(cell)
        self._points = {
            (each.concept, each.layer, each.place): each for each in self._all_points(report)
        }

    def _all_points(self, report: Report) -> list[Combined]:
        if len(report.runs) > 1:
            return list(report.combined)
        return [
            _point(key, cell.measurement)
            for key, (cell, *_) in self._cells.items()
            if cell.measurement is not None
        ]

    @property
    def checkpoints(self) -> tuple[CheckpointSummary, ...]:
        """Those of the first run, one for each place."""
        return self.report.checkpoints

    @property
    def places(self) -> range:
        """All places of training."""
        return range(len(self.checkpoints))

    @property
    def last(self) -> int:
        """The last place."""
        return len(self.checkpoints) - 1

    @property
    def measured(self) -> tuple[ConceptSummary, ...]:
        """Concepts that are not absent."""
        return tuple(each for each in self.report.concepts if each.absent is None)

    @property
    def absent(self) -> tuple[ConceptSummary, ...]:
        """The others."""
        return tuple(each for each in self.report.concepts if each.absent is not None)

    @property
    def count(self) -> int:
        """Figures in all."""
        return len(self._points)

    def point(self, concept: str, layer: str, place: int) -> Combined | None:
        """The figure; None where it is refused."""
        return self._points.get((concept, layer, place))

    def points(self, concept: str, place: int | None = None) -> list[Combined]:
        """Those of a concept, at one place or at all, in the order of training and layers."""
        places = self.places if place is None else (place,)
        keys = ((concept, layer, each) for each in places for layer in self.report.layers)
        return [found for key in keys if (found := self._points.get(key)) is not None]

    def cells(self, concept: str, layer: str, place: int) -> Sequence[Cell]:
        """The cell of each run."""
        return self._cells.get((concept, layer, place), ())

    def refusal(self, concept: str, layer: str, place: int) -> str | None:
        """Why there is no figure; None where there is one, or where nothing was tried."""
        if self.point(concept, layer, place) is not None:
            return None
        return next((each.refused for each in self.cells(concept, layer, place)), None)

    def best(self, concept: str, place: int | None = None) -> Combined | None:
        """The largest gain, at one place or at all; one that is clear before one that is not."""
        found = self.points(concept, place)
        return max(found, key=lambda point: (point.is_above, point.gain), default=None)

    def first(self, concept: str) -> Combined | None:
        """The largest gain of the first place where some layer's gain is clear of zero."""
        above = [point for point in self.points(concept) if point.is_above]
        if not above:
            return None
        return max((p for p in above if p.place == above[0].place), key=lambda point: point.gain)

    def averages(self, point: Combined) -> Averages:
        """Scores at a point, over the runs."""
        found = [
            cell.measurement
            for cell in self.cells(point.concept, point.layer, point.place)
            if cell.measurement is not None
        ]
        count = len(found)
        return Averages(
            score=sum(each.score for each in found) / count,
            majority=sum(each.majority for each in found) / count,
            raw_input=sum(each.raw_input for each in found) / count,
            untrained=sum(untrained_mean(each) for each in found) / count,
        )

    def step(self, place: int) -> str:
        """`step 1,551`, or the checkpoint's name where its step is not known."""
        return step_words(self.checkpoints[place])


def untrained_mean(measurement: Measurement) -> float:
    """Mean score of the untrained networks."""
    return sum(measurement.random_init) / len(measurement.random_init)


def step_words(checkpoint: CheckpointSummary) -> str:
    """`step 1,551`, or the checkpoint's name where its step is not known."""
    return checkpoint.name if checkpoint.step is None else f"step {checkpoint.step:,}"


def short_runs(names: Iterable[str]) -> dict[str, str]:
    """Names of runs without their folders, or with as many of these as tell them apart."""
    names = set(names)
    return {name: _short_run(name, names - {name}) for name in names}


def _short_run(name: str, others: Collection[str]) -> str:
    parts = PurePath(name).parts
    for count in range(1, len(parts)):
        last = parts[-count:]
        if all(PurePath(other).parts[-count:] != last for other in others):
            return str(PurePath(*last))
    return name


def run_names(report: Report) -> list[str]:
    """The short name of each run."""
    short = short_runs(run.name for run in report.runs)
    return [short[run.name] for run in report.runs]


def short_layer(layer: str) -> str:
    """A layer's name for a narrow column."""
    return layer.replace("block.", "b").replace(".residual", "").replace(".hidden", "")


def _point(key: tuple[str, str, int], found: Measurement) -> Combined:
    concept, layer, place = key
    return Combined(
        concept=concept,
        layer=layer,
        place=place,
        gains=(found.gain,),
        gain=found.gain,
        gain_low=found.gain_low,
        gain_high=found.gain_high,
        corrected_low=found.corrected_low,
        corrected_high=found.corrected_high,
    )
