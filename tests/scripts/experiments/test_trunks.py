"""The study of trunks: its networks are what their names say, and what is done stays done."""

import json
from pathlib import Path

import pytest

from engine.network.inference.evaluator import DEFAULT_PRECISIONS
from engine.rules.variant import get_variant
from scripts import cli
from scripts.experiments import trunks
from scripts.experiments.trunks import (
    CHESS,
    SAME_SIZE,
    SOLVED,
    TOWER,
    TRUNKS,
    fresh,
    measure_speeds,
    training_of,
)
from tests.support.network.network_cases import with_torch_alone
from training.config import resolve
from training.studies import study


def test_the_sizes_are_as_named() -> None:
    counts = {
        name: fresh(settings, get_variant(CHESS)).parameter_count
        for name, settings in TRUNKS.items()
    }
    assert counts[SAME_SIZE] == pytest.approx(counts[TOWER], rel=0.03)
    assert len(set(counts.values())) == len(TRUNKS)


@pytest.mark.parametrize("game", [SOLVED, CHESS])
def test_networks_differ_in_the_trunk_and_in_nothing_else(game: str, tmp_path: Path) -> None:
    variant = get_variant(game)
    configs = [
        resolve(variant, training_of(tmp_path, name, game, 1, 2.0).overrides) for name in TRUNKS
    ]
    assert all(config.self_play == configs[0].self_play for config in configs)
    assert all(config.learning == configs[0].learning for config in configs)
    assert all(config.minutes == 2.0 for config in configs)
    for config, settings in zip(configs, TRUNKS.values(), strict=True):
        network = config.network_config(variant).to_dict()
        assert settings.items() <= network.items()
        assert network["excitation"]
        assert network["norm"] == "layer"


def test_every_network_has_a_speed_on_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The median of few turns of small batches: that there is one, not how large it is."""
    monkeypatch.setattr(trunks, "_BATCH", 8)
    monkeypatch.setattr(trunks, "_TURNS", 3)
    speeds = measure_speeds(get_variant(CHESS))["speeds"]
    assert set(speeds) == set(TRUNKS)
    for found in speeds.values():
        assert found["torch fp32"] > 0
        assert {way.split()[1] for way in found} <= set(DEFAULT_PRECISIONS)


def test_the_command_fills_the_table_and_measures_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With small networks of the same two kinds, on small games, for moments, in this process."""
    with_torch_alone(monkeypatch)
    monkeypatch.setattr(study, "run_side_by_side", map)
    tower = {"trunk": "residual", "blocks": 1, "channels": 16, "squeeze": 4}
    transformer = {"blocks": 1, "channels": 16, "heads": 1, "hidden": 16}
    small = {name: tower if name == TOWER else transformer for name in TRUNKS}
    settings = {"self_play": {"games": 4, "simulations": 4, "positions": 32, "opening_plies": 2}}
    for name, value in {
        "TRUNKS": small,
        "SOLVED": "hexapawn",
        "CHESS": "hexapawn4x4",
        "SEEDS": 1,
        "BACKENDS": (("torch", "fp32"),),
        "SETTINGS": settings,
        "_GAMES": 2,
    }.items():
        monkeypatch.setattr(trunks, name, value)
    words = ["study", "trunks", "--minutes", "0.002", "--out", str(tmp_path), "--json"]
    assert cli.main(words) == 0
    first = json.loads(capsys.readouterr().out)["results"]
    assert list(first) == list(TRUNKS)
    for name, line in first.items():
        assert 0 <= line["truth"][0] <= 1
        assert line["speed"]["torch fp32"] > 0
        for kind in ("match", "timed"):
            assert (kind in line) == (name != TOWER)
    assert (tmp_path / "trunks.svg").exists()
    facts = (tmp_path / "results.jsonl").read_text()
    assert cli.main(words[:-1]) == 0
    assert (tmp_path / "results.jsonl").read_text() == facts
    printed = capsys.readouterr().out
    assert printed.count("Elo at equal") == 2
    assert f"| {TOWER} | " in printed
