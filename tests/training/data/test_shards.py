"""Rows of games: joined, selected, drawn from the window, and kept in files."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.network.checkpoint import load_tensors, save_tensors
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from tests.support.training.training_cases import played_rows, random_rows
from training.config import LearningConfig
from training.data import shards as games
from training.data.replay import ReplayWindow, window_size
from training.data.shards import (
    GameRows,
    Part,
    describe_games,
    files_of,
    game_files,
    join,
    load_games,
    load_parts,
    merged_name,
    newest_file,
    save_games,
    save_merged,
    select,
)

HEXAPAWN = get_variant("hexapawn")


def rows_one_by_one(rows: GameRows) -> list[tuple[object, ...]]:
    """Each row by itself, moves and policy cut out; without its game's number."""
    return [
        (
            rows.positions[index].tolist(),
            rows.moves[rows.offsets[index] : rows.offsets[index + 1]].tolist(),
            rows.policy[rows.offsets[index] : rows.offsets[index + 1]].tolist(),
            rows.search_wdl[index].tolist(),
            int(rows.proven[index]),
            int(rows.outcomes[index]),
            int(rows.moves_left[index]),
            int(rows.replies[index]),
            float(rows.surprise[index]),
            rows.endings[index].tolist(),
        )
        for index in range(len(rows))
    ]


def test_join_puts_rows_behind_each_other() -> None:
    parts = [random_rows(HEXAPAWN, counts, seed) for seed, counts in enumerate([[3, 1], [2], [5]])]
    joined = join(parts)
    assert rows_one_by_one(joined) == [row for part in parts for row in rows_one_by_one(part)]
    assert joined.games.tolist() == [0, 0, 1, 2]
    assert joined.game_count == 3
    for name in GameRows.__dataclass_fields__:
        assert getattr(joined, name).dtype == getattr(parts[0], name).dtype


def test_select_takes_rows_in_any_order() -> None:
    rows = random_rows(HEXAPAWN, [3, 1, 4, 2])
    one_by_one = rows_one_by_one(rows)
    for indices in ([0], [3, 0, 0, 2], [1, 1], []):
        chosen = select(rows, np.array(indices, np.int64))
        assert rows_one_by_one(chosen) == [one_by_one[index] for index in indices]
        assert chosen.games.tolist() == [rows.games[index] for index in indices]


def test_the_window_holds_the_newest_parts() -> None:
    window = ReplayWindow(LearningConfig())
    rng = np.random.default_rng(0)
    parts = [random_rows(HEXAPAWN, [1] * size, seed) for seed, size in enumerate([2, 3, 1, 7, 2])]
    held = [[0], [0, 1], [1, 2], [3], [4]]
    for part, numbers in zip(parts, held, strict=True):
        window.add(part, 5)
        wanted = [row for number in numbers for row in rows_one_by_one(parts[number])]
        assert len(window) == len(wanted)
        drawn = rows_one_by_one(window.sample(200, rng))
        assert len(drawn) == 200
        assert {str(row) for row in drawn} == {str(row) for row in wanted}


def test_the_window_moves_its_rows_and_keeps_them() -> None:
    """Many parts in and out, as in a long run: what is drawn is always what the newest hold."""
    window = ReplayWindow(LearningConfig())
    rng = np.random.default_rng(1)
    parts: list[GameRows] = []
    for number in range(60):
        counts = rng.integers(1, 6, rng.integers(0, 9)).tolist()
        parts.append(random_rows(HEXAPAWN, counts, seed=number))
        window.add(parts[-1], 20)
        held: list[GameRows] = []
        total = 0
        for part in reversed([part for part in parts if len(part)]):
            total += len(part)
            if total > 20 and held:
                break
            held.append(part)
        wanted = {str(row) for part in held for row in rows_one_by_one(part)}
        assert len(window) == sum(map(len, held))
        if held:
            drawn = {str(row) for row in rows_one_by_one(window.sample(300, rng))}
            assert drawn == wanted


@pytest.mark.parametrize("pause", [1, 2, 5])
def test_weights_and_games_stay_with_their_rows_as_parts_leave(pause: int) -> None:
    """Draws between additions, seldom or often: only surprising rows, games numbered from 0."""
    window = ReplayWindow(LearningConfig(surprise_share=1.0))
    rng = np.random.default_rng(0)
    for number in range(20):
        rows = random_rows(HEXAPAWN, [1] * (3 + number % 3), seed=number)
        surprise = np.arange(len(rows)) == number % 3
        window.add(replace(rows, surprise=surprise.astype(np.float32)), 9)
        if number % pause == 0:
            drawn = window.sample(60, rng)
            assert (drawn.surprise == 1).all()
            assert 0 <= drawn.games.min() <= drawn.games.max() < len(window)


def test_the_window_grows_sublinearly() -> None:
    fixed = LearningConfig(window=1000)
    assert [window_size(fixed, n) for n in (0, 10, 1000, 10**6)] == [1000] * 4
    # KataGo's numbers (Wu 2019, appendix C).
    growing = LearningConfig(window=250_000, window_growth=0.4, window_power=0.75)
    assert window_size(growing, 100_000) == 250_000
    assert window_size(growing, 241_000_000) == pytest.approx(22_000_000, rel=0.06)
    sizes = [window_size(growing, n) for n in (250_000, 500_000, 1_000_000, 2_000_000)]
    assert sizes == sorted(set(sizes))
    assert all(size < n for size, n in zip(sizes[1:], (500_000, 1_000_000, 2_000_000), strict=True))


def test_an_empty_window_has_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="an empty window"):
        ReplayWindow(LearningConfig()).sample(1, np.random.default_rng(0))


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "000003-01.safetensors"
    save_games(path, played_rows(HEXAPAWN, 6), HEXAPAWN, {"round": 3, "actor": 1})
    return path


def test_the_newest_file_is_found_by_its_own_header(
    shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shard.parent
    for number in (4, 5):
        shutil.copy(shard, folder / f"00000{number}-01.safetensors")
    read = []

    def describe(path: Path) -> dict[str, Any]:
        read.append(path)
        return describe_games(path)

    monkeypatch.setattr(games, "describe_games", describe)
    assert newest_file(folder, HEXAPAWN) == folder / "000005-01.safetensors"
    assert read == [folder / "000005-01.safetensors"]
    (folder / "000005-01.safetensors").write_bytes(b"half")
    assert newest_file(folder, HEXAPAWN) == folder / "000004-01.safetensors"
    assert newest_file(folder, get_variant("gardner")) is None
    assert newest_file(folder / "nowhere", HEXAPAWN) is None


def test_a_shard_comes_back_as_it_was(shard: Path) -> None:
    rows, loaded = played_rows(HEXAPAWN, 6), load_games(shard, HEXAPAWN)
    for name in GameRows.__dataclass_fields__:
        assert getattr(loaded, name).dtype == getattr(rows, name).dtype
        assert np.array_equal(getattr(loaded, name), getattr(rows, name))
    header = describe_games(shard)
    assert (header["positions"], header["games"]) == (6, rows.game_count)
    assert header["source"] == {"round": 3, "actor": 1}


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    """A file of three shards, of 6, 3 and 9 positions, beside which the second one still lies."""
    parts = []
    for part, count in enumerate((6, 3, 9)):
        rows = played_rows(HEXAPAWN, count, seed=part)
        source = {"round": 3, "actor": part}
        parts.append(
            (Part(f"000003-00-{part:03d}.safetensors", count, rows.game_count, source), rows)
        )
    save_games(tmp_path / parts[1][0].name, parts[1][1], HEXAPAWN, parts[1][0].source)
    save_games(tmp_path / "000004-00-000.safetensors", parts[0][1], HEXAPAWN, parts[0][0].source)
    path = tmp_path / merged_name(3, 3, None)
    save_merged(path, parts, HEXAPAWN)
    return path


def test_shards_in_a_merged_file_come_back_as_they_were(merged: Path) -> None:
    found = load_parts(merged, HEXAPAWN)
    for (part, rows), (number, count) in zip(found, enumerate((6, 3, 9)), strict=True):
        whole = played_rows(HEXAPAWN, count, seed=number)
        assert part.source == {"round": 3, "actor": number}
        assert (part.positions, part.games) == (count, whole.game_count)
        for name in GameRows.__dataclass_fields__:
            assert getattr(rows, name).dtype == getattr(whole, name).dtype
            assert np.array_equal(getattr(rows, name), getattr(whole, name)), name
    rows = load_games(merged, HEXAPAWN)
    assert len(rows) == describe_games(merged)["positions"] == 18
    assert np.array_equal(np.unique(rows.games), np.arange(rows.game_count))


def test_readers_leave_out_files_that_a_merged_one_holds(merged: Path) -> None:
    names = ["000003-000003.safetensors", "000004-00-000.safetensors"]
    assert [path.name for path in game_files(merged.parent)] == names
    assert [path.name for path in files_of(merged.parent, HEXAPAWN)] == names
    # Of a damaged file nothing is known to be held.
    merged.write_bytes(merged.read_bytes()[:-1])
    assert [path.name for path in files_of(merged.parent, HEXAPAWN)] == [
        *("000003-00-001.safetensors", "000004-00-000.safetensors")
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("positions", 5),
        ("positions", -6),
        ("games", 99),
        ("name", 3),
        ("source", None),
        ("more", 1),
    ],
)
def test_a_list_of_shards_that_does_not_fit_is_refused(
    merged: Path, field: str, value: object
) -> None:
    tensors, header = load_tensors(merged)
    header["shards"][0][field] = value
    save_tensors(merged, tensors, header)
    with pytest.raises(InputError, match="its list of shards does not fit"):
        load_parts(merged, HEXAPAWN)


def refusal(path: Path, variant: str = "hexapawn") -> str:
    with pytest.raises(InputError) as caught:
        load_games(path, get_variant(variant))
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("length", [0, 7, 200, -1])
def test_a_truncated_shard_is_refused(shard: Path, length: int) -> None:
    shard.write_bytes(shard.read_bytes()[:length])
    refusal(shard)
    with pytest.raises(InputError, match=shard.name):
        describe_games(shard)


def test_games_of_another_variant_are_refused(shard: Path) -> None:
    message = refusal(shard, "hexapawn4x4")
    assert "'hexapawn'" in message
    assert "hexapawn4x4" in message


@pytest.mark.parametrize("name", GameRows.__dataclass_fields__)
def test_a_shard_without_one_of_its_arrays_is_refused(shard: Path, name: str) -> None:
    tensors, header = load_tensors(shard)
    save_tensors(shard, {key: value for key, value in tensors.items() if key != name}, header)
    assert f"'{name}'" in refusal(shard)


def test_other_tensors_are_no_games(shard: Path) -> None:
    tensors, header = load_tensors(shard)
    save_tensors(shard, tensors, header | {"format": "pawnscope-games-0"})
    assert "not a file of self-play games" in refusal(shard)


def test_games_of_an_older_version_are_refused_as_such(shard: Path) -> None:
    tensors, header = load_tensors(shard)
    save_tensors(shard, tensors, header | {"format": "pawnscope-games-1"})
    assert "games of an older version (pawnscope-games-1" in refusal(shard)
    with pytest.raises(InputError, match="older version"):
        describe_games(shard)
