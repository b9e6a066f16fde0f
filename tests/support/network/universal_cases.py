"""Small universal networks, and the variants of their tests."""

import torch
from torch import Tensor

from engine.network.model.policy_value import Outputs
from engine.network.model.universal import UniversalConfig, UniversalNet
from engine.rules.variant import Variant, get_variant
from tests.support.network.network_cases import SMALL, TRUNKS, random_rows

UNIVERSAL_TRUNKS = [trunk for trunk in TRUNKS if trunk != "learned"]
SIZES = [f"hexapawn{w}x{h}" for w in range(3, 9) for h in range(3, 9)]
SEVERAL = ["hexapawn", "gardner", "hexapawn3x5", "diana", "silverman4x5", "breakthrough5"]
"""Sizes, promotions, castling, double steps and goals."""


def small_universal(trunk: str, **settings: object) -> UniversalConfig:
    """A network that computes in a millisecond."""
    return UniversalConfig.from_dict(UniversalConfig().to_dict() | SMALL | TRUNKS[trunk] | settings)


def lively_universal(trunk: str, seed: int = 0, **settings: object) -> UniversalNet:
    """A network whose every parameter matters: nothing is left at its zero or one."""
    torch.manual_seed(seed)
    network = UniversalNet(small_universal(trunk, **settings))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return network.eval()


def boards(name: str, count: int = 6, seed: int = 0) -> tuple[Variant, Tensor]:
    """A variant and random boards of it, with either side to move, rights and en passant."""
    variant = get_variant(name)
    return variant, torch.from_numpy(random_rows(variant, count, seed))


def distance(one: Outputs, other: Outputs) -> float:
    """The largest difference of two outputs for the same boards."""
    return max(
        float((ours - theirs).detach().abs().max())
        for ours, theirs in zip(one, other, strict=True)
        if ours.numel()
    )
