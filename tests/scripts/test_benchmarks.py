"""What the benchmark counts and compares with is what it says."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.network.language.model import LanguageModel
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from scripts.benchmarks import peers, probes, rows
from scripts.benchmarks.language import CONFIG, flops_a_token, without_points
from tests.support.network.network_cases import TRUNKS, lively_network, random_rows
from tests.support.training.process_cases import assert_ends, process_in


@pytest.mark.parametrize("trunk", TRUNKS)
def test_the_twin_without_points_is_the_network_without_points(trunk: str) -> None:
    """It says the same, and what is put in at its points reaches nobody."""
    network = lively_network("gardner", trunk)
    twin = without_points(network)
    positions = torch.from_numpy(random_rows(get_variant("gardner"), 4))
    names = network.hook_points.names
    assert twin.hook_points.names == names
    with (
        twin.hook_points.replace(dict.fromkeys(names, torch.zeros_like)),
        twin.hook_points.read(*names) as seen,
    ):
        answers = twin(positions)
    assert not seen
    for ours, theirs in zip(network(positions), answers, strict=True):
        assert torch.equal(ours, theirs)
    with network.hook_points.replace({"final": torch.zeros_like}):
        assert not torch.equal(network(positions).wdl, answers.wdl)


def test_a_tokens_arithmetic_is_nanogpts() -> None:
    """12 D^2 weights a block, the head's table, the norms and biases; three times 2 operations."""
    with torch.device("meta"):
        model = LanguageModel(CONFIG)
    D, L, V, T = CONFIG.channels, CONFIG.blocks, CONFIG.vocabulary, CONFIG.context
    biases_and_norms = L * (3 * D + D + 4 * D + D + 4 * D) + 2 * D
    flops = flops_a_token(model)
    assert flops["6ND"] == 6 * (12 * L * D * D + V * D + biases_and_norms)
    assert flops["6ND-and-attention"] - flops["6ND"] == 12 * L * D * T
    assert 10e6 < model.parameter_count < 11e6


def test_what_a_slow_peer_has_started_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, script = tmp_path / "noted", tmp_path / "peer.py"
    script.write_text(
        f"""
import pathlib, subprocess, sys, time
helper = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1000)"])
pathlib.Path({str(noted)!r}).write_text(f"{{helper.pid}} ")
time.sleep(1000)
"""
    )
    communicate = subprocess.Popen.communicate

    def later(process: subprocess.Popen[str], timeout: float) -> tuple[str, str]:
        process_in(noted)
        return communicate(process, timeout=0.1)

    monkeypatch.setattr(subprocess.Popen, "communicate", later)
    with pytest.raises(InputError, match=r"peer\.py did not end"):
        list(peers._run(Path(sys.executable), script))
    assert_ends(process_in(noted))


def test_the_probes_of_a_small_layer_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "POSITIONS", 900)
    monkeypatch.setattr(probes, "WIDTH", 12)
    monkeypatch.setattr(rows, "REPEATS", 1)
    found = {row.name.split("/", 1)[1]: row for row in probes.probes()}
    for kind in ("real", "binary", "categorical"):
        assert found[f"{kind}/difference from scikit-learn"].high < 1e-6
        assert found[f"{kind}/fits at a given penalty"].against == "scikit-learn"
    layers, minutes, memory = (row for name, row in found.items() if name.startswith("60 concepts"))
    assert (layers.unit, minutes.unit, memory.unit) == ("layers/s", "minutes", "layers")
    assert minutes.value == pytest.approx(160.0 / layers.value / 60.0)
    assert memory.value > 0.0
