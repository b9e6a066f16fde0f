"""The ablation: every variation is a configuration, and what is measured is not measured again."""

import json
from pathlib import Path

import pytest

from engine.rules.variant import get_variant
from scripts import cli
from scripts.experiments import ablation
from scripts.experiments.ablation import BASE, VARIATIONS, overrides_of, table
from tests.support.network.network_cases import with_torch_alone
from training.config import merge, resolve
from training.data.shards import load_games
from training.studies import study

HEXAPAWN = get_variant("hexapawn")


@pytest.mark.parametrize("name", VARIATIONS)
def test_every_variation_is_a_configuration_of_its_own(name: str, tmp_path: Path) -> None:
    config = resolve(HEXAPAWN, overrides_of(name, 2, tmp_path, 0.5))
    assert config.minutes == 0.5
    assert config.seed == 2
    config.network_config(HEXAPAWN)
    # It changes something, and nothing but what it names.
    base = resolve(HEXAPAWN, overrides_of("base", 2, tmp_path, 0.5))
    assert (config == base) == (name == "base")
    for section, values in VARIATIONS[name].items():
        if isinstance(values, dict):
            assert merge(BASE[section], values) != BASE[section]


def test_the_command_trains_what_is_missing_and_measures_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On 3x3, with a warm start and a teacher, in this process."""
    with_torch_alone(monkeypatch)
    monkeypatch.setattr(study, "run_side_by_side", map)
    monkeypatch.setattr(ablation, "openvino_installed", lambda: False)
    monkeypatch.setattr(ablation, "VARIANT", "hexapawn")
    monkeypatch.setattr(ablation, "SEEDS", 1)
    names = ("base", "warm start", "solver as teacher")
    monkeypatch.setattr(ablation, "VARIATIONS", {name: VARIATIONS[name] for name in names})
    monkeypatch.setattr(ablation, "WARM_START_POSITIONS", 200)
    small = {"self_play": {"games": 16, "simulations": 4, "positions": 128}}
    small |= {"network": {"blocks": 1, "channels": 16, "squeeze": 4}, "learning": {"batch": 32}}
    monkeypatch.setattr(ablation, "BASE", merge(BASE, small))
    words = ["study", "ablation", "--minutes", "0.003", "--out", str(tmp_path), "--json"]
    assert cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert list(found) == list(names)
    for figures in found.values():
        (line,) = figures["seeds"]
        assert 0 <= line["raw"] <= 1
        # 64 simulations nearly solve 3x3.
        assert line["search"] >= 0.5
        assert figures["curve"][0][0] == 0.0
    assert len(load_games(tmp_path / "warm_start.safetensors", HEXAPAWN).positions) >= 200
    results = (tmp_path / "results.jsonl").read_text()
    assert cli.main(words[:-1]) == 0
    assert (tmp_path / "results.jsonl").read_text() == results
    assert "| warm start | " in capsys.readouterr().out


def test_the_table_has_means_and_ranges_and_the_best_first() -> None:
    def line(raw: float, search: float) -> dict[str, float]:
        return {"raw": raw, "search": search, "positions": 1000}

    found = {
        "base": {"seeds": [line(0.9, 0.8), line(1.0, 0.9)]},
        "no mirror": {"seeds": [line(0.8, 0.9)]},
    }
    assert table(found)[2:] == [
        "| no mirror | 80.0% (80.0% to 80.0%) | 90.0% (90.0% to 90.0%) | 1,000 | 1 |",
        "| base | 95.0% (90.0% to 100.0%) | 85.0% (80.0% to 90.0%) | 1,000 | 2 |",
    ]
