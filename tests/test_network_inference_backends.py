"""Every backend says what the network says, and one that does not is refused."""

import numpy as np
import pytest
import torch

from engine.network.backends import BackendName, PrecisionName
from engine.network.encoding import Encoder
from engine.network.inference import (
    NetworkEvaluator,
    make_evaluator,
)
from engine.network.policy_value import PolicyValueNet
from engine.rules.variant import get_variant, variant_names
from search.evaluator import Evaluator
from tests.network_cases import TRUNKS, lively_network, random_moves, random_rows
from tests.random_games import random_games

CONFIGURATIONS: dict[str, dict[str, object]] = {
    **{trunk: {"kind": trunk} for trunk in TRUNKS},
    "one head": {"kind": "geometric", "heads": 1},
    "four heads": {"kind": "geometric", "heads": 4},
    "gelu": {"kind": "geometric", "activation": "gelu"},
    "no blocks": {"kind": "geometric", "blocks": 0},
    "no residual blocks": {"kind": "residual", "blocks": 0},
}
PAIRS: list[tuple[BackendName, PrecisionName]] = [
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
]


def network_of(variant: str, configuration: str) -> PolicyValueNet:
    settings = dict(CONFIGURATIONS[configuration])
    return lively_network(variant, str(settings.pop("kind")), **settings)


def question(variant: str, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return random_rows(get_variant(variant), count), *random_moves(get_variant(variant), count)


@pytest.mark.parametrize("name", variant_names())
def test_tokens_are_those_of_the_network_s_eyes(name: str) -> None:
    variant = get_variant(name)
    eyes = lively_network(name, "geometric").eyes
    played = [position.row for position in random_games(variant, 20, 30)]
    rows = np.concatenate([np.stack(played), random_rows(variant, 300)])
    rows[-256:, variant.squares + 3] = rows[-256:, variant.squares + 4] = np.arange(256)
    squares = np.empty((len(rows), variant.squares), np.int32)
    state = np.empty((len(rows), 6), np.float32)
    Encoder(eyes).encode(rows, squares, state)
    expected = eyes(torch.from_numpy(rows))
    np.testing.assert_array_equal(squares, expected.squares.numpy())
    np.testing.assert_array_equal(state, expected.state.numpy())


@pytest.mark.parametrize("configuration", list(CONFIGURATIONS))
@pytest.mark.parametrize("variant", ["gardner", "hexapawn"])
def test_backends_agree_with_the_network(variant: str, configuration: str) -> None:
    network = network_of(variant, configuration)
    asked = question(variant, 21)
    exact = NetworkEvaluator(network).evaluate(*asked)
    evaluator: Evaluator = make_evaluator(network, backend="openvino", precision="fp32")
    said = evaluator.evaluate(*asked)
    assert said.logits.dtype == said.wdl.dtype == np.float32
    np.testing.assert_allclose(said.logits, exact.logits, atol=2e-4)
    np.testing.assert_allclose(said.wdl, exact.wdl, atol=2e-5)
