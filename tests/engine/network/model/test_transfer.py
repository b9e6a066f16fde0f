"""Weights transferred to another variant, from ordinary and universal networks."""

import pytest
import torch

from engine.network.model.config import NetworkConfig
from engine.network.model.transfer import transfer_weights
from engine.rules.errors import InputError
from engine.rules.tables import BISHOP, KNIGHT, PAWN, QUEEN, ROOK
from engine.rules.variant import define_variants, get_variant
from tests.support.network.network_cases import lively_network, small_config
from tests.support.network.universal_cases import boards, distance, lively_universal


@pytest.mark.parametrize("trunk", ["geometric", "residual", "plain"])
@torch.no_grad()
def test_to_its_own_variant_nothing_changes(trunk: str) -> None:
    network = lively_network("gardner", trunk, reply=True, ownership=True)
    same = transfer_weights(network, get_variant("gardner"))
    _, rows = boards("gardner")
    assert same.config == network.config
    assert distance(same.eval()(rows), network(rows)) == 0.0


@pytest.mark.parametrize("trunk", ["geometric", "residual"])
@torch.no_grad()
def test_gardner_to_los_alamos(trunk: str) -> None:
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
    # And back: a piece that no pawn could become there begins at zero.
    back = transfer_weights(new, get_variant("gardner"))
    assert back.policy.promotion is not None
    assert back.policy.promotion.weight[promotion[BISHOP]].abs().max() == 0.0
    assert torch.equal(
        back.policy.promotion.weight[promotion[ROOK]],
        old.policy.promotion.weight[promotion[ROOK]],
    )


@torch.no_grad()
def test_pieces_go_by_how_they_move() -> None:
    define_variants(
        "[old]\ncustomPiece1 = g:NmW\ncustomPiece2 = s:mfWcfF\ncustomPiece3 = z:K\n"
        "maxRank = 4\nmaxFile = 4\nstartFen = gszs/4/4/GSZS w - - 0 1\nextinctionValue = loss\n"
        "extinctionPieceTypes = z\n",
        "test",
    )
    define_variants(
        "[new]\nrook = r\ncustomPiece1 = s:mfWcfF\ncustomPiece5 = g:NmW\ncustomPiece3 = z:Q\n"
        "maxRank = 4\nmaxFile = 4\nstartFen = gszr/4/4/GSZR w - - 0 1\nextinctionValue = loss\n"
        "extinctionPieceTypes = z\n",
        "test",
    )
    old = lively_network("old", "geometric")
    torch.manual_seed(1)
    new = transfer_weights(old, get_variant("new"))
    ours, theirs = new.embedding.token.weight, old.embedding.token.weight
    for code in (0, 16):
        assert torch.equal(ours[7 | code], theirs[8 | code])
        assert torch.equal(ours[11 | code], theirs[7 | code])
        assert torch.equal(ours[ROOK | code], theirs[ROOK | code])
        # Another piece under an old number has a fresh vector.
        assert not any(torch.equal(ours[9 | code], vector) for vector in theirs)
    # Hexapawn's pawn moves as chess's does.
    pawn = transfer_weights(lively_network("gardner", "plain"), get_variant("hexapawn"))
    gardner = lively_network("gardner", "plain").embedding.token.weight
    assert torch.equal(pawn.embedding.token.weight[7], gardner[PAWN])
    assert pawn.policy.promotion is None


@torch.no_grad()
def test_a_universal_network_is_specialised() -> None:
    network, variant = lively_universal("geometric"), get_variant("losalamos")
    _, rows = boards("losalamos")
    expected = network.specialise(variant)(rows)
    assert distance(transfer_weights(network, variant).eval()(rows), expected) == 0.0
    config = network.config.for_variant(variant).to_dict() | {"reply": True}
    transferred = transfer_weights(network, variant, NetworkConfig.from_dict(config))
    assert distance(transferred.eval()(rows), expected) == 0.0
    assert transferred.reply is not None


def test_what_cannot_be_transferred_is_named() -> None:
    losalamos = get_variant("losalamos")
    old = lively_network("gardner", "geometric")
    for changes, problem in (
        ({"channels": 32}, "channels = 32, not 16 as in the network of gardner"),
        ({"value": "scalar"}, "value = 'scalar', not 'wdl'"),
        ({"trunk": "residual"}, "trunk = 'residual', not"),
    ):
        config = NetworkConfig.from_dict(small_config("losalamos", "geometric").to_dict() | changes)
        with pytest.raises(InputError, match=problem):
            transfer_weights(old, losalamos, config)
    with pytest.raises(InputError, match="variant = 'diana' is not losalamos"):
        transfer_weights(old, losalamos, small_config("diana", "geometric"))
    with pytest.raises(InputError, match="belongs to the 5x5 board of gardner"):
        transfer_weights(lively_network("gardner", "learned"), losalamos)
    # A board of the same size will do.
    transfer_weights(lively_network("gardner", "learned"), get_variant("baby"))
