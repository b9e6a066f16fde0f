"""Sampling the next token: temperature, top-k and nucleus."""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.network.finite import require_distributions
from engine.rules.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are sampled. The defaults sample from the model's probabilities."""

    # Divides the logits; 0 always takes the most likely token.
    temperature: float = 1.0
    # Only this number of the most likely tokens may be drawn; 0 for all.
    top_k: int = 0
    # Only the fewest most likely tokens whose probabilities sum to this may be drawn (Holtzman et
    # al. 2020, section 3.1).
    top_p: float = 1.0

    def __post_init__(self) -> None:
        """Raises InputError, naming the field, for what is out of range."""
        if not 0.0 <= self.temperature < float("inf"):
            raise InputError(f"temperature = {self.temperature} is not a number from 0")
        if self.top_k < 0:
            raise InputError(f"top_k = {self.top_k} is not a whole number from 0")
        if not 0.0 < self.top_p <= 1.0:
            raise InputError(f"top_p = {self.top_p} is not a number above 0 and up to 1")


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """The probabilities [B, V], float32, with which `draw` takes each token, given logits [B, V].

    Temperature comes first, then top-k, then the nucleus. Of equally likely tokens at the border
    those with lower numbers stay. Raises NotFiniteError where there is no most likely token: for
    NaN, +inf, or a row of -inf.
    """
    logits = logits.float()
    require_distributions(logits, "the next token")
    if sampling.temperature == 0.0:
        best = logits.argmax(-1, keepdim=True)
        return torch.zeros_like(logits).scatter_(-1, best, 1.0)
    # Relative to the largest, so that no temperature overflows.
    below = logits - logits.amax(-1, keepdim=True)
    probability = (below / max(sampling.temperature, torch.finfo(below.dtype).tiny)).softmax(-1)
    if not sampling.top_k and sampling.top_p == 1.0:
        return probability
    # By logits: two that differ may have equal probabilities in float32.
    order = logits.argsort(stable=True, dim=-1, descending=True)
    ranked = probability.gather(-1, order)
    if sampling.top_k:
        ranked[..., sampling.top_k :] = 0.0
        ranked /= ranked.sum(-1, keepdim=True)
    if sampling.top_p < 1.0:
        # A token stays while those before it sum to less than top_p; the first always stays.
        before = ranked.cumsum(-1)[..., :-1]
        ranked[..., 1:].masked_fill_(before >= sampling.top_p, 0.0)
    kept = torch.zeros_like(probability).scatter_(-1, order, ranked)
    return kept / kept.sum(-1, keepdim=True)


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """Tokens int64[B] drawn from logits [B, V]; raises as `probabilities`."""
    drawn = probabilities(logits, sampling).multinomial(1, generator=generator)
    return drawn.squeeze(-1)
