"""A causal language model: which token comes next, of moves of a game as of pieces of text.

    tokens int64[B, T] -> embedding [B, T, D] -> backbone, causal -> logits [B, T, V]

With GPT-2's settings it is GPT-2 (`gpt2.py`). Points are those of the backbone.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from engine.network.backbone import Backbone, Cache
from engine.network.config import LanguageConfig
from engine.network.points import Points
from engine.network.sampling import Sampling, draw


class LanguageModel(nn.Module):
    """The model of one configuration, freshly initialised as GPT-2 is."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.points = Points()
        self.token = nn.Embedding(config.vocabulary, config.channels)
        self.backbone = Backbone(config.transformer(), self.points)
        self.head = None if config.tied else nn.Linear(config.channels, config.vocabulary, False)
        if not self.token.weight.is_meta:
            for table in (self.token, self.head):
                if table is not None:
                    nn.init.normal_(table.weight, std=config.spread)

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits [B, T, V] of the token after each of `tokens` int64[B, T].

        With a `cache` (of `new_cache`) they follow the tokens that it holds. Raises ValueError for
        more tokens than the context.
        """
        features = self.backbone(self.token(tokens), cache=cache)
        # btd,vd->btv: likeness of what is expected and each token
        logits: Tensor = features @ (self.token if self.head is None else self.head).weight.T
        return logits

    def new_cache(self, batch: int) -> Cache:
        """For sequences that are read bit by bit."""
        return self.backbone.cache(batch)

    @torch.no_grad()
    def generate(
        self, prompt: Tensor, sampling: Sampling, generator: torch.Generator
    ) -> Iterator[Tensor]:
        """Tokens int64[B] without end, each drawn after those before it.

        `prompt` int64[B, T], T >= 1. Where the context is full, its older half is forgotten. Raises
        ValueError for a prompt without tokens.
        """
        if prompt.shape[1] == 0:
            raise ValueError("a prompt without tokens: there must be one to go on from")
        size = self.config.context
        read, fresh = prompt[:, -size:], prompt[:, -size:]
        cache = self.new_cache(len(prompt))
        while True:
            drawn = draw(self(fresh, cache)[:, -1], sampling, generator)
            yield drawn
            fresh = drawn[:, None]
            read = torch.cat([read, fresh], dim=1)
            if read.shape[1] > size:
                read = fresh = read[:, -(size // 2 + 1) :]
                cache = self.new_cache(len(prompt))

    @property
    def parameter_count(self) -> int:
        """Numbers to be learned; a tied head counts once."""
        return sum(parameter.numel() for parameter in self.parameters())
