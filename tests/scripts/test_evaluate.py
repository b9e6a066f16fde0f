"""`pawnscope evaluate`: all its tables, as JSON and in words, from runs made by hand."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from engine.network.checkpoint import save_checkpoint
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from scripts import players
from scripts.commands import evaluate
from tests.support.network.network_cases import with_torch_alone
from tests.support.training.training_cases import SMALL_NETWORK, hexapawn
from training.config import resolve, to_toml
from training.evaluation.simulations import COUNTS
from training.evaluation.versus_random import chances_against_random, raw_chooser

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(players, "solution_cache", lambda: tmp_path / "solutions")
    with_torch_alone(monkeypatch)


def plant(path: Path, name: str, seeds: list[int]) -> Path:
    """A run of untrained networks, a round each of 100 positions and half an hour."""
    variant = get_variant(name)
    (path / "checkpoints").mkdir(parents=True)
    (path / "config.toml").write_text(to_toml(resolve(variant, {})))
    lines = []
    for number, seed in enumerate(seeds):
        torch.manual_seed(seed)
        network = PolicyValueNet(NetworkConfig.for_variant(variant, SMALL_NETWORK))
        about = {"round": number, "step": 10 * number, "seed": seed}
        save_checkpoint(
            path / f"checkpoints/{10 * number:08d}.safetensors", network, metadata=about
        )
        if number:
            line = {"seconds": 1800.0 * number, "round": number, "step": 10 * number}
            line |= {"games": 5 * number, "positions": 100 * number}
            losses = {"policy": 1.0, "policy_gap": 0.5, "wdl": 1.0, "moves_left": 1.0}
            lines.append(json.dumps(line | {"losses": losses}))
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return path


QUICK = ("--games", "2", "--simulations", "4")


def figures(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert evaluate.main([*words, "--json"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


class Measured(NamedTuple):
    """A run of which everything was measured, to be copied."""

    run: Path
    found: dict[str, Any]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("measured")
    run, printed = plant(folder / "run", "hexapawn", [1, 2, 3]), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(players, "solution_cache", lambda: folder / "solutions")
        with_torch_alone(patch)
        assert evaluate.main([str(run), *QUICK, "--json"]) == 0
    return Measured(run, json.loads(printed.getvalue()))


@pytest.fixture
def run(measured: Measured, tmp_path: Path) -> Path:
    return Path(shutil.copytree(measured.run, tmp_path / "run"))


def test_everything_of_a_solved_game(measured: Measured) -> None:
    run, found = measured
    assert [point["step"] for point in found["checkpoints"]] == [0, 10, 20]
    for point in found["checkpoints"]:
        assert 0.0 <= point["raw"] <= 1.0
        assert point["decision_positions"] == point["raw_positions"] == point["searched"] == 27
    points = found["simulations"]
    assert [(point["search"], point["simulations"]) for point in points] == [
        (search, count) for search in ("puct", "gumbel") for count in COUNTS
    ]
    assert points[4]["share"] == points[9]["share"] == 1.0
    assert all(point["regret"] == pytest.approx(2 * (1 - point["share"])) for point in points)
    for picture in found["pictures"].values():
        assert Path(picture).read_text(encoding="utf-8").startswith("<?xml")
    _check_textbook(found, run)
    _check_ladder(found)


def _check_textbook(found: dict[str, Any], run: Path) -> None:
    own, perfect = found["textbook"]
    assert (own["name"], own["teacher"]) == (str(run), "self-play")
    assert (own["positions"], own["seconds"]) == (200, 3600.0)
    variant, _ = hexapawn()
    evaluator = players.load_evaluator(str(run), variant)
    chances = chances_against_random(variant, raw_chooser(evaluator))
    assert own["win_first"] == pytest.approx(chances.first.win)
    assert own["win"] == pytest.approx(chances.win)
    assert own["decisions"] == found["checkpoints"][-1]["raw"]
    assert (perfect["win_second"], perfect["decisions"], perfect["value_sign"]) == (1.0, 1.0, 1.0)


def _check_ladder(found: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in found["ladder"]}
    assert {"random", "perfect", "alphabeta:1", "alphabeta:6", "uct:1000"} < set(rows)
    trained = {row["step"]: row["hours"] for row in rows.values() if row["step"] is not None}
    assert trained == {0: 0.0, 10: 0.5, 20: 1.0}
    assert rows["random"]["elo"] == 0.0
    assert rows["random"]["elo"] < rows["perfect"]["elo"]
    games = sum(
        pairing["wins"] + pairing["draws"] + pairing["losses"] for pairing in found["pairings"]
    )
    assert sum(row["games"] for row in rows.values()) == 2 * games


def test_a_second_time_nothing_is_played(
    measured: Measured, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (str(run), *QUICK, "--only", "ladder")
    text = (run / "ladder.jsonl").read_text()
    second = figures(capsys, *words)
    assert second["ladder"] == measured.found["ladder"] != []
    assert (run / "ladder.jsonl").read_text() == text
    assert second["textbook"] == second["simulations"] == []
    # Half the games are lost: they alone are played again.
    lines = text.splitlines(keepends=True)
    (run / "ladder.jsonl").write_text("".join(lines[::2]))
    figures(capsys, *words)
    again = (run / "ladder.jsonl").read_text().splitlines(keepends=True)
    assert again[: len(lines[::2])] == lines[::2]
    assert len(again) == len(lines)


def test_a_kill_loses_no_game_that_was_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = plant(tmp_path / "run", "hexapawn", [1, 2])
    words = [str(run), "--only", "ladder", "--simulations", "4", "--games", "6"]
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.cli", "evaluate", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    path, deadline = run / "ladder.jsonl", time.monotonic() + PATIENCE
    try:
        while not path.exists() or path.read_bytes().count(b"\n") < 8:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    kept = path.read_text().rpartition("\n")[0]
    found = figures(capsys, *words)
    assert path.read_text().startswith(kept)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({(line["a"], line["b"], line["number"]) for line in lines}) == len(lines)
    assert len(lines) == 6 * len(found["pairings"])


def test_runs_stand_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [plant(tmp_path / name, "hexapawn", [seed, seed]) for name, seed in (("a", 1), ("b", 7))]
    taught = (runs[1] / "config.toml").read_text()
    if "teacher" not in taught:
        (runs[1] / "config.toml").write_text('teacher = "solver"\n' + taught)
    words = [str(run) for run in runs]
    found = figures(capsys, *words, "--only", "textbook")
    assert [one["run"] for one in found["runs"]] == words
    assert evaluate.main([*words, "--only", "textbook"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = lines[lines.index(next(line for line in lines if line.startswith("exact"))) + 1 :]
    assert [line.split()[0] for line in table[:4]] == ["run", words[0], "perfect", words[1]]
    if "teacher" not in taught:
        assert "solver" in table[3]


def test_a_game_without_solution_has_a_ladder_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = plant(tmp_path / "run", "gardner", [1, 2])
    found = figures(capsys, str(run), *QUICK, "--games", "0", "--plot", str(tmp_path / "x.svg"))
    assert found["checkpoints"][1] == {"checkpoint": "00000010.safetensors", "round": 1, "step": 10}
    assert found["textbook"] == found["simulations"] == found["ladder"] == []
    assert found["picture"] == str(tmp_path / "x.svg")


def test_the_tables_in_words(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(run), *QUICK]) == 0
    printed = capsys.readouterr().out
    for words in (
        "hexapawn, 3 checkpoints kept",
        "step      10  keeps the value: raw",
        "puct             256   100.00%",
        "gumbel             1 ",
        "gumbel:4@00000010           0.500",
        "perfect play (hexapawn)",
        f"{run}/ladder.svg",
    ):
        assert words in printed


@pytest.mark.parametrize(
    ("words", "quoted"),
    [
        ("nowhere", "nowhere"),
        ("run --simulations 0", "--simulations 0"),
        ("run --games -1", "--games -1"),
        ("run --positions 0", "--positions 0"),
        ("run --zero nobody", "--zero nobody"),
        ("run run --plot x.svg", "--plot x.svg"),
        ("run --plot x.jpgg --only truth", "x.jpgg"),
        ("run --only ladder --anchor nobody --games 2", "'nobody'"),
        ("run --only everything", "everything"),
        ("", "run"),
    ],
)
def test_bad_words_are_refused(tmp_path: Path, words: str, quoted: str) -> None:
    plant(tmp_path / "run", "hexapawn", [1, 2])
    with pytest.raises(InputError) as caught:
        evaluate.main([*words.split(), "--games", "0"] if "games" not in words else words.split())
    assert quoted in str(caught.value)


def test_a_ladder_says_how_many_pairs_differ() -> None:
    new = {"pairs": (1, 0, 3, 0, 1), "independent_pairs": 5}
    repeated = {"pairs": (0, 0, 4, 0, 6), "independent_pairs": 3}
    assert evaluate._repeats([new]) is None
    said = evaluate._repeats([new, repeated, repeated])
    assert said is not None
    assert "6 of 20 pairs of games differ" in said


def test_zero_is_a_player_of_the_ladder(tmp_path: Path) -> None:
    run = plant(tmp_path / "run", "gardner", [1])
    with pytest.raises(InputError, match="--zero perfect: gardner is too large"):
        evaluate.main([str(run), "--zero", "perfect"])


def test_a_run_without_metrics_has_nothing_to_draw(tmp_path: Path) -> None:
    run = plant(tmp_path / "run", "hexapawn", [1])
    with pytest.raises(InputError, match="no metrics"):
        evaluate.main([str(run), "--only", "truth"])
    shutil.rmtree(run)
