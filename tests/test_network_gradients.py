"""Gradients against finite differences, in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from engine.network import backbone
from engine.network.backbone import Attention, Block
from engine.network.config import TransformerConfig
from engine.network.heads import FromToPolicy, ValueHead
from engine.network.points import Point, Points
from engine.network.residual import ResidualBlock, SqueezeExcitation
from engine.rules.variant import get_variant
from tests.network_cases import lively_network, random_rows, small_config


def check(
    module: nn.Module, call: Callable[..., Tensor | tuple[Tensor, ...]], *inputs: Tensor
) -> None:
    """Gradients of `call` by its inputs and by every parameter of the module."""
    module.double()
    torch.manual_seed(1)
    parameters = list(module.parameters())
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    leaves = tuple(x.double().requires_grad_() for x in inputs)

    def function(*values: Tensor) -> Tensor | tuple[Tensor, ...]:
        return call(*values[: len(inputs)])

    assert torch.autograd.gradcheck(function, (*leaves, *parameters))


CONFIG = TransformerConfig(
    channels=4,
    blocks=1,
    heads=2,
    hidden=3,
    activation="gelu",
    position="none",
    causal=True,
    context=3,
)


@pytest.mark.parametrize("explicit", [0, 64])
def test_attention(explicit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone, "EXPLICIT_TOKENS", explicit)
    module = Attention(CONFIG, Points(), 0)
    check(module, module, torch.randn(2, 3, 4), torch.randn(2, 3, 3))


def test_block_with_layer_norm() -> None:
    module = Block(CONFIG, Points(), 0)
    check(module, module, torch.randn(2, 3, 4), torch.randn(2, 3, 3))


def test_squeeze_and_excitation() -> None:
    module = SqueezeExcitation(3, 2, Point("gate"))
    check(module, module, torch.randn(2, 3, 2, 2))


def test_residual_block() -> None:
    config = small_config("hexapawn", "residual", channels=2)
    module = ResidualBlock(config, Points(), "block.0")
    check(module, module, torch.randn(2, 9, 2))


def test_heads() -> None:
    policy, value = FromToPolicy(3, 2, 2), ValueHead(3, 2, Points())
    check(policy, policy, torch.randn(2, 4, 3))
    check(value, value, torch.randn(2, 4, 3))


@pytest.mark.parametrize("trunk", ["geometric", "residual"])
def test_every_parameter_of_the_network_gets_a_gradient(trunk: str) -> None:
    network = lively_network("diana", trunk)
    outputs = network(torch.from_numpy(random_rows(get_variant("diana"), 32)))
    loss = torch.stack([output.square().mean() for output in outputs]).sum()
    names, parameters = zip(*network.named_parameters(), strict=True)
    for name, gradient in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        assert gradient.any(), name
