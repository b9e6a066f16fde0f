"""Training, probing and matches from Python: tables, plain refusals, and nothing is printed."""

import csv
import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pawnscope as ps
from pawnscope.runs import Curve
from scripts.setup.checks import ROOT
from training.run.monitor import Monitor

LANGUAGE = ROOT / "tests" / "golden" / "old_runs" / "language_hexapawn"
SMALL: dict[str, Any] = {
    "minutes": 1e-6,
    "network": {"blocks": 1, "channels": 16},
    "self_play": {"positions": 64, "games": 8, "simulations": 2},
}


class Counted(Monitor):
    """Counts the lines of metrics."""

    lines = 0

    def metrics(self, values: dict[str, Any]) -> None:
        self.lines += 1


def test_training_continues_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    monitor = Counted()
    first = ps.train("hexapawn", monitor=monitor, seed=np.int64(3), **SMALL)
    assert first.path == Path("runs/hexapawn-seed3")
    assert monitor.lines == first.curve.rounds >= 1
    assert first.summary is not None
    again = ps.train(ps.get_variant("hexapawn"), run="runs/hexapawn-seed3", **SMALL)
    assert again.checkpoints == first.checkpoints
    assert again.summary is not None
    assert again.summary.checkpoint == again.checkpoints[-1]
    assert again.network().evaluate(ps.Position("hexapawn")).policy
    assert again.variants == ("hexapawn",)
    with pytest.raises(ps.InputError, match="seed = 4, the run has 3") as raised:
        ps.train("hexapawn", run=first.path, seed=4, **SMALL)
    assert "--" not in str(raised.value)
    assert torch.get_num_threads() == 1
    assert capfd.readouterr() == ("", "")
    ps.train("hexapawn", run="shown", bars=True, **SMALL)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "truth" in shown.err
    with pytest.raises(ps.InputError, match="bars or a monitor, not both"):
        ps.train("hexapawn", bars=True, monitor=monitor)


def test_threads_are_the_callers(folder: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        net = ps.load(folder / "runs" / "hexapawn")
        net.evaluate(ps.Position("hexapawn"))
        ps.match(f"policy:{folder / 'runs' / 'hexapawn'}", net, "hexapawn", games=2)
        ps.train("hexapawn", run=folder / "runs" / "hexapawn", minutes=0)
        ps.probe(folder / "runs" / "hexapawn", positions=20)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_a_curve_is_a_table(folder: Path) -> None:
    run = ps.Run(folder / "runs" / "hexapawn")
    curve = run.curve
    assert curve["round"].tolist() == list(range(curve.rounds))
    assert curve["round"].dtype == np.int64
    assert curve["truth.raw"].dtype == np.float64
    assert np.isnan(curve["losses.policy"][0])
    assert all(len(column) == curve.rounds for column in curve.values())
    lines = list(csv.DictReader(io.StringIO(curve.to_csv(folder / "curve.csv"))))
    assert (folder / "curve.csv").read_text() == curve.to_csv()
    assert [int(line["round"]) for line in lines] == curve["round"].tolist()
    assert lines[0]["losses.policy"] == ""
    assert [set(record) <= set(curve) for record in curve.records()] == [True] * curve.rounds
    assert "truth.raw" in repr(curve)
    assert repr(Curve([])) == "no round yet"
    long = Curve([{"round": number, "seconds": 2.0 * number} for number in range(1000)])
    assert repr(long).splitlines()[0] == "1,000 lines"
    assert len(repr(long).splitlines()) < 16
    assert "999" in repr(long).splitlines()[-1]
    with pytest.raises(KeyError, match="no column 'truth' "):
        curve["truth"]
    assert "hexapawn" in repr(run)


def test_a_curve_of_several_variants_has_columns_for_each() -> None:
    line = {
        "round": 1,
        "truth": {"games": {"a": {"raw": 0.5}, "b": {"raw": 0.25}}},
        "evaluator": "x",
    }
    curve = Curve([{"round": 0}, line])
    assert curve.to_csv().splitlines()[-1] == "1,0.5,0.25,x"
    assert list(curve) == ["round", "truth.games.a.raw", "truth.games.b.raw"]
    assert repr(curve).splitlines()[-1].split() == ["1", "50.0", "%", "25.0", "%"]
    assert curve.records() == [
        {"round": 0},
        {"round": 1, "truth.games.a.raw": 0.5, "truth.games.b.raw": 0.25},
    ]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"minutes": -1}, "^train: minutes = -1 is not a number of at least 0$"),
        ({"minutes": "1"}, "^train: minutes = '1' is not a number"),
        ({"minutes": float("nan")}, "minutes = nan"),
        ({"minute": 1}, r"^train: unknown field 'minute'"),
        ({"self_play": {"simulation": 1}}, r"^train \[self_play\]: unknown field 'simulation'"),
        ({"seed": 1.5}, "seed = 1.5"),
        ({"run": ""}, "run = '' is no directory"),
        ({"run": 3}, "run = 3 is no directory"),
        ({"monitor": print}, "monitor = <built-in function print> is no"),
    ],
)
def test_nonsense_is_refused_before_a_directory_is_made(
    settings: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ps.InputError, match=told):
        ps.train("hexapawn", **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda: ps.train("hexapwn"), "unknown variant 'hexapwn'"),
        (lambda: ps.train(()), "no variant is named"),
        (lambda: ps.train(5), "a variant, or several, are expected, not 5"),  # type: ignore[arg-type]
        (lambda: ps.train(["hexapawn", "hexapawn"]), "'hexapawn' is named twice"),
        (lambda: ps.Run("nowhere"), "^nowhere: no training run"),
        (lambda: ps.Run(LANGUAGE), "language_hexapawn: a language run, not a training run"),
        (lambda: ps.load(LANGUAGE), "a move language model, and a policy/value network is needed"),
        (lambda: ps.Run(5), "the directory of a run is expected, not 5"),  # type: ignore[arg-type]
        (lambda: ps.probe("nowhere"), "nowhere"),
        (lambda: ps.probe(5), "a run or its directory is expected, not 5"),  # type: ignore[arg-type]
        (lambda: ps.match("best", "random", "hexapawn"), "player 'best': unknown kind 'best'"),
        (lambda: ps.match("random", 5, "hexapawn"), "not 5"),  # type: ignore[arg-type]
        (lambda: ps.match("random", "random", "hexapawn", games=0), "games = 0 is not a whole"),
        (lambda: ps.match("random", "random", "hexapwn"), "unknown variant 'hexapwn'"),
        (lambda: ps.match("random", ps.load("gardner"), "hexapawn"), "plays gardner, not hexapawn"),
    ],
)
def test_what_is_refused(ask: Callable[[], object], told: str) -> None:
    with pytest.raises((ps.InputError, FileNotFoundError), match=told):
        ask()


def test_a_run_of_another_kind_is_not_continued(tmp_path: Path) -> None:
    other = shutil.copytree(LANGUAGE, tmp_path / "run")
    with pytest.raises(ps.InputError, match="a language run, not a training run; another dir"):
        ps.train("hexapawn", run=other)


@pytest.mark.parametrize("positions", [0, -5, 1.5, "60", None])
def test_numbers_of_positions_that_make_no_sense(positions: Any, folder: Path) -> None:
    with pytest.raises(ps.InputError, match=r"positions = .* is not a whole number of at least 20"):
        ps.probe(folder / "runs" / "hexapawn", positions=positions)


def test_a_report_is_written_and_read(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    report = ps.probe(ps.Run(folder / "runs" / "hexapawn"), positions=60)
    report.save(folder / "probe.html")
    report.save(folder / "probe.json")
    assert (folder / "probe.html").read_text().lstrip().startswith("<!")
    assert (folder / "probe.json").read_text() == report.to_json()
    assert "material" in repr(report)
    with pytest.raises(ps.InputError, match=r"x\.txt: .* ends in \.html, \.json or \.csv"):
        report.save(folder / "x.txt")
    assert capfd.readouterr() == ("", "")


def test_there_is_no_such_checkpoint(folder: Path) -> None:
    run = ps.Run(folder / "runs" / "hexapawn")
    assert run.network(0).source != run.network(-1).source
    with pytest.raises(ps.InputError, match="no checkpoint 99, there are"):
        run.network(99)


def test_a_match_scores_as_the_games_say() -> None:
    result = ps.match("perfect", "random", "hexapawn", games=6, seed=2)
    points = [game.points for game in result.played]
    assert (result.wins, result.draws, result.losses) == tuple(
        points.count(score) for score in (1.0, 0.5, 0.0)
    )
    assert result.score == pytest.approx(sum(points) / 6)
    again = ps.match("perfect", "random", "hexapawn", games=6, seed=2)
    assert again.pgn() == result.pgn()


def test_a_script_may_train_with_workers_without_a_guard(tmp_path: Path) -> None:
    """Workers do not begin the script again, as they do where they import its module."""
    script = tmp_path / "script.py"
    script.write_text(
        "import pawnscope as ps\n"
        "print('begun')\n"
        "run = ps.train('hexapawn', run='run', minutes=1e-6, network={'channels': 16},\n"
        "    learning={'split': 'threads', 'precision': 'fp32'},\n"
        "    self_play={'actors': 1, 'backend': 'torch', 'precision': 'fp32',\n"
        "        'positions': 64, 'games': 8, 'simulations': 2})\n"
        "print(len(run.checkpoints) > 0)\n"
    )
    done = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert (done.stdout, done.returncode) == ("begun\nTrue\n", 0), done.stderr[-2000:]
