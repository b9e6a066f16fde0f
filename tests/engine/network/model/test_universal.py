"""One network for every variant: as a view and specialised it computes the same, and it
distinguishes variants by their rules alone."""

import copy

import numpy as np
import pytest
import torch

from engine.network.inference.avx512.backend import computes
from engine.network.inference.backends.protocol import BackendError
from engine.network.inference.evaluator import make_evaluator
from engine.network.model.policy_value import BoardEmbedding
from engine.network.model.universal import UniversalConfig, UniversalNet
from engine.network.model.variant_features import (
    KINDS,
    MOVEMENT,
    RULES,
    VariantFeatures,
    movement_features,
    rules_of,
)
from engine.rules.betza import parse_betza
from engine.rules.errors import InputError
from engine.rules.kernels import generate_batch
from engine.rules.tables import KING, PAWN, SIDE, piece_lines
from engine.rules.variant import Variant, define_variants, get_variant
from tests.support.network.network_cases import mirrored_rows, random_moves, random_rows
from tests.support.network.universal_cases import (
    SEVERAL,
    SIZES,
    UNIVERSAL_TRUNKS,
    boards,
    distance,
    lively_universal,
    small_universal,
)
from tests.support.rules.random_games import random_games
from tests.support.rules.variant_lists import BUILT_IN, EVERY

every_trunk = pytest.mark.parametrize("trunk", UNIVERSAL_TRUNKS)


@every_trunk
@pytest.mark.parametrize("names", [SIZES, EVERY], ids=["sizes", "variants"])
@torch.no_grad()
def test_view_and_specialised_agree(names: list[str], trunk: str) -> None:
    network = lively_universal(trunk)
    groups = [boards(name, 4, seed) for seed, name in enumerate(names)]
    for variant, rows in groups:
        view, specialised = network.for_variant(variant), network.specialise(variant)
        found = view(rows)
        assert distance(found, specialised(rows)) < 1e-5
        moves = random_moves(variant, len(rows))[0].astype(np.int64)
        played, of = torch.from_numpy(moves), torch.arange(len(moves)) % len(rows)
        ours = view.move_logits(found, rows, played, of)
        theirs = specialised.move_logits(specialised(rows), rows, played, of)
        assert torch.allclose(ours, theirs, atol=1e-5)


@torch.no_grad()
def test_a_specialised_network_is_as_precise_as_the_universal_one() -> None:
    network = lively_universal("geometric").double()
    variant, rows = boards("gardner")
    with torch.no_grad():
        assert (
            distance(network.for_variant(variant)(rows), network.specialise(variant)(rows)) < 1e-12
        )


def test_auxiliary_heads_are_specialised_too() -> None:
    network = lively_universal("geometric", reply=True, ownership=True, value="scalar")
    variant, rows = boards("diana")
    found, auxiliary = network.for_variant(variant).forward_with_auxiliary(rows)
    copied, learned = network.specialise(variant).forward_with_auxiliary(rows)
    assert distance(found, copied) < 1e-5
    assert auxiliary.reply is not None
    assert auxiliary.ownership is not None
    assert learned.reply is not None
    assert learned.ownership is not None
    assert torch.allclose(auxiliary.reply, learned.reply, atol=1e-5)
    assert torch.allclose(auxiliary.ownership, learned.ownership, atol=1e-5)


@every_trunk
def test_gradients_of_the_views_flow_to_every_weight(trunk: str) -> None:
    network = lively_universal(trunk)
    for name in SEVERAL:
        variant, rows = boards(name, 3)
        parts = [part.square().sum() for part in network.for_variant(variant)(rows)]
        torch.autograd.backward(torch.stack(parts).sum())
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0.0, name


def test_a_view_has_no_weights_of_its_own() -> None:
    network = lively_universal("geometric")
    variant, rows = boards("gardner")
    count = network.parameter_count
    view = network.for_variant(variant)
    assert network.for_variant(variant) is view
    assert network.parameter_count == count == view.parameter_count
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}
    twin, before = copy.deepcopy(network), view(rows)
    specialised = network.specialise(variant)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    assert distance(view(rows), before) > 1e-3
    assert distance(twin.for_variant(variant)(rows), before) == 0.0
    assert twin.for_variant(variant).universal is twin
    assert distance(specialised(rows), before) < 1e-5


@torch.no_grad()
def test_a_fresh_network_is_uniform() -> None:
    """And its vectors are as long as an ordinary network's."""
    torch.manual_seed(0)
    network = UniversalNet(UniversalConfig())
    for name in BUILT_IN:
        variant, rows = boards(name, 8)
        found = network.for_variant(variant)(rows)
        assert found.policy.abs().max() == 0.0
        assert not found.promotion.numel() or found.promotion.abs().max() == 0.0
        assert torch.allclose(found.wdl.softmax(-1), torch.full((8, 3), 1 / 3))
        ordinary = BoardEmbedding(network.config.for_variant(variant))
        theirs = ordinary(network.for_variant(variant).encoder(rows)).std()
        assert 0.8 < network.for_variant(variant).embed(rows).std() / theirs < 1.25


@torch.no_grad()
def test_black_to_move_is_white_to_move_upside_down() -> None:
    network = lively_universal("geometric")
    variant, rows = boards("diana")
    twins = torch.from_numpy(mirrored_rows(variant, rows.numpy()))
    assert distance(network.for_variant(variant)(rows), network.for_variant(variant)(twins)) < 1e-6


def _defined(name: str, text: str) -> Variant:
    try:
        return get_variant(name)
    except InputError:
        define_variants(f"[{name}{text}", "test")
        return get_variant(name)


ZOO = """]
king = k
rook = r
pawn = p
maxRank = 5
maxFile = 4
doubleStep = false
promotionRegionWhite = *5
promotionRegionBlack = *1
flagRegionWhite = d5
flagRegionBlack = d1
extinctionValue = loss
"""
LION = "fNmWcQ"
OX = "WcRmfB"


def _zoo(name: str, lion: int, ox: int, *, lion_moves: str = LION) -> Variant:
    letters = (
        f"customPiece{lion} = l:{lion_moves}\ncustomPiece{ox} = o:{OX}\n"
        "startFen = lrko/pppp/4/PPPP/LRKO w - - 0 1\n"
        "promotionPieceTypes = lro\nflagPiece = l\nextinctionPieceTypes = o\n"
    )
    return _defined(name, ZOO + letters)


@torch.no_grad()
def test_numbers_and_names_of_pieces_do_not_matter() -> None:
    """Custom pieces under each other's numbers give the same outputs."""
    one, other = _zoo("zoo", 1, 2), _zoo("renumberedzoo", 4, 1)
    network = lively_universal("geometric")
    rows = torch.from_numpy(random_rows(one, 8))
    twins = rows.clone()
    pieces, renumbered = rows[:, : one.squares], twins[:, : one.squares]
    for code in (0, 16):
        renumbered[pieces == 7 | code] = 10 | code
        renumbered[pieces == 8 | code] = 7 | code
    assert not torch.equal(rows, twins)
    found, again = network.for_variant(one)(rows), network.for_variant(other)(twins)
    assert distance(found._replace(promotion=again.promotion), again) < 1e-6
    for types in [(7, 10), (8, 7), (4, 4)]:
        ours = found.promotion[..., one.promotion_types.index(types[0])]
        theirs = again.promotion[..., other.promotion_types.index(types[1])]
        assert torch.allclose(ours, theirs, atol=1e-6)
    assert (
        distance(network.for_variant(other)(rows), found._replace(promotion=again.promotion)) > 0.1
    )


@torch.no_grad()
def test_the_name_of_a_variant_does_not_matter() -> None:
    twin = _defined("disguised", get_variant("gardner").ini().removeprefix("[gardner"))
    network = lively_universal("residual")
    variant, rows = boards("gardner")
    assert distance(network.for_variant(variant)(rows), network.for_variant(twin)(rows)) == 0.0


CHANGES = [
    "stalemateValue = win",
    "checkmateValue = win",
    "promotionPieceTypes = q",
    "promotionRegionWhite = *4 *5",
    "flagRegionWhite = c3",
    "extinctionValue = loss\nextinctionPieceTypes = q",
    "nFoldRule = 2",
    "nMoveRule = 20",
    "doubleStep = true\ndoubleStepRegionWhite = *2\ndoubleStepRegionBlack = *4",
    "knight = -\ncustomPiece1 = n:NmW",
]


@torch.no_grad()
@pytest.mark.parametrize("change", CHANGES)
def test_every_rule_matters(change: str) -> None:
    """The same board under another rule gives other outputs."""
    variant, rows = boards("gardner")
    other = _defined(f"changed{CHANGES.index(change)}", f":gardner]\n{change}\n")
    network = lively_universal("geometric")
    if "customPiece1" in change:
        rows[:, : variant.squares][rows[:, : variant.squares] == 2] = 7
    found = network.for_variant(other)(rows)
    before = network.for_variant(variant)(rows)
    assert (found.wdl - before.wdl).abs().max() > 1e-3


@pytest.mark.parametrize("name", EVERY)
def test_features_of_every_variant(name: str) -> None:
    variant = get_variant(name)
    features = VariantFeatures.of(variant)
    assert features.rules.shape == (RULES,) == (sum(map(len, rules_of(variant).values())),)
    assert all(
        np.isfinite(table).all() and np.abs(table).max() <= 3.0
        for table in (features.pieces, features.ranks, features.files, features.rules)
    )
    assert features.kinds.max() == KINDS - 1
    # Pieces have features exactly where the variant has them.
    described = {code for code in range(32) if features.pieces[code].any()}
    assert described == {code | side for code in variant.piece_types for side in (0, 16)}
    assert features.rules[:8].argmax() + 1 == variant.width
    assert features.rules[8:16].argmax() + 1 == variant.height


def test_pieces_have_the_same_features_just_where_they_move_alike() -> None:
    """The referee is the compiled moves from every square of a large board."""
    generator = np.random.default_rng(0)
    texts = ["fmWfcF", "mfWcfF", "fmWfF", "WF", "K", "RB", "Q", "QK", "mQK", "mQcQ"]
    for _ in range(40):
        atoms = generator.choice(list("WFKNRBQ"), 2)
        signs = generator.choice(["", "m", "c", "f", "mf", "cf"], 2)
        if atoms[0] != atoms[1]:
            texts.append("".join(a + b for a, b in zip(signs, atoms, strict=True)))
    movements = [parse_betza(text) for text in texts]
    lines = []
    for movement in movements:
        of = piece_lines({7: movement}, 8, 8, (0, 0))
        lines.append({place: {tuple(line) for line in found} for place, found in of.items()})
    features = [movement_features(movement).tobytes() for movement in movements]
    alike = 0
    for i in range(len(texts)):
        for j in range(i):
            same = lines[i] == lines[j]
            assert (features[i] == features[j]) == same, (texts[i], texts[j])
            alike += same
    assert alike >= 3


@torch.no_grad()
def test_a_planted_weight_finds_the_pieces_that_may_capture_straight_ahead() -> None:
    """The feature, the mirror for Black and the colours, against the squares of the row itself."""
    network = lively_universal("geometric")
    ahead = movement_features(parse_betza("cfW")).argmax()
    _silence(network)
    network.embedding.pieces.weight[0, ahead] = 1.0
    variant = get_variant("gardner")
    rows = torch.from_numpy(random_rows(variant, 16))
    channel = network.for_variant(variant).embed(rows)[..., 0].numpy()
    for row, seen in zip(rows.numpy(), channel, strict=True):
        black = int(row[variant.squares + SIDE])
        for square in range(variant.squares):
            place = (4 - square // 5) * 5 + square % 5 if black else square
            code = int(row[square])
            mine = code >> 4 == black
            assert (seen[place] > 0.0) == (mine and code & 15 in (4, 5, KING)), (square, code)


MINE, THEIRS = (0, 1, 2), (3, 4, 5)
PROMOTION, GOAL, TWICE = range(3)
REGIONS_BY_HAND = [
    # By rank, from mine to theirs.
    ("hexapawn4x7", MINE[GOAL], [0, 0, 0, 0, 0, 0, 1]),
    ("hexapawn4x7", THEIRS[GOAL], [1, 0, 0, 0, 0, 0, 0]),
    ("hexapawn4x7", MINE[PROMOTION], [0, 0, 0, 0, 0, 0, 0]),
    ("gardner", MINE[GOAL], [0, 0, 0, 0, 0]),
    ("gardner", MINE[PROMOTION], [0, 0, 0, 0, 1]),
    ("silverman4x5", MINE[TWICE], [0, 1, 0, 0, 0]),
    ("silverman4x5", THEIRS[TWICE], [0, 0, 0, 1, 0]),
    # White's king to b3, c3 or d3, Black's to c2, c3 or c4: the mean of both.
    ("hill", MINE[GOAL], [0, 0.1, 0.4, 0.1, 0]),
    # By file, from left to right.
    ("hill", 6 + MINE[GOAL], [0, 0.1, 0.4, 0.1, 0]),
    ("corner", 6 + THEIRS[GOAL], [0.1, 0, 0, 0, 0.1]),
]


@torch.no_grad()
@pytest.mark.parametrize(("name", "feature", "expected"), REGIONS_BY_HAND)
def test_a_planted_weight_finds_the_regions(name: str, feature: int, expected: list[float]) -> None:
    network = lively_universal("geometric")
    _silence(network)
    network.embedding.regions.weight[0, feature] = 1.0
    variant, rows = boards(name, 4)
    channel = (
        network.for_variant(variant).embed(rows)[..., 0].view(4, variant.height, variant.width)
    )
    wanted = torch.tensor(expected, dtype=torch.float32)
    wanted = wanted[None, :] if feature >= 6 else wanted[:, None]
    assert torch.allclose(channel, wanted.expand_as(channel))


def _silence(network: UniversalNet) -> None:
    for parameter in network.embedding.parameters():
        parameter.zero_()


def test_pawns_of_different_variants_share_their_moves() -> None:
    """Chess's pawn and Hexapawn's move alike; one promotes, the other has a goal."""
    chess, hexapawn, breakthrough = (
        VariantFeatures.of(get_variant(name)).pieces
        for name in ("gardner", "hexapawn", "breakthrough")
    )
    assert np.array_equal(chess[PAWN, :MOVEMENT], hexapawn[7, :MOVEMENT])
    assert chess[PAWN, MOVEMENT:].tolist() != hexapawn[7, MOVEMENT:].tolist()
    assert not np.array_equal(breakthrough[7, :MOVEMENT], hexapawn[7, :MOVEMENT])


def test_it_learns_several_variants_at_once() -> None:
    """Random targets for positions of three variants."""
    torch.manual_seed(0)
    network = UniversalNet(small_universal("geometric", channels=32))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    groups = [boards(name, 16) for name in ("hexapawn", "gardner", "silverman4x5")]
    answers = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (3, 16)))
    losses = []
    for _ in range(80):
        losses.append(torch.zeros(()))
        for (variant, rows), answer in zip(groups, answers, strict=True):
            wdl = network.for_variant(variant)(rows).wdl
            losses[-1] = losses[-1] + torch.nn.functional.cross_entropy(wdl, answer) / 3
        optimiser.zero_grad()
        torch.autograd.backward(losses[-1])
        optimiser.step()
    assert abs(float(losses[0].detach()) - np.log(3)) < 1e-3
    assert float(losses[-1].detach()) < 0.1


@pytest.mark.parametrize("backend", ["torch", "openvino", "native"])
def test_backends_take_a_specialised_network(backend: str) -> None:
    """Their outputs are the universal network's own for that variant."""
    variant = get_variant("silverman4x5")
    universal = lively_universal(
        "geometric", channels=32, hidden=32, policy_channels=16, value_channels=16
    )
    network = universal.specialise(variant)
    rows = np.stack([position.row for position in random_games(variant, 12, 20)])
    moves, offsets = generate_batch(variant.tables, rows)
    rows, counts = rows[np.diff(offsets) > 0], np.diff(offsets)
    offsets = np.concatenate([[0], np.cumsum(counts[counts > 0])])
    if backend == "native" and not computes(network.config, "fp32"):
        with pytest.raises(BackendError, match="native"):
            make_evaluator(network, backend=backend)
        return
    evaluator = make_evaluator(network, backend=backend, precision="fp32", max_batch=8)
    assert evaluator.backend == backend
    found = evaluator.evaluate(rows, moves, offsets)
    view, positions = universal.for_variant(variant), torch.from_numpy(rows)
    played = torch.from_numpy(moves.astype(np.int64))
    row = torch.from_numpy(np.repeat(np.arange(len(rows)), np.diff(offsets)))
    with torch.no_grad():
        logits = view.move_logits(view(positions), positions, played, row)
    np.testing.assert_allclose(found.logits, logits.numpy(), atol=1e-3)
    np.testing.assert_allclose(found.wdl, view.wdl(positions).numpy(), atol=1e-3)


def test_configurations_are_refused_by_field() -> None:
    values = small_universal("geometric").to_dict()
    assert UniversalConfig.from_dict(values).to_dict() == values
    for change, problem in (
        ({"position": "learned"}, "position = 'learned' belongs to one board"),
        ({"width": 5}, "unknown field 'width'"),
        ({"heads": 3}, "heads = 3 does not divide channels 16"),
        ({"trunk": "mlp"}, "trunk = 'mlp' is not one of"),
    ):
        with pytest.raises(InputError, match=problem):
            UniversalConfig.from_dict(values | change)
    values.pop("channels")
    with pytest.raises(InputError, match="the field 'channels' is missing"):
        UniversalConfig.from_dict(values)
