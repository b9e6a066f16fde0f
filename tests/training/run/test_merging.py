"""The small files of a run's games become few, and nothing that is learned depends on it."""

import shutil
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.rules.variant import get_variant
from tests.support.training.run_cases import SETTINGS, StopHere, Watch, state_of, train
from tests.support.training.training_cases import played_rows
from training.config import load_config, merge, parse_variants
from training.data import merging
from training.data.index import Index, Shard
from training.data.run_directory import read_metrics
from training.data.shards import files_of, load_games, load_parts, save_games, shard_name
from training.run.variant_state import VariantState, warm_start_windows

HEXAPAWN = get_variant("hexapawn")
SETTING: dict[str, Any] = merge(
    SETTINGS, {"self_play": {"positions": 24, "games": 8}, "learning": {"window": 150}}
)
ROUNDS = 13


@pytest.fixture(autouse=True)
def _four_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "_MOST_SMALL", 4)
    monkeypatch.setattr(merging, "_SMALL", 150)


@pytest.fixture(scope="module")
def unmerged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as older versions left it: a file for each round."""
    path = tmp_path_factory.mktemp("unmerged") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "_MOST_SMALL", 10**6)
        play(path)
    return path


def play(run: Path) -> None:
    """All rounds but the last, with a pause in which the games in progress are lost."""
    for stop in (7, ROUNDS - 1):
        train(run, Watch(after=stop), HEXAPAWN, **SETTING)


@pytest.fixture
def many(unmerged: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(unmerged, tmp_path / "many"))


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "games").iterdir())


def shards(run: Path) -> list[Shard]:
    with closing(Index(run)) as index:
        return index.shards()


def assert_same_state(one: Path, other: Path) -> None:
    ours, theirs = state_of(one), state_of(other)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    for values in zip(read_metrics(one), read_metrics(other), strict=True):
        kept = [
            {name: each.get(name) for name in ("round", "games", "positions", "window", "losses")}
            for each in values
        ]
        assert kept[0] == kept[1]


def test_a_run_merges_its_files_and_learns_the_same(many: Path, tmp_path: Path) -> None:
    before = shards(many)
    assert len(names(many)) == ROUNDS - 1
    # Merged as it goes; after the pause its window is filled from merged files.
    merged = tmp_path / "merged"
    play(merged)
    assert len(names(merged)) < 4 + sum(shard.positions for shard in before) / 150
    assert_same_state(merged, many)
    assert [(s.name, s.positions, s.games) for s in shards(merged)] == [
        (s.name, s.positions, s.games) for s in before
    ]
    # An old run of many files continues, as one that has merged them already.
    for run in (many, merged):
        train(run, Watch(after=ROUNDS), HEXAPAWN, **SETTING)
    assert len(names(many)) < 4 + sum(shard.positions for shard in before) / 150
    assert_same_state(merged, many)
    for run in (many, merged):
        rows = [load_games(path, HEXAPAWN) for path in files_of(run / "games", HEXAPAWN)]
        assert sum(map(len, rows)) == read_metrics(run)[-1]["positions"]


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("kill", ["write", "index", "first removal", "second removal"])
def test_a_kill_while_files_are_merged_loses_and_doubles_nothing(
    many: Path, kill: str, indexed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shards(many)
    removals = {"first removal": 1, "second removal": 2}.get(kill, 0)
    unlink, calls = Path.unlink, []

    def stop(*_: object) -> None:
        raise StopHere

    def unlink_or_stop(path: Path, missing_ok: bool = False) -> None:
        calls.append(path)
        if len(calls) == removals:
            raise StopHere
        unlink(path, missing_ok)

    with monkeypatch.context() as patch, closing(Index(many)) as index:
        if kill == "write":
            patch.setattr(merging, "save_merged", stop)
        elif kill == "index":
            patch.setattr(Index, "move_shards", stop)
        else:
            patch.setattr(Path, "unlink", unlink_or_stop)
        with suppress(StopHere):
            merging.merge_small_files(
                index, many / "games", HEXAPAWN, None, range(ROUNDS), lambda _: None
            )
    left = len(names(many))
    assert left > 4
    # Readers without the index see every position once.
    rows = [load_games(path, HEXAPAWN) for path in files_of(many / "games", HEXAPAWN)]
    assert sum(map(len, rows)) == sum(shard.positions for shard in before)
    if not indexed:
        unlink(many / "index.sqlite")
    after = shards(many)
    assert [shard.name for shard in after] == [shard.name for shard in before]
    assert set(names(many)) == {shard.file for shard in after}
    assert len(names(many)) < left or kill == "write"
    train(many, Watch(after=ROUNDS), HEXAPAWN, **SETTING)
    assert read_metrics(many)[-1]["positions"] == sum(shard.positions for shard in shards(many))


def test_a_merged_file_within_a_larger_one_counts_once(many: Path, tmp_path: Path) -> None:
    """A kill while a merged file is merged again leaves a file of files beside its parts."""
    before = [shard.name for shard in shards(many)]
    first = tmp_path / "first"
    shutil.copytree(many, first)

    def merge_rounds(run: Path, last: int) -> None:
        with closing(Index(run)) as index:
            merging.merge_small_files(
                index, run / "games", HEXAPAWN, None, range(last + 1), lambda _: None
            )

    merge_rounds(first, 4)
    small = next(name for name in names(first) if name.startswith("000001-000004"))
    merge_rounds(many, ROUNDS)
    large = next(name for name in names(many) if name.startswith("000001-0000"))
    assert large > small
    shutil.copy(first / "games" / small, many / "games" / small)
    assert small not in [path.name for path in files_of(many / "games", HEXAPAWN)]
    assert [shard.name for shard in shards(many)] == before
    assert small not in names(many)


def test_a_damaged_file_is_left_out_and_the_others_are_merged(many: Path) -> None:
    path = many / "games" / names(many)[2]
    path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    train(many, Watch(after=ROUNDS), HEXAPAWN, **SETTING)
    assert path.name in (many / "log.txt").read_text()
    assert path.exists()
    held = [
        part.name
        for file in (many / "games").iterdir()
        if file != path
        for part, _ in load_parts(file, HEXAPAWN)
    ]
    assert len(held) == len(set(held)) == ROUNDS - 1
    assert path.name not in held


def test_a_round_of_many_actors_is_merged_into_one_file(tmp_path: Path) -> None:
    """Two files with shards of the same rounds only would have the same name."""
    folder = tmp_path / "games"
    folder.mkdir()
    for actor in range(9):
        rows = played_rows(HEXAPAWN, 60, seed=actor)
        source = {"round": 1, "actor": actor}
        save_games(folder / shard_name(1, actor, 0, None), rows, HEXAPAWN, source)
    before = shards(tmp_path)
    with closing(Index(tmp_path)) as index:
        merging.merge_small_files(index, folder, HEXAPAWN, None, range(2), lambda _: None)
    held = [part.name for path in folder.iterdir() for part, _ in load_parts(path, HEXAPAWN)]
    assert sorted(held) == [shard.name for shard in before]
    after = shards(tmp_path)
    assert [(s.name, s.positions) for s in after] == [(s.name, s.positions) for s in before]
    assert {shard.file for shard in after} == set(names(tmp_path))


def test_a_teacher_s_games_are_learned_alike_from_many_files_and_from_few(many: Path) -> None:
    state = VariantState(HEXAPAWN, load_config(many / "config.toml"), number=0, variants=1)
    (before,) = warm_start_windows([state], many / "games")
    with closing(Index(many)) as index:
        merging.merge_small_files(
            index, many / "games", HEXAPAWN, None, range(ROUNDS), lambda _: None
        )
    (after,) = warm_start_windows([state], many / "games")
    assert len(before) == len(after)
    drawn, again = (window.sample(40, np.random.default_rng(1)) for window in (before, after))
    assert np.array_equal(drawn.positions, again.positions)


def test_each_variant_of_a_run_has_its_own_files(tmp_path: Path) -> None:
    variants = parse_variants("hexapawn+hexapawn4x3")
    train(tmp_path / "run", Watch(after=5), variants, **merge(SETTING, {"learning": {"batch": 8}}))
    files = names(tmp_path / "run")
    for number, variant in enumerate(variants):
        own = [name for name in files if name.endswith(f"-{number:02d}.safetensors")]
        assert any(name.startswith("000001-000004-") for name in own), files
        for path in files_of(tmp_path / "run" / "games", variant):
            assert path.name in own
            assert np.isfinite(load_games(path, variant).policy).all()
