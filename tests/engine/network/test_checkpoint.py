"""Checkpoints come back as they were, or not at all, with one line that says why."""

import errno
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch

from engine.network.checkpoint import (
    CheckpointError,
    Description,
    load_checkpoint,
    load_tensors,
    read_description,
    read_metadata,
    save_checkpoint,
    save_tensors,
)
from engine.rules.variant import get_variant
from tests.support.network_cases import TRUNKS, lively_network, random_rows

METADATA = {"step": 1200, "seed": 7, "losses": [0.5, 0.25], "note": "née 'x'"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    saved = tmp_path / "gardner.safetensors"
    save_checkpoint(saved, lively_network("gardner", "geometric"), metadata=METADATA)
    return saved


def refusal(path: Path, variant: str | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, variant=get_variant(variant) if variant else None)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


@pytest.mark.parametrize("trunk", list(TRUNKS))
def test_round_trip(trunk: str, tmp_path: Path) -> None:
    network = lively_network("diana", trunk)
    path = tmp_path / "network.safetensors"
    save_checkpoint(path, network, metadata=METADATA)
    loaded, metadata = load_checkpoint(path, variant=get_variant("diana"))
    assert loaded.config == network.config
    assert metadata == METADATA
    positions = torch.from_numpy(random_rows(get_variant("diana"), 5))
    for ours, theirs in zip(network(positions), loaded.eval()(positions), strict=True):
        assert torch.equal(ours, theirs)
    assert [file.name for file in tmp_path.iterdir()] == ["network.safetensors"]
    assert path.stat().st_mode & 0o044 == 0o044 & ~os.umask(os.umask(0))


def test_a_checkpoint_describes_itself(path: Path) -> None:
    description = read_description(path)
    assert isinstance(description, Description)
    variant = get_variant("gardner")
    assert description.variant_name == "gardner"
    assert description.variant_digest == variant.digest
    assert description.variant_ini == variant.ini()
    assert description.metadata == METADATA
    assert description.config.width == 5


def test_any_tensors_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "games.safetensors"
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "positions": random_rows(get_variant("gardner"), 9)[:, ::2],
        "moves": np.arange(5, dtype=np.uint16),
        "hashes": np.array([2**64 - 1, 1], np.uint64),
        "empty": np.zeros((0, 3), np.float32),
    }
    tensors = {"proven": torch.tensor([True, False]), "half": torch.ones(2).bfloat16()}
    save_tensors(path, {**arrays, **tensors}, {"games": 3})
    loaded, metadata = load_tensors(path)
    assert metadata == read_metadata(path) == {"games": 3}
    for name, array in arrays.items():
        assert loaded[name].numpy().dtype == array.dtype
        np.testing.assert_array_equal(loaded[name].numpy(), array)
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)
    with open(path, "r+b") as file:
        file.truncate(10)
    assert int(loaded["hashes"].numpy()[0]) == 2**64 - 1


@pytest.mark.parametrize("keep", [0, 5, 8, 100, 0.3, 0.9, -1])
def test_truncated_at(keep: float, path: Path) -> None:
    size = path.stat().st_size
    length = size - 1 if keep == -1 else int(keep * size) if 0 < keep < 1 else int(keep)
    path.write_bytes(path.read_bytes()[:length])
    assert "truncated or not a safetensors file" in refusal(path)


def test_foreign_files(path: Path) -> None:
    safetensors.torch.save_file({"wte.weight": torch.ones(3)}, path, {"format": "pt"})
    assert "not one that Pawnscope wrote" in refusal(path)
    safetensors.torch.save_file({"wte.weight": torch.ones(3)}, path)
    assert "not one that Pawnscope wrote" in refusal(path)
    safetensors.torch.save_file({"wte.weight": torch.ones(3)}, path, {"pawnscope": "{"})
    assert "damaged metadata" in refusal(path)
    save_tensors(path, {"moves": torch.ones(3)}, {"games": 3})
    assert "holds no network" in refusal(path)
    path.write_text("PK\x03\x04 something else altogether, and long enough to have a header")
    assert "truncated or not a safetensors file" in refusal(path)


def test_a_missing_file_and_a_folder_are_the_systems_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        load_checkpoint(tmp_path / "nothing.safetensors")
    with pytest.raises(IsADirectoryError):
        load_checkpoint(tmp_path)


def test_another_variant(path: Path) -> None:
    message = refusal(path, "baby")
    assert "a network for 'gardner'" in message
    assert "not for 'baby'" in message
    assert load_checkpoint(path, variant=get_variant("gardner")).metadata == METADATA


Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda h, t: h["network"].update(chanels=3), "unknown field 'chanels'"),
        (lambda h, t: h["network"].pop("heads"), "missing field 'heads'"),
        (lambda h, t: h["network"].update(heads="many"), "heads = 'many' is not a whole number"),
        (lambda h, t: h.update(format=2), "checkpoint format 2, this program reads 1"),
        (lambda h, t: h.pop("variant"), "missing field 'variant'"),
        (lambda h, t: h["variant"].pop("ini"), "missing field 'variant.ini'"),
        (lambda h, t: t.pop("trunk.norm.weight"), "missing tensor 'trunk.norm.weight'"),
        (lambda h, t: t.update(extra=torch.ones(1)), "unknown tensor 'extra'"),
        (
            lambda h, t: h["network"].update(hidden=1 << 14),
            "tensor 'trunk.blocks.0.mlp.down.weight' is float32[16, 24], not float32[16, 16384]",
        ),
        (lambda h, t: h["network"].update(blocks=256), "missing tensor 'trunk.blocks.255."),
        (
            lambda h, t: h["network"].update(channels=1 << 14),
            "tensor 'embedding.token.weight' is float32[32, 16], not float32[32, 16384]",
        ),
        (lambda h, t: t.pop("embedding.token.weight"), "missing tensor 'embedding.token.weight'"),
        (
            lambda h, t: t.update({"value.wdl.bias": torch.ones(3, dtype=torch.int32)}),
            "tensor 'value.wdl.bias' is int32[3], not float32[3]",
        ),
    ],
)
def test_what_does_not_fit_is_named(change: Change, problem: str, path: Path) -> None:
    tensors, header = load_tensors(path)
    change(header, tensors)
    save_tensors(path, tensors, header)
    assert problem in refusal(path)


def test_a_full_disk_leaves_the_old_file_and_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, lively_network("gardner", "residual"), metadata={})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_write_cut_short_leaves_the_old_file_and_no_other(path: Path) -> None:
    """The system itself refuses to write past 1000 bytes."""
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(path, lively_network("gardner", "residual"), metadata={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_unwritable_metadata_leaves_the_old_file(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_tensors(path, {"x": torch.ones(1)}, {"rng": object()})
    assert path.read_bytes() == before


def test_the_header_is_plain_json(path: Path) -> None:
    """Any safetensors reader finds everything that it needs to know."""
    with safetensors.safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["pawnscope"])
    assert header["network"]["variant"] == "gardner"
    assert header["variant"]["ini"].startswith("[gardner]")
