"""Small language models for tests."""

import torch

from engine.network.language.model import LanguageModel
from engine.network.model.config import LanguageConfig

# Small tensors gain nothing from a second thread, and wait for it where the machine is busy.
torch.set_num_threads(1)

SMALL: dict[str, object] = {
    "vocabulary": 53,
    "context": 96,  # both sides of the length from which attention is fused
    "channels": 16,
    "blocks": 2,
    "heads": 2,
    "hidden": 64,
}
KINDS: dict[str, dict[str, object]] = {
    "as GPT-2": {},
    "one head, untied": {"heads": 1, "tied": False},
    "four heads, relu": {"heads": 4, "hidden": 24, "activation": "relu"},
    "attention only": {"hidden": 0},
    "no position": {"position": "none"},
}


def small_config(**settings: object) -> LanguageConfig:
    """A model that computes in a millisecond."""
    return LanguageConfig.from_dict(LanguageConfig().to_dict() | SMALL | settings)


def lively_model(**settings: object) -> LanguageModel:
    """A model without zeros and ones among its parameters, so that each of them matters."""
    torch.manual_seed(0)
    model = LanguageModel(small_config(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model.eval()


def random_tokens(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    """int64[batch, length] of the small vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(53, (batch, length), generator=generator)
