"""Features of layers: the same however few are read at a time, and the right square's vector."""

import numpy as np
import pytest
import torch

from engine.network.model.policy_value import Outputs
from engine.probing.activations.capture import Readout, capture, stream_points
from engine.probing.activations.layers import layer_features
from engine.probing.controls.features import raw_square_input
from engine.probing.data.canonical import seen_boards
from engine.probing.data.samples import Sample
from engine.probing.surface.experiment import draw_squares
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from tests.support.network.network_cases import lively_network
from tests.support.network.probing_cases import game_rows, mirrored, recoloured, solved_rows

SQUARES = np.random.default_rng(0).integers(16, size=300)


@pytest.mark.parametrize("trunk", ["geometric", "residual"])
@pytest.mark.parametrize("readout", ["mean+max", "squares"])
def test_features_are_those_of_capture_however_little_memory(trunk: str, readout: Readout) -> None:
    network, rows = lively_network("hexapawn4x4", trunk), solved_rows("hexapawn4x4", 300)
    layers = stream_points(network)
    wanted = capture(network, rows, layers, readout=readout)
    with network.hook_points.read(*layers) as activations, torch.inference_mode():
        network(torch.from_numpy(rows))
    for memory in (1, 100_000, 1 << 30):
        found = list(layer_features(network, rows, layers, SQUARES, readout=readout, memory=memory))
        assert [each.layer for each in found] == list(layers)
        for each in found:
            np.testing.assert_allclose(each.board, wanted[each.layer], atol=1e-5)
            stream = activations[each.layer].numpy()
            if stream.ndim == 3:
                vectors = stream[np.arange(300), SQUARES]
                assert each.square is not None
                np.testing.assert_allclose(each.square, vectors, atol=1e-5)
            else:
                assert each.square is None


def test_few_layers_are_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    network, rows = lively_network("hexapawn4x4", "geometric"), solved_rows("hexapawn4x4", 300)
    passes: list[int] = []
    real = network.forward

    def counted(rows: torch.Tensor) -> Outputs:
        passes.append(len(rows))
        return real(rows)

    monkeypatch.setattr(network, "forward", counted)
    layers = stream_points(network)
    for memory, times in ((1, len(layers)), (1 << 30, 1)):
        passes.clear()
        list(layer_features(network, rows, layers, SQUARES, memory=memory))
        # One row tells the widths.
        assert sum(passes) == 1 + times * len(rows)


def test_an_unknown_layer_is_named() -> None:
    network, rows = lively_network("hexapawn4x4", "geometric"), solved_rows("hexapawn4x4", 300)
    with pytest.raises(InputError, match="no hook point 'blok'"):
        list(layer_features(network, rows, ["blok"], SQUARES))


@pytest.mark.parametrize("name", ["hexapawn4x3", "gardner"])
def test_a_square_s_raw_input_is_the_board_around_it(name: str) -> None:
    """Rebuilt with loops: equal features exactly where the boards around the squares are equal."""
    variant, (rows, _) = get_variant(name), game_rows(name, 5)
    network = lively_network(name, "geometric")
    squares = np.random.default_rng(1).integers(variant.squares, size=len(rows))
    features = raw_square_input(network, rows, squares)
    boards = seen_boards(rows, variant).reshape(-1, variant.height, variant.width)
    around = []
    for board, square in zip(boards, squares, strict=True):
        rank, file = divmod(int(square), variant.width)
        seen = [int(square)]
        for up in range(1 - variant.height, variant.height):
            for aside in range(1 - variant.width, variant.width):
                inside = 0 <= rank + up < variant.height and 0 <= file + aside < variant.width
                seen.append(int(board[rank + up, file + aside]) if inside else -1)
        around.append(tuple(seen))
    ours: dict[bytes, set[tuple[int, ...]]] = {}
    for feature, sight in zip(features[:, :-1], around, strict=True):
        ours.setdefault(feature.tobytes(), set()).add(sight)
    assert len(set(around)) > 0.5 * len(rows)
    # Clock and castling are among the features, so boards may be alike and features not.
    assert all(len(boards) == 1 for boards in ours.values())
    assert set(np.unique(features[:, : squares.max()])) <= {0.0, 1.0}


def test_symmetric_rows_ask_about_the_same_square() -> None:
    variant, rows = get_variant("hexapawn4x4"), solved_rows("hexapawn4x4", 200)
    twins = np.stack([mirrored(row, variant) for row in rows])
    others = np.stack([recoloured(row, variant) for row in rows])
    sample = Sample.from_rows(np.concatenate([rows, twins, others]), variant)
    squares = draw_squares(sample, variant, np.random.default_rng(0))
    boards = seen_boards(sample.rows, variant)
    first, twin, other = np.split(squares, 3)
    is_symmetric = (boards[:200] == boards[200:400]).all(axis=1)
    reflected = first // 4 * 4 + 3 - first % 4
    assert (np.where(is_symmetric, first, reflected) == twin).all()
    assert (first == other).all()
    assert len(np.unique(squares)) == 16
