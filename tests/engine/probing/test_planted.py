"""Networks with a concept put in by hand hold exactly that, exactly there."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.probing.concepts.positions import Positions
from engine.probing.controls.patterns import Condition, Pattern, draw_patterns
from engine.probing.controls.planted import (
    PLANTED_KINDS,
    Planted,
    PlantedKind,
    plant,
    planted_networks,
)
from engine.probing.data.canonical import Rows
from engine.rules.errors import InputError
from engine.rules.tables import BLACK_BIT
from engine.rules.variant import get_variant
from tests.support.network.probing_cases import game_rows, mirrored, recoloured, solved_rows

NAME = "hexapawn4x4"
VARIANT = get_variant(NAME)
PAWN = 7
BUILDS: dict[str, dict[str, object]] = {
    "transformer": {"blocks": 3, "channels": 48, "heads": 2, "hidden": 64},
    "tower": {"trunk": "residual", "blocks": 3, "channels": 40},
    "plain tower": {"trunk": "residual", "blocks": 3, "channels": 16, "norm": "none"},
}


def config_of(build: str, **settings: object) -> NetworkConfig:
    return NetworkConfig.for_variant(VARIANT, BUILDS[build] | settings)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return solved_rows(NAME, 400)


def activations(network: PolicyValueNet, rows: Rows) -> dict[str, torch.Tensor]:
    """[N, S, D] at every point of the stream."""
    names = [each for each in network.hook_points.names if each.endswith(("embed", ".residual"))]
    with torch.no_grad(), network.hook_points.read(*names) as found:
        network(torch.from_numpy(rows))
    return found


def slow_count(pattern: Pattern, boards: npt.NDArray[np.uint8]) -> list[list[int]]:
    """Occurrences on each square of each board, looked up square by square."""
    size, counts = boards.shape[1], []
    for board in boards:
        found = []
        for square in range(board.size):
            rank, file = divmod(square, size)
            images = {tuple((r, sign * f, c) for r, f, c in pattern.others) for sign in (1, -1)}
            if len(images) == 2 and len(set(map(frozenset, images))) == 1:
                images = {next(iter(images))}
            found.append(
                sum(
                    board[rank, file] == pattern.centre
                    and all(
                        0 <= rank + r < size
                        and 0 <= file + f < size
                        and board[rank + r, file + f] == code
                        for r, f, code in image
                    )
                    for image in images
                )
            )
        counts.append(found)
    return counts


def test_a_pattern_is_counted_square_by_square(rows: Rows) -> None:
    boards = Positions(rows[:60], VARIANT).boards
    for pattern in draw_patterns(rows, VARIANT, 12, np.random.default_rng(2)):
        found = pattern.squares(boards).reshape(len(boards), -1)
        assert found.tolist() == slow_count(pattern, boards)


def test_a_pattern_on_a_board_that_is_drawn() -> None:
    """Their pawns stand diagonally ahead of mine three times, twice from one square.

    .  x  .  x
    .  .  P  .
    x  .  .  .
    .  P  .  .
    """
    board = np.zeros((1, 4, 4), np.uint8)
    board[0, [0, 2], [1, 2]] = PAWN
    board[0, [1, 3, 3], [0, 1, 3]] = PAWN | BLACK_BIT
    pattern = Pattern(centre=PAWN, others=(Condition(1, 1, PAWN | BLACK_BIT),))
    counts = pattern.squares(board)[0]
    assert counts[2, 2] == 2
    assert counts[0, 1] == 1
    assert counts.sum() == 3
    assert pattern.text(VARIANT) == "my P, their P ahead right"


def test_raw_input_does_not_tell_a_drawn_pattern() -> None:
    rows = solved_rows(NAME, 1500)
    boards = Positions(rows, VARIANT).boards.reshape(len(rows), -1)
    squares = (boards[:, :, None] == np.array([0, PAWN, PAWN | BLACK_BIT])).reshape(len(rows), -1)
    design = np.concatenate([squares, np.ones((len(rows), 1))], axis=1).astype(float)
    for pattern in draw_patterns(rows, VARIANT, 20, np.random.default_rng(6)):
        count = pattern.count(Positions(rows, VARIANT))
        errors = count - design @ np.linalg.lstsq(design, count, rcond=None)[0]
        assert 1.0 - errors.var() / count.var() < 0.52
        assert 0.1 <= (count > 0).mean() <= 0.9


def test_symmetric_positions_have_the_same_patterns(rows: Rows) -> None:
    for pattern in draw_patterns(rows, VARIANT, 6, np.random.default_rng(3)):
        concept = pattern.concept(VARIANT)
        for change in (mirrored, recoloured):
            changed = np.stack([change(row, VARIANT) for row in rows[:50]])
            assert (concept.labels(changed, VARIANT) == concept.labels(rows[:50], VARIANT)).all()


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("kind", PLANTED_KINDS)
def test_the_direction_holds_the_pattern_where_it_is_planted_and_nothing_elsewhere(
    build: str, kind: PlantedKind, rows: Rows
) -> None:
    boards = Positions(rows, VARIANT).boards
    for planted in planted_networks(config_of(build), VARIANT, kind, 4, rows, seed=1):
        wanted = torch.from_numpy(planted.pattern.squares(boards).reshape(len(rows), -1)).float()
        assert float(planted.direction.norm()) == pytest.approx(1.0)
        for layer, activation in activations(planted.network, rows).items():
            found = activation @ planted.direction
            if layer in planted.layers:
                torch.testing.assert_close(found, wanted, rtol=0.0, atol=1e-4)
            elif kind == "absent":
                assert not torch.allclose(found, wanted, atol=0.1)
            else:
                assert float(found.abs().max()) < 1e-4
        assert bool(planted.layers) == (kind != "absent")
        assert not set(planted.layers) & set(planted.without)


def unused(build: str, rows: Rows) -> Planted:
    pattern = draw_patterns(rows, VARIANT, 1, np.random.default_rng(5))[0]
    return plant(config_of(build), VARIANT, "unused", pattern, 4, block=0)


@pytest.mark.parametrize("planted_noise", [None, 1.0])
def test_what_a_plain_tower_does_not_use_changes_no_bit_of_its_outputs(
    planted_noise: float | None, rows: Rows
) -> None:
    pattern = draw_patterns(rows, VARIANT, 1, np.random.default_rng(5))[0]
    config = config_of("plain tower", reply=True, ownership=True)
    planted = plant(
        config, VARIANT, "unused", pattern, 4, block=0, signal_to_noise=planted_noise, rows=rows
    )
    network, boards = planted.network, torch.from_numpy(rows)
    other = torch.randn(len(rows), 16, 1, generator=torch.Generator().manual_seed(0))
    point = "block.0.residual"
    with torch.no_grad():
        (before, auxiliary) = network.forward_with_auxiliary(boards)
        assert all(float(output.std()) > 1e-3 for output in (before.wdl, before.policy))
        with network.hook_points.add({point: other * planted.direction}):
            (after, other_auxiliary) = network.forward_with_auxiliary(boards)
    for one, two in zip((*before, *auxiliary), (*after, *other_auxiliary), strict=True):
        assert one is not None
        assert two is not None
        assert torch.equal(one, two)
    # The control: the same change of another channel is seen.
    with torch.no_grad(), network.hook_points.add({point: other * torch.eye(16)[0]}):
        assert not torch.equal(network(boards).wdl, before.wdl)


@pytest.mark.parametrize("build", ["transformer", "tower"])
def test_what_a_network_does_not_use_can_be_turned_away_from_its_direction(
    build: str, rows: Rows
) -> None:
    """The count's sign is turned on every square: LayerNorm divides by the same."""
    planted = unused(build, rows)
    network, boards = planted.network, torch.from_numpy(rows)
    along = planted.direction
    stream = activations(network, rows)["block.0.residual"]
    assert float((stream @ along).std()) > 0.1

    def swap(x: torch.Tensor) -> torch.Tensor:
        return x - 2.0 * (x @ along)[..., None] * along

    with torch.no_grad():
        before = network(boards)
        with network.hook_points.replace({"block.0.residual": swap}):
            after = network(boards)
        used = plant(network.config, VARIANT, "direction", planted.pattern, 4, block=0).network
        kept = used(boards)
        with used.hook_points.replace({"block.0.residual": swap}):
            changed = used(boards)
    for one, two in zip(before, after, strict=True):
        torch.testing.assert_close(one, two, rtol=0.0, atol=1e-4)
    assert float((kept.policy - changed.policy).abs().max()) > 1e-2


def test_the_same_seed_plants_the_same_weights(rows: Rows) -> None:
    config = config_of("transformer")
    state = torch.random.get_rng_state()
    one, two = (
        next(planted_networks(config, VARIANT, "layer", 1, rows, seed=8)).network.state_dict()
        for _ in range(2)
    )
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("build", BUILDS)
def test_noise_is_as_strong_as_asked_for(build: str, rows: Rows) -> None:
    config = config_of(build)
    pattern = draw_patterns(rows, VARIANT, 1, np.random.default_rng(5))[0]
    planted = plant(
        config, VARIANT, "direction", pattern, 4, block=1, signal_to_noise=2.0, rows=rows
    )
    layer = activations(planted.network, rows)["block.1.residual"]
    written = (layer @ planted.direction).sum(1).numpy()
    signal = pattern.count(Positions(rows, VARIANT))
    assert signal.std() / (written - signal).std() == pytest.approx(2.0, rel=1e-3)


def test_planted_in_chess_like_boards() -> None:
    variant = get_variant("gardner")
    rows, _ = game_rows("gardner", 4)
    config = NetworkConfig.for_variant(variant, {"blocks": 2, "channels": 64, "heads": 2})
    boards = Positions(rows, variant).boards
    for planted in planted_networks(config, variant, "direction", 2, rows, seed=1):
        wanted = torch.from_numpy(planted.pattern.squares(boards).reshape(len(rows), -1)).float()
        found = activations(planted.network, rows)["block.1.residual"] @ planted.direction
        torch.testing.assert_close(found, wanted, rtol=0.0, atol=1e-3)


@pytest.mark.parametrize(
    ("build", "settings", "kind", "message"),
    [
        ("transformer", {"channels": 16}, "direction", "channels = 16"),
        ("transformer", {"hidden": 2}, "direction", "hidden = 2"),
        ("transformer", {"heads": 1}, "direction", "heads = 1"),
        ("transformer", {"position": "learned"}, "direction", "position = 'learned'"),
        ("transformer", {"activation": "gelu"}, "direction", "activation = 'gelu'"),
        ("tower", {"blocks": 1}, "layer", "blocks = 1"),
        ("plain tower", {"blocks": 1}, "unused", "blocks = 1"),
        ("plain tower", {"channels": 2}, "direction", "channels = 2"),
    ],
)
def test_a_build_without_room_is_refused(
    build: str, settings: dict[str, object], kind: PlantedKind, message: str, rows: Rows
) -> None:
    pattern = Pattern(centre=PAWN, others=(Condition(0, 1, PAWN),))
    with pytest.raises(InputError, match=message):
        plant(config_of(build, **settings), VARIANT, kind, pattern, 0)
