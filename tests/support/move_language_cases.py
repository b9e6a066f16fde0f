"""Move language models with known answers, and small runs, for the tests."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.network.language.model import LanguageModel
from engine.network.language.move_tokens import MoveTokenizer
from engine.rules.variant import Variant
from training.language.measures import allowed_tokens
from training.language.play import play_randomly
from training.language.token_games import TokenGames
from training.language.training import LanguageDirectory, LanguageRun, LanguageSummary

SMALL: dict[str, Any] = {
    "channels": 32,
    "blocks": 2,
    "heads": 2,
    "round_games": 128,
    "batch": 16,
    "held_out_games": 16,
}
"""Enough for Hexapawn on 3x3."""


def random_token_games(
    variant: Variant, games: int, context: int, *, seed: int = 0
) -> tuple[MoveTokenizer, TokenGames]:
    """The variant's own vocabulary, and random games in it."""
    tokenizer = MoveTokenizer.of(variant)
    rng = np.random.default_rng(seed)
    return tokenizer, play_randomly(variant, tokenizer.codes(variant), games, context, rng)


class Knowing:
    """Predicts random play of known games exactly: every allowed token is as likely as another."""

    def __init__(self, variant: Variant, tokenizer: MoveTokenizer, games: TokenGames) -> None:
        codes = tokenizer.codes(variant)
        self._allowed = allowed_tokens(variant, codes, games, len(tokenizer))
        self._next = 0

    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, V], for the games in the order in which they are asked about."""
        part = self._allowed[self._next : self._next + len(tokens), : tokens.shape[1]]
        self._next += len(tokens)
        logits = torch.from_numpy(part).float().log()
        # Behind a game's end nothing is allowed, and nothing is asked.
        return torch.where(logits.isinf().all(-1, keepdim=True), 0.0, logits)


class Silent:
    """Predicts nothing: all words are alike."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary

    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, V]."""
        return torch.zeros(*tokens.shape, self._vocabulary)


class Quiet:
    """A monitor that listens and may interrupt, as ^C does, after so many measurements."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.heard: list[dict[str, Any]] = []
        self._left = interrupt_after

    def task(self, name: str, total: int) -> None:
        """See training.language.training.Monitor."""

    def advance(self, amount: int) -> None:
        """See training.language.training.Monitor."""
        if self._left is not None and amount:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt

    def metrics(self, values: dict[str, Any]) -> None:
        """See training.language.training.Monitor."""
        self.heard.append(values)


def no_evaluator(checkpoint: str, variant: Variant) -> Any:
    """For runs that read random games."""
    raise AssertionError(f"a network was asked for: {checkpoint}")


def train_small(
    path: Path, variant: Variant, monitor: Quiet | None = None, **settings: Any
) -> tuple[LanguageSummary, LanguageModel]:
    """Begin or go on with a run of a small model."""
    directory = LanguageDirectory(path, variant, SMALL | settings)
    try:
        run = LanguageRun(directory, variant, monitor or Quiet(), no_evaluator)
        return run.train(), run.model
    finally:
        directory.close()
