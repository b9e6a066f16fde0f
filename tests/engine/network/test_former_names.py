"""Files of before `ownership` (then `placement`) and `pieces` (then `men`) had these names."""

from pathlib import Path

import pytest
import torch

from engine.network.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_tensors,
    load_universal,
    read_metadata,
    save_checkpoint,
    save_tensors,
)
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import VariantNetwork
from engine.network.model.universal import UniversalConfig
from engine.rules.errors import InputError
from engine.rules.variant import get_variant

ROOT = Path(__file__).resolve().parents[3]
OLD_RUNS = ROOT / "tests" / "golden" / "old_runs"
HEXAPAWN = OLD_RUNS / "hexapawn" / "checkpoints" / "00000016.safetensors"
GARDNER = ROOT / "engine" / "weights" / "gardner.safetensors"
UNIVERSAL = OLD_RUNS / "universal.safetensors"

# What the program that wrote the files computed for the start position: sum and sum of squares of
# policy, promotion, WDL and moves left, reply and ownership.
FIGURES: dict[tuple[Path, str], list[tuple[float, float] | None]] = {
    (HEXAPAWN, "hexapawn"): [
        (-0.0361, 0.0704),
        None,
        (-0.0245, 0.0029),
        (13.5265, 182.9665),
        (1.8365, 0.124),
        (3.1282, 5.9959),
    ],
    (GARDNER, "gardner"): [
        (-342.7104, 2136.9633),
        (-43.1689, 132.1207),
        (-0.5079, 0.5295),
        (37.3369, 1394.0437),
        (-81.9264, 5380.6508),
        (-15.247, 79.8498),
    ],
    (UNIVERSAL, "gardner"): [
        (-530.2079, 563.3934),
        (-174.3698, 361.8129),
        (0.3986, 0.1896),
        (18.8042, 353.5993),
        (168.8782, 111.4983),
        (-0.0518, 54.9112),
    ],
    (UNIVERSAL, "hexapawn"): [
        (-167.4933, 423.0501),
        None,
        (0.3763, 0.1573),
        (18.5396, 343.7181),
        (-201.5892, 520.6738),
        (20.6433, 86.6669),
    ],
}


def figures(network: VariantNetwork) -> list[tuple[float, float] | None]:
    start = torch.from_numpy(get_variant(network.config.variant).start_row[None])
    with torch.no_grad():
        outputs, auxiliary = network.eval().forward_with_auxiliary(start)
    parts = [part for part in (*outputs, *auxiliary) if part is not None]
    assert len(parts) == 6
    return [
        (float(part.double().sum()), float(part.double().square().sum())) if part.numel() else None
        for part in parts
    ]


@pytest.mark.parametrize(("path", "variant"), FIGURES, ids=lambda value: Path(value).stem)
def test_an_old_checkpoint_computes_what_it_did(path: Path, variant: str, tmp_path: Path) -> None:
    old = load_checkpoint(path, variant=get_variant(variant))
    save_checkpoint(tmp_path / "new.safetensors", old.network, metadata={})
    networks: list[VariantNetwork] = [
        old.network,
        load_checkpoint(tmp_path / "new.safetensors").network,
    ]
    if path == UNIVERSAL:
        networks.append(load_universal(path).network.for_variant(get_variant(variant)))
    for network in networks:
        for found, expected in zip(figures(network), FIGURES[path, variant], strict=True):
            assert found == (expected and pytest.approx(expected, rel=1e-4, abs=1e-4))


def test_new_files_have_the_new_names(tmp_path: Path) -> None:
    path = tmp_path / "universal.safetensors"
    save_checkpoint(path, load_universal(UNIVERSAL).network, metadata={})
    assert b"placement" in UNIVERSAL.read_bytes()
    assert b"men.weight" in UNIVERSAL.read_bytes()
    for former in (b"placement", b"men.weight"):
        assert former not in path.read_bytes()
    names = load_tensors(OLD_RUNS / "hexapawn" / "learner.safetensors")[0]
    assert "network.ownership.weight" in names


def test_settings_with_the_former_name_are_read() -> None:
    settings = {"placement": True}
    assert NetworkConfig.for_variant(get_variant("hexapawn"), settings).ownership
    assert UniversalConfig.from_dict(UniversalConfig().to_dict() | {"reply": True}).reply
    values = UniversalConfig().to_dict()
    del values["ownership"]
    assert UniversalConfig.from_dict(values | settings).ownership
    with pytest.raises(InputError, match="unknown field 'placement'"):
        UniversalConfig.from_dict(values | settings | {"ownership": True})


def test_both_names_in_one_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "both.safetensors"
    tensors = load_tensors(HEXAPAWN)[0]
    both = tensors | {"placement.bias": tensors["ownership.bias"].clone()}
    save_tensors(path, both, read_metadata(HEXAPAWN))
    with pytest.raises(CheckpointError, match=r"unknown tensor 'placement\.bias'"):
        load_checkpoint(path)
