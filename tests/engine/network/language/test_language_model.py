"""The language model: causal, equal with and without cache; and sampling from it."""

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from engine.network.language.model import LanguageModel
from engine.network.language.sampling import Sampling, draw, probabilities
from engine.network.model.config import LanguageConfig
from engine.rules.errors import InputError
from tests.support.network.language_cases import KINDS, lively_model, random_tokens, small_config

GREEDY = Sampling(temperature=0.0)


def randomness(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slowly(
    model: LanguageModel, prompt: torch.Tensor, sampling: Sampling, seed: int
) -> Iterator[torch.Tensor]:
    """`generate` without a cache."""
    generator, size = randomness(seed), model.config.context
    tokens = prompt[:, -size:]
    while True:
        drawn = draw(model(tokens)[:, -1], sampling, generator)
        yield drawn
        tokens = torch.cat([tokens, drawn[:, None]], dim=1)
        if tokens.shape[1] > size:
            tokens = tokens[:, -(size // 2 + 1) :]


def first(tokens: Iterator[torch.Tensor], count: int) -> torch.Tensor:
    """int64[B, count]"""
    return torch.stack(list(itertools.islice(tokens, count)), dim=1)


@pytest.mark.parametrize("length", [1, 20, 96])
@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_causal(kind: str, length: int) -> None:
    model = lively_model(**KINDS[kind])
    tokens = random_tokens(3, length)
    logits = model(tokens)
    assert logits.shape == (3, length, 53)
    for seen in {1, length // 2, length - 1} - {0}:
        changed = tokens.clone()
        changed[:, seen:] = (changed[:, seen:] + 1) % 53
        torch.testing.assert_close(model(changed)[:, :seen], logits[:, :seen], rtol=0, atol=1e-5)
        if seen < length:
            assert not torch.allclose(model(changed)[:, seen], logits[:, seen], atol=1e-3)


def test_order_matters_only_with_positions() -> None:
    tokens = torch.tensor([[3, 5, 7], [5, 3, 7]])
    for kind, same in (("no position", True), ("as GPT-2", False)):
        one, other = lively_model(blocks=1, **KINDS[kind])(tokens)[:, -1]
        assert torch.allclose(one, other, atol=1e-5) == same


@given(
    kind=st.sampled_from(list(KINDS)), chunks=st.lists(st.integers(1, 40), min_size=1, max_size=8)
)
def test_chunks_with_a_cache_give_the_logits_of_the_whole(kind: str, chunks: list[int]) -> None:
    model = lively_model(**KINDS[kind])
    ends = [end for end in itertools.accumulate(chunks) if end <= 96] or [1]
    tokens = random_tokens(2, ends[-1])
    with torch.no_grad():
        cache = model.new_cache(2)
        parts = [
            model(tokens[:, begin:end], cache) for begin, end in itertools.pairwise([0, *ends])
        ]
        whole = model(tokens)
    assert cache.length == ends[-1]
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.bfloat16, 0.05)])
def test_a_cache_in_other_dtypes(dtype: torch.dtype, close: float) -> None:
    model, tokens = lively_model().to(dtype), random_tokens(2, 80)
    with torch.no_grad():
        cache = model.new_cache(2)
        parts = [model(chunk, cache) for chunk in torch.split(tokens, 17, dim=1)]
        whole = model(tokens)
    assert whole.dtype == dtype
    scale = whole.abs().max()
    torch.testing.assert_close(torch.cat(parts, 1) / scale, whole / scale, rtol=0, atol=close)


def test_a_cache_has_no_gradients() -> None:
    model, tokens = lively_model(), random_tokens(2, 9)
    cache = model.new_cache(2)
    assert model(tokens, cache).requires_grad
    assert not cache.stored.requires_grad


@pytest.mark.parametrize("cached", [False, True])
def test_more_tokens_than_the_context_are_refused(cached: bool) -> None:
    model = lively_model()
    cache = model.new_cache(1) if cached else None
    if cache is not None:
        model(random_tokens(1, 90), cache)
    with pytest.raises(ValueError, match="97 tokens, the context is 96"):
        model(random_tokens(1, 7 if cached else 97), cache)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=0.8, top_k=20, top_p=0.95)])
def test_generation_is_the_same_without_a_cache(sampling: Sampling, dtype: torch.dtype) -> None:
    model = lively_model(tied=False).to(dtype)
    prompt = random_tokens(3, 7)
    with torch.no_grad():
        fast = first(model.generate(prompt, sampling, randomness(4)), 40)
        slow = first(slowly(model, prompt, sampling, 4), 40)
    if dtype != torch.bfloat16:
        assert torch.equal(fast, slow)
    else:
        # In bfloat16 near ties may differ, and then so does the rest.
        assert torch.equal(fast[:, 0], slow[:, 0])
        assert ((fast >= 0) & (fast < 53)).all()


@pytest.mark.parametrize("context", [1, 2, 3, 8])
@pytest.mark.parametrize("prompt", [1, 7, 8, 9, 30])
def test_a_full_context_drops_its_older_half(context: int, prompt: int) -> None:
    model = lively_model(context=context, tied=False)
    tokens, sampling = random_tokens(2, prompt), Sampling()
    with torch.no_grad():
        fast = first(model.generate(tokens, sampling, randomness(1)), 25)
        assert torch.equal(fast, first(slowly(model, tokens, sampling, 1), 25))


def test_rows_are_independent_and_seeds_matter() -> None:
    model, prompt = lively_model(tied=False), random_tokens(3, 5)
    together = first(model.generate(prompt, GREEDY, randomness()), 20)
    for row, alone in zip(prompt, together, strict=True):
        assert torch.equal(first(model.generate(row[None], GREEDY, randomness()), 20)[0], alone)
    once, again, other = (
        first(model.generate(prompt, Sampling(), randomness(seed)), 20) for seed in (1, 1, 2)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_generation_has_no_side_effects() -> None:
    model, prompt = lively_model(), random_tokens(1, 5)
    tokens = model.generate(prompt, GREEDY, randomness())
    next(tokens)
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(prompt, random_tokens(1, 5))
    with pytest.raises(ValueError, match="without tokens"):
        next(model.generate(prompt[:, :0], GREEDY, randomness()))


def logits_of(*shares: float) -> torch.Tensor:
    """[1, V]"""
    return torch.tensor([shares]).log()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (0.125, 0.5, 0.25, 0.125)),
        ({"temperature": 0.0}, (0.0, 1.0, 0.0, 0.0)),
        ({"temperature": 0.5}, (1 / 22, 16 / 22, 4 / 22, 1 / 22)),
        ({"temperature": 1e-45}, (0.0, 1.0, 0.0, 0.0)),
        ({"temperature": 1e300}, (0.25, 0.25, 0.25, 0.25)),
        ({"top_k": 1}, (0.0, 1.0, 0.0, 0.0)),
        ({"top_k": 2}, (0.0, 2 / 3, 1 / 3, 0.0)),
        ({"top_k": 3}, (1 / 7, 4 / 7, 2 / 7, 0.0)),  # of equal ones the first
        ({"top_k": 99}, (0.125, 0.5, 0.25, 0.125)),
        ({"top_p": 0.01}, (0.0, 1.0, 0.0, 0.0)),
        ({"top_p": 0.5}, (0.0, 1.0, 0.0, 0.0)),
        ({"top_p": 0.51}, (0.0, 2 / 3, 1 / 3, 0.0)),
        ({"top_p": 0.75}, (0.0, 2 / 3, 1 / 3, 0.0)),
        ({"top_p": 0.8}, (1 / 7, 4 / 7, 2 / 7, 0.0)),
        ({"top_k": 2, "top_p": 0.6}, (0.0, 1.0, 0.0, 0.0)),  # the nucleus within the two
        ({"temperature": 0.5, "top_p": 0.75}, (0.0, 0.8, 0.2, 0.0)),
    ],
)
def test_probabilities_of_known_logits(
    settings: dict[str, float], expected: tuple[float, ...]
) -> None:
    sampling = Sampling(**settings)  # type: ignore[arg-type]
    found = probabilities(logits_of(0.125, 0.5, 0.25, 0.125), sampling)
    torch.testing.assert_close(found, torch.tensor([expected]), rtol=0, atol=1e-6)


@given(
    logits=st.lists(st.floats(-1e4, 1e4) | st.just(-math.inf), max_size=30),
    temperature=st.floats(0, 100),
    top_k=st.integers(0, 40),
    top_p=st.floats(0, 1, exclude_min=True),
)
def test_probabilities_are_a_distribution(
    logits: list[float], temperature: float, top_k: int, top_p: float
) -> None:
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    given = torch.tensor([[*logits, 0.0]])
    found = probabilities(given, sampling)[0]
    assert found.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert found.min() >= 0
    assert (found > 0).sum() <= (top_k or len(found))
    assert found[given[0].argmax()] == found.max()
    # No token is left out while a less likely one stays.
    assert (found[given[0].argsort(descending=True, stable=True)].diff() <= 0).all()


def test_draws_follow_the_probabilities() -> None:
    shares = (0.125, 0.5, 0.25, 0.125)
    drawn = draw(logits_of(*shares).expand(20_000, -1), Sampling(), randomness())
    found = F.one_hot(drawn, 4).float().mean(0)
    # Five standard deviations of the largest.
    torch.testing.assert_close(found, torch.tensor(shares), rtol=0, atol=5 * 0.5 / 20_000**0.5)
    drawn = draw(logits_of(*shares).expand(5_000, -1), Sampling(top_k=2), randomness())
    assert set(drawn.tolist()) == {1, 2}
    assert draw(logits_of(*shares), GREEDY, randomness()).tolist() == [1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.inf),
        ("temperature", math.nan),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", math.nan),
    ],
)
def test_sampling_out_of_range_is_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^{field} = {value} is not"):
        Sampling(**{field: value})  # type: ignore[arg-type]


def test_dropout_only_in_training() -> None:
    model, tokens = lively_model(dropout=0.3), random_tokens(2, 12)
    torch.manual_seed(0)
    assert torch.equal(model(tokens), model(tokens))
    trained = model.train()(tokens)
    assert not torch.allclose(trained, model(tokens), atol=1e-3)
    torch.testing.assert_close(model.eval()(tokens), lively_model(dropout=0.0)(tokens))
    assert torch.equal(lively_model(dropout=0.0).train()(tokens), model(tokens))


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_head_is_the_table_of_tokens(tied: bool) -> None:
    model = lively_model(tied=tied)
    assert ("head.weight" in model.state_dict()) != tied
    other = lively_model(tied=not tied)
    assert abs(model.parameter_count - other.parameter_count) == 53 * 16
    tokens = random_tokens(2, 12)
    tokens[tokens == 52] = 0
    before = model(tokens)
    with torch.no_grad():
        model.token.weight[52] += 1.0  # a token that the text does not have
    changed = (model(tokens) - before).abs().amax((0, 1)) > 1e-6
    assert changed.nonzero().flatten().tolist() == ([52] if tied else [])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter(kind: str) -> None:
    model, tokens = lively_model(**KINDS[kind]), random_tokens(4, 96)
    loss = F.cross_entropy(model(tokens)[:, :-1].mT, tokens[:, 1:])
    torch.autograd.backward(loss)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("hidden", [256, 0])
@pytest.mark.parametrize("spread", [0.02, 0.05])
def test_fresh_weights_have_gpt2s_standard_deviations(hidden: int, spread: float) -> None:
    torch.manual_seed(0)
    config = small_config(
        vocabulary=500, channels=64, blocks=3, hidden=hidden, spread=spread, tied=False
    )
    for name, parameter in LanguageModel(config).named_parameters():
        if name.endswith("norm.weight"):
            assert (parameter == 1).all(), name
        elif name.endswith("bias"):
            assert (parameter == 0).all(), name
        else:
            writer = name.endswith((".out.weight", ".down.weight"))
            expected = spread / math.sqrt(2 * 3) if writer else spread
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
            assert abs(parameter.mean().item()) < 5 * expected / parameter.numel() ** 0.5, name


def test_a_fresh_model_is_nearly_uniform() -> None:
    torch.manual_seed(0)
    tokens = random_tokens(8, 40)
    loss = F.cross_entropy(LanguageModel(small_config())(tokens)[:, :-1].mT, tokens[:, 1:])
    assert loss.item() == pytest.approx(math.log(53), abs=0.05)


def test_an_attention_only_model_learns_to_copy() -> None:
    """Two layers find the token that followed last time: an induction head (Olsson et al. 2022)."""
    torch.manual_seed(0)
    model = LanguageModel(
        small_config(vocabulary=16, context=32, channels=32, hidden=0, dropout=0.0, spread=0.1)
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    generator = randomness()
    for _ in range(400):
        half = torch.randint(16, (32, 16), generator=generator)
        tokens = torch.cat([half, half], 1)
        loss = F.cross_entropy(model(tokens)[:, 16:-1].mT, tokens[:, 17:])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    assert loss.item() < 0.5 * math.log(16)


def test_a_model_without_memory_has_shapes_and_no_values() -> None:
    config = small_config(tied=False)
    empty, whole = LanguageModel.without_memory(config), LanguageModel(config)
    shapes = {name: tensor.shape for name, tensor in empty.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in whole.state_dict().items()}
    assert all(tensor.is_meta for tensor in empty.state_dict().values())
    assert empty.parameter_count == whole.parameter_count
    # Models that are built afterwards are initialised.
    assert LanguageModel(config).token.weight.std() > 0
    whole.eval()
    empty.load_state_dict(whole.state_dict(), assign=True)
    assert torch.equal(empty.eval()(random_tokens(1, 9)), whole(random_tokens(1, 9)))


def test_the_hook_points_are_those_of_the_backbone() -> None:
    model, tokens = lively_model(), random_tokens(2, 70)
    with model.hook_points.read("block.1.attention.pattern", "final") as seen:
        logits = model(tokens)
    assert seen["block.1.attention.pattern"].shape == (2, 2, 70, 70)
    assert (seen["block.1.attention.pattern"].triu(1) == 0).all()
    torch.testing.assert_close(seen["final"] @ model.token.weight.T, logits)
    torch.testing.assert_close(model(tokens), logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"heads": 3}, "heads"),
        ({"vocabulary": 0}, "vocabulary"),
        ({"dropout": 1.0}, "dropout"),
        ({"position": "geometric"}, "position"),
        ({"tied": 1}, "tied"),
        ({"width": 5}, "width"),
    ],
)
def test_another_configuration_is_refused_by_field(settings: dict[str, object], field: str) -> None:
    with pytest.raises(InputError, match=field):
        small_config(**settings)
    values = LanguageConfig().to_dict()
    values.pop("heads")
    with pytest.raises(InputError, match="the field 'heads' is missing"):
        LanguageConfig.from_dict(values)
