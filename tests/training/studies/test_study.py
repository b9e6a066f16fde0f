"""Studies: facts are measured once, trainings are resumed, and the truth is the judge."""

import copy
import json
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from engine.network.checkpoint import read_metadata, save_checkpoint
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from engine.system.processes import usable_cores
from scripts.commands.study import main
from scripts.experiments import ablation, losalamos, sizes
from scripts.plots.curve import Panel, draw_panels
from tests.support.network.network_cases import lively_network, with_torch_alone
from tests.support.search.search_cases import decisions, keeping_moves
from tests.support.training.process_cases import assert_ends, stay_or_fail
from tests.support.training.run_cases import StopHere, Watch
from tests.support.training.run_cases import train as train_here
from training.config import merge
from training.data.run_directory import RunDirectory, read_metrics
from training.data.shards import describe_games
from training.evaluation.arena import MatchResult, play_match
from training.studies import side_by_side, study
from training.studies.side_by_side import run_side_by_side
from training.studies.study import Results, Training, chance, checkpoints, score, train_side_by_side


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


def test_all_who_are_compared_meet_the_same_openings(monkeypatch: pytest.MonkeyPatch) -> None:
    variant = get_variant("hexapawn4x4")
    seen: list[list[int]] = []

    def watched(*players: Any, rng: np.random.Generator, **settings: Any) -> MatchResult:
        seen.append(copy.deepcopy(rng).integers(1 << 62, size=4).tolist())
        return play_match(*players, rng=rng, **settings)

    monkeypatch.setattr(study, "play_match", watched)
    for player in ("random", "alphabeta:1", "alphabeta:2"):
        score(player, "random", variant, 2)
    assert seen[0] == seen[1] == seen[2]
    score("random", "random", get_variant("hexapawn"), 2)
    assert seen[3] != seen[0]


def test_networks_know_their_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the run was killed before it told of the round."""
    path = tmp_path / "run"
    train_here(path, Watch(after=1))

    def killed(*_: object) -> None:
        raise StopHere

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "add_metrics", killed)
        train_here(path, Watch())
    told = read_metrics(path)[-1]["seconds"]
    seconds = [seconds for seconds, _ in checkpoints(path)]
    assert seconds[:-1] == [0.0, told]
    assert seconds[-1] == round(read_metadata(path / "learner.safetensors")["seconds"], 2) > told


def test_older_networks_are_dated_by_the_metrics(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    network = lively_network("hexapawn", "residual")
    for step in (0, 24, 48):
        path = tmp_path / "checkpoints" / f"{step:08d}.safetensors"
        save_checkpoint(path, network, metadata={"step": step})
    lines = ({"round": step // 24, "step": step, "seconds": step / 2} for step in (24, 48))
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert [seconds for seconds, _ in checkpoints(tmp_path)] == [0.0, 12.0, 24.0]


def test_a_moment_goes_before_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of self-play that begins; not of one that goes on, nor where a solver teaches."""
    runs: list[Training] = []
    monkeypatch.setattr(study, "_run", runs.append)
    monkeypatch.setattr(study, "write_whole", lambda *_: None)
    path = tmp_path / "run"
    training = Training(path=path, variants="hexapawn", overrides=merge(study.ONE_CORE, SETTINGS))
    taught = replace(training, overrides=training.overrides | {"teacher": "solver"})
    for one in (taught, training):
        study.train(one)
    assert [run.path == path for run in runs] == [True, False, True]
    assert runs[1].overrides["network"] == SETTINGS["network"]
    assert runs[1].overrides["minutes"] < 0.001
    path.mkdir()
    study.train(training)
    assert len(runs) == 4


SETTINGS: dict[str, Any] = {
    "minutes": 0.01,
    "network": {"blocks": 1, "channels": 16, "heads": 2, "hidden": 16},
    "self_play": {"positions": 256},
}


def test_one_missing_training_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "run_side_by_side", lambda task, missing: [])
    training = Training(path=tmp_path, variants="hexapawn", overrides={"minutes": 0.5})
    told: list[str] = []
    train_side_by_side([training], told.append)
    assert told == ["1 training of 30 s is missing, 1 at a time: 0.5 minutes of learning"]


def test_trainings_run_side_by_side_and_are_not_repeated(tmp_path: Path) -> None:
    trainings = [
        Training(
            path=tmp_path / name,
            variants=games,
            overrides=merge(study.ONE_CORE, {"teacher": "solver"} | SETTINGS),
        )
        for name, games in (("one", "hexapawn"), ("two", "hexapawn+hexapawn4x3"))
    ]
    told: list[str] = []
    train_side_by_side(trainings, told.append)
    # What will be done, and what is done.
    at_once = min(2, len(usable_cores()))
    assert told[0].startswith(f"2 trainings of 0.6 s are missing, {at_once} at a time: ")
    assert sorted(told[1:]) == [f"{tmp_path / name} is trained" for name in ("one", "two")]
    for training in trainings:
        found = list(checkpoints(training.path))
        assert found[0][0] == 0.0
        assert [seconds for seconds, _ in found] == sorted(seconds for seconds, _ in found)
        # The time may end while the last round is written, after its network was dated.
        assert found[-1][0] > 0.0
        assert float((training.path / study.OVER).read_text()) == 0.01
    train_side_by_side(trainings, told.append)
    assert len(told) == 3


def test_sizes_never_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command on the smallest boards: better than random moves where it never trained.

    A network of one block, in this process: its first round is enough.
    """
    with_torch_alone(monkeypatch)
    monkeypatch.setattr(study, "run_side_by_side", map)
    small = {"network": {"blocks": 1, "channels": 32, "hidden": 32}}
    small |= {"self_play": {"positions": 256}, "learning": {"ema_steps": 10}}
    monkeypatch.setattr(sizes, "SETTINGS", merge(sizes.SETTINGS, small))
    monkeypatch.setattr(sizes, "TRAINED", ("hexapawn", "hexapawn4x3"))
    monkeypatch.setattr(sizes, "UNSEEN", ("hexapawn3x4",))
    arguments = ["sizes", "--minutes", "0.005", "--out", str(tmp_path), "--json"]
    assert main(arguments) == 0
    said = json.loads(capsys.readouterr().out)
    # Nothing of the unseen size was learned.
    shards = (tmp_path / "runs" / "together" / "games").glob("*.safetensors")
    learned = {describe_games(shard)["variant"]["digest"] for shard in shards}
    assert learned == {get_variant(name).digest for name in ("hexapawn", "hexapawn4x3")}
    found = said["results"]["hexapawn3x4"]
    for curve in found["curves"].values():
        assert curve[-1][1] > found["chance"]
    assert "<svg" in Path(said["picture"]).read_text(encoding="utf-8")
    assert main(arguments[:-1]) == 0
    assert "| hexapawn3x4 |" in capsys.readouterr().out


def test_no_size_is_both_learned_and_unseen() -> None:
    learned, unseen = (
        {get_variant(name).digest for name in names} for names in (sizes.TRAINED, sizes.UNSEEN)
    )
    assert len(learned) == len(sizes.TRAINED)
    assert not learned & unseen


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--minutes 0"):
        main(["sizes", "--minutes", "0"])
    with pytest.raises(InputError, match="'siezs'"):
        main(["siezs"])
    panel = Panel("%", {"a": [(0.0, 0.5)]})
    with pytest.raises(InputError, match="pictures end in"):
        draw_panels([panel], "title", tmp_path / "picture.doc")


def test_a_score_of_nothing_is_in_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bottoms: list[float] = []
    set_ylim = Axes.set_ylim

    def watched(axes: Axes, *bounds: float, **settings: Any) -> tuple[float, float]:
        # A picture sets others of its own accord.
        if bounds[1:] == (101,):
            bottoms.append(bounds[0])
        return set_ylim(axes, *bounds, **settings)

    monkeypatch.setattr(Axes, "set_ylim", watched)
    curves = {"carried": [(0.0, 0.6), (60.0, 0.7)], "zero": [(0.0, 0.3), (60.0, 0.0)]}
    draw_panels(losalamos.panels({"curves": curves}), "title", tmp_path / "scores.svg")
    # A network that finds all moves alike keeps nothing, and says nothing of the others.
    panel = Panel("%", {"a": [(0.0, 0.0), (1.0, 0.57)]})
    draw_panels([panel], "title", tmp_path / "shares.svg")
    assert bottoms == [-1, 50]


def test_every_curve_is_in_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ablation draws three: the base, the best and the worst variation."""
    drawn: list[str] = []
    monkeypatch.setattr(Axes, "plot", lambda *_, label, **__: drawn.append(label))
    curves = {"base": 0.6, "best": 0.9, "middle": 0.8, "worst": 0.3}
    found = {name: {"curve": [(0.0, 0.1), (60.0, last)]} for name, last in curves.items()}
    monkeypatch.setattr(Axes, "legend", lambda *_, **__: None)
    draw_panels(ablation.panels(found), "title", tmp_path / "ablation.svg")
    assert drawn == ["base", "best", "worst"]


def test_where_one_fails_the_others_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "usable_cores", lambda: usable_cores()[:1] * 2)
    with pytest.raises(InputError, match="planted"):
        list(run_side_by_side(stay_or_fail, [tmp_path, tmp_path]))
    assert_ends(int(os.readlink(tmp_path / "begun")))


_FAMILY = """
import sys, time
from multiprocessing import current_process
from training.studies.side_by_side import run_side_by_side

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
    root = Path(study.__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    assert_ends(child)


_BEGUN = """
import os, signal, sys, threading
from multiprocessing import active_children
import time
from training.studies.side_by_side import run_side_by_side

def interrupt():
    while not active_children():
        time.sleep(0.001)
    time.sleep(0.2)
    if sys.argv[1] == "SIGINT":
        os.killpg(0, signal.SIGINT)
    else:
        os.kill(os.getpid(), signal.SIGTERM)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    try:
        list(run_side_by_side(time.sleep, [60, 60]))
    except KeyboardInterrupt:
        print("interrupted", active_children())
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_while_processes_start_is_no_noise(name: str, tmp_path: Path) -> None:
    """A terminal sends it to all of them, a job's time limit to the first alone."""
    script = tmp_path / "family.py"
    script.write_text(_BEGUN, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), name],
        env=os.environ | {"PYTHONPATH": str(Path(study.__file__).parents[2])},
        capture_output=True,
        text=True,
        start_new_session=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("interrupted []\n", "")
