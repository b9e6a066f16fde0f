"""A run continues from its files, however it ended, and refuses files that do not serve."""

import contextlib
import json
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.network.checkpoint import (
    load_checkpoint,
    load_tensors,
    read_description,
    save_tensors,
)
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from tests.support.training.run_cases import SETTINGS, Watch, contents, refused, state_of, train
from training.config import parse_variants
from training.data.index import Index, is_kept
from training.data.run_directory import RunDirectory, read_metrics, run_checkpoints
from training.data.shards import describe_games, load_games
from training.evaluation.truth import Reached

HEXAPAWN = get_variant("hexapawn")


@contextlib.contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Asserts that the block leaves the run's files as they are; the lock's holder may change."""
    before = contents(path)
    yield
    after = contents(path)
    assert {**before, ".lock": b""} == {**after, ".lock": b""}


def test_a_run_leaves_its_files(played: Path) -> None:
    assert {file.name for file in played.iterdir()} == {
        *("config.toml", "games", "checkpoints", "index.sqlite", "metrics.jsonl"),
        *("learner.safetensors", ".lock"),
    }
    rounds = read_metrics(played)
    assert [values["round"] for values in rounds] == [0, 1, 2, 3, 4, 5]
    assert all(values["positions"] >= 80 * values["round"] for values in rounds)
    # The curve begins with the untrained network.
    assert rounds[0]["step"] == rounds[0]["positions"] == 0
    assert rounds[0]["truth"].keys() == {"raw", "search"}
    assert rounds[1]["losses"].keys() == {
        *("policy", "policy_gap", "wdl", "moves_left", "reply", "ownership")
    }
    for values in rounds[1:]:
        assert values["play_seconds"] + values["learn_seconds"] <= values["seconds"] + 0.02
        assert values["evaluator"] == "torch fp32"
        # Four simulations a move, fewer where the root is proven.
        assert 0 < values["simulations"] <= 4 * values["plies"]
    assert len(list((played / "games").iterdir())) == 5
    newest = run_checkpoints(played)[-1]
    network, about = load_checkpoint(newest, variant=HEXAPAWN)
    seconds = about.pop("seconds")
    assert about == {"round": 5, "step": rounds[-1]["step"], "seed": 1}
    assert rounds[-2]["seconds"] <= seconds <= rounds[-1]["seconds"]
    state = state_of(played)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[f"ema.{name}"])


def test_checkpoints_are_kept_on_a_logarithmic_schedule(played: Path) -> None:
    kept = [number for number in range(100) if is_kept(number)]
    assert kept == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96]
    assert rounds_of_checkpoints(played) == [0, 1, 2, 3, 4, 5]


def rounds_of_checkpoints(path: Path) -> list[int]:
    return [read_description(file).metadata["round"] for file in run_checkpoints(path)]


def test_the_same_command_continues(run: Path) -> None:
    before = read_metrics(run)
    watch = Watch(after=7)
    assert train(run, watch) is None
    rounds = read_metrics(run)
    assert rounds[:6] == before
    assert [values["round"] for values in rounds[6:]] == [6, 7]
    for name in ("seconds", "step", "games", "positions"):
        numbers = [values[name] for values in rounds]
        assert numbers == sorted(set(numbers)), name
    assert rounds_of_checkpoints(run) == [0, 1, 2, 3, 4, 6, 7]


@pytest.mark.parametrize("task", ["play", "learn"])
@pytest.mark.parametrize("names", ["hexapawn", "hexapawn+hexapawn4x3"])
def test_a_round_cut_short_is_continued_bit_for_bit(tmp_path: Path, names: str, task: str) -> None:
    whole, cut, games = tmp_path / "whole", tmp_path / "cut", parse_variants(names)
    train(whole, Watch(after=1), games)
    train(cut, Watch(before=(task, 1)), games)
    again = Watch(after=1)
    train(cut, again, games)
    # The games are there already, if it was learning that was cut short.
    assert again.tasks[0] == ("play", 80 if task == "play" else 0)
    ours, theirs = state_of(cut), state_of(whole)
    assert set(ours) == set(theirs)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    for name in ("round", "step", "games", "positions", "losses"):
        assert read_metrics(cut)[1][name] == read_metrics(whole)[1][name]


def test_a_round_of_which_a_part_is_written_is_played_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "run"
    self_play = SETTINGS["self_play"] | {"shard_positions": 20, "games": 4}
    train(path, Watch(after=1), self_play=self_play)
    before = {file.name: file.read_bytes() for file in (path / "games").iterdir()}
    assert len(before) >= 3
    # As if the process had been killed while it played the second round: one shard is there.
    other = tmp_path / "other"
    train(other, Watch(after=2), self_play=self_play)
    shutil.copy(other / "games" / "000002-00-000.safetensors", path / "games")
    again = Watch(after=2)
    train(path, again, self_play=self_play)
    first = describe_games(path / "games" / "000002-00-000.safetensors")["positions"]
    assert again.tasks[0] == ("play", 80 - first)
    names = sorted(file.name for file in (path / "games").glob("000002-*"))
    assert names[:2] == ["000002-00-000.safetensors", "000002-00-001.safetensors"]
    parts = [load_games(path / "games" / name, HEXAPAWN) for name in names]
    assert 80 <= sum(map(len, parts)) < 80 + 20
    assert read_metrics(path)[-1]["positions"] == sum(
        describe_games(file)["positions"] for file in (path / "games").iterdir()
    )
    assert not np.array_equal(parts[0].positions[:16], parts[1].positions[:16])
    assert all((path / "games" / name).read_bytes() == data for name, data in before.items())


def test_the_window_is_filled_again(run: Path) -> None:
    """The next round learns from the same rows, whether or not there was a pause before it."""
    unbroken = run.parent / "unbroken"
    train(unbroken, Watch(after=2))
    first, second = sorted((unbroken / "games").iterdir())
    broken = run.parent / "broken"
    train(broken, Watch(after=1))
    shutil.copy(second, broken / "games")
    again = Watch(after=2)
    train(broken, again)
    assert again.tasks[0] == ("play", 0)
    assert first.name in {file.name for file in (broken / "games").iterdir()}
    ours, theirs = state_of(broken), state_of(unbroken)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_time_is_counted_over_all_sessions(run: Path) -> None:
    spent = read_metrics(run)[-1]["seconds"]
    with unchanged(run):
        summary = train(run, Watch(), minutes=spent / 60 - 0.0001)
    assert summary is not None
    assert summary.reason == "time"
    assert summary.seconds == pytest.approx(spent, abs=1.0)
    assert summary.checkpoint == run_checkpoints(run)[-1]
    assert summary.truth is not None
    assert summary.truth.decision_positions == summary.truth.searched == 27


def test_a_run_that_is_good_enough_has_nothing_more_to_do(run: Path) -> None:
    with unchanged(run):
        summary = train(run, Watch(), stop_at_raw=0.0)
    assert summary is not None
    assert summary.truth is not None
    share = summary.truth.raw
    assert share < 1.0
    # Good enough is not perfect.
    assert summary.reason == "reached"
    assert summary.reached == {"hexapawn": Reached(raw=share, measured=27, decision_positions=27)}


def test_a_game_that_is_not_solved_has_no_truth_curve(tmp_path: Path) -> None:
    watch = Watch(after=1)
    quick = {"actors": 0, "games": 8, "simulations": 2, "positions": 8, "longest_game": 4}
    train(tmp_path / "run", watch, get_variant("gardner"), self_play=quick)
    assert "truth" not in watch.rounds[0]
    summary = train(tmp_path / "run", Watch(), get_variant("gardner"), self_play=quick, minutes=0.0)
    assert summary is not None
    assert summary.truth is None


def test_a_second_training_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    holder = RunDirectory(run, HEXAPAWN, {})
    with unchanged(run):
        assert f"{run}: another training is at work there (process " in refused(capsys, run)
    holder.close()
    assert train(run, Watch(after=6)) is None


def break_config(run: Path) -> None:
    path = run / "config.toml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith("window")))


def edit(line: str, other: str) -> Callable[[Path], None]:
    """Change a line of a run's configuration."""

    def change(run: Path) -> None:
        path = run / "config.toml"
        text = path.read_text()
        assert line in text
        path.write_text(text.replace(line, other))

    return change


def forget_build(run: Path) -> None:
    """Make the state that of an older version, without the network's configuration."""
    tensors, header = load_tensors(run / "learner.safetensors")
    for name in ("network", "learned"):
        del header[name]
    save_tensors(run / "learner.safetensors", tensors, header)


def older(run: Path) -> None:
    forget_build(run)
    edit("blocks = 1", "blocks = 2")(run)


def truncate(name: str) -> Callable[[Path], None]:
    def cut(run: Path) -> None:
        for path in run.glob(name):
            path.write_bytes(path.read_bytes()[:-100])

    return cut


def remove(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def nothing(run: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("damage", "words", "quoted"),
    [
        (nothing, "hexapawn4x4", "a run of hexapawn, not of hexapawn4x4"),
        (nothing, "hexapawn --seed 9", "seed = 9, the run has 1"),
        (nothing, "hexapawn --actors 3", "self_play.actors = 3, the run has 0"),
        (nothing, "hexapawn --minutes -1", "--minutes -1 is not a number of at least 0"),
        (edit("blocks = 1", "blocks = 2"), "hexapawn", "blocks = 1, not 2 as the run's config"),
        (edit("heads = 2", "heads = 4"), "hexapawn", "heads = 2, not 4 as the run's config"),
        (edit("reply_weight = 0.0", "reply_weight = 0.1"), "hexapawn", "reply = False, not True"),
        (older, "hexapawn", "does not fit the run's network (optimiser's exp_avg: ["),
        (break_config, "hexapawn", "config.toml [learning]: the field 'window' is missing"),
        (remove("config.toml"), "hexapawn", "neither empty nor a training run"),
        (remove("learner.safetensors"), "hexapawn", "learner.safetensors: missing"),
        (truncate("learner.safetensors"), "hexapawn", "learner.safetensors: truncated"),
        (truncate("checkpoints/*"), "hexapawn", ".safetensors: truncated"),
    ],
)
def test_files_that_do_not_serve_are_named(
    damage: Callable[[Path], None],
    words: str,
    quoted: str,
    run: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(run)
    with unchanged(run):
        assert quoted in refused(capsys, run, *words.split())


def test_a_state_of_an_older_version_continues(run: Path) -> None:
    forget_build(run)
    assert train(run, Watch(after=6)) is None
    assert read_metrics(run)[-1]["round"] == 6


def test_a_file_is_not_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with unchanged(tmp_path):
        assert "neither empty nor a training run" in refused(capsys, tmp_path)
    assert "notes.txt" in refused(capsys, tmp_path / "notes.txt")


def test_a_bad_configuration_makes_no_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[learning]\nbatch = 0\n")
    line = refused(capsys, tmp_path / "run", "hexapawn", "--config", str(config))
    assert "batch = 0" in line
    assert not (tmp_path / "run").exists()


def spoil_nothing(path: Path) -> None:
    path.unlink()


def spoil_all(path: Path) -> None:
    path.write_bytes(b"garbage" * 999)


def spoil_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4096])


def index_of(run: Path) -> tuple[list[Any], set[str]]:
    index = Index(run)
    try:
        return list(index.shards()), index.checkpoints()
    finally:
        index.close()


def spoil_a_column(path: Path) -> None:
    """As an older version left it."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("ALTER TABLE shards DROP COLUMN source")


@pytest.mark.parametrize("spoil", [spoil_nothing, spoil_all, spoil_the_end, spoil_a_column])
def test_the_index_is_rebuilt(run: Path, spoil: Callable[[Path], None]) -> None:
    before = index_of(run)
    assert len(before[0]) == 5
    spoil(run / "index.sqlite")
    assert index_of(run)[0] == before[0]
    spoil(run / "index.sqlite")
    train(run, Watch(after=7))
    assert len(index_of(run)[0]) == 7
    # The schedule outlives the index.
    assert rounds_of_checkpoints(run) == [0, 1, 2, 3, 4, 6, 7]


def test_shards_that_vanished_or_came_cost_one_commit(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = sorted((run / "games").iterdir())
    away = [path.with_suffix(".away") for path in shards[:4]]
    real = sqlite3.connect
    commits: list[str] = []

    def connect(path: Path) -> sqlite3.Connection:
        database = real(path)
        database.set_trace_callback(lambda text: commits.append(text) if "COMMIT" in text else None)
        return database

    monkeypatch.setattr(sqlite3, "connect", connect)
    for before, after, left in ((shards, away, 1), (away, shards, 5)):
        for path, other in zip(before, after, strict=False):
            path.rename(other)
        commits.clear()
        assert len(index_of(run)[0]) == left
        assert len(commits) == 1


def test_a_damaged_shard_is_left_out(run: Path) -> None:
    (run / "index.sqlite").unlink()
    path = sorted((run / "games").iterdir())[1]
    path.write_bytes(path.read_bytes()[:-1])
    train(run, Watch(after=6))
    assert [shard.round for shard in index_of(run)[0]] == [1, 3, 4, 5, 6]


def test_a_shard_damaged_after_it_was_indexed_does_not_stop_the_run(run: Path) -> None:
    path = sorted((run / "games").iterdir())[1]
    path.write_bytes(path.read_bytes()[:-1])
    train(run, Watch(after=6))
    assert "left out" in (run / "log.txt").read_text()
    assert max(shard.round for shard in index_of(run)[0]) >= 6


def test_a_lost_checkpoint_is_written_again_from_the_learner(run: Path) -> None:
    last = max((run / "checkpoints").iterdir())
    before = load_tensors(last)[0]
    last.unlink()
    train(run, Watch(after=0), minutes=0.0)
    after = load_tensors(last)[0]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_a_killed_run_left_half_done_is_swept_up(run: Path) -> None:
    for place in ("", "games", "checkpoints"):
        (run / place / "half.safetensors.77.tmp").write_text("half")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"seconds": 1.5, "rou')
    train(run, Watch(after=6))
    assert not list(run.rglob("*.tmp"))
    assert [values["round"] for values in read_metrics(run)] == [0, 1, 2, 3, 4, 5, 6]
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == read_metrics(run)


@pytest.mark.parametrize("left", [[], [".lock"], [".lock", "config.toml.tmp"]])
def test_a_run_killed_before_it_began_begins(tmp_path: Path, left: list[str]) -> None:
    for name in left:
        (tmp_path / name).write_text("12345\n")
    train(tmp_path, Watch(after=1))
    assert len(read_metrics(tmp_path)) == 2
    assert not list(tmp_path.glob("*.tmp"))


@contextlib.contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_a_run_that_can_go_on(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = (run / "learner.safetensors").stat().st_size
    network = run_checkpoints(run)[-1].stat().st_size
    games = max(file.stat().st_size for file in (run / "games").iterdir())
    assert games < network < state
    # What still fits: nothing, a line, games, a network; the learner's state never does.
    for room in (0, 100, games // 2, network // 2, state // 2):
        with full_disk(room):
            assert "File too large" in refused(capsys, run)
        assert not list(run.rglob("*.tmp"))
        assert len(state_of(run)) > 0
    assert len(read_metrics(run)) == 6
    watch = Watch(after=6)
    train(run, watch)
    # The games of the last try were whole.
    assert watch.tasks[0] == ("play", 0)
    assert len(read_metrics(run)) == 7


def test_an_index_on_a_full_disk_says_so(run: Path) -> None:
    (run / "index.sqlite").unlink()
    with full_disk(100), pytest.raises(OSError, match=r"index\.sqlite"):
        Index(run)
    assert len(index_of(run)[0]) == 5


def test_metrics_without_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_metrics(tmp_path)
    with pytest.raises(InputError, match="no checkpoints there"):
        run_checkpoints(tmp_path)
