"""A causal language model: which token comes next, of moves of a game as of pieces of text.

    tokens int64[B, T] -> embedding [B, T, D] -> backbone, causal -> logits [B, T, V]

With GPT-2's settings it is GPT-2 (`gpt2.py`). Points are those of the backbone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from engine.network.language.sampling import Sampling, draw
from engine.network.model.backbone import Backbone, Cache
from engine.network.model.config import LanguageConfig
from engine.network.model.hook_points import HookPoints


class LanguageModel(nn.Module):
    """The model of one configuration, freshly initialised as GPT-2 is."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.hook_points = HookPoints()
        self.token = nn.Embedding(config.vocabulary, config.channels)
        self.backbone = Backbone(config.transformer(), self.hook_points)
        self.head = None if config.tied else nn.Linear(config.channels, config.vocabulary, False)
        if not self.token.weight.is_meta:
            for table in (self.token, self.head):
                if table is not None:
                    nn.init.normal_(table.weight, std=config.spread)

    @classmethod
    def without_memory(cls, config: LanguageConfig) -> "LanguageModel":
        """A model of shapes alone, on torch's device "meta": to count, or to be given tensors by
        `load_state_dict(…, assign=True)`. Takes milliseconds whatever the size."""
        with torch.device("meta"), _WithoutInitialisation():
            return cls(config)

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits [B, T, V] of the token after each of `tokens` int64[B, T].

        With a `cache` (of `new_cache`) they follow the tokens that it holds. Raises ValueError for
        more tokens than the context.
        """
        return self._logits(self.backbone(self.token(tokens), cache=cache))

    def new_cache(self, batch: int) -> Cache:
        """For sequences that are read bit by bit."""
        return self.backbone.cache(batch)

    @torch.no_grad()
    def generate(
        self, prompt: Tensor, sampling: Sampling, generator: torch.Generator
    ) -> Iterator[Tensor]:
        """Tokens int64[B] without end, each drawn after those before it.

        `prompt` int64[B, T], T >= 1, of which the last `context` tokens are read. Where the context
        is full, its older half is forgotten. Raises ValueError for a prompt without tokens, and
        NotFiniteError where the model's logits are none.
        """
        if prompt.shape[1] == 0:
            raise ValueError("a prompt without tokens: there must be one to go on from")
        size = self.config.context
        read = fresh = prompt[:, -size:]
        cache = self.new_cache(len(prompt))
        while True:
            # The head is the dearest part of a long prompt, and only its last token needs it.
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
        # ...d,vd->...v: likeness of what is expected and each token
        logits: Tensor = features @ (self.token if self.head is None else self.head).weight.T
        return logits

    @property
    def parameter_count(self) -> int:
        """Numbers to be learned; a tied head counts once."""
        return sum(parameter.numel() for parameter in self.parameters())


class _WithoutInitialisation(TorchFunctionMode):
    """Modules built within leave their numbers as they are.

    On the device "meta" there are none, and yet the first call that would fill them costs a second:
    it makes torch import its decompositions.
    """

    def __torch_function__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)
