"""Training from the command line: killed, interrupted, with workers, which never survive it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.network.checkpoint import save_checkpoint
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.variant import Variant, define_variants, get_variant
from tests.support.training.training_cases import (
    SMALL_NETWORK,
    hexapawn,
    perfect_rows,
    self_play_config,
)
from training.config import LearningConfig, SelfPlayConfig
from training.data.run_directory import read_metrics, run_checkpoints
from training.data.shards import describe_games, load_games, select
from training.learner.losses import Draw, LocalGradients
from training.selfplay.actors import processes as actors
from training.selfplay.actors.local import Actor
from training.selfplay.actors.processes import WorkerPool
from training.selfplay.actors.protocol import SelfPlayRequest

ROOT = Path(__file__).resolve().parents[3]
LEARNING = LearningConfig(batch=64, reply_weight=0.1)
PATIENCE = 120.0
"""Seconds for anything to happen; a machine that does ten things at once is slow to begin."""

QUICK = """
measure_seconds = 0.1
network = { blocks = 1, channels = 32, heads = 2, hidden = 64, policy_channels = 16 }
self_play = { games = 32, simulations = 16, positions = 256 }
learning = { threads = 1, batch = 128, replay_ratio = 8.0, learning_rate = 8e-3 }
"""
GOOD_ENOUGH = "stop_at_raw = 0.8\n"
ENDLESS = "stop_at_raw = inf\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "quick.toml").write_text(ENDLESS + QUICK)
    return tmp_path / "run"


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """What a test starts; what still runs at its end, with all its workers, is ended."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def start(
    processes: list[subprocess.Popen[str]], run: Path, *words: str, games: str = "hexapawn"
) -> subprocess.Popen[str]:
    """`pawnscope train` in a process group of its own."""
    config = run.parent / "quick.toml"
    arguments = ["train", games, "--run", str(run), "--config", str(config), *words]
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.cli", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    processes.append(process)
    return process


def await_rounds(process: subprocess.Popen[str], run: Path, rounds: int) -> None:
    """Wait until the metrics have so many lines, the first of them before any round."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if (run / "metrics.jsonl").exists() and len(read_metrics(run)) >= rounds:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise TimeoutError(f"no round {rounds}")


def all_ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed. Its workers hold the same pipes: this waits until the last one is gone."""
    return process.communicate(timeout=PATIENCE)


def only_forward(run: Path) -> list[dict[str, Any]]:
    """The metrics, whole lines in which nothing ever goes back."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    rounds: list[dict[str, Any]] = [json.loads(line) for line in lines]
    for name in ("seconds", "round", "step", "games", "positions"):
        numbers = [values[name] for values in rounds]
        assert numbers == sorted(set(numbers)), name
    return rounds


def interrupted(process: subprocess.Popen[str], *, by: int = signal.SIGINT) -> list[str]:
    """^C, as a terminal does it to everyone in the group, or SIGTERM to the learner alone ends it
    with the same two lines. Returns all that it said."""
    if by == signal.SIGINT:
        os.killpg(process.pid, by)
    else:
        process.send_signal(by)
    printed, errors = all_ended(process)
    assert process.returncode == 128 + by, errors
    assert printed == ""
    saved, last = errors.splitlines()[-2:]
    assert last == ("pawnscope: interrupted" if by == signal.SIGINT else "pawnscope: terminated")
    assert "; the same command continues" in saved
    assert "Traceback" not in errors
    return errors.splitlines()


def test_a_killed_run_continues_until_it_is_good_enough(
    run: Path, processes: list[subprocess.Popen[str]]
) -> None:
    killed = start(processes, run)
    await_rounds(killed, run, 2)
    killed.kill()
    all_ended(killed)
    # The last line may be half there.
    before = read_metrics(run)
    stopped = start(processes, run)
    await_rounds(stopped, run, len(before) + 1)
    said = interrupted(stopped)
    assert f"continuing {run} from round {before[-1]['round']} (" in "\n".join(said)
    assert only_forward(run)[: len(before)] == before
    before = only_forward(run)
    assert said[-2] == f"{run}: kept up to round {before[-1]['round']}; the same command continues"
    # When to stop may be asked anew.
    (run.parent / "quick.toml").write_text(GOOD_ENOUGH + QUICK)
    again = start(processes, run, "--json")
    printed, errors = all_ended(again)
    assert again.returncode == 0, errors
    rounds = only_forward(run)
    assert rounds[: len(before)] == before
    summary = json.loads(printed)
    perfect = summary["truth"]["raw"] == 1.0
    assert summary["reason"] == ("perfect" if perfect else "reached")
    reached = {"raw": summary["truth"]["raw"], "measured": 27, "decision_positions": 27}
    assert summary["reached"] == {"hexapawn": reached}
    assert summary["truth"]["decision_positions"] == summary["truth"]["searched"] == 27
    assert 0.8 <= summary["truth"]["raw"] <= summary["truth"]["search"] == 1.0
    if len(rounds) > len(before):
        assert rounds[-1]["truth"]["raw"] == summary["truth"]["raw"]
    assert Path(summary["checkpoint"]) == run_checkpoints(run)[-1]
    # Of training, all sessions together.
    assert summary["seconds"] >= rounds[-1]["seconds"] - 0.01


def test_workers_do_not_outlive_the_learner(
    run: Path, processes: list[subprocess.Popen[str]]
) -> None:
    both = "hexapawn+hexapawn4x3"
    killed = start(processes, run, "--actors", "2", games=both)
    await_rounds(killed, run, 2)
    killed.kill()
    all_ended(killed)
    # The last line may be half there.
    before = read_metrics(run)
    actors = {describe_games(path)["source"]["actor"] for path in (run / "games").iterdir()}
    assert actors == {0, 1}

    again = start(processes, run, "--actors", "2", games=both)
    await_rounds(again, run, len(before) + 1)
    said = interrupted(again, by=signal.SIGTERM)
    assert said.index("starting 2 workers …") < said.index("getting self-play ready …")
    assert only_forward(run)[: len(before)] == before


def checkpoint_for(variant: Variant, folder: Path) -> Path:
    path = folder / "00000000.safetensors"
    network = PolicyValueNet(NetworkConfig.for_variant(variant, SMALL_NETWORK))
    save_checkpoint(path, network, metadata={"round": 0, "step": 0})
    return path


def pool_of(variant: Variant, config: SelfPlayConfig) -> WorkerPool:
    network = PolicyValueNet(NetworkConfig.for_variant(variant, SMALL_NETWORK))
    return WorkerPool([variant], config, LEARNING, network, seed=1, first_round=0, first_parts=[0])


def test_a_stopped_worker_does_not_keep_the_learner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "_END_SECONDS", 0.1)
    pool = pool_of(get_variant("hexapawn"), self_play_config(actors=1))
    (process, _) = pool._workers[0]
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    # Some systems let the signal through to a stopped process, and some do not.
    monkeypatch.setattr(process, "terminate", lambda: None)
    pool.close()
    assert process.exitcode == -signal.SIGKILL


def request_for(checkpoint: Path, folder: Path, variant: Variant) -> SelfPlayRequest:
    return SelfPlayRequest(
        variant=variant.name, checkpoint=checkpoint, folder=folder, round=1, positions=12
    )


def test_a_worker_plays_a_users_variant_and_reports_errors(tmp_path: Path) -> None:
    (name,) = define_variants("[workersgame:hexapawn4x4]\nstartFen = pp1p/4/4/P1PP w - - 0 1\n", "")
    variant = get_variant(name)
    request = request_for(checkpoint_for(variant, tmp_path), tmp_path, variant)
    pool = pool_of(variant, self_play_config(actors=1))
    try:
        ((process, _),) = pool._workers
        # ^C at a terminal reaches the workers too, while they still import.
        os.kill(process.pid or 0, signal.SIGINT)
        progress: list[int] = []
        missing = request_for(tmp_path / "none.safetensors", tmp_path, variant)
        with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
            pool.play([missing], progress.append)
        names = pool.play([request], progress.append)
        assert names == ["000001-00-000.safetensors"]
        rows = load_games(tmp_path / names[0], variant)
        assert sum(progress) == len(rows) >= 12
        assert np.array_equal(rows.positions[0], variant.start_row)
        process.kill()
        with pytest.raises(OSError, match="a self-play worker ended with status -9"):
            pool.play([request], progress.append)
    finally:
        pool.close()
    assert process.exitcode == -signal.SIGKILL


def test_two_actors_play_different_games(tmp_path: Path) -> None:
    variant = get_variant("hexapawn4x4")
    request = request_for(checkpoint_for(variant, tmp_path), tmp_path, variant)
    config = self_play_config(noise_fraction=0.25)
    names = [
        Actor(variant, config, seed, first_round, number).play(request, lambda _: None)[0]
        for seed, first_round, number in ((1, 0, 0), (1, 0, 1))
    ]
    assert names == ["000001-00-000.safetensors", "000001-01-000.safetensors"]
    first, second = (load_games(tmp_path / name, variant) for name in names)
    assert not np.array_equal(first.positions[:12], second.positions[:12])


def test_workers_compute_the_gradient_that_one_process_computes() -> None:
    variant, solution = hexapawn()
    config = NetworkConfig.for_variant(variant, SMALL_NETWORK | {"reply": True})
    rows = select(perfect_rows(variant, solution), np.arange(37))
    torch.manual_seed(3)
    network = PolicyValueNet(config)
    local = LocalGradients(network, [variant], LEARNING)
    local.vectors[0].add_(0.1 * torch.randn(network.parameter_count))
    whole = Draw(rows, mirror=True)
    wanted = local.compute([whole])
    # Of three workers, each computes a part; a batch of two rows leaves one of them without any.
    pool = WorkerPool(
        [variant],
        self_play_config(actors=3),
        LEARNING,
        network,
        seed=1,
        first_round=0,
        first_parts=[0],
    )
    try:
        weights, gradient = pool.vectors
        weights.copy_(local.vectors[0])
        found = pool.compute([whole])
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient, local.vectors[1], rtol=1e-4, atol=1e-6)
        few = Draw(select(rows, np.arange(2)), mirror=False)
        wanted = local.compute([few])
        np.testing.assert_allclose(pool.compute([few]), wanted, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient, local.vectors[1], rtol=1e-4, atol=1e-6)
        # The weights of another step are seen at once.
        weights.add_(0.1)
        assert not np.allclose(pool.compute([whole]), found)
    finally:
        pool.close()


def test_shards_are_written_as_games_end(tmp_path: Path) -> None:
    variant = get_variant("hexapawn4x4")
    checkpoint = checkpoint_for(variant, tmp_path)
    request = SelfPlayRequest(
        variant=variant.name, checkpoint=checkpoint, folder=tmp_path, round=1, positions=100
    )
    seen: list[int] = []

    def count_shards(_: int) -> None:
        seen.append(len(list(tmp_path.glob("000001-*"))))

    actor = Actor(variant, self_play_config(shard_positions=30, games=8), 1, 0, 0)
    names = actor.play(request, count_shards)
    assert len(names) == len(set(names)) >= 3
    # The first were there while the others were still played.
    assert seen[0] == 0
    assert seen[-1] == len(names) - 1
    parts = [load_games(tmp_path / name, variant) for name in names]
    assert all(len(part) >= 30 for part in parts[:-1])
    assert sum(map(len, parts)) >= 100
    for name, part in zip(names, parts, strict=True):
        source = describe_games(tmp_path / name)["source"]
        assert source["plies"] >= len(part) / 8
        assert 0 < source["evaluator_seconds"] < source["seconds"]
    # An actor that takes up a round after a part of it does not play the same games again.
    other = Actor(variant, self_play_config(shard_positions=30, games=8), 1, 0, 0, first_part=1)
    more = other.play(request, lambda _: None)
    assert more[0] == "000001-00-001.safetensors"
    again = load_games(tmp_path / more[0], variant)
    assert not np.array_equal(again.positions[:30], parts[0].positions[:30])
