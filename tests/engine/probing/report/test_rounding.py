"""Figures are written with six digits; what counts is exact."""

import dataclasses
import math
from typing import NamedTuple

import pytest

from engine.probing.report.page import render_page
from engine.probing.report.rounding import rounded
from tests.support.network.report_cases import Made, made_up_report
from tests.support.network.stored_reports import read_back


class Pair(NamedTuple):
    one: float
    other: int


def test_floats_have_six_digits_and_whole_numbers_all() -> None:
    seed = 12345678901
    assert rounded([1 / 3, (2e7 / 3, None), {"a": 1e-9 / 3}, seed, True, "0.123456789"]) == [
        0.333333,
        (6.66667e6, None),
        {"a": 3.33333e-10},
        seed,
        True,
        "0.123456789",
    ]
    assert rounded(Pair(-2 / 3, seed)) == Pair(-0.666667, seed)
    assert math.isnan(rounded(math.nan))
    assert math.copysign(1.0, rounded(-1e-300 / 3)) == -1.0


@pytest.mark.parametrize("runs", [("runs/a",), ("runs/a", "b")])
def test_a_stored_report_gives_the_same_page_and_is_stored_the_same(runs: tuple[str, ...]) -> None:
    made = {
        "thirds": Made(gain=1 / 3, raw_input=1 / 7, half=1 / 90),
        "rare": Made(refused="too few"),
        "gone": Made(absent="no such piece"),
    }
    report = dataclasses.replace(made_up_report(made, runs=runs), seed=2**40 + 1, seconds=100 / 3)
    text = report.to_json()
    again = read_back(text)
    assert (again.seed, again.seconds) == (2**40 + 1, 33.3333)
    assert again.to_json() == text
    assert render_page(again) == render_page(report)
