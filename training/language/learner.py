"""What learns in a language run: a fresh model, its optimisers, and one step on a batch."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.network.finite import (
    require_distributions,
    require_finite_gradient,
    require_finite_tensors,
)
from engine.network.language.model import LanguageModel
from engine.network.language.move_tokens import FIRST_MOVE, NO_TOKEN, START, MoveTokenizer
from engine.rules.errors import require_finite
from training.language.config import LanguageTrainingConfig
from training.language.token_games import TokenGames
from training.learner.learner import check_optimiser

_OWN_PART: Final = 0.4
_SHARED_PART: Final = 0.6
"""Parts of a move's first vector: its own, and those shared by square or promotion; in units of
`spread`."""
_BETAS: Final = (0.9, 0.95)
_CLIP: Final = 1.0
_MODEL: Final = "model."
_OPTIMISER: Final = "optimiser."
"""Beginnings of the names of tensors in a run's state."""


def fresh_model(config: LanguageTrainingConfig, tokenizer: MoveTokenizer) -> LanguageModel:
    """The model before training; the seed determines its weights.

    The vector of a move begins as the sum of a vector for its first square, one for its second and
    one for the promotion, plus a part of its own. On Gardner, after 0.3 million tokens, the most
    likely token is legal in 72 % of the positions, against 55 % with independent vectors.
    """
    generator = torch.Generator().manual_seed(config.seed)
    # Fresh weights come from torch's global generator, whose state is restored.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = LanguageModel(config.model(len(tokenizer)))
    vectors: dict[str, Tensor] = {}
    with torch.no_grad():
        for token in range(FIRST_MOVE, len(tokenizer)):
            text = tokenizer.texts[token]
            whole = model.token.weight[token] * _OWN_PART
            for part in (f"{text[:2]}-", f"-{text[2:4]}", text[4:]):
                if part and part not in vectors:
                    drawn = torch.randn(config.channels, generator=generator)
                    vectors[part] = drawn * config.spread * _SHARED_PART
                if part:
                    whole += vectors[part]
            model.token.weight[token] = whole
    return model


class LanguageLearner:
    """The model and its optimisers: Muon (Jordan et al. 2024) for the matrices of the blocks, AdamW
    for everything else. On Gardner AdamW alone needed 0.6 million tokens to reach what the two
    reach in 0.4."""

    def __init__(self, config: LanguageTrainingConfig, model: LanguageModel, *, bf16: bool) -> None:
        self.model = model.train()
        self.bf16, self._config = bf16, config
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            matrix = parameter.ndim == 2 and name.startswith("backbone.blocks.")
            (matrices if matrix else others).append(parameter)
        # Each with its highest learning rate.
        self._optimisers: list[tuple[torch.optim.Optimizer, float]] = []
        if matrices:
            muon = torch.optim.Muon(
                matrices, lr=config.matrix_rate, weight_decay=config.weight_decay
            )
            self._optimisers.append((muon, config.matrix_rate))
        adam = torch.optim.AdamW(
            others, lr=config.learning_rate, betas=_BETAS, weight_decay=0.0, fused=True
        )
        self._optimisers.append((adam, config.learning_rate))
        self.steps = 0

    def learn(self, games: TokenGames, fraction: float) -> float:
        """One step on a batch, at `fraction` of the training; returns the loss before it, in nats a
        token. Raises NotFiniteError for a loss or gradient that is not finite; the weights are then
        unchanged."""
        longest = int(games.lengths.max())
        tokens = torch.from_numpy(games.tokens[:, : longest + 1]).long()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            logits = self.model(tokens[:, :-1].clamp_min(START))
        loss = F.cross_entropy(
            logits.float().flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=NO_TOKEN
        )
        require_finite(float(loss.detach()), "the loss")
        self.model.zero_grad()
        torch.autograd.backward(loss)
        named = self.model.named_parameters()
        gradients = {name: value.grad for name, value in named if value.grad is not None}
        norm = torch.nn.utils.get_total_norm(list(gradients.values()))
        require_finite_gradient(gradients, norm)
        torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), _CLIP, norm)
        share = self._share(fraction)
        for optimiser, rate in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * share
            optimiser.step()
        self.steps += 1
        return float(loss.detach())

    def _share(self, fraction: float) -> float:
        """The learning rate as a share of the highest: it rises, stays, and falls to 0."""
        config = self._config
        risen = min(1.0, (self.steps + 1) / (config.warm_up + 1))
        left = min(1.0, (1.0 - fraction) / config.decay) if config.decay else 1.0
        return max(0.0, min(risen, left))

    @torch.no_grad()
    def require_sound(self) -> None:
        """Raises NotFiniteError, naming it, for a tensor of the state that is not finite, and for a
        model whose logits are not finite at the start: finite weights may be too large."""
        require_finite_tensors(self.state(), "the learner's")
        logits = self.model(torch.full((1, 1), START))
        require_distributions(logits, "the model at the start of a game")

    def state(self) -> dict[str, Tensor]:
        """Weights and optimisers, all that a resumed run needs, as named tensors."""
        tensors = {_MODEL + name: value for name, value in self.model.state_dict().items()}
        for number, (optimiser, _) in enumerate(self._optimisers):
            for index, entries in optimiser.state_dict()["state"].items():
                for name, value in entries.items():
                    tensors[f"{_OPTIMISER}{number}.{index}.{name}"] = value
        return tensors

    def restore(self, tensors: dict[str, Tensor], steps: int) -> None:
        """The inverse of `state`; raises RuntimeError, ValueError or KeyError for the tensors of
        another model."""
        self.model.load_state_dict(
            {
                name.removeprefix(_MODEL): value
                for name, value in tensors.items()
                if name.startswith(_MODEL)
            }
        )
        for number, (optimiser, _) in enumerate(self._optimisers):
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                if name.startswith(f"{_OPTIMISER}{number}."):
                    _, _, index, entry = name.split(".", 3)
                    state.setdefault(int(index), {})[entry] = value
            check_optimiser(optimiser, state)
            optimiser.load_state_dict(optimiser.state_dict() | {"state": state})
        self.steps = steps
