"""The networks that come with the program: whole, small, documented, and able to play."""

import json
import tomllib
from pathlib import Path

import pytest

from engine.network.checkpoint import load_checkpoint
from engine.rules.variant import get_variant
from scripts.commands.match import main as match
from scripts.players import SHIPPED
from training.config import resolve

NETWORKS = sorted(SHIPPED.glob("*.safetensors"))
LARGEST = 8_000_000
"""Bytes."""


def test_gardner_has_one() -> None:
    assert "gardner" in [path.stem for path in NETWORKS]


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_a_network_comes_with_its_configuration_and_curve(path: Path) -> None:
    assert path.stat().st_size <= LARGEST
    variant = get_variant(path.stem)
    checkpoint = load_checkpoint(path, variant=variant)
    config = tomllib.loads(path.with_suffix(".toml").read_text())
    assert config["variant"] == variant.name
    # A person can begin the same run again.
    resolve(variant, config)
    for name, value in config["network"].items():
        assert getattr(checkpoint.network.config, name) == value
    curve = path.with_name(f"{path.stem}.metrics.jsonl").read_text().splitlines()
    assert json.loads(curve[-1])["step"] == checkpoint.metadata["step"]


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_a_network_beats_random_play(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"mcts:32:{path}", "random", path.stem, "--games", "8", "--json"]
    assert match.main(words) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["wins"] >= 7
    assert figures["illegal"] == 0
