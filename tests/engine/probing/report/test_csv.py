"""The table of all cells has a row a cell and every number, whatever the names hold."""

import csv
import dataclasses
import io

import pytest

from engine.probing.report.csv import to_csv
from engine.probing.report.results import Gain, Measurement
from tests.support.network.report_cases import LAYERS, STEPS, Made, made_up_report


def test_the_table_has_every_cell_and_number() -> None:
    names = ["plain", 'a, "b"\nc', "rare"]
    made = {name: Made(refused="refused: rare" if name == "rare" else None) for name in names}
    report = made_up_report(made | {"gone": Made(absent="no")}, runs=("x", "y"))
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert len(rows) == len(report.cells) == 2 * 3 * len(LAYERS) * len(STEPS)
    assert {row["concept"] for row in rows} == set(names)
    for row, cell in zip(rows, report.cells, strict=True):
        keys = ("run", "concept", "layer", "checkpoint")
        assert [row[key] for key in keys] == [getattr(cell, key) for key in keys]
        assert row["step"] == str(STEPS[int(cell.checkpoint)])
        if cell.measurement is None:
            assert row["refused"] == "refused: rare"
            assert row["gain"] == row["harder_gain"] == row["random_init_5"] == ""
            continue
        it = cell.measurement
        for field in dataclasses.fields(Measurement):
            value = getattr(it, field.name)
            if isinstance(value, float):
                assert row[field.name] == str(float(f"{value:.6g}")), field.name
        assert row["auc"] == ""
        untrained = [float(row[f"random_init_{seed}"]) for seed in range(1, 6)]
        assert untrained == pytest.approx(it.random_init, rel=1e-5)
        assert float(row["random_init_mean"]) == pytest.approx(0.3)
        assert row["is_above_controls"] == str(it.is_above_controls)
        assert it.harder is not None
        for field in dataclasses.fields(Gain):
            value = pytest.approx(getattr(it.harder, field.name), rel=1e-5)
            assert float(row[f"harder_{field.name}"]) == value


def test_what_was_not_measured_is_empty() -> None:
    report = made_up_report({"a": Made(harder=None, self_play=None)}, steps=(None,))
    row = next(csv.DictReader(io.StringIO(to_csv(report))))
    assert row["step"] == row["harder_gain"] == row["self_play_rows"] == ""
    assert row["gain"]
