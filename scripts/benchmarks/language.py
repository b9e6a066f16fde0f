"""Benchmarks of the backbone: training a language model, and what its hook points cost.

Training is counted as nanoGPT counts it (Chowdhery et al. 2022, appendix B): forward and backward
cost 6 N multiplications and additions a token, where N is the number of parameters without the
position table, and 12 L H E T more with attention's own products. All cores, autocast to bfloat16,
weights and AdamW in float32. Ceiling and training are measured in turn, so that other load meets
both.
"""

import copy
import functools
import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.network.language.model import LanguageModel
from engine.network.model.config import LanguageConfig, NetworkConfig
from engine.network.model.hook_points import HookPoint
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.compilation.compile_time import working_time
from engine.rules.variant import get_variant
from engine.system.processes import usable_cores
from scripts.benchmarks.rows import REPEATS, Row, row

CONFIG: Final = LanguageConfig(
    vocabulary=256, context=256, channels=384, blocks=6, heads=6, hidden=1536, dropout=0.0
)
"""10.8 million parameters: nanoGPT's own small model, for letters or moves."""
SEQUENCES: Final = 16
_SIDE: Final = 2048
"""Size of the ceiling's matrices, at which two cores are fastest."""
_STEPS: Final = 2
_BOARDS: Final = 128
_TURNS: Final = 20
"""Turns in each repeat, of networks with hook points and without."""


def language() -> Iterator[Row]:
    """Training throughput, memory a token, and the hook points."""
    yield from training()
    yield from points()


def training() -> Iterator[Row]:
    """Tokens a second beside the machine's own matrix products, and the bytes a token keeps for the
    backward pass."""
    threads = len(usable_cores())
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = LanguageModel(CONFIG).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    matrix = torch.randn(_SIDE, _SIDE).bfloat16()
    multiply = functools.partial(torch.mm, matrix, matrix)

    def step() -> None:
        torch.autograd.backward(_loss(model))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    step()
    multiply()
    ceiling, tokens = [], []
    for _ in range(REPEATS):
        ceiling.append(2 * _STEPS * 2.0 * _SIDE**3 / _seconds(multiply, 2 * _STEPS))
        tokens.append(_STEPS * SEQUENCES * CONFIG.context / _seconds(step, _STEPS))
    label = f"language/{model.parameter_count / 1e6:.1f}M/bf16"
    what = f"the bf16 matmul on {threads} cores"
    yield row(f"{label}/matmul", "FLOP/s", ceiling)
    peak = statistics.median(ceiling)
    for name, flops in flops_a_token(model).items():
        yield row(f"{label}/train/{name}", "tokens/s", tokens, (what, peak / flops))
    yield row(f"{label}/memory", "bytes/token", [saved_bytes(model) / SEQUENCES / CONFIG.context])


def flops_a_token(model: LanguageModel) -> dict[str, float]:
    """Multiplications and additions of training a token, by 6 N D and with attention's own
    products."""
    config = model.config
    places = model.backbone.place
    N = model.parameter_count - (0 if places is None else places.numel())
    attention = 12 * config.blocks * config.channels * config.context
    return {"6ND": 6 * N, "6ND-and-attention": 6 * N + attention}


def saved_bytes(model: LanguageModel) -> int:
    """Bytes kept for the backward pass of a batch, without weights. Shared storage counts once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = _loss(model)
    found = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del loss
    return found


def _loss(model: LanguageModel) -> Tensor:
    """On a random batch."""
    tokens = torch.randint(CONFIG.vocabulary, (SEQUENCES, CONFIG.context + 1))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(tokens[:, :-1])
    return F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())


def _seconds(work: Callable[[], object], times: int) -> float:
    begun = working_time()
    for _ in range(times):
        work()
    return working_time() - begun


def points() -> Iterator[Row]:
    """The forward pass of a policy/value net with its hook points closed, with one and with all
    read, beside a copy without hook points; one thread, in turn."""
    torch.set_num_threads(1)
    variant = get_variant("gardner")
    torch.manual_seed(1)
    network = PolicyValueNet(NetworkConfig.for_variant(variant)).eval().requires_grad_(False)
    positions = torch.from_numpy(variant.start_row[None].repeat(_BOARDS, axis=0))
    twin = without_points(network)
    names = network.hook_points.names
    ways: dict[str, tuple[PolicyValueNet, Callable[[], AbstractContextManager[object]]]] = {
        "none": (twin, nullcontext),
        "closed": (network, nullcontext),
        "one-read": (network, functools.partial(network.hook_points.read, "block.3.residual")),
        "all-read": (network, functools.partial(network.hook_points.read, *names)),
    }
    shares: dict[str, list[float]] = {name: [] for name in ways}
    speeds = []
    for _ in range(REPEATS):
        spent = dict.fromkeys(ways, 0.0)
        for turn in range(1 + _TURNS):
            for name, (net, opened) in ways.items():
                with opened():
                    seconds = _seconds(functools.partial(net, positions), 2)
                # The first turn warms up.
                spent[name] += seconds if turn else 0.0
        speeds.append(2 * _TURNS * _BOARDS / spent["none"])
        for name in ways:
            shares[name].append(100.0 * spent[name] / spent["none"])
    label = f"points/{variant.name}/transformer-4x64"
    yield row(f"{label}/none", "positions/s", speeds)
    for name in list(ways)[1:]:
        yield row(f"{label}/{name}", "% of the time without points", shares[name])


class _NoPoint:
    """In the place of a hook point that cannot be opened."""

    open = False

    def __call__(self, activation: Tensor) -> Tensor:
        return activation


def without_points(network: PolicyValueNet) -> PolicyValueNet:
    """A copy in which a function that does nothing stands for every hook point."""
    twin = copy.deepcopy(network)
    for module in twin.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, HookPoint):
                setattr(module, name, _NoPoint())
    return twin
