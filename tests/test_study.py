"""Studies: facts are measured once, trainings are resumed, and the truth is the judge."""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest

import scripts.study
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from scripts.curve import Panel, draw_panels
from scripts.study import main
from tests.search_cases import decisions, keeping_moves
from training import study, study_transfer
from training.config import merge
from training.study import Results, Training, chance, checkpoints, score, train_side_by_side


def test_a_fact_is_measured_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def measure(number: int) -> dict[str, int]:
        asked.append(number)
        return {"value": number}

    results = Results(tmp_path)
    assert results.get(["a", 1], measure, 7)["value"] == 7
    assert results.get(["a", 1], measure, 8)["value"] == 7
    # A session that was killed while it wrote.
    with (tmp_path / study.RESULTS).open("a", encoding="utf-8") as file:
        file.write('{"key": ["a", 2], "val')
    again = Results(tmp_path)
    assert again.get(["a", 1], measure, 9)["value"] == 7
    assert again.get(["a", 2], measure, 10)["value"] == 10
    assert asked == [7, 10]
    lines = (tmp_path / study.RESULTS).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["key"] for line in lines] == [["a", 1], ["a", 2]]


def test_chance_is_the_mean_share_of_moves_that_keep(tmp_path: Path) -> None:
    positions = decisions("hexapawn")
    shares = [Fraction(len(keeping_moves(p)), len(p.legal_moves)) for p in positions]
    exact = sum(shares) / len(shares)
    assert chance(Results(tmp_path), tmp_path, "hexapawn") == pytest.approx(float(exact))


def test_a_match_knows_who_is_stronger() -> None:
    variant = get_variant("hexapawn4x4")
    line = score("alphabeta:8", "random", variant, 40)
    assert line["wins"] + line["draws"] + line["losses"] == 40
    assert line["score"] > 0.8
    assert line["elo_low"] > 0
    assert score("alphabeta:8", "random", variant, 40) == line


SETTINGS = {
    "minutes": 0.05,
    "network": {"blocks": 1, "channels": 16, "heads": 2, "hidden": 16},
    "self_play": {"positions": 256},
}


def test_trainings_run_side_by_side_and_are_not_repeated(tmp_path: Path) -> None:
    trainings = [
        Training(
            path=tmp_path / name,
            games=games,
            overrides=merge(study.ALONE, {"teacher": "solver"} | SETTINGS),
        )
        for name, games in (("one", "hexapawn"), ("two", "hexapawn+hexapawn4x3"))
    ]
    told: list[str] = []
    train_side_by_side(trainings, told.append)
    assert sorted(told) == [f"{tmp_path / name} is trained" for name in ("one", "two")]
    for training in trainings:
        found = list(checkpoints(training.path))
        assert found[0][0] == 0.0
        assert [seconds for seconds, _ in found] == sorted(seconds for seconds, _ in found)
        assert found[-1][0] >= 3.0
    train_side_by_side(trainings, told.append)
    assert len(told) == 2


def test_sizes_never_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command on the smallest boards: better than blind where it never trained."""
    monkeypatch.setattr(study_transfer, "LESSONS", ("hexapawn", "hexapawn4x3"))
    monkeypatch.setattr(study_transfer, "UNSEEN", ("hexapawn3x4",))
    monkeypatch.setattr(scripts.study, "LESSONS", ("hexapawn", "hexapawn4x3"))
    monkeypatch.setattr(scripts.study, "UNSEEN", ("hexapawn3x4",))
    arguments = ["sizes", "--minutes", "0.1", "--out", str(tmp_path), "--json"]
    assert main(arguments) == 0
    said = json.loads(capsys.readouterr().out)
    found = said["results"]["hexapawn3x4"]
    for curve in found["curves"].values():
        assert curve[-1][1] > found["chance"]
    assert "<svg" in Path(said["picture"]).read_text(encoding="utf-8")
    assert main(arguments[:-1]) == 0
    assert "| hexapawn3x4 |" in capsys.readouterr().out


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--minutes 0"):
        main(["sizes", "--minutes", "0"])
    with pytest.raises(InputError, match="'siezs'"):
        main(["siezs"])
    panel = Panel(title="", curves={"a": [(0.0, 50.0)]}, level=None, unit="%")
    with pytest.raises(InputError, match="pictures end in"):
        draw_panels([panel], "title", tmp_path / "picture.doc")


_FAMILY = """
import sys, time
from multiprocessing import current_process
from training.side_by_side import run_side_by_side

def stay(seconds):
    print(current_process().pid, flush=True)
    time.sleep(seconds)

if __name__ == "__main__":
    list(run_side_by_side(stay, [60]))
"""


def test_processes_end_with_the_one_that_began_them(tmp_path: Path) -> None:
    """Also where it is killed and can tell nobody."""
    script = tmp_path / "family.py"
    script.write_text(_FAMILY, encoding="utf-8")
    command = [sys.executable, str(script)]
    root = Path(study.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    for _ in range(300):
        # A child without a parent is nobody's zombie here: it is gone, or it runs.
        if not _is_running(child):
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child lives on")


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
