"""The pictures of a report: what-when-where maps, scores over training, order of appearance."""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from engine.probing.report.drawing.bars import bars
from engine.probing.report.drawing.heat_map import heat_map, small_map
from engine.probing.report.drawing.line_chart import Line, line_chart
from engine.probing.report.drawing.positions import piece_symbols, small_board
from engine.probing.report.grid import Grid, short_layer
from engine.probing.report.results import Combined, ConceptSummary, ExampleBoard, Report
from engine.probing.report.verdicts import Verdict
from engine.probing.report.words import CONTROL_FAMILY, appears

FULL: Final = 0.3
"""A gain from here on has the strongest colour."""
_BLACK: Final = 16
"""Piece codes of the opponent have this bit."""


def in_families(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those of one family together; families, and concepts in each, that have supported gains
    first, the largest before others. Control concepts are the last family."""

    def place(each: Verdict) -> tuple[bool, float]:
        return not each.is_supported, -(each.best.gain if each.best else -1.0)

    families: dict[str, list[Verdict]] = {}
    for each in sorted(verdicts, key=place):
        families.setdefault(each.concept.family, []).append(each)
    controls = families.pop(CONTROL_FAMILY, [])
    return [each for family in (*families.values(), controls) for each in family]


def family_counts(ordered: Sequence[Verdict]) -> list[tuple[str, int]]:
    """Each family with the number of its concepts."""
    families = [each.concept.family for each in ordered]
    return [(family, families.count(family)) for family in dict.fromkeys(families)]


def layer_map(grid: Grid, ordered: Sequence[Verdict]) -> Markup:
    """Concepts by layer at the last checkpoint."""
    layers = grid.report.layers
    keys = [[(each.concept.name, layer, grid.last) for layer in layers] for each in ordered]
    columns = [short_layer(layer) for layer in layers]
    title = f"Gain by concept and layer at {grid.step(grid.last)}"
    return _map(grid, ordered, keys, columns, title, cell=(max(40, 320 // len(layers)), 21))


def step_map(grid: Grid, ordered: Sequence[Verdict]) -> Markup:
    """Concepts by training step, each at its best layer."""
    keys = [
        [(each.concept.name, best_layer(grid, each), k) for k in grid.places] for each in ordered
    ]
    columns = [step_label(grid, place) for place in grid.places]
    title = "Gain by concept and training step, each concept at its best layer"
    return _map(grid, ordered, keys, columns, title, cell=(24, 21), digits=None)


def _map(
    grid: Grid,
    ordered: Sequence[Verdict],
    keys: Sequence[Sequence[tuple[str, str, int]]],
    columns: Sequence[str],
    title: str,
    *,
    cell: tuple[int, int],
    digits: int | None = 2,
) -> Markup:
    points = [[grid.point(*key) for key in row] for row in keys]
    return heat_map(
        title,
        [each.concept.name for each in ordered],
        columns,
        [[point.gain if point else None for point in row] for row in points],
        low=[[point.corrected_low if point else None for point in row] for row in points],
        high=[[point.corrected_high if point else None for point in row] for row in points],
        clear=[[point is not None and point.is_clear for point in row] for row in points],
        refused=[[grid.refusal(*key) for key in row] for row in keys],
        full=FULL,
        unit="gain",
        cell=cell,
        digits=digits,
        groups=[(family or "other", count) for family, count in family_counts(ordered)],
        class_="surface",
    )


def best_layer(grid: Grid, verdict: Verdict) -> str:
    """Where the concept's gain is largest; the first layer where all is refused."""
    return verdict.best.layer if verdict.best is not None else grid.report.layers[0]


def step_label(grid: Grid, place: int) -> str:
    """The step in figures, or the checkpoint's name."""
    return grid.step(place).removeprefix("step ")


def concept_map(grid: Grid, concept: ConceptSummary) -> Markup:
    """Layers, the last on top, by training step, without labels."""
    layers = list(reversed(grid.report.layers))
    points = [[grid.point(concept.name, layer, k) for k in grid.places] for layer in layers]
    return small_map(
        f"{concept.name}: gain by layer and training step",
        [[point.gain if point else None for point in row] for row in points],
        clear=[[point is not None and point.is_clear for point in row] for row in points],
        refused=[[grid.refusal(concept.name, layer, k) for k in grid.places] for layer in layers],
        full=FULL,
        cell=(22, 20),
    )


def score_chart(grid: Grid, verdict: Verdict) -> Markup:
    """Score at the best layer over training, with the interval of its gain, beside the controls."""
    if verdict.best is None:
        return Markup()
    layer, places = verdict.best.layer, grid.places
    points = [grid.point(verdict.concept.name, layer, place) for place in places]
    averages = [grid.averages(point) if point else None for point in points]

    def moved(offset: str) -> list[float | None]:
        return [
            None if a is None or p is None else a.score - p.gain + getattr(p, offset)
            for a, p in zip(averages, points, strict=True)
        ]

    low, high = moved("corrected_low"), moved("corrected_high")
    floor = min(0.0, *(a.score for a in averages if a is not None)) - 0.02
    line = Line(
        name=short_layer(layer),
        values=[None if a is None else a.score for a in averages],
        # Scores have bounds that the interval of a gain does not know.
        low=[None if each is None else max(each, floor) for each in low],
        high=[None if each is None else min(each, 1.0) for each in high],
    )
    known = next(a for a in averages if a is not None)
    last = next(a for a in reversed(averages) if a is not None)
    levels = [("raw input", known.raw_input), ("untrained", last.untrained)]
    if known.majority > 0.0:
        levels.append(("guessing", known.majority))
    return line_chart(
        f"{verdict.concept.name}: {verdict.concept.metric} over training at {layer}",
        axis_steps(grid),
        [line],
        levels=levels,
        axis="log" if has_steps(grid) else "ordinal",
        x_name="training step" if has_steps(grid) else "checkpoint",
        y_name=verdict.concept.metric,
        size=(400, 210),
    )


def has_steps(grid: Grid) -> bool:
    """Whether the steps of all checkpoints are known and ascend."""
    steps = [each.step for each in grid.checkpoints]
    known = [step for step in steps if step is not None]
    return len(known) == len(steps) and known == sorted(set(known))


def axis_steps(grid: Grid) -> list[float]:
    """Steps of training, or the numbers of the checkpoints."""
    if not has_steps(grid):
        return [float(place + 1) for place in grid.places]
    return [float(each.step or 0) for each in grid.checkpoints]


def order_chart(report: Report) -> Markup:
    """Ranks of the concepts that appear, with their intervals."""
    shown = [each for each in report.emergence if appears(each)]
    sure = f"{report.confidence:.0%} interval"
    return bars(
        "Order in which concepts appear in training",
        [each.concept for each in shown],
        [each.rank for each in shown],
        low=[each.rank_low for each in shown],
        high=[each.rank_high for each in shown],
        x_name=f"rank of {len(report.emergence)}, 1 the first, with its {sure}",
        digits=1,
        dots=True,
        width=600,
    )


def family_chart(grid: Grid, verdicts: Sequence[Verdict]) -> Markup:
    """For each family the share of its concepts with a gain clear of zero, over training."""
    lines = []
    for family, count in family_counts(in_families(verdicts)):
        own = [each.concept.name for each in verdicts if each.concept.family == family]
        clear = [
            sum(any(point.is_above for point in grid.points(name, place)) for name in own)
            for place in grid.places
        ]
        lines.append(Line(name=f"{family or 'other'} ({count})", values=[n / count for n in clear]))
    return line_chart(
        "Share of each family's concepts that are clear of zero, by training step",
        axis_steps(grid),
        lines,
        axis="log" if has_steps(grid) else "ordinal",
        x_name="training step" if has_steps(grid) else "checkpoint",
        y_name="share of concepts clear of zero",
        y_range=(0.0, 1.0),
        digits=2,
        size=(680, 60 + max(200, 16 * len(lines))),
    )


def symbols(report: Report) -> Markup:
    """Pieces of the variant, for the boards of examples."""
    return piece_symbols([letter for _, letter in report.letters])


def example_board(report: Report, example: ExampleBoard, words: str) -> Markup:
    """A position as its side to move sees it, whose pieces are light."""
    letters = dict(report.letters)
    pieces = [_letter(letters, code) for code in example.codes]
    return small_board(words, pieces, report.width, report.height, marked=example.square)


def label_words(concept: ConceptSummary, label: float) -> str:
    """A label in words: the class of a binary concept by its name."""
    if concept.kind == "binary" and len(concept.classes) == 2:
        return concept.classes[int(label)].name
    return f"{label:.3g}".replace("-", "−")


def _letter(letters: dict[int, str], code: int) -> str:
    if code == 0:
        return ""
    letter = letters.get(code & ~_BLACK, "?")
    return letter.lower() if code & _BLACK else letter.upper()


def gains_of_runs(point: Combined) -> str:
    """The gain of each run."""
    return ", ".join(f"{gain:+.3f}".replace("-", "−") for gain in point.gains)
