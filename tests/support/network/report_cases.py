"""Reports made up for tests of what is written from them: no network, no probe."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.probing.report.results import (
    Cell,
    CheckpointSummary,
    ClassCount,
    Combined,
    ConceptSummary,
    Counts,
    Emergence,
    ExampleBoard,
    Examples,
    Gain,
    Measurement,
    Report,
    RunSummary,
)

LAYERS = ("embed", "block.0.residual", "block.1.residual", "final", "value.hidden")
STEPS = (0, 24, 101, 399, 1551)


@dataclass(frozen=True, kw_only=True)
class Made:
    """How a concept of a made-up report turns out."""

    # Its gain at the best layer of the last checkpoint; smaller before and at other layers.
    gain: float = 0.3
    # Controls.
    raw_input: float = 0.4
    untrained: float = 0.3
    majority: float = 0.0
    # Half the pointwise interval; the corrected one is twice as wide.
    half: float = 0.02
    # Place of training from which on there is a gain at all.
    since: int = 1
    family: str = "material"
    kind: str = "real"
    definition: str = "A made-up concept."
    # Why all its cells are refused, or why it is not measured at all.
    refused: str | None = None
    absent: str | None = None
    # The gain with signatures held out, and on positions of self-play; None for none.
    harder: float | None = 0.1
    self_play: float | None = 0.1


def made_up_report(
    concepts: Mapping[str, Made],
    *,
    runs: Sequence[str] = ("runs/a",),
    layers: Sequence[str] = LAYERS,
    steps: Sequence[int | None] = STEPS,
    size: tuple[int, int] = (4, 4),
    examples: int = 3,
) -> Report:
    """A report of which every number follows from `concepts`."""
    summaries = tuple(
        RunSummary(
            name=run,
            checkpoints=tuple(
                CheckpointSummary(name=f"{place:08d}", role=_role(place, len(steps)), step=step)
                for place, step in enumerate(steps)
            ),
        )
        for run in runs
    )
    measured = {name: made for name, made in concepts.items() if made.absent is None}
    places = range(len(steps))
    cells = tuple(
        _cell(run, name, made, layer, layers, place, len(steps), index)
        for index, run in enumerate(runs)
        for name, made in measured.items()
        for place in places
        for layer in layers
    )
    return Report(
        runs=summaries,
        variant="hexapawn4x4",
        width=size[0],
        height=size[1],
        letters=((1, "P"), (2, "N"), (6, "K")),
        network="transformer, 4 blocks of 64 channels, 4 heads, 200,000 parameters",
        readout="mean+max",
        seed=0,
        random_seeds=(1, 2, 3, 4, 5),
        resamples=1000,
        confidence=0.95,
        counts=Counts(
            source="all 4,942 reachable unfinished positions of the solved game",
            census=True,
            rows=4942,
            distinct=1300,
            train_rows=3500,
            train_distinct=900,
            test_rows=1442,
            test_distinct=400,
            test_games=None,
            test_self_play=300,
            split_by="canonical position",
            harder_by="material signature",
            harder_groups=16,
            harder_test_groups=5,
        ),
        layers=tuple(layers),
        concepts=tuple(_summary(name, made) for name, made in concepts.items()),
        cells=cells,
        combined=_combined(cells, runs, measured, layers, places) if len(runs) > 1 else (),
        emergence=_emergence(measured, steps, len(runs)),
        examples=tuple(
            _examples(name, made, layers, size, examples)
            for name, made in measured.items()
            if made.refused is None
        ),
        seconds=12.3,
    )


def _role(place: int, count: int) -> str:
    if count == 1:
        return "only"
    return "first" if place == 0 else "last" if place == count - 1 else ""


def _summary(name: str, made: Made) -> ConceptSummary:
    is_number = made.kind in ("real", "count")
    counts = () if is_number else (("no", 2500, 1000), ("yes", 1000, 442))
    return ConceptSummary(
        name=name,
        kind=made.kind,
        metric="R²" if is_number else "balanced accuracy",
        definition=made.definition,
        source="made up",
        family=made.family,
        classes=tuple(ClassCount(name=n, train=a, test=b) for n, a, b in counts),
        mean=1.25 if is_number else None,
        spread=0.5 if is_number else None,
        absent=made.absent,
    )


def _share(made: Made, layer: int, layers: int, place: int, places: int) -> float:
    """Part of the gain: rising over training, the largest in the last layer but one."""
    if place < made.since:
        return 0.0
    over_training = (place - made.since + 1) / (places - made.since)
    best = max(layers - 2, 0)
    return over_training * (1 - 0.15 * abs(layer - best))


def _cell(
    run: str,
    name: str,
    made: Made,
    layer: str,
    layers: Sequence[str],
    place: int,
    places: int,
    index: int,
) -> Cell:
    gain = made.gain * _share(made, layers.index(layer), len(layers), place, places)
    gain *= 1 + 0.01 * index
    baseline = max(made.raw_input, made.untrained)
    measurement = Measurement(
        score=baseline + gain,
        auc=None if made.kind == "real" else 0.9,
        training_score=min(baseline + gain + 0.05, 1.0),
        penalty=0.1,
        majority=made.majority,
        raw_input=made.raw_input,
        random_init=tuple(made.untrained + 0.01 * offset for offset in (-2, -1, 0, 1, 2)),
        shuffled_labels=made.majority,
        control_task_training=made.majority + 0.1,
        control_task=made.majority,
        selectivity=baseline + gain - made.majority,
        bits=0.5 - gain,
        bits_raw_input=0.6,
        bits_random_init=0.7,
        bits_marginal=0.9,
        gain=gain,
        gain_low=gain - made.half,
        gain_high=gain + made.half,
        corrected_low=gain - 2 * made.half,
        corrected_high=gain + 2 * made.half,
        self_play=_other(made.self_play, baseline, 300),
        harder=_other(made.harder, baseline, 1000),
    )
    return Cell(
        run=run,
        concept=name,
        layer=layer,
        checkpoint=f"{place:08d}",
        width=128,
        measurement=None if made.refused else measurement,
        refused=made.refused,
    )


def _other(gain: float | None, baseline: float, rows: int) -> Gain | None:
    if gain is None:
        return None
    ends = {"gain_low": gain - 0.05, "gain_high": gain + 0.05}
    return Gain(score=baseline + gain, baseline=baseline, gain=gain, rows=rows, **ends)


def _combined(
    cells: Sequence[Cell],
    runs: Sequence[str],
    concepts: Mapping[str, Made],
    layers: Sequence[str],
    places: range,
) -> tuple[Combined, ...]:
    found = {(each.run, each.concept, each.layer, each.checkpoint): each for each in cells}
    combined = []
    for name, made in concepts.items():
        for place in places:
            for layer in layers:
                own = [found[run, name, layer, f"{place:08d}"].measurement for run in runs]
                gains = tuple(each.gain for each in own if each is not None)
                if not gains:
                    continue
                mean = float(np.mean(gains))
                combined.append(
                    Combined(
                        concept=name,
                        layer=layer,
                        place=place,
                        gains=gains,
                        gain=mean,
                        gain_low=mean - made.half,
                        gain_high=mean + made.half,
                        corrected_low=mean - 2 * made.half,
                        corrected_high=mean + 2 * made.half,
                    )
                )
    return tuple(combined)


def _emergence(
    concepts: Mapping[str, Made], steps: Sequence[int | None], runs: int
) -> tuple[Emergence, ...]:
    appears = sorted(
        (made.since if made.gain > 2 * made.half and not made.refused else len(steps), name)
        for name, made in concepts.items()
    )
    return tuple(
        Emergence(
            concept=name,
            places=(place if place < len(steps) else None,) * runs,
            steps=(steps[place] if place < len(steps) else None,) * runs,
            rank=float(rank),
            rank_low=max(rank - 0.4, 1.0),
            rank_high=rank + 0.4,
        )
        for rank, (place, name) in enumerate(appears, 1)
    )


def _examples(
    name: str, made: Made, layers: Sequence[str], size: tuple[int, int], count: int
) -> Examples:
    rng = np.random.default_rng(0)
    squares = size[0] * size[1]

    def boards() -> tuple[ExampleBoard, ...]:
        return tuple(
            ExampleBoard(
                codes=tuple(int(code) for code in rng.choice([0, 0, 1, 17, 6, 22], squares)),
                label=float(rng.integers(2)),
                prediction=float(rng.random()),
                square=None,
            )
            for _ in range(count)
        )

    return Examples(
        concept=name, layer=layers[-2:][0], highest=boards(), lowest=boards(), wrong=boards()
    )


def with_sections(report: Report, **sections: object) -> Report:
    """The same report with results of analyses."""
    return dataclasses.replace(report, sections=sections)
