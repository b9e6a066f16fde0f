"""Universal networks on disk, and networks carried from one game to another."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.network.checkpoint import (
    CheckpointError,
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
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.transfer import transfer_weights
from engine.rules.errors import InputError, UnknownVariantError
from engine.rules.kernels import generate_batch
from engine.rules.tables import BISHOP, KNIGHT, PAWN, QUEEN, ROOK
from engine.rules.variant import define_variants, get_variant
from scripts import cli
from scripts.players import default_player, find_checkpoint, load_evaluator, newest_checkpoint
from tests.engine.network.test_checkpoint import Change
from tests.support.network_cases import lively_network, small_config
from tests.support.universal_cases import UNIVERSAL_TRUNKS, boards, distance, lively_universal

TRAINED_ON = ["hexapawn4x4", "gardner"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    saved = tmp_path / "universal.safetensors"
    network = lively_universal("geometric")
    save_checkpoint(saved, network, metadata={"step": 7}, trained_on=TRAINED_ON)
    return saved


def refusal(path: Path, variant: str | None = "gardner") -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, variant=get_variant(variant) if variant else None)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


@pytest.mark.parametrize("trunk", UNIVERSAL_TRUNKS)
@torch.no_grad()
def test_round_trip(trunk: str, tmp_path: Path) -> None:
    network = lively_universal(trunk, reply=True)
    path = tmp_path / "network.safetensors"
    save_checkpoint(path, network, metadata={"step": 7}, trained_on=TRAINED_ON)
    loaded, metadata = load_universal(path)
    assert (loaded.config, metadata) == (network.config, {"step": 7})
    # Trained on it or not.
    for name in ("gardner", "losalamos"):
        variant, rows = boards(name)
        said = network.for_variant(variant)(rows)
        assert distance(loaded.for_variant(variant)(rows), said) == 0.0
        specialised, metadata = load_checkpoint(path, variant=variant)
        assert isinstance(specialised, PolicyValueNet)
        assert specialised.config == network.config.for_variant(variant)
        assert distance(specialised.eval()(rows), said) < 1e-5


def test_it_describes_itself(path: Path) -> None:
    description = read_description(path)
    assert isinstance(description, UniversalDescription)
    assert description.trained_on == ("hexapawn4x4", "gardner")
    assert description.metadata == {"step": 7}
    assert description.config.channels == 16
    assert description.is_for(get_variant("gardner"))
    assert not description.is_for(get_variant("losalamos"))
    header = read_metadata(path)
    assert set(header) == {"format", "universal", "trained_on", "metadata"}


def test_other_rules_of_the_same_name_are_another_game(tmp_path: Path) -> None:
    gardner, petty = get_variant("gardner"), get_variant("petty")
    path = tmp_path / "changed.safetensors"
    digests = {"gardner": gardner.digest, "petty": "of other rules"}
    network = lively_universal("plain")
    save_checkpoint(path, network, metadata={}, trained_on=list(digests), digests=digests)
    description = read_description(path)
    assert description.is_for(gardner)
    assert not description.is_for(petty)
    # Whoever names the game gets it all the same: the network plays any.
    assert variant_of(path, "petty") is petty
    save_checkpoint(path, network, metadata={}, trained_on=["petty"], digests=digests)
    with pytest.raises(CheckpointError, match="the rules of petty have changed since"):
        variant_of(path)


def test_which_game(path: Path, tmp_path: Path) -> None:
    assert "a universal network, trained on hexapawn4x4, gardner: name the variant" in refusal(
        path, None
    )
    with pytest.raises(CheckpointError, match="name the variant"):
        variant_of(path)
    assert variant_of(path, "diana") is get_variant("diana")
    with pytest.raises(UnknownVariantError, match="dianna"):
        variant_of(path, "dianna")
    alone = tmp_path / "alone.safetensors"
    save_checkpoint(alone, lively_universal("plain"), metadata={}, trained_on=["petty"])
    assert variant_of(alone) is get_variant("petty")
    ordinary = tmp_path / "ordinary.safetensors"
    save_checkpoint(ordinary, lively_network("gardner", "plain"), metadata={})
    assert variant_of(ordinary) is variant_of(ordinary, "gardner") is get_variant("gardner")
    with pytest.raises(CheckpointError, match="a network for 'gardner', not diana"):
        variant_of(ordinary, "diana")
    with pytest.raises(CheckpointError, match="a network for 'gardner' alone"):
        load_universal(ordinary)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda h, t: h["universal"].update(chanels=3), "unknown field 'chanels'"),
        (lambda h, t: h["universal"].pop("heads"), "missing field 'heads'"),
        (lambda h, t: h["universal"].update(width=5), "unknown field 'width'"),
        (lambda h, t: h["universal"].update(position="learned"), "position = 'learned' belongs"),
        (lambda h, t: h.update(universal=[]), "missing field 'universal'"),
        (lambda h, t: h.pop("trained_on"), "missing field 'trained_on'"),
        (lambda h, t: h.update(trained_on=[3]), "missing field 'trained_on'"),
        (lambda h, t: h.update(digests=[]), "missing field 'digests'"),
        (lambda h, t: h.pop("metadata"), "missing field 'metadata'"),
        (lambda h, t: h.update(format=2), "checkpoint format 2, this program reads 1"),
        (lambda h, t: t.pop("becoming.bias"), "missing tensor 'becoming.bias'"),
        (lambda h, t: t.update(extra=torch.ones(1)), "unknown tensor 'extra'"),
        (
            lambda h, t: t.update({"embedding.rules.weight": torch.ones(16, 3)}),
            "tensor 'embedding.rules.weight' is float32[16, 3], not float32[16, 105]",
        ),
        (
            lambda h, t: h["universal"].update(channels=1 << 14),
            "tensor 'embedding.kind.weight' is float32[16, 16], not float32[16, 16384]",
        ),
        (lambda h, t: h["universal"].update(blocks=256), "missing tensor 'trunk.blocks.255."),
    ],
)
def test_what_does_not_fit_is_named(change: Change, problem: str, path: Path) -> None:
    tensors, header = load_tensors(path)
    change(header, tensors)
    save_tensors(path, tensors, header)
    assert problem in refusal(path)
    with pytest.raises(CheckpointError):
        load_universal(path)


def test_players_find_it_for_the_games_that_it_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "several" / "checkpoints"
    folder.mkdir(parents=True)
    path = folder / "00000009.safetensors"
    save_checkpoint(path, lively_universal("plain"), metadata={}, trained_on=TRAINED_ON)
    for name in TRAINED_ON:
        assert newest_checkpoint(get_variant(name)) == path.relative_to(tmp_path)
    assert newest_checkpoint(get_variant("diana")) is None
    assert default_player(get_variant("diana"), perfect=False) == "alphabeta:4"
    # Named by a person it plays what it has never seen.
    for text in ("runs/several", str(path)):
        diana = get_variant("diana")
        assert find_checkpoint(text, diana).resolve() == path
        evaluator = load_evaluator(text, diana)
        rows = diana.start_row[None]
        said = evaluator.evaluate(rows, *generate_batch(diana.tables, rows))
        network = load_checkpoint(path, variant=diana).network
        expected = network.wdl(torch.from_numpy(rows)).numpy()
        np.testing.assert_allclose(said.wdl, expected, atol=0.02)


def test_commands_ask_for_the_game(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cli.main(["probe", str(path)]) == 2
    assert "trained on hexapawn4x4, gardner: name the variant" in capsys.readouterr().err
    out = str(tmp_path / "page.html")
    words = ["probe", str(path), "--game", "hexapawn", "--positions", "60", "--out", out]
    assert cli.main(words) == 0
    assert "hexapawn" in capsys.readouterr().out
    match = ["match", f"policy:{path}", "random", "microchess", "--games", "2", "--json"]
    assert cli.main(match) == 0
    assert '"illegal": 0' in capsys.readouterr().out


@pytest.mark.parametrize("trunk", ["geometric", "residual", "plain"])
@torch.no_grad()
def test_carried_to_its_own_game_it_is_itself(trunk: str) -> None:
    network = lively_network("gardner", trunk, reply=True, ownership=True)
    twin = transfer_weights(network, get_variant("gardner"))
    _, rows = boards("gardner")
    assert twin.config == network.config
    assert distance(twin.eval()(rows), network(rows)) == 0.0


@pytest.mark.parametrize("trunk", ["geometric", "residual"])
@torch.no_grad()
def test_gardner_carried_to_los_alamos(trunk: str) -> None:
    old, variant = lively_network("gardner", trunk), get_variant("losalamos")
    new = transfer_weights(old, variant).eval()
    assert new.config == small_config("losalamos", trunk)
    promotion = {t: i for i, t in enumerate(old.config.promotion_types)}
    assert variant.promotion_types == (QUEEN, ROOK, KNIGHT)
    assert old.policy.promotion is not None
    assert new.policy.promotion is not None
    for row, piece_type in enumerate(variant.promotion_types):
        before = old.policy.promotion.weight[promotion[piece_type]]
        assert torch.equal(new.policy.promotion.weight[row], before)
    ours, theirs = new.state_dict(), old.state_dict()
    for name in ours.keys() - {"policy.promotion.weight", "policy.promotion.bias"}:
        if name != "embedding.token.weight":
            assert torch.equal(ours[name], theirs[name]), name
    pieces = [0, 16, *variant.piece_types, *(t | 16 for t in variant.piece_types)]
    token = "embedding.token.weight"
    assert torch.equal(ours[token][pieces], theirs[token][pieces])
    # And back: what a pawn could not become there begins at nothing.
    back = transfer_weights(new, get_variant("gardner"))
    assert back.policy.promotion is not None
    assert back.policy.promotion.weight[promotion[BISHOP]].abs().max() == 0.0
    assert torch.equal(
        back.policy.promotion.weight[promotion[ROOK]],
        old.policy.promotion.weight[promotion[ROOK]],
    )


@torch.no_grad()
def test_men_are_carried_by_how_they_move() -> None:
    define_variants(
        "[carrier]\ncustomPiece1 = g:NmW\ncustomPiece2 = s:mfWcfF\ncustomPiece3 = z:K\n"
        "maxRank = 4\nmaxFile = 4\nstartFen = gszs/4/4/GSZS w - - 0 1\nextinctionValue = loss\n"
        "extinctionPieceTypes = z\n",
        "test",
    )
    define_variants(
        "[carried]\nrook = r\ncustomPiece1 = s:mfWcfF\ncustomPiece5 = g:NmW\ncustomPiece3 = z:Q\n"
        "maxRank = 4\nmaxFile = 4\nstartFen = gszr/4/4/GSZR w - - 0 1\nextinctionValue = loss\n"
        "extinctionPieceTypes = z\n",
        "test",
    )
    old = lively_network("carrier", "geometric")
    torch.manual_seed(1)
    new = transfer_weights(old, get_variant("carried"))
    ours, theirs = new.embedding.token.weight, old.embedding.token.weight
    for code in (0, 16):
        assert torch.equal(ours[7 | code], theirs[8 | code])
        assert torch.equal(ours[11 | code], theirs[7 | code])
        assert torch.equal(ours[ROOK | code], theirs[ROOK | code])
        # Another piece under an old number knows nothing of the old one.
        assert not any(torch.equal(ours[9 | code], vector) for vector in theirs)
    # Hexapawn's pawn moves as chess's does.
    pawn = transfer_weights(lively_network("gardner", "plain"), get_variant("hexapawn"))
    gardner = lively_network("gardner", "plain").embedding.token.weight
    assert torch.equal(pawn.embedding.token.weight[7], gardner[PAWN])
    assert pawn.policy.promotion is None


@torch.no_grad()
def test_a_universal_network_is_carried_by_specialising() -> None:
    network, variant = lively_universal("geometric"), get_variant("losalamos")
    _, rows = boards("losalamos")
    said = network.specialise(variant)(rows)
    assert distance(transfer_weights(network, variant).eval()(rows), said) == 0.0
    wished = network.config.for_variant(variant).to_dict() | {"reply": True}
    transferred = transfer_weights(network, variant, NetworkConfig.from_dict(wished))
    assert distance(transferred.eval()(rows), said) == 0.0
    assert transferred.reply is not None


def test_what_cannot_be_carried_is_named() -> None:
    losalamos = get_variant("losalamos")
    old = lively_network("gardner", "geometric")
    for changes, problem in (
        ({"channels": 32}, "channels = 32, not 16 as in the network of gardner"),
        ({"value": "scalar"}, "value = 'scalar', not 'wdl'"),
        ({"trunk": "residual"}, "trunk = 'residual', not"),
    ):
        wished = NetworkConfig.from_dict(small_config("losalamos", "geometric").to_dict() | changes)
        with pytest.raises(InputError, match=problem):
            transfer_weights(old, losalamos, wished)
    with pytest.raises(InputError, match="variant = 'diana' is not losalamos"):
        transfer_weights(old, losalamos, small_config("diana", "geometric"))
    with pytest.raises(InputError, match="belongs to the 5x5 board of gardner"):
        transfer_weights(lively_network("gardner", "learned"), losalamos)
    # The same board is no other.
    transfer_weights(lively_network("gardner", "learned"), get_variant("baby"))
