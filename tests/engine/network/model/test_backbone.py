"""The backbone by itself: boards, the cache, numbers, compilation, and what it can learn."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.network.language.model import LanguageModel
from engine.network.model import backbone
from engine.network.model.backbone import Attention, Backbone, board_steps
from engine.network.model.config import LanguageConfig, TransformerConfig
from engine.network.model.hook_points import HookPoints
from engine.rules.variant import get_variant
from tests.support.network.network_cases import TRUNKS, lively_network, random_rows

SIZES = ((3, 3), (4, 5), (2, 4))
"""Files and ranks."""
WAYS = pytest.mark.parametrize("explicit", [0, 64], ids=["fused", "explicit"])


def fresh_backbone(**settings: object) -> Backbone:
    """A small backbone, freshly initialised."""
    config: dict[str, object] = {
        "channels": 16,
        "blocks": 2,
        "heads": 4,
        "hidden": 24,
        "activation": "gelu",
        "position": "learned",
        "causal": True,
        "context": 12,
    }
    torch.manual_seed(0)
    return Backbone(TransformerConfig(**(config | settings)), HookPoints())  # type: ignore[arg-type]


def lively_backbone(**settings: object) -> Backbone:
    """A small backbone whose every parameter matters."""
    model = fresh_backbone(**settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model.eval()


@pytest.mark.parametrize("board", SIZES, ids=str)
def test_one_backbone_reads_boards_of_every_size(board: tuple[int, int]) -> None:
    many = lively_backbone(position="geometric", causal=False, context=20)
    size = math.prod(board)
    alone = lively_backbone(position="geometric", causal=False, context=size, board=board)
    alone.load_state_dict(many.state_dict())
    x = torch.randn(2, size, 16)
    assert torch.equal(many(x, board_steps(*board)), alone(x))


@WAYS
def test_causal_tokens_do_not_see_later_ones(
    explicit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EXPLICIT_TOKENS", "EXPLICIT_LEARNING"):
        monkeypatch.setattr(backbone, name, explicit)
    model, x = fresh_backbone(), torch.randn(3, 12, 16)
    later = x.clone()
    later[:, 7:] = torch.randn(3, 5, 16)
    before, after = model(x), model(later)
    assert torch.allclose(before[:, :7], after[:, :7], atol=1e-6)
    assert not torch.allclose(before[:, 7:], after[:, 7:], atol=1e-3)
    assert torch.allclose(model(x[:, :7]), before[:, :7], atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("position", ["learned", "geometric"])
def test_both_ways_to_attend_agree(
    causal: bool, position: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh_backbone(causal=causal, position=position, board=(4, 3))
    if model.geometry is not None:
        torch.nn.init.normal_(model.geometry.table)
    x = torch.randn(3, 12, 16)
    plain = model(x)
    for name in ("EXPLICIT_TOKENS", "EXPLICIT_LEARNING"):
        monkeypatch.setattr(backbone, name, 0)
    assert torch.allclose(model(x), plain, atol=1e-5)


def test_geometric_bias_is_that_of_the_step() -> None:
    model = fresh_backbone(position="geometric", board=(4, 3))
    assert model.geometry is not None
    torch.nn.init.normal_(model.geometry.table)
    bias = model.geometry()
    steps: dict[tuple[int, int], torch.Tensor] = {}
    for q in range(12):
        for k in range(12):
            step = (k % 4 - q % 4, k // 4 - q // 4)
            assert torch.equal(steps.setdefault(step, bias[..., q, k]), bias[..., q, k])
    assert len({values[0, 0].item() for values in steps.values()}) == len(steps) == 7 * 5


def test_initialisation_is_that_of_gpt2_at_its_width() -> None:
    model = fresh_backbone(channels=768, blocks=1, hidden=3072, heads=12)
    weights = dict(model.named_parameters())
    assert weights["blocks.0.attention.qkv.weight"].std().item() == pytest.approx(0.02, rel=0.02)
    writer = 0.02 / math.sqrt(2)
    assert weights["blocks.0.mlp.down.weight"].std().item() == pytest.approx(writer, rel=0.02)


def test_a_backbone_of_many_boards_must_be_told_which() -> None:
    model = lively_backbone(position="geometric", causal=False, context=20)
    with pytest.raises(ValueError, match="without a board in its configuration"):
        model(torch.randn(1, 20, 16))


@WAYS
@pytest.mark.parametrize("position", ["learned", "none"])
@pytest.mark.parametrize("chunks", [[12], [1] * 12, [5, 1, 4, 2], [1, 11]], ids=str)
def test_reading_bit_by_bit_is_reading_at_once(
    explicit: int, position: str, chunks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EXPLICIT_TOKENS", "EXPLICIT_LEARNING"):
        monkeypatch.setattr(backbone, name, explicit)
    model = lively_backbone(position=position)
    x = torch.randn(3, 12, 16)
    cache = model.cache(3)
    parts = [model(part, cache=cache) for part in torch.split(x, chunks, dim=1)]
    assert torch.allclose(torch.cat(parts, dim=1), model(x), atol=1e-5)
    with pytest.raises(ValueError, match="13 tokens, the context is 12"):
        model(x[:, :1], cache=cache)


@pytest.mark.parametrize("settings", [{"causal": False}, {"position": "geometric"}], ids=str)
def test_who_cannot_go_on_has_no_cache(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="cache"):
        lively_backbone(**settings).cache(1)


def test_dropout_is_for_training() -> None:
    model = lively_backbone(dropout=0.5)
    x = torch.randn(2, 12, 16)
    assert torch.equal(model(x), lively_backbone()(x))
    model.train()
    assert not torch.equal(model(x), model(x))


def test_a_pattern_is_whole_in_training_and_dropout_comes_behind_it() -> None:
    points = HookPoints()
    config = replace(lively_backbone().config, dropout=0.5)
    attention = Attention(config, points, 0).train()
    x = torch.randn(2, 12, 16)
    with points.read("block.0.attention.pattern") as seen:
        first = attention(x)
    pattern = seen["block.0.attention.pattern"]
    assert torch.allclose(pattern.sum(-1), torch.ones(2, 4, 12))
    assert not torch.equal(first, attention(x))


def language_model(blocks: int, **settings: object) -> LanguageModel:
    torch.manual_seed(0)
    fields: dict[str, object] = {"blocks": blocks, "dropout": 0.0, "tied": False} | settings
    return LanguageModel(LanguageConfig(**fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("trunk", TRUNKS)
def test_bfloat16_says_nearly_the_same(trunk: str) -> None:
    """Eight bits of mantissa, 0.4 % of a number, through two blocks and the heads."""
    network = lively_network("gardner", trunk)
    positions = torch.from_numpy(random_rows(get_variant("gardner"), 64))
    exact, near = network(positions), network.bfloat16()(positions)
    assert near.policy.dtype == near.wdl.dtype == torch.bfloat16
    wdl = near.wdl.float().softmax(-1) - exact.wdl.softmax(-1)
    assert wdl.abs().max() < 5e-3
    assert wdl.abs().mean() < 1e-3
    policy = near.policy.float() - exact.policy
    assert policy.abs().mean() < 0.02 * exact.policy.abs().mean()


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """A compiled network of another test counts for the limit of compilations of one function."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("trunk", TRUNKS)
def test_a_compiled_network_is_the_network(trunk: str) -> None:
    """The same outputs and gradients; captured whole, points and all."""
    network = lively_network("gardner", trunk)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    positions = torch.from_numpy(random_rows(get_variant("gardner"), 5))
    parameters = list(network.parameters())

    def loss(outputs: tuple[Tensor, ...]) -> Tensor:
        return torch.stack([output.square().mean() for output in outputs]).sum()

    plain, fast = network(positions), compiled(positions)
    for one, other in zip(plain, fast, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    slopes = torch.autograd.grad(loss(plain), parameters)
    for one, other in zip(slopes, torch.autograd.grad(loss(fast), parameters), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


TOKENS = 16
LENGTH = 24


def repeated_sequences(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """6 to 12 different tokens in random order, again and again: int64[count, LENGTH + 1] and the
    periods int64[count, 1], which differ, so that places do not tell what comes next."""
    order = torch.rand(count, TOKENS, generator=generator).argsort(1)
    period = torch.randint(6, 13, (count, 1), generator=generator)
    return order.gather(1, torch.arange(LENGTH + 1) % period), period


def train_on_repetitions(model: LanguageModel, steps: int) -> None:
    """Only what a repetition foretells counts."""
    generator = torch.Generator().manual_seed(1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        tokens, period = repeated_sequences(64, generator)
        known = torch.arange(LENGTH) >= period
        loss = F.cross_entropy(model(tokens[:, :-1])[known], tokens[:, 1:][known])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()


def induction(blocks: int) -> tuple[float, Iterator[float]]:
    """What attention alone learns of repetitions: the share of next tokens that it foresees, and
    for each block how much its best head looks at the token after an earlier occurrence."""
    model = language_model(
        blocks, vocabulary=TOKENS, context=LENGTH, channels=32, heads=2, hidden=0, spread=0.1
    )
    train_on_repetitions(model, 300)
    tokens, period = repeated_sequences(256, torch.Generator().manual_seed(2))
    known = torch.arange(LENGTH) >= period
    names = [f"block.{i}.attention.pattern" for i in range(blocks)]
    with torch.no_grad(), model.hook_points.read(*names) as patterns:
        foreseen = model(tokens[:, :-1]).argmax(-1) == tokens[:, 1:]
    q, k = torch.arange(LENGTH)[:, None], torch.arange(LENGTH)
    after_earlier = (k <= q) & ((q + 1 - k) % period[:, :, None] == 0)  # [B, q, k]
    looks = (
        (patterns[name] * after_earlier[:, None]).sum(-1).transpose(1, 2)[known].mean(0).max()
        for name in names
    )
    return foreseen[known].float().mean().item(), (look.item() for look in looks)


def test_two_blocks_of_attention_learn_induction() -> None:
    """Olsson et al. 2022: the first block's head tells each token who stood before it, the second
    finds the earlier occurrence by that and looks at the token after it."""
    foreseen, (first, second) = induction(2)
    assert foreseen > 0.95
    assert second > 0.9
    assert first < 0.5


def test_one_block_of_attention_cannot() -> None:
    foreseen, (only,) = induction(1)
    assert foreseen < 0.6
    assert only < 0.5
