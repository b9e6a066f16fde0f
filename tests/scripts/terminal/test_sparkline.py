"""A curve in one line of text."""

import io

import pytest

from scripts.terminal.sparkline import sparkline


def test_a_curve_in_a_line_has_the_last_value_of_each_part_of_the_time() -> None:
    text = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    curve = [(0.0, 0.0), (1.0, 0.2), (2.0, 0.5), (3.0, 0.999), (4.0, 1.0)]
    assert sparkline(curve, 9, text) == "▁▂▄▇█"
    assert sparkline(curve, 2, text) == "▄█"
    # Measured often at first: a third of the time is a third of the line.
    assert sparkline([(0.1 * n, 0.0) for n in range(10)] + [(3.0, 1.0)], 3, text) == "▁▁█"
    assert sparkline([(0.0, 0.5)], 9, text) == "▄"
    assert sparkline([], 9, text) == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_curve_is_drawn_in_what_the_stream_can_show(encoding: str) -> None:
    text = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    drawn = sparkline([(float(n), n / 7) for n in range(8)], 8, text)
    assert drawn == "_.:-=+*#"
    text.write(drawn)
    text.flush()
