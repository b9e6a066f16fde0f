"""Checkpoints are read as they were written, or refused in one line that says why."""

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
    UniversalDescription,
    load_checkpoint,
    load_tensors,
    load_universal,
    read_description,
    read_metadata,
    save_checkpoint,
    save_tensors,
    variant_of,
)
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.errors import UnknownVariantError
from engine.rules.kernels import generate_batch
from engine.rules.variant import get_variant
from scripts import cli, players
from scripts.players import default_player, find_checkpoint, load_evaluator, strongest_checkpoint
from tests.support.network.network_cases import TRUNKS, lively_network, random_rows
from tests.support.network.universal_cases import (
    UNIVERSAL_TRUNKS,
    boards,
    distance,
    lively_universal,
)

METADATA = {"step": 1200, "seed": 7, "losses": [0.5, 0.25], "note": "née 'x'"}
TRAINED_ON = ["hexapawn4x4", "gardner"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A network for Gardner."""
    saved = tmp_path / "gardner.safetensors"
    save_checkpoint(saved, lively_network("gardner", "geometric"), metadata=METADATA)
    return saved


@pytest.fixture
def universal(tmp_path: Path) -> Path:
    """A universal network."""
    saved = tmp_path / "universal.safetensors"
    network = lively_universal("geometric")
    save_checkpoint(saved, network, metadata=METADATA, trained_on=TRAINED_ON)
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


@pytest.mark.parametrize("trunk", UNIVERSAL_TRUNKS)
@torch.no_grad()
def test_round_trip_of_a_universal_network(trunk: str, tmp_path: Path) -> None:
    network = lively_universal(trunk, reply=True)
    path = tmp_path / "network.safetensors"
    save_checkpoint(path, network, metadata=METADATA, trained_on=TRAINED_ON)
    loaded, metadata = load_universal(path)
    assert (loaded.config, metadata) == (network.config, METADATA)
    # Trained on it or not.
    for name in ("gardner", "losalamos"):
        variant, rows = boards(name)
        expected = network.for_variant(variant)(rows)
        assert distance(loaded.for_variant(variant)(rows), expected) == 0.0
        specialised, metadata = load_checkpoint(path, variant=variant)
        assert isinstance(specialised, PolicyValueNet)
        assert specialised.config == network.config.for_variant(variant)
        assert distance(specialised.eval()(rows), expected) < 1e-5


def test_descriptions(path: Path, universal: Path) -> None:
    gardner, description = get_variant("gardner"), read_description(path)
    assert isinstance(description, Description)
    assert description[1:] == ("gardner", gardner.digest, gardner.ini(), METADATA)
    assert description.config.width == 5
    of_all = read_description(universal)
    assert isinstance(of_all, UniversalDescription)
    assert of_all[1:] == (tuple(TRAINED_ON), {}, METADATA)
    assert of_all.config.channels == 16
    for found in (description, of_all):
        assert found.is_for(gardner)
        assert not found.is_for(get_variant("losalamos"))
    # Any safetensors reader finds the header.
    with safetensors.safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["pawnscope"])
    assert header["network"]["variant"] == "gardner"
    assert header["variant"]["ini"].startswith("[gardner]")


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
    headers: list[tuple[dict[str, str] | None, str]] = [
        ({"format": "pt"}, "not one that Pawnscope wrote"),
        (None, "not one that Pawnscope wrote"),
        ({"pawnscope": "{"}, "damaged metadata"),
        ({"pawnscope": "[]"}, "damaged metadata (not an object)"),
        ({"pawnscope": '{"games": 3}'}, "holds no network"),
    ]
    for header, problem in headers:
        safetensors.torch.save_file({"wte.weight": torch.ones(3)}, path, header)
        assert problem in refusal(path)
    path.write_text("PK\x03\x04 something else altogether, and long enough to have a header")
    assert "truncated or not a safetensors file" in refusal(path)


def test_a_missing_file_and_a_folder_are_the_systems_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        load_checkpoint(tmp_path / "nothing.safetensors")
    with pytest.raises(IsADirectoryError):
        load_checkpoint(tmp_path)


Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]


@pytest.mark.parametrize("kind", ["network", "universal"])
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda h, t: h.update(chanels=3), "unknown field 'chanels'"),
        (lambda h, t: h.pop("heads"), "the field 'heads' is missing"),
        (lambda h, t: h.update(heads="many"), "heads = 'many' is not a whole number"),
        (lambda h, t: h.update(blocks=256), "missing tensor 'trunk.blocks.2."),
        (
            lambda h, t: h.update(hidden=1 << 14),
            "tensor 'trunk.blocks.0.mlp.down.weight' is float32[16, 24], not float32[16, 16384]",
        ),
        (lambda h, t: h.update(channels=1 << 14), ", not float32[1638"),
        (lambda h, t: t.pop("trunk.norm.weight"), "missing tensor 'trunk.norm.weight'"),
        (lambda h, t: t.update(extra=torch.ones(1)), "unknown tensor 'extra'"),
        (
            lambda h, t: t.update({"value.wdl.bias": torch.ones(3, dtype=torch.int32)}),
            "tensor 'value.wdl.bias' is int32[3], not float32[3]",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_refused(
    kind: str, change: Change, problem: str, path: Path, universal: Path
) -> None:
    path = path if kind == "network" else universal
    tensors, header = load_tensors(path)
    change(header[kind], tensors)
    save_tensors(path, tensors, header)
    assert problem in refusal(path, "gardner")


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        ("network", lambda h, t: h.pop("variant"), "missing field 'variant'"),
        ("network", lambda h, t: h["variant"].pop("ini"), "missing field 'variant.ini'"),
        ("network", lambda h, t: h["network"].update(width=6), "width = 6, gardner has 5"),
        (
            "network",
            lambda h, t: t.pop("embedding.token.weight"),
            "missing tensor 'embedding.token.weight'",
        ),
        ("universal", lambda h, t: h["universal"].update(width=5), "unknown field 'width'"),
        (
            "universal",
            lambda h, t: h["universal"].update(position="learned"),
            "position = 'learned' belongs to one board",
        ),
        ("universal", lambda h, t: h.update(universal=[]), "missing field 'universal'"),
        ("universal", lambda h, t: h.pop("trained_on"), "missing field 'trained_on'"),
        ("universal", lambda h, t: h.update(trained_on=[3]), "missing field 'trained_on'"),
        ("universal", lambda h, t: h.update(digests=[]), "missing field 'digests'"),
        ("universal", lambda h, t: h.update(digests={"petty": 3}), "a value of 'digests' is not"),
        ("universal", lambda h, t: t.pop("becoming.bias"), "missing tensor 'becoming.bias'"),
        (
            "universal",
            lambda h, t: t.update({"embedding.rules.weight": torch.ones(16, 3)}),
            "tensor 'embedding.rules.weight' is float32[16, 3], not float32[16, 105]",
        ),
        *(
            (kind, change, problem)
            for kind in ("network", "universal")
            for change, problem in (
                (lambda h, t: h.update(format=2), "checkpoint format 2, this program reads 1"),
                (lambda h, t: h.pop("metadata"), "missing field 'metadata'"),
                (lambda h, t: h["metadata"].update(step=-1), "metadata.step = -1 is no count"),
            )
        ),
    ],
)
def test_a_wrong_header_is_refused(
    kind: str, change: Change, problem: str, path: Path, universal: Path
) -> None:
    path = path if kind == "network" else universal
    tensors, header = load_tensors(path)
    change(header, tensors)
    save_tensors(path, tensors, header)
    assert problem in refusal(path, "gardner")


def test_the_variant_of_a_checkpoint(path: Path, universal: Path, tmp_path: Path) -> None:
    gardner = get_variant("gardner")
    message = refusal(path, "baby")
    assert "a network for 'gardner'" in message
    assert "not for 'baby'" in message
    assert variant_of(path) is variant_of(path, "gardner") is gardner
    with pytest.raises(CheckpointError, match="a network for 'gardner', not diana"):
        variant_of(path, "diana")
    with pytest.raises(CheckpointError, match="a network for 'gardner' alone"):
        load_universal(path)
    several = "a universal network, trained on hexapawn4x4, gardner: name the variant"
    assert several in refusal(universal)
    with pytest.raises(CheckpointError, match=several):
        variant_of(universal)
    assert variant_of(universal, "diana") is get_variant("diana")
    with pytest.raises(UnknownVariantError, match="dianna"):
        variant_of(universal, "dianna")
    alone = tmp_path / "alone.safetensors"
    save_checkpoint(alone, lively_universal("plain"), metadata={}, trained_on=["petty"])
    assert variant_of(alone) is get_variant("petty")


def test_other_rules_of_the_same_name_are_another_variant(tmp_path: Path) -> None:
    gardner, petty = get_variant("gardner"), get_variant("petty")
    path = tmp_path / "changed.safetensors"
    digests = {"gardner": gardner.digest, "petty": "of other rules"}
    network = lively_universal("plain")
    save_checkpoint(path, network, metadata={}, trained_on=list(digests), digests=digests)
    description = read_description(path)
    assert description.is_for(gardner)
    assert not description.is_for(petty)
    # A universal network plays every variant that is named.
    assert variant_of(path, "petty") is petty
    save_checkpoint(path, network, metadata={}, trained_on=["petty"], digests=digests)
    with pytest.raises(CheckpointError, match="the rules of petty have changed since"):
        variant_of(path)


def test_players_find_it_for_the_variants_that_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Of gardner a stronger network is shipped.
    monkeypatch.setattr(players, "SHIPPED", tmp_path / "none")
    folder = tmp_path / "runs" / "several" / "checkpoints"
    folder.mkdir(parents=True)
    path = folder / "00000009.safetensors"
    save_checkpoint(path, lively_universal("plain"), metadata={}, trained_on=TRAINED_ON)
    for name in TRAINED_ON:
        strongest = strongest_checkpoint(get_variant(name))
        assert strongest is not None
        assert strongest.path == path.relative_to(tmp_path)
    # A run that is training has removed its last network since the folder was listed.
    other = tmp_path / "runs" / "training" / "checkpoints"
    other.mkdir(parents=True)
    (other / "00000007.safetensors").symlink_to("gone")
    strongest = strongest_checkpoint(get_variant(TRAINED_ON[0]))
    assert strongest is not None
    assert strongest.path == path.relative_to(tmp_path)
    diana = get_variant("diana")
    assert strongest_checkpoint(diana) is None
    assert default_player(diana, perfect=False).spec == "alphabeta:4"
    # Named by a person, it plays any variant.
    for text in ("runs/several", str(path)):
        assert find_checkpoint(text, diana).resolve() == path
        evaluator = load_evaluator(text, diana)
        rows = diana.start_row[None]
        found = evaluator.evaluate(rows, *generate_batch(diana.tables, rows))
        expected = load_checkpoint(path, variant=diana).network.wdl(torch.from_numpy(rows))
        np.testing.assert_allclose(found.wdl, expected.numpy(), atol=0.02)


def test_commands_ask_for_the_variant(
    universal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(universal)
    assert cli.main(["probe", path]) == 2
    assert "trained on hexapawn4x4, gardner: name the variant" in capsys.readouterr().err
    out = str(tmp_path / "page.html")
    words = ["probe", path, "--game", "hexapawn", "--positions", "60", "--out", out]
    assert cli.main(words) == 0
    assert "hexapawn" in capsys.readouterr().out
    match = ["match", f"policy:{path}", "random", "microchess", "--games", "2", "--json"]
    assert cli.main(match) == 0
    assert '"illegal": 0' in capsys.readouterr().out


def test_a_full_disk_leaves_the_old_file_and_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    network = lively_network("gardner", "residual")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(path, network, metadata={})
    # The system itself refuses to write past 1000 bytes.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(path, network, metadata={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(TypeError):
        save_tensors(path, {"x": torch.ones(1)}, {"rng": object()})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
