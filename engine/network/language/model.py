"""A causal language model, of moves or of text: predicts the next token.

    tokens int64[B, T] -> embedding [B, T, D] -> backbone, causal -> logits [B, T, V]

With GPT-2's settings it is GPT-2 (`gpt2.py`). The hook points are those of the backbone.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from engine.network.language.sampling import Sampling, draw
from engine.network.model.backbone import Backbone, Cache
from engine.network.model.config import LanguageConfig
from engine.network.model.network import Network


class LanguageModel(Network):
    """A model of one configuration, initialised as GPT-2 is."""

    config: LanguageConfig

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__(config)
        self.token = nn.Embedding(config.vocabulary, config.channels)
        self.backbone = Backbone(config.transformer(), self.hook_points)
        self.head = None if config.tied else nn.Linear(config.channels, config.vocabulary, False)
        for table in (self.token, self.head):
            if table is not None:
                nn.init.normal_(table.weight, std=config.spread)

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits [B, T, V] of the token after each of `tokens` int64[B, T].

        With a `cache` (of `new_cache`), `tokens` continue the sequence that it holds. Raises
        ValueError for more tokens than the context.
        """
        return self._logits(self.backbone(self.token(tokens), cache=cache))

    def new_cache(self, batch: int) -> Cache:
        """An empty cache, for sequences that are read in parts."""
        return self.backbone.cache(batch)

    @torch.no_grad()
    def generate(
        self, prompt: Tensor, sampling: Sampling, generator: torch.Generator
    ) -> Iterator[Tensor]:
        """An endless iterator of tokens int64[B], each sampled given those before it.

        `prompt` is int64[B, T], T >= 1; its last `context` tokens are read. When the context is
        full, its older half is dropped. Raises ValueError for a prompt without tokens, and
        NotFiniteError for logits that are not finite.
        """
        if prompt.shape[1] == 0:
            raise ValueError("a prompt without tokens: it needs at least one")
        size = self.config.context
        read = fresh = prompt[:, -size:]
        cache = self.new_cache(len(prompt))
        while True:
            # The head costs most of a long prompt's time, and only its last token needs it.
            last = self.backbone(self.token(fresh), cache=cache)[:, -1]
            drawn = draw(self._logits(last), sampling, generator)
            yield drawn
            fresh = drawn[:, None]
            read = torch.cat([read, fresh], dim=1)
            if read.shape[1] > size:
                read = fresh = read[:, -(size // 2 + 1) :]
                cache = self.new_cache(len(prompt))

    def _logits(self, features: Tensor) -> Tensor:
        """[..., D] -> [..., V]."""
        # ...d,vd->...v: features times each token's vector
        logits: Tensor = features @ (self.token if self.head is None else self.head).weight.T
        return logits
