"""A report as one HTML file for a person to read: no script, no address, nothing to load.

The templates beside this module (`*.j2`) hold the words and the layout, this module the numbers.
"""

from collections.abc import Callable
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from engine.probing.report.cells import SMALLEST_GAIN, Measurement, Report
from engine.probing.report.page import render_page
from engine.probing.report.results import Report as SurfaceReport
from engine.probing.report.score_chart import HEIGHT, WIDTH, shared_axis

_FULL_COLOUR: Final = 0.2
"""A gain from here on has the strongest colour."""
_CEILING: Final = 0.99
"""Controls from here on leave nothing to gain."""
_ABOVE, _BELOW = (24, 119, 126), (186, 92, 38)
"""Colours of gains above and below zero: teal and rust, distinct to colour-blind readers."""


def render_html(report: Report | SurfaceReport) -> str:
    """The HTML of a report."""
    if isinstance(report, SurfaceReport):
        return render_page(report)
    environment = Environment(
        loader=PackageLoader("engine.probing.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "colour": _colour,
        "interval": _interval,
        "plain": _plain,
        "short": _short,
        "signed": _signed,
    }
    environment.filters.update(filters)
    values: dict[str, Any] = {
        "report": report,
        "first": report.checkpoints[0],
        "last": report.checkpoints[-1],
        "measured": [each for each in report.concepts if each.absent is None],
        "absent": [each for each in report.concepts if each.absent is not None],
        "smallest_gain": SMALLEST_GAIN,
        "ceiling": _CEILING,
        "shared_axis": shared_axis,
        "chart_width": WIDTH,
        "chart_height": HEIGHT,
    }
    # Globals, so that the imported templates see them too.
    environment.globals.update(values)
    return environment.get_template("report.html.j2").render()


def _colour(measurement: Measurement) -> str:
    """Style of a gain: background and text, without a background where it is none."""
    if not (measurement.is_above_controls or measurement.is_below_controls):
        return "color:#6b7280"
    red, green, blue = _ABOVE if measurement.is_above_controls else _BELOW
    strength = min(abs(measurement.gain) / _FULL_COLOUR, 1.0)
    opacity = 0.14 + 0.76 * strength
    text = "#fff" if opacity > 0.55 else "#111827"
    return f"background:rgba({red},{green},{blue},{opacity:.2f});color:{text};font-weight:600"


def _interval(measurement: Measurement) -> str:
    low, high = _signed(measurement.gain_low, 3), _signed(measurement.gain_high, 3)
    return f"{_signed(measurement.gain, 3)} ({low} to {high})"


def _signed(number: float, digits: int = 2) -> str:
    if round(number, digits) == 0:
        return f"{0:.{digits}f}"
    return f"{number:+.{digits}f}".replace("-", "−")


def _plain(number: float) -> str:
    return _signed(number).removeprefix("+")


def _short(layer: str) -> str:
    """A layer's name for a narrow column."""
    return layer.replace("block.", "b").replace(".residual", "").replace(".hidden", "")
