"""A report as one HTML file for a person to read: nothing is loaded, and it reads without a script.

The templates in `layout/` hold the words and the layout, other modules the numbers and pictures. An
analysis has its own section: `sections/NAME.html.j2` for the results `report.sections[NAME]`, with

    {% set title = "Logit lens" %}
    {% macro body(section, report) %} … {% endmacro %}

where `section` holds the results as plain values. At hand in every template: the drawing functions,
`Line`, `Arrow`, `Markup`, and the filters `signed`, `plain`, `percent`, `names`, `sentence` and
`short_run` (of a run's name). For thousands of numbers there is `labelled_map` of
`layout/maps.html.j2`.
"""

import importlib.metadata
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateNotFound
from jinja2.bccache import Bucket, BytecodeCache
from markupsafe import Markup

from engine.probing.report import pictures
from engine.probing.report.data import page_data
from engine.probing.report.drawing.bars import bars
from engine.probing.report.drawing.board import Arrow, board
from engine.probing.report.drawing.heat_map import heat_map, small_map
from engine.probing.report.drawing.line_chart import Line, line_chart
from engine.probing.report.drawing.positions import small_board
from engine.probing.report.drawing.svg import clean, plain, signed
from engine.probing.report.grid import Grid, run_names, short_layer, short_runs
from engine.probing.report.results import SMALLEST_GAIN, Report
from engine.probing.report.rounding import rounded
from engine.probing.report.trust import planted_figures, planted_words
from engine.probing.report.verdicts import REASONS
from engine.probing.report.words import (
    absences,
    appears,
    findings,
    joined,
    longer_codes,
    lost_elsewhere,
    order_words,
)

_PACKAGES: Final = ("numpy", "scipy", "torch")
"""Whose versions the methods name."""


class _CompiledTemplates(BytecodeCache):
    """Templates that were compiled for one page, for the next pages of this process."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Hand out what was compiled from the same text."""
        bucket.code = self._found.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it."""
        if bucket.code is not None:
            self._found[bucket.key, bucket.checksum] = bucket.code


_COMPILED: Final = _CompiledTemplates()


def render_page(report: Report) -> str:
    """The HTML of a report, from the figures that are written beside it."""
    report = rounded(report)
    environment = page_environment(report)
    sections = [_section(environment, name, found) for name, found in report.sections.items()]
    text = environment.get_template("layout/page.html.j2").render(sections=sections)
    # Names may hold what no HTML may: control characters and halves of surrogate pairs.
    return clean(text)


def page_environment(report: Report) -> Environment:
    """The templates, with everything that is at hand in them."""
    environment = Environment(
        loader=PackageLoader("engine.probing.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols"],
        bytecode_cache=_COMPILED,
    )
    short = short_runs(run.name for run in report.runs)
    filters: dict[str, Callable[..., Any]] = {
        "signed": signed,
        "plain": plain,
        "percent": percent,
        "names": joined,
        "sentence": sentence,
        "thousandths": thousandths,
        "short": short_layer,
        "short_run": lambda name: short.get(name, name),
    }
    environment.filters.update(filters)
    # Globals, so that imported templates see them too.
    environment.globals.update(_drawing())
    environment.globals.update(_values(report))
    return environment


def _drawing() -> dict[str, Any]:
    functions = (bars, board, heat_map, line_chart, small_board, small_map, Line, Arrow, Markup)
    return {function.__name__: function for function in functions}


def _values(report: Report) -> dict[str, Any]:
    grid = Grid(report)
    found = findings(grid)
    ordered = pictures.in_families([*found.real, *found.controls])
    best = [pictures.best_layer(grid, verdict) for verdict in ordered]
    return {
        "report": report,
        "counts": report.counts,
        "grid": grid,
        "findings": found,
        "absences": absences(grid),
        "ordered": ordered,
        "reasons": REASONS,
        "family_counts": pictures.family_counts(ordered),
        "examples": {each.concept: each for each in report.examples},
        "harder": lost_elsewhere(grid, found, "harder"),
        "self_play": lost_elsewhere(grid, found, "self_play"),
        "longer_codes": longer_codes(grid, found),
        "appearing": [each for each in report.emergence if appears(each)],
        "order_words": order_words(report.families),
        "pictures": pictures,
        "same_steps": len({tuple(c.step for c in run.checkpoints) for run in report.runs}) == 1,
        "run_names": run_names(report),
        "smallest_gain": SMALLEST_GAIN,
        "full": pictures.FULL,
        "versions": versions(),
        "planted": planted_words(planted_figures()),
        "data": Markup(page_data(grid, ordered, best)),
    }


def _section(environment: Environment, name: str, found: Any) -> dict[str, Any]:
    """The title and the body of an analysis; without a template, where its numbers are."""
    try:
        template = environment.get_template(f"sections/{name}.html.j2")
    except TemplateNotFound:
        template = environment.get_template("layout/unknown_section.html.j2")
    module = template.make_module({"name": name})
    # A template's macros are attributes that its class does not declare.
    body = vars(module)["body"](found, environment.globals["report"])
    return {"name": name, "title": getattr(module, "title", name), "body": body}


def percent(share: float, digits: int = 0) -> str:
    """`12 %`; a share below all is never 100 %, one above none never 0 %."""
    text = f"{100 * share:.{digits}f}"
    if share < 1 and float(text) == 100:
        text = f"{100 - 10**-digits:.{digits}f}"
    if share > 0 and float(text) == 0:
        return f"under {10**-digits:.{digits}f} %"
    return f"{text} %"


def sentence(text: str) -> str:
    """The text with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def thousandths(table: Sequence[Sequence[float | None]]) -> list[list[int | None]]:
    """Numbers for the script, as whole thousandths."""
    return [[None if each is None else round(1000 * each) for each in row] for row in table]


def versions() -> str:
    """`pawnscope 0.1.0, numpy 2.4.0, …`, of what is installed."""
    found = []
    for package in ("pawnscope", *_PACKAGES):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
