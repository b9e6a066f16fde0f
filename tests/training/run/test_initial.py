"""Runs that begin with another network's weights: of the same variant, another, or several."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.network.checkpoint import (
    CheckpointError,
    UniversalDescription,
    load_checkpoint,
    load_universal,
    read_description,
    save_checkpoint,
)
from engine.network.model.transfer import transfer_weights
from engine.network.model.universal import UniversalConfig
from engine.rules.variant import Variant, define_variants, get_variant
from search.exact.solver import solve
from tests.support.network.network_cases import lively_network
from tests.support.network.universal_cases import lively_universal
from tests.support.training.run_cases import SETTINGS, Watch, contents, refused, state_of, train
from training.config import Variants, load_config
from training.data.run_directory import read_metrics, run_checkpoints
from training.learner.networks import begun_network

SMALL, WIDE = (get_variant(name) for name in ("hexapawn", "hexapawn4x3"))


def go(
    path: Path, initial: Path, variants: Variants = SMALL, *, after: int = 0, **overrides: Any
) -> Any:
    """A run whose network's settings are the checkpoint's; one session."""
    watch = Watch(after=after) if after else Watch(before=("play", 1))
    fields = {"network": {}, "initial": str(initial)} | overrides
    return train(path, watch, variants, **fields)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of hexapawn, no weight of it at its beginning."""
    path = tmp_path_factory.mktemp("single") / "lively.safetensors"
    save_checkpoint(path, lively_network("hexapawn", "residual", reply=True), metadata={})
    return path


@pytest.fixture(scope="module")
def universal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A universal one."""
    path = tmp_path_factory.mktemp("universal") / "lively.safetensors"
    network = lively_universal("attention only")
    save_checkpoint(path, network, metadata={}, trained_on=["hexapawn"])
    return path


def outputs_of(path: Path, variant: Variant) -> tuple[torch.Tensor, ...]:
    """The outputs of a checkpoint for every unfinished position of a variant."""
    network = load_checkpoint(path, variant=variant).network.eval()
    with torch.no_grad():
        return tuple(network(torch.from_numpy(solve(variant).unfinished_positions())))


def test_a_run_of_the_same_game_begins_where_the_other_stands(tmp_path: Path, single: Path) -> None:
    path = tmp_path / "run"
    go(path, single)
    (first,) = run_checkpoints(path)
    assert first.name == "00000000.safetensors"
    for ours, theirs in zip(outputs_of(first, SMALL), outputs_of(single, SMALL), strict=True):
        assert torch.equal(ours, theirs)
    config = load_config(path / "config.toml")
    assert config.initial == str(single)
    assert config.network["trunk"] == "residual"
    # Without a target for the reply there is no head for it.
    assert not load_checkpoint(first).network.config.reply
    # The optimiser begins anew, and the curve shows what the network can do untaught.
    assert not any(name.startswith("optimiser") for name in state_of(path))
    assert read_metrics(path)[0]["step"] == 0


def test_heads_that_the_checkpoint_lacks_are_fresh(tmp_path: Path, single: Path) -> None:
    learning = SETTINGS["learning"] | {"reply_weight": 0.1, "ownership_weight": 0.1}
    for name in ("one", "two"):
        go(tmp_path / name, single, learning=learning)
    network = load_checkpoint(run_checkpoints(tmp_path / "one")[0]).network
    theirs = load_checkpoint(single).network
    assert network.reply is not None
    assert theirs.reply is not None
    assert torch.equal(network.reply.query.weight, theirs.reply.query.weight)
    assert network.ownership is not None
    assert network.ownership.weight.any()
    # From the run's own seed.
    again = load_checkpoint(run_checkpoints(tmp_path / "two")[0]).network
    assert again.ownership is not None
    assert torch.equal(network.ownership.weight, again.ownership.weight)


def test_another_game_goes_on_with_the_weights(tmp_path: Path, single: Path) -> None:
    path = tmp_path / "run"
    go(path, single, WIDE)
    transferred = transfer_weights(load_checkpoint(single).network, WIDE).state_dict()
    begun = load_checkpoint(run_checkpoints(path)[0], variant=WIDE).network.state_dict()
    for name in ("embedding.place.weight", "policy.query.weight", "value.wdl.weight"):
        assert torch.equal(begun[name], transferred[name])
    go(path, single, WIDE, after=1)
    assert read_metrics(path)[-1]["round"] == 1


def test_a_universal_network_goes_on_as_it_is_or_for_one_game(
    tmp_path: Path, universal: Path
) -> None:
    several, one = tmp_path / "several", tmp_path / "one"
    go(several, universal, (SMALL, WIDE))
    theirs = load_universal(universal).network.state_dict()
    for name, tensor in load_universal(run_checkpoints(several)[0]).network.state_dict().items():
        assert torch.equal(tensor, theirs[name])
    go(one, universal, WIDE)
    network = load_checkpoint(run_checkpoints(one)[0]).network
    assert network.config.variant == "hexapawn4x3"
    found = outputs_of(run_checkpoints(one)[0], WIDE)
    for ours, wanted in zip(found, outputs_of(universal, WIDE), strict=True):
        assert torch.equal(ours, wanted)


def test_a_universal_network_remembers_what_it_learned_before(
    tmp_path: Path, universal: Path
) -> None:
    path = tmp_path / "run"
    games = (WIDE, get_variant("hexapawn3x4"))
    go(path, universal, games)
    # The file of its beginning is asked once.
    go(path, universal, games, after=1)
    for checkpoint in run_checkpoints(path):
        description = read_description(checkpoint)
        assert isinstance(description, UniversalDescription)
        assert description.trained_on == ("hexapawn", "hexapawn4x3", "hexapawn3x4")
        assert description.digests == {variant.name: variant.digest for variant in games}


def test_another_build_is_named_by_its_field(tmp_path: Path, universal: Path) -> None:
    games = (SMALL, WIDE)
    settings = UniversalConfig.from_dict(read_description(universal).config.to_dict())
    with pytest.raises(CheckpointError, match="blocks = 2, not 7"):
        begun_network(universal, games, replace(settings, blocks=7))
    with pytest.raises(CheckpointError, match="channels = 16, not 32"):
        begun_network(universal, games, replace(settings, channels=32))


def test_a_run_that_has_begun_needs_the_checkpoint_no_more(tmp_path: Path, single: Path) -> None:
    """Nor does the same command change its meaning when the run that it names continues."""
    source, path = tmp_path / "source", tmp_path / "run"
    go(source, single, after=1)
    last = run_checkpoints(source)[-1]
    go(path, source)
    for ours, theirs in zip(
        outputs_of(run_checkpoints(path)[0], SMALL), outputs_of(last, SMALL), strict=True
    ):
        assert torch.equal(ours, theirs)
    for file in (source / "checkpoints").iterdir():
        file.unlink()
    go(path, source, after=1)
    assert read_metrics(path)[-1]["round"] == 1


def test_a_game_that_is_not_known_here_comes_with_the_file(tmp_path: Path) -> None:
    text = "[begunfrom:hexapawn4x3]\nstartFen = ppp1/4/1PPP w - - 0 1\n"
    (name,) = define_variants(text, "")
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, lively_network(name, "geometric"), metadata={})
    renamed = tmp_path / "renamed.safetensors"
    renamed.write_bytes(path.read_bytes().replace(b"begunfrom", b"farfromit"))
    go(tmp_path / "run", renamed, WIDE)
    assert get_variant("farfromit").digest == get_variant(name).digest


@pytest.mark.parametrize(
    ("words", "config", "quoted"),
    [
        ("hexapawn --from MISSING", "", "No such file or directory: MISSING"),
        ("hexapawn --from EMPTY", "", "EMPTY: no checkpoints there"),
        ("hexapawn --from CONFIG", "", "CONFIG: truncated or not a safetensors file"),
        ("hexapawn --from SINGLE", "[network]\nblocks = 3", "network.blocks = 3, but SINGLE has 2"),
        ("hexapawn --from SINGLE", "[network]\nnonsense = 3", "unknown field 'nonsense'"),
        ("hexapawn+baby --from SINGLE", "", "SINGLE: a network for 'hexapawn' alone"),
        ("baby --from LEARNED", "", "position = 'learned' belongs to the 3x3 board of hexapawn"),
    ],
)
def test_what_cannot_be_begun_from_is_refused_before_anything_is_there(
    words: str,
    config: str,
    quoted: str,
    single: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {name: tmp_path / name.lower() for name in ("MISSING", "EMPTY", "CONFIG", "LEARNED")}
    places |= {"SINGLE": single}
    places["EMPTY"].mkdir()
    places["CONFIG"].write_text(config)
    save_checkpoint(places["LEARNED"], lively_network("hexapawn", "learned"), metadata={})
    for name, path in places.items():
        words, quoted = words.replace(name, str(path)), quoted.replace(name, str(path))
    run = tmp_path / "run"
    assert quoted in refused(capsys, run, *words.split(), "--config", str(places["CONFIG"]))
    assert not run.exists()


def test_a_run_has_one_beginning(
    tmp_path: Path, single: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    go(path, single)
    before = contents(path)
    line = refused(capsys, path, "hexapawn", "--from", "elsewhere")
    assert f"initial = elsewhere, the run has {single}" in line
    assert {**contents(path), ".lock": b""} == {**before, ".lock": b""}
