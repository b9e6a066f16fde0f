"""Runs with a teacher: the solver's positions, a teacher's games to begin with, and the gate."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.network.checkpoint import load_checkpoint
from engine.probing.data.canonical import canonical_boards
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from search.exact.evaluator import SolverEvaluator
from tests.support.training.run_cases import HEXAPAWN, SETTINGS, Watch, state_of, train
from tests.support.training.training_cases import hexapawn, self_play_config
from training.config import merge
from training.data.run_directory import RunError, read_metrics, run_checkpoints
from training.data.shards import describe_games, load_games, save_games
from training.selfplay.games import SelfPlay
from training.selfplay.teacher import divide

TEACHER: dict[str, Any] = {
    "teacher": "solver",
    "learning": SETTINGS["learning"] | {"learning_rate": 1e-2, "replay_ratio": 2.0},
}


def final_share(path: Path, **settings: Any) -> float:
    """What the raw network keeps in the end."""
    summary = train(path, Watch(), **settings, minutes=0.0)
    assert summary is not None
    assert summary.truth is not None
    return summary.truth.raw


def test_a_teachers_run_is_a_run(tmp_path: Path) -> None:
    path = tmp_path / "run"
    watch = Watch(after=12)
    train(path, watch, **TEACHER)
    rounds = read_metrics(path)
    assert [values["round"] for values in rounds] == list(range(13))
    assert rounds[-1]["positions"] == 12 * 80
    assert load_checkpoint(run_checkpoints(path)[-1], variant=HEXAPAWN).metadata["round"] == 12
    # Better than at random, where about a third is kept.
    assert final_share(path, **TEACHER) > max(0.7, rounds[0]["truth"]["raw"])
    # All 70 positions are drawn before one is drawn again.
    drawn = [load_games(file, HEXAPAWN).positions for file in sorted((path / "games").iterdir())]
    rows = [row.tobytes() for row in np.concatenate(drawn)]
    for start in range(0, len(rows) - 70, 70):
        assert len(set(rows[start : start + 70])) == 70


def test_a_teachers_run_continues_bit_for_bit(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(whole, Watch(after=3), **TEACHER)
    train(cut, Watch(after=1), **TEACHER)
    train(cut, Watch(before=("learn", 1)), **TEACHER)
    train(cut, Watch(after=3), **TEACHER)
    ours, theirs = state_of(cut), state_of(whole)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_what_is_held_out_is_never_shown(tmp_path: Path) -> None:
    variant, solution = hexapawn()
    positions = solution.unfinished_positions()
    learned, tests = divide(variant, positions, 0.3, seed=1)
    assert len(learned) + len(tests) == len(positions)
    assert len(tests) > 10
    ours, theirs = (
        {row.tobytes() for row in canonical_boards(rows, variant)} for rows in (learned, tests)
    )
    assert not ours & theirs
    path = tmp_path / "run"
    train(path, Watch(after=3), **TEACHER, held_out=0.3)
    for file in (path / "games").iterdir():
        seen = canonical_boards(load_games(file, variant).positions, variant)
        assert not {row.tobytes() for row in seen} & theirs
    assert 0 <= read_metrics(path)[0]["truth"]["held_out"] <= 1


def test_a_game_that_is_not_solved_has_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="gardner: too large to be solved, no teacher"):
        train(tmp_path / "run", Watch(after=1), get_variant("gardner"), **TEACHER)


def test_targets_cannot_be_rescored_without_exact_values(tmp_path: Path) -> None:
    gardner = get_variant("gardner")
    with pytest.raises(RunError, match="rescore = 'value': gardner is too large to be solved"):
        train(tmp_path / "run", Watch(after=1), gardner, learning={"rescore": "value"})
    self_play = SETTINGS["self_play"] | {"tablebases": str(tmp_path)}
    with pytest.raises(InputError, match="no tablebases of gardner there"):
        train(tmp_path / "other", Watch(after=1), gardner, self_play=self_play)


@pytest.fixture(scope="module")
def teacher_games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a teacher's games."""
    variant, solution = hexapawn()
    config = self_play_config(games=16, varied_starts=0.9, opening_plies=4)
    rows = SelfPlay(variant, config, np.random.default_rng(1)).play(SolverEvaluator(solution), 600)
    folder = tmp_path_factory.mktemp("teacher_games")
    save_games(folder / "teacher.safetensors", rows, variant, {"round": 0, "actor": 0})
    return folder


@pytest.mark.parametrize("name", ["", "teacher.safetensors"])
def test_a_warm_start_is_better_than_none(tmp_path: Path, teacher_games: Path, name: str) -> None:
    path = tmp_path / "run"
    settings = {
        "warm_start": str(teacher_games / name),
        "warm_start_replay_ratio": 6.0,
        "learning": TEACHER["learning"],
    }
    train(path, Watch(before=("play", 1)), **settings)
    (begun,) = read_metrics(path)
    assert begun["step"] == round(600 * 6 / 32) or begun["step"] > 100
    assert begun["positions"] == 0
    cold = tmp_path / "cold"
    train(cold, Watch(before=("play", 1)))
    assert begun["truth"]["raw"] > read_metrics(cold)[0]["truth"]["raw"] + 0.2
    # It is not learned again, and not counted as the run's own.
    train(path, Watch(after=1), **settings)
    rounds = read_metrics(path)
    assert [values["round"] for values in rounds] == [0, 1]
    assert rounds[1]["step"] - begun["step"] < 20


def test_a_warm_start_from_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="no games of hexapawn there"):
        train(tmp_path / "run", Watch(), warm_start=str(tmp_path / "empty"))
    # Nothing is left that hinders the next start.
    assert not (tmp_path / "run").exists()
    with pytest.raises((InputError, FileNotFoundError)):
        train(tmp_path / "run", Watch(), warm_start=str(tmp_path / "missing.safetensors"))


def test_behind_a_gate_the_acting_network_stays_until_a_better_one_comes(tmp_path: Path) -> None:
    path = tmp_path / "run"
    learning = SETTINGS["learning"] | {"learning_rate": 1e-2}
    train(path, Watch(after=4), gate_games=6, learning=learning)
    train(path, Watch(after=6), gate_games=6, learning=learning)
    rounds = read_metrics(path)[1:]
    assert len(rounds) == 6
    acting = "00000000.safetensors"
    for values in rounds:
        number = f"{values['round']:06d}-00-000.safetensors"
        shard = path / "games" / number
        assert describe_games(shard)["source"]["checkpoint"] == acting
        assert 0 <= values["gate"]["score"] <= 1
        assert values["gate"]["passed"] == (values["gate"]["score"] >= 0.5)
        if values["gate"]["passed"]:
            acting = f"{values['step']:08d}.safetensors"
    assert (path / "checkpoints" / acting).exists()


def test_a_lost_acting_network_gives_way_to_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.run.rounds.gate_score", lambda *_: 0.0)
    path = tmp_path / "run"
    train(path, Watch(after=1), gate_games=2)
    newest = run_checkpoints(path)[-1].name
    (path / "checkpoints" / "00000000.safetensors").unlink()
    train(path, Watch(after=2), gate_games=2)
    source = describe_games(path / "games" / "000002-00-000.safetensors")["source"]
    assert source["checkpoint"] == newest != "00000000.safetensors"


def test_truth_is_learned_faster_where_targets_are_rescored(tmp_path: Path) -> None:
    """Random play teaches little, random play with the true values and moves teaches all."""
    self_play = SETTINGS["self_play"] | {"simulations": 1, "noise_fraction": 1.0}
    settings = {"self_play": self_play, "learning": TEACHER["learning"] | {"replay_ratio": 4.0}}
    shares = {}
    for rescore in ("none", "both"):
        path = tmp_path / rescore
        train(path, Watch(after=8), **merge(settings, {"learning": {"rescore": rescore}}))
        settings = merge(settings, {"learning": {"rescore": rescore}})
        shares[rescore] = final_share(path, **settings)
        # What was played is written as it was.
        rows = load_games(next(iter((path / "games").iterdir())), HEXAPAWN)
        values, _ = hexapawn()[1].lookup_batch(rows.positions)
        assert (rows.proven != values).any()
    assert shares["both"] > shares["none"] + 0.1
