"""All cells as one compact JSON object, for the page's script.

Numbers are whole thousandths. A column that depends on the concept alone, or on concept and layer,
has only so many entries; the script finds out by its length.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from engine.probing.report.grid import Grid, run_names, short_layer, step_words
from engine.probing.report.results import Cell, Gain, Measurement
from engine.probing.report.verdicts import Verdict

_NUMBERS: Final = (
    "score", "auc", "training_score", "majority", "raw_input", "shuffled_labels",
    "control_task_training", "control_task", "bits", "bits_raw_input", "bits_random_init",
    "bits_marginal", "gain", "gain_low", "gain_high", "corrected_low", "corrected_high",
)  # fmt: skip
_OTHER: Final = ("gain", "gain_low", "gain_high")

Column = list[int | None]


def page_data(grid: Grid, ordered: Sequence[Verdict], best: Sequence[str]) -> str:
    """The JSON text, safe inside a script element.

    `ordered` are the rows of the maps, and `best` the best layer of each.
    """
    report = grid.report
    concepts = [each.name for each in grid.measured]
    layers = list(report.layers)
    cells = _cells(grid, concepts)
    shape = (len(report.runs), len(concepts), len(grid.checkpoints), len(layers))
    reasons = list(dict.fromkeys(cell.refused for cell in cells if cell and cell.refused))
    combined = [grid.point(c, layer, k) for c in concepts for k in grid.places for layer in layers]
    data: dict[str, Any] = {
        "runs": run_names(report),
        "concepts": concepts,
        "metrics": [each.metric for each in grid.measured],
        "steps": [[step_words(c) for c in run.checkpoints] for run in report.runs],
        "layers": layers,
        "short": [short_layer(layer) for layer in layers],
        "rows": [concepts.index(each.concept.name) for each in ordered],
        "best": [layers.index(layer) for layer in best],
        "harder": report.counts.harder_by,
        "confidence": f"{report.confidence:.0%}",
        "reasons": reasons,
        "refused": _shrunk([_index(reasons, cell) for cell in cells], shape),
        "width": _shrunk([cell.width if cell else None for cell in cells], shape),
        "columns": {
            name: _shrunk([_thousandths(number(cell)) for cell in cells], shape)
            for name, number in _readers(len(report.random_seeds)).items()
        },
    }
    if len(report.runs) > 1:
        data["combined"] = [
            [None if p is None else _thousandths(getattr(p, name)) for p in combined]
            for name in ("gain", "gain_low", "gain_high", "corrected_low", "corrected_high")
        ]
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    # No tag can begin or end inside.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _cells(grid: Grid, concepts: Sequence[str]) -> list[Cell | None]:
    """By run, concept, place and layer."""
    found = {
        (run.name, c, k, layer): cell
        for c in concepts
        for k in grid.places
        for layer in grid.report.layers
        for cell in grid.cells(c, layer, k)
        for run in grid.report.runs
        if run.name == cell.run
    }
    return [
        found.get((run.name, c, k, layer))
        for run in grid.report.runs
        for c in concepts
        for k in grid.places
        for layer in grid.report.layers
    ]


def _index(reasons: Sequence[str | None], cell: Cell | None) -> int | None:
    return reasons.index(cell.refused) if cell and cell.refused else None


def _readers(untrained: int) -> dict[str, Callable[[Cell | None], float | None]]:
    """What each column holds of a cell."""

    def number(name: str) -> Callable[[Cell | None], float | None]:
        return lambda cell: getattr(cell.measurement, name) if cell and cell.measurement else None

    def one_of(index: int) -> Callable[[Cell | None], float | None]:
        def read(cell: Cell | None) -> float | None:
            it: Measurement | None = cell.measurement if cell else None
            return it.random_init[index] if it and index < len(it.random_init) else None

        return read

    def other(setting: str, name: str) -> Callable[[Cell | None], float | None]:
        def read(cell: Cell | None) -> float | None:
            it = cell.measurement if cell else None
            gain: Gain | None = getattr(it, setting) if it else None
            return None if gain is None else getattr(gain, name)

        return read

    readers = {name: number(name) for name in _NUMBERS}
    readers |= {f"untrained{index}": one_of(index) for index in range(untrained)}
    for setting in ("self_play", "harder"):
        readers |= {f"{setting}_{name}": other(setting, name) for name in _OTHER}
    return readers


def _thousandths(number: float | None) -> int | None:
    return None if number is None else round(1000 * number)


def _shrunk(column: Column, shape: tuple[int, int, int, int]) -> Column:
    """The column [R * C * K * L], or as [C] or [C * L] where nothing else matters."""
    runs, concepts, places, layers = shape
    by_layer: list[set[int | None]] = [set() for _ in range(concepts * layers)]
    for index, number in enumerate(column):
        concept, layer = index // (layers * places) % concepts, index % layers
        by_layer[concept * layers + layer].add(number)
    if any(len(each) > 1 for each in by_layer) or runs * places == 1:
        return column
    table: Column = [next(iter(each)) if each else None for each in by_layer]
    rows = [table[start : start + layers] for start in range(0, len(table), layers)]
    if layers > 1 and all(len(set(row)) == 1 for row in rows):
        return [row[0] for row in rows]
    return table
