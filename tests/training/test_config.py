"""What a run is told: refused by name where it is wrong, and the same when it is read again."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from tests.support.rules.variant_lists import BUILT_IN, HEXAPAWNS
from tests.support.training.training_cases import child_of
from training.config import (
    FORMER_NAMES,
    LearningConfig,
    SelfPlayConfig,
    TrainingConfig,
    differences,
    load_config,
    merge,
    naming_file,
    preset,
    read_overrides,
    read_toml,
    replace,
    resolve,
    to_toml,
)

HEXAPAWN = get_variant("hexapawn")
OLD_RUN = Path(__file__).parents[1] / "golden" / "old_runs" / "hexapawn"
OWN: dict[str, Any] = {
    "minutes": 3,
    "seed": 12,
    "network": {"blocks": 3, "trunk": "residual"},
    "self_play": {"games": 7, "varied_starts": 0.25},
    "learning": {"batch": 32},
}


@pytest.mark.parametrize("name", [*BUILT_IN, *HEXAPAWNS])
def test_every_variant_has_its_settings(name: str) -> None:
    variant = get_variant(name)
    config = resolve(variant, {})
    assert config.variant == name
    assert config.network_config(variant).width == variant.width


def test_ones_own_values_win_and_the_rest_stays() -> None:
    config = resolve(HEXAPAWN, OWN)
    fresh = resolve(HEXAPAWN, {})
    assert (config.minutes, config.seed) == (3.0, 12)
    assert isinstance(config.minutes, float)
    assert config.self_play == dataclasses.replace(fresh.self_play, games=7, varied_starts=0.25)
    assert config.learning == dataclasses.replace(fresh.learning, batch=32)
    assert config.network_config(HEXAPAWN).trunk == "residual"
    assert config.network_config(HEXAPAWN).channels == preset(HEXAPAWN)["network"]["channels"]


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("network", 3, "a table"),
        ("network.blocks", -1, ""),
        ("network.width", 8, ""),
        ("network.value", "number", ""),
        ("network.reply", 1, ""),
        ("learning", "much", "a table"),
        ("minutes", "ten", "a number of at least 0"),
        ("minutes", -1, "a number of at least 0"),
        ("minutes", math.nan, ""),
        ("stop_at_raw", 1.1, "a number from 0 to 1, or inf"),
        ("stop_at_raw", -math.inf, ""),
        ("held_out", math.inf, ""),
        ("self_play.noise_fraction", math.inf, ""),
        ("self_play.games", 10**9, ""),
        ("learning.batch", 10**11, "a whole number from 1 to 1048576"),
        ("seed", 1.5, "a whole number from 0"),
        ("seed", True, "a whole number from 0"),
        ("seed", 1 << 70, ""),
        ("search_sample", 0, "a whole number of at least 1"),
        ("teacher", "stockfish", "one of none, solver"),
        ("held_out", 1, "a number from 0 to 0.9"),
        ("gate_games", -2, ""),
        ("warm_start", 3, "a text"),
        ("self_play.games", 0, ""),
        ("self_play.positions", 0, ""),
        ("self_play.actors", -1, ""),
        ("self_play.simulations", -5, ""),
        ("self_play.varied_starts", 1.5, ""),
        ("self_play.noise_fraction", 1.01, ""),
        ("self_play.longest_game", 40_000, ""),
        ("self_play.search", "minimax", "one of puct, gumbel"),
        ("self_play.full_share", 0, ""),
        ("self_play.fast_simulations", 0, ""),
        ("self_play.considered", 0, ""),
        ("self_play.resign_below", 0.5, "a number from -1 to 0"),
        ("self_play.resign_play_on", 2, ""),
        ("self_play.shard_positions", 0, ""),
        ("self_play.backend", "cuda", "one of auto, torch"),
        ("self_play.precision", "fp8", "one of auto"),
        ("learning.precision", "int8", "one of fp32, bf16, auto"),
        ("learning.mirror", 1, "true or false"),
        ("learning.rescore", True, "one of none, value, both"),
        ("learning.surprise_share", 1.5, ""),
        ("learning.window_growth", -1, ""),
        ("learning.window_power", 0, ""),
        ("learning.ema_steps", 0, ""),
        ("learning.reply_weight", -1, ""),
        ("learning.batch", 0, ""),
        ("learning.window", -8, ""),
        ("learning.outcome_share", 2, ""),
        ("learning.learning_rate", -0.1, ""),
        ("chosen.inference", "torch", "a list, each item a text"),
        ("chosen.inference", [1], "a list, each item a text"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any, wanted: str) -> None:
    *table, name = field.split(".")
    with pytest.raises(InputError) as caught:
        resolve(HEXAPAWN, {table[0]: {name: value}} if table else {name: value})
    assert f"{name} = {value!r} is " in str(caught.value)
    assert not wanted or f"is not {wanted}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("table", ["", "self_play", "network"])
def test_an_unknown_field_is_named(table: str) -> None:
    with pytest.raises(InputError, match=r"'nonsense'.*fields: "):
        resolve(HEXAPAWN, {table: {"nonsense": 1}} if table else {"nonsense": 1})


def test_a_game_without_a_move_is_nothing_to_learn() -> None:
    over = child_of("hexapawn", "stuck", startFen="p2/P2/3 w - - 0 1")
    with pytest.raises(InputError, match="stuck: the game is over before it begins"):
        resolve(over, {})


def test_the_file_of_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for overrides in ({}, OWN, {"minutes": math.inf}, {"network": {"hidden": 0}}):
        config = resolve(HEXAPAWN, overrides)
        path.write_text(to_toml(config))
        assert load_config(path) == config


@pytest.mark.parametrize("field", ["minutes", "batch", "actors", "search_sample"])
def test_a_file_of_an_older_version_is_refused(tmp_path: Path, field: str) -> None:
    path = tmp_path / "config.toml"
    lines = to_toml(resolve(HEXAPAWN, {})).splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith(f"{field} = ")))
    with pytest.raises(InputError, match=f"config.toml.*'{field}' is missing"):
        load_config(path)


def test_a_run_need_not_stop_before_its_time(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    endless = resolve(HEXAPAWN, {"stop_at_raw": math.inf})
    path.write_text(to_toml(endless))
    assert load_config(path) == endless
    # Runs of older versions have numbers that can never be reached.
    for never in ("1.1", "2"):
        path.write_text(to_toml(endless).replace("stop_at_raw = inf", f"stop_at_raw = {never}"))
        assert load_config(path) == endless


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("novelty = 1\n" + to_toml(resolve(HEXAPAWN, {})))
    with pytest.raises(InputError, match=r"config\.toml: unknown field 'novelty'"):
        load_config(path)


def test_former_names_are_read_and_todays_are_written(tmp_path: Path) -> None:
    """`golden/old_runs` holds a run of the first version, whose fields had other names."""
    old = load_config(OLD_RUN / "config.toml")
    assert (old.learning.replay_ratio, old.warm_start_replay_ratio) == (2.0, 2.0)
    assert (old.learning.ema_steps, old.learning.ownership_weight) == (5, 0.1)
    assert "passes" not in to_toml(old)
    own = tmp_path / "own.toml"
    own.write_text("warm_start_passes = 3.0\n[learning]\naverage_steps = 7\n")
    config = resolve(HEXAPAWN, read_toml(own))
    assert (config.warm_start_replay_ratio, config.learning.ema_steps) == (3.0, 7)
    own.write_text("[learning]\npasses = 1.0\nreplay_ratio = 2.0\n")
    with pytest.raises(InputError, match=r"own\.toml \[learning\]: 'passes' is the former name"):
        read_toml(own)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[learning]\npases = 1.0", r"own\.toml \[learning\]: unknown field 'pases' \(fields"),
        ("minuts = 1.0", r"own\.toml: unknown field 'minuts' \(did you mean minutes\? fields: "),
        ("seed = -1", r"own\.toml: seed = -1 is not a whole number"),
        ("variant = 'gardner'", r"own\.toml: variant = 'gardner', but .* is 'hexapawn'"),
    ],
)
def test_a_mistake_in_ones_own_file_names_the_file(text: str, message: str, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(text)
    with pytest.raises(InputError, match=message):
        read_overrides(own, TrainingConfig, "hexapawn")


def test_settings_of_ones_own_file_that_do_not_fit_each_other_name_it(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"

    def refusal(values: dict[str, Any], others: dict[str, Any]) -> str:
        with (
            pytest.raises(InputError) as caught,
            naming_file(own, lambda: resolve(HEXAPAWN, values)),
        ):
            resolve(HEXAPAWN, values | others)
        return str(caught.value)

    bad = {"network": {"channels": 32, "heads": 5}}
    assert refusal(bad, {}) == (
        f"{own}: network configuration: heads = 5 does not divide channels 32"
    )
    # The file is not blamed for what it does not hold.
    assert str(own) not in refusal({"seed": 3}, bad)


def test_ones_own_file_may_come_from_an_editor_on_windows_or_from_a_run(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_bytes("\N{BYTE ORDER MARK}variant = 'hexapawn'\r\nseed = 9\r\n".encode())
    assert read_overrides(own, TrainingConfig, "hexapawn") == {"seed": 9}


def test_every_former_name_has_its_field_today() -> None:
    kinds = (TrainingConfig, SelfPlayConfig, LearningConfig)
    fields = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    assert set(FORMER_NAMES.values()) <= fields
    assert not set(FORMER_NAMES) & fields


@pytest.mark.parametrize("text", ["seed = ", "seed = 1\nseed = 2", "\xff", "[network"])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"config\.toml: "):
        load_config(path)


def test_heads_that_are_trained_are_there() -> None:
    for reply, ownership in ((0.0, 0.0), (0.2, 0.0), (0.0, 0.2)):
        learning = {"reply_weight": reply, "ownership_weight": ownership}
        network = resolve(HEXAPAWN, {"learning": learning}).network_config(HEXAPAWN)
        assert (network.reply, network.ownership) == (reply > 0, ownership > 0)


def test_simulations_grow_from_round_to_round() -> None:
    steady = SelfPlayConfig(simulations=64)
    assert {steady.simulations_in(number) for number in (1, 5, 1000)} == {64}
    growing = SelfPlayConfig(simulations=64, first_simulations=4, growth_rounds=4)
    assert [growing.simulations_in(number) for number in range(1, 8)] == [4, 8, 16, 32, 64, 64, 64]


def test_differences_name_what_is_asked_for_and_what_there_is() -> None:
    config = resolve(HEXAPAWN, OWN)
    assert differences(config, OWN) == []
    assert differences(config, {}) == []
    assert differences(config, {"seed": 13}) == ["seed = 13, the run has 12"]
    asked = {"learning": {"batch": 64}, "network": {"blocks": 3}}
    assert differences(config, asked) == ["learning.batch = 64, the run has 32"]


def test_merge_and_replace() -> None:
    base = {"a": 1, "b": {"c": 2, "d": 3}}
    assert merge(base, {"b": {"d": 4}, "e": 5}) == {"a": 1, "b": {"c": 2, "d": 4}, "e": 5}
    assert base == {"a": 1, "b": {"c": 2, "d": 3}}
    config = resolve(HEXAPAWN, OWN)
    assert replace(config, {"minutes": 4}) == dataclasses.replace(config, minutes=4.0)
    with pytest.raises(InputError, match="minutes = 'long'"):
        replace(config, {"minutes": "long"})
