"""The policy/value network as a whole."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.errors import InputError
from engine.rules.moves import from_square, make_move, promotion, to_square
from engine.rules.tables import CASTLING, CLOCK, EN_PASSANT, REPETITION
from engine.rules.variant import get_variant
from tests.support.network.network_cases import (
    TRUNKS,
    lively_network,
    mirrored_rows,
    mirrored_square,
    random_moves,
    random_rows,
    small_config,
)

every_trunk = pytest.mark.parametrize("trunk", list(TRUNKS))


@every_trunk
def test_colours_do_not_matter(trunk: str) -> None:
    """A position and its mirror image with swapped colours: the same values, and the same policy
    for the mirrored moves."""
    variant = get_variant("diana")
    network = lively_network("diana", trunk)
    rows = random_rows(variant, 20)
    moves, offsets = random_moves(variant, 20)
    mirrored = [
        make_move(
            mirrored_square(variant, from_square(move)),
            mirrored_square(variant, to_square(move)),
            promotion(move),
        )
        for move in moves
    ]
    indices = torch.from_numpy(np.repeat(np.arange(20), np.diff(offsets)))
    ours, theirs = torch.from_numpy(rows), torch.from_numpy(mirrored_rows(variant, rows))
    seen, twin = network(ours), network(theirs)
    assert torch.equal(seen.wdl, twin.wdl)
    assert torch.equal(seen.moves_left, twin.moves_left)
    assert torch.equal(
        network.move_logits(seen, ours, torch.from_numpy(moves.astype(np.int64)), indices),
        network.move_logits(twin, theirs, torch.tensor(mirrored), indices),
    )


@every_trunk
def test_every_input_matters(trunk: str) -> None:
    """Each square and each byte of the state changes what the network says."""
    variant = get_variant("diana")
    network = lively_network("diana", trunk)
    size = variant.squares
    row = random_rows(variant, 1)[0]
    row[size:] = (0, 5, 255, 10, 0)
    changes = [(square, 6 if row[square] != 6 else 5) for square in range(size)]
    empty = int(np.flatnonzero(row[:size] == 0)[0])
    changes += [(size + CASTLING, 9), (size + EN_PASSANT, empty)]
    changes += [(size + CLOCK, 60), (size + REPETITION, 1)]
    others = np.repeat(row[None], len(changes), axis=0)
    for other, (place, byte) in zip(others, changes, strict=True):
        other[place] = byte
    plain, changed = network(torch.from_numpy(row[None])), network(torch.from_numpy(others))
    for index, change in enumerate(changes):
        assert not torch.allclose(plain.wdl[0], changed.wdl[index], atol=1e-6), change
        assert not torch.allclose(plain.policy[0], changed.policy[index], atol=1e-6), change


@pytest.mark.parametrize("name", ["hexapawn", "gardner", "diana"])
def test_move_logits_are_those_of_a_slow_loop(name: str) -> None:
    variant = get_variant(name)
    network = lively_network(name, "geometric")
    rows = random_rows(variant, 30)
    moves, offsets = random_moves(variant, 30)
    positions = torch.from_numpy(rows)
    outputs = network(positions)
    indices = np.repeat(np.arange(30), np.diff(offsets))
    logits = network.move_logits(
        outputs, positions, torch.from_numpy(moves.astype(np.int64)), torch.from_numpy(indices)
    )
    for i in range(30):
        for j in range(offsets[i], offsets[i + 1]):
            start, end = from_square(moves[j]), to_square(moves[j])
            if rows[i, variant.squares] == 1:
                start, end = mirrored_square(variant, start), mirrored_square(variant, end)
            expected = outputs.policy[i, start, end]
            if promotion(moves[j]):
                kind = variant.promotion_types.index(promotion(moves[j]))
                expected = expected + outputs.promotion[i, end, kind]
            assert torch.equal(logits[j], expected)


@every_trunk
def test_a_fresh_network_is_uniform(trunk: str) -> None:
    network = PolicyValueNet(small_config("gardner", trunk))
    outputs = network(torch.from_numpy(random_rows(get_variant("gardner"), 8)))
    assert not outputs.policy.any()
    assert not outputs.promotion.any()
    assert torch.allclose(outputs.wdl.softmax(-1), torch.full((8, 3), 1 / 3))
    assert (outputs.moves_left > 0).all()


@every_trunk
def test_wdl_are_probabilities(trunk: str) -> None:
    network = lively_network("gardner", trunk)
    wdl = network.wdl(torch.from_numpy(random_rows(get_variant("gardner"), 8)))
    assert wdl.shape == (8, 3)
    assert torch.allclose(wdl.sum(-1), torch.ones(8))


@every_trunk
def test_learns_64_positions_by_heart(trunk: str) -> None:
    torch.manual_seed(0)
    network = PolicyValueNet(small_config("gardner", trunk, channels=32))
    positions = torch.from_numpy(random_rows(get_variant("gardner"), 64))
    squares = positions.shape[1] - 5
    best_move = torch.randint(squares * squares, (64,))
    result, left = torch.randint(3, (64,)), 40 * torch.rand(64)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0)
    for _ in range(130):
        outputs = network(positions)
        loss = F.cross_entropy(outputs.policy.flatten(1), best_move)
        loss = loss + F.cross_entropy(outputs.wdl, result)
        loss = loss + F.huber_loss(outputs.moves_left, left) / 20
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    outputs = network(positions)
    assert torch.equal(outputs.policy.flatten(1).argmax(1), best_move)
    assert torch.equal(outputs.wdl.argmax(1), result)
    assert (outputs.moves_left - left).abs().median() < 2


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def test_parameter_counts_follow_the_formula() -> None:
    D, H, M, L, E, V, P, C = 16, 2, 24, 2, 8, 8, 4, 4
    embedding = 32 * D + 32 * D + 6 * D
    heads = 2 * linear(D, E) + linear(D, P)
    heads += linear(D, V) + linear(V, V) + linear(V, 3) + linear(V, 1)
    norm = 2 * D
    attention = norm + linear(D, 3 * D) + linear(D, D)
    mlp = norm + linear(D, M) + linear(M, D)
    tower = norm + 2 * linear(9 * D, D) + linear(D, C) + linear(C, 2 * D)
    expected = {
        "geometric": L * (attention + mlp + H * 15 * 15) + norm,
        "learned": L * (attention + mlp) + norm + 25 * D,
        "attention only": L * attention + norm,
        "residual": L * tower + norm,
    }
    for trunk, count in expected.items():
        network = PolicyValueNet(small_config("gardner", trunk))
        assert network.parameter_count == embedding + count + heads, trunk


@every_trunk
def test_other_boards_take_the_same_weights(trunk: str) -> None:
    """But for learned places, which are of one board, shapes do not depend on the board."""
    small, large = (PolicyValueNet(small_config(name, trunk)) for name in ("4x5chess", "5x6chess"))
    if trunk == "learned":
        assert small.state_dict()["trunk.place"].shape == (20, 16)
    else:
        large.load_state_dict(small.state_dict())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d.update(chanels=3), "unknown field 'chanels'"),
        (lambda d: d.pop("channels"), "the field 'channels' is missing"),
        (lambda d: d.update(width=9), "width = 9 is not a whole number from 1 to 8"),
        (lambda d: d.update(blocks=True), "blocks = True is not"),
        (lambda d: d.update(trunk="mlp"), "trunk = 'mlp' is not one of transformer, residual"),
        (lambda d: d.update(heads=3), "heads = 3 does not divide channels 16"),
        (lambda d: d.update(promotion_types=[2, 2]), "promotion_types = (2, 2) names a piece"),
        (lambda d: d.update(promotion_types=["q"]), "promotion_types = ['q'] is not a list"),
        (lambda d: d.update(variant=3), "variant = 3 is not a text"),
    ],
)
def test_configurations_are_refused_by_field(
    change: Callable[[dict[str, object]], object], problem: str
) -> None:
    values = small_config("gardner", "geometric").to_dict()
    assert NetworkConfig.from_dict(values).to_dict() == values
    change(values)
    with pytest.raises(InputError) as caught:
        NetworkConfig.from_dict(values)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_may_not_contradict_the_variant() -> None:
    with pytest.raises(InputError, match="width = 6 is decided by the variant gardner"):
        NetworkConfig.for_variant(get_variant("gardner"), {"width": 6})
