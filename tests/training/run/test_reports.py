"""A run reports every round once and in order, wherever it is killed; compiling does not count."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from numba.core import event

from engine.network.checkpoint import load_tensors, save_tensors
from engine.rules.compilation import compile_time
from engine.rules.compilation.compile_time import working_time
from tests.support.training.run_cases import PLAYED_ROUNDS, SETTINGS, StopHere, Watch, train
from training.data.run_directory import RunDirectory, RunError, read_metrics
from training.evaluation import truth as truth_module
from training.evaluation.truth import TruthCurve
from training.run import state as run_module


def lasting(path: Path) -> list[dict[str, Any]]:
    """The fields of the metrics that follow from the seed."""
    names = ("round", "step", "games", "positions", "losses")
    return [{name: line.get(name) for name in names} for line in read_metrics(path)]


def before_saving(patch: pytest.MonkeyPatch) -> None:
    def stop(path: Path, tensors: Any, header: dict[str, Any]) -> None:
        if header["round"] == 2:
            raise StopHere
        save_tensors(path, tensors, header)

    patch.setattr(run_module, "save_tensors", stop)


def before_reporting(patch: pytest.MonkeyPatch) -> None:
    add = RunDirectory.add_metrics

    def stop(self: RunDirectory, values: dict[str, Any]) -> None:
        if values["round"] == 2:
            raise StopHere
        add(self, values)

    patch.setattr(RunDirectory, "add_metrics", stop)


def while_reporting(patch: pytest.MonkeyPatch) -> None:
    add = RunDirectory.add_metrics

    def stop(self: RunDirectory, values: dict[str, Any]) -> None:
        if values["round"] == 2:
            with self.metrics.open("a") as file:
                file.write(json.dumps(values)[:40])
            raise StopHere
        add(self, values)

    patch.setattr(RunDirectory, "add_metrics", stop)


def while_measuring(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TruthCurve, "measure", measure_so_often(3))


def at_the_beginning(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TruthCurve, "measure", measure_so_often(1))


def measure_so_often(times: int) -> Any:
    measure, left = TruthCurve.measure, [times]

    def stop(self: TruthCurve, evaluator: Any) -> dict[str, float]:
        left[0] -= 1
        if left[0] == 0:
            raise StopHere
        return measure(self, evaluator)

    return stop


def after_reporting(patch: pytest.MonkeyPatch) -> None:
    add = RunDirectory.add_metrics

    def stop(self: RunDirectory, values: dict[str, Any]) -> None:
        add(self, values)
        if values["round"] == 2:
            raise StopHere

    patch.setattr(RunDirectory, "add_metrics", stop)


@pytest.mark.parametrize(
    "kill",
    [
        *(at_the_beginning, before_saving, before_reporting, while_measuring, while_reporting),
        after_reporting,
    ],
)
def test_a_run_killed_anywhere_reports_every_round_once(
    kill: Any, played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        kill(patch)
        assert train(path, Watch()) is None
    train(path, Watch(after=3))
    rounds = read_metrics(path)
    assert [line["round"] for line in rounds] == [0, 1, 2, 3]
    # To the end of the second round it is the same run; then its games are other ones.
    assert lasting(path)[:3] == lasting(played)[:3]
    assert all("truth" in line for line in rounds)
    assert rounds[2]["truth"] == read_metrics(played)[2]["truth"]
    for name in ("seconds", "step", "games", "positions"):
        numbers = [line[name] for line in rounds]
        assert numbers == sorted(set(numbers)), name


def test_lines_of_rounds_that_are_made_again_are_dropped(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write(
            json.dumps(read_metrics(run)[-1] | {"round": PLAYED_ROUNDS + 1, "step": 0}) + "\n"
        )
    train(run, Watch(after=PLAYED_ROUNDS + 1))
    rounds = read_metrics(run)
    assert [line["round"] for line in rounds] == list(range(PLAYED_ROUNDS + 2))
    assert rounds[-1]["step"] > rounds[-2]["step"]


def test_a_state_of_an_older_version_has_no_line(run: Path) -> None:
    tensors, header = load_tensors(run / "learner.safetensors")
    del header["line"]
    save_tensors(run / "learner.safetensors", tensors, header)
    train(run, Watch(after=PLAYED_ROUNDS + 1))
    assert [line["round"] for line in read_metrics(run)] == list(range(PLAYED_ROUNDS + 2))


def test_a_line_that_is_not_reported_survives_a_lost_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        before_reporting(patch)
        train(path, Watch())
        line = load_tensors(path / "learner.safetensors")[1]["line"]
        max((path / "checkpoints").iterdir()).unlink()
        # It is written again, and the session killed where the first one was.
        train(path, Watch())
    assert load_tensors(path / "learner.safetensors")[1]["line"] == line
    train(path, Watch(after=3))
    assert [told["round"] for told in read_metrics(path)] == [0, 1, 2, 3]


def test_empty_lines_are_skipped(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([lines[0], "", *lines[1:]]) + "\n")
    assert [line["round"] for line in read_metrics(run)] == list(range(PLAYED_ROUNDS + 1))
    train(run, Watch(after=PLAYED_ROUNDS + 1))
    assert [line["round"] for line in read_metrics(run)] == list(range(PLAYED_ROUNDS + 2))


@pytest.mark.parametrize("bad", ['{"a": 1}', "[1]", '{"round": "1"}', '{"round": 1', "[" * 99_999])
def test_a_line_of_the_metrics_without_a_round_is_named(bad: str, run: Path) -> None:
    first, *others = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([first, bad, *others]) + "\n")
    with pytest.raises(RunError) as caught:
        train(run, Watch(after=PLAYED_ROUNDS + 1))
    assert f"metrics.jsonl: line 2 is not that of a round ('{bad[:40]}')" in str(caught.value)


class Compiler(Watch):
    """Makes the process compile for a hundred seconds by the clock when a round begins."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(after=2)
        self._late = 0.0
        self.perf_counter = lambda: time.perf_counter() + self._late
        monkeypatch.setattr(compile_time, "time", self)

    def task(self, name: str, total: int) -> None:
        event.start_event("numba:compiler_lock")
        self._late += 100.0
        event.end_event("numba:compiler_lock")


def test_compiling_is_no_part_of_a_runs_seconds_and_speeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "run", Compiler(monkeypatch))
    for line in read_metrics(tmp_path / "run")[1:]:
        assert line["seconds"] < 100.0
        assert max(line["play_seconds"], line["learn_seconds"]) < 100.0
        assert line["positions_per_second"] > 1.0
    header = load_tensors(tmp_path / "run" / "learner.safetensors")[1]
    assert header["seconds"] < 100.0


def test_the_truth_is_looked_at_whatever_the_first_measurement_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a bare machine, where it took a minute because the search was compiled in it."""
    late = [0.0]
    measure = TruthCurve.measure

    def slowly(self: TruthCurve, evaluator: Any) -> dict[str, float]:
        late[0] += 1000.0 if not late[0] else 0.0
        return measure(self, evaluator)

    monkeypatch.setattr(truth_module, "working_time", lambda: working_time() + late[0])
    monkeypatch.setattr(TruthCurve, "measure", slowly)
    train(tmp_path / "run", Watch(after=3))
    assert late[0] == 1000.0
    assert ["truth" in line for line in read_metrics(tmp_path / "run")] == [True] * 4
    # And what it is looked at for: the run ends.
    summary = train(tmp_path / "run", Watch(), stop_at_raw=0.01)
    assert summary is not None
    assert summary.reason == "reached"
    assert SETTINGS["measure_seconds"] == 0.0
