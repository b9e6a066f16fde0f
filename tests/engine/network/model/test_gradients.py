"""Gradients against finite differences, in float64."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.network.language.model import LanguageModel
from engine.network.model import backbone
from engine.network.model.backbone import Attention, Backbone, Block, board_steps
from engine.network.model.config import LanguageConfig, TransformerConfig
from engine.network.model.heads import FromToPolicy, ScalarValue, ValueHead
from engine.network.model.hook_points import HookPoint, HookPoints
from engine.network.model.residual_tower import ResidualBlock, ResidualTower, SqueezeExcitation
from engine.rules.variant import get_variant
from tests.support.network.network_cases import lively_network, random_rows, small_config


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


WAYS = pytest.mark.parametrize("explicit", [0, 64], ids=["fused", "explicit"])


@WAYS
@pytest.mark.parametrize("causal", [False, True])
def test_attention(explicit: int, causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bias, which gets its gradient as well, and without."""
    for name in ("EXPLICIT_TOKENS", "EXPLICIT_LEARNING"):
        monkeypatch.setattr(backbone, name, explicit)
    config = dataclasses.replace(CONFIG, causal=causal)
    module = Attention(config, HookPoints(), 0)
    check(module, module, torch.randn(2, 3, 4), torch.randn(2, 3, 3))
    module = Attention(config, HookPoints(), 0)
    check(module, module, torch.randn(2, 3, 4))


@WAYS
def test_backbone_over_a_board(explicit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EXPLICIT_TOKENS", "EXPLICIT_LEARNING"):
        monkeypatch.setattr(backbone, name, explicit)
    config = dataclasses.replace(CONFIG, causal=False, position="geometric", context=6)
    module, steps = Backbone(config, HookPoints()), board_steps(2, 3)
    check(module, lambda x: module(x, steps), torch.randn(2, 6, 4))


@pytest.mark.parametrize("tied", [True, False])
def test_loss_of_a_language_model(tied: bool) -> None:
    """A tied table gets what comes by the head and what comes by the embedding."""
    config = LanguageConfig(
        vocabulary=5, context=3, channels=4, blocks=2, heads=2, hidden=3, dropout=0.0, tied=tied
    )
    model = LanguageModel(config)
    tokens = torch.tensor([[0, 3, 1, 2], [4, 4, 2, 0]])

    def loss() -> Tensor:
        return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())

    check(model, loss)


MODULES: dict[str, tuple[nn.Module, tuple[tuple[int, ...], ...]]] = {
    "LayerNorm": (nn.LayerNorm(4), ((3, 4),)),
    "transformer block": (Block(CONFIG, HookPoints(), 0), ((2, 3, 4), (2, 3, 3))),
    "squeeze-and-excitation": (SqueezeExcitation(3, 2, HookPoint("gate")), ((2, 3, 2, 2),)),
    "residual tower": (
        ResidualTower(
            small_config("hexapawn", "residual", channels=2, blocks=1), HookPoints(), (3, 3)
        ),
        ((2, 9, 2),),
    ),
    "policy": (FromToPolicy(3, 2, 2), ((2, 4, 3),)),
    "policy without promotion": (FromToPolicy(3, 2, 0), ((2, 4, 3),)),
    "WDL": (ValueHead(3, 2, HookPoints()), ((2, 4, 3),)),
    "scalar head": (ValueHead(3, 2, HookPoints(), scalar=True), ((2, 4, 3),)),
    "scalar": (ScalarValue(3), ((2, 3),)),
}


@pytest.mark.parametrize(("module", "shapes"), MODULES.values(), ids=MODULES)
def test_modules(module: nn.Module, shapes: tuple[tuple[int, ...], ...]) -> None:
    check(module, module, *(torch.randn(shape) for shape in shapes))


def test_through_what_is_put_in_at_points() -> None:
    """A replacement, an addition and directions that are taken out get gradients of their own."""
    points = HookPoints()
    module = Block(CONFIG, points, 0)
    heads, steering, directions = torch.randn(2, 2, 3, 2), torch.randn(4), torch.randn(2, 4)

    def edited(x: Tensor, heads: Tensor, steering: Tensor, directions: Tensor) -> Tensor:
        with (
            points.replace({"block.0.attention.head": lambda head: head * heads}),
            points.replace({"block.0.attention.pattern": lambda pattern: pattern.square()}),
            points.add({"block.0.residual": steering}),
            points.project_out({"block.0.residual": directions}),
        ):
            out: Tensor = module(x)
        return out

    check(module, edited, torch.randn(2, 3, 4), heads, steering, directions)


def test_through_a_replacement_only_the_replacement() -> None:
    points = HookPoints()
    module = Block(CONFIG, points, 0)
    x, heads = torch.randn(2, 3, 4), torch.randn(2, 2, 3, 2, requires_grad=True)
    with points.replace({"block.0.attention.head": heads}):
        out = module(x)
    ours, theirs = torch.autograd.grad(
        out.sum(), [heads, module.attention.qkv.weight], allow_unused=True
    )
    assert ours.any()
    assert theirs is None


def test_through_the_points_of_the_tower() -> None:
    points = HookPoints()
    module = ResidualBlock(small_config("hexapawn", "residual", channels=2), points, "block.0")

    def edited(x: Tensor, hidden: Tensor, gate: Tensor, direction: Tensor) -> Tensor:
        with (
            points.add({"block.0.hidden": hidden}),
            points.replace({"block.0.gate": gate}),
            points.project_out({"block.0.residual": direction}),
        ):
            out: Tensor = module(x, (3, 3))
        return out

    values = torch.randn(2), torch.rand(2, 2), torch.randn(2)
    check(module, edited, torch.randn(2, 9, 2), *values)


@pytest.mark.parametrize("trunk", ["geometric", "residual"])
def test_every_parameter_of_the_network_gets_a_gradient(trunk: str) -> None:
    network = lively_network("diana", trunk)
    outputs = network(torch.from_numpy(random_rows(get_variant("diana"), 32)))
    loss = torch.stack([output.square().mean() for output in outputs]).sum()
    names, parameters = zip(*network.named_parameters(), strict=True)
    for name, gradient in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        assert gradient.any(), name
