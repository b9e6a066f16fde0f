"""Predictors with known answers, and small language runs."""

from collections.abc import Iterator
from contextlib import contextmanager
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
from training.language.run import LanguageRun, LanguageSummary
from training.language.setup import LanguageDirectory, open_language_run
from training.language.token_games import TokenGames
from training.run.monitor import Monitor

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


class Perfect:
    """Predicts random play exactly: all allowed tokens are equally likely."""

    def __init__(self, variant: Variant, tokenizer: MoveTokenizer, games: TokenGames) -> None:
        codes = tokenizer.codes(variant)
        self._allowed = allowed_tokens(variant, codes, games, len(tokenizer))
        self._next = 0

    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, V], for the games in order."""
        part = self._allowed[self._next : self._next + len(tokens), : tokens.shape[1]]
        self._next += len(tokens)
        logits = torch.from_numpy(part).float().log()
        # After the end of a game nothing is allowed, and nothing is measured.
        return torch.where(logits.isinf().all(-1, keepdim=True), 0.0, logits)


class Uniform:
    """Predicts all tokens with equal probability."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary

    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, V]."""
        return torch.zeros(*tokens.shape, self._vocabulary)


class QuietMonitor(Monitor):
    """Prints nothing, and may interrupt, as ^C does, after a number of advances."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self._left = interrupt_after

    def advance(self, amount: int) -> None:
        if self._left is not None and amount:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt


def no_evaluator(checkpoint: str, variant: Variant) -> Any:
    """For runs on random games."""
    raise AssertionError(f"a network was asked for: {checkpoint}")


@contextmanager
def opened_small(
    path: Path, variant: Variant, monitor: QuietMonitor | None = None, **settings: Any
) -> Iterator[LanguageRun]:
    """A new or resumed run of a small model."""
    with LanguageDirectory(path, variant, SMALL | settings) as directory:
        yield open_language_run(directory, variant, monitor or QuietMonitor(), no_evaluator)


def train_small(
    path: Path, variant: Variant, monitor: QuietMonitor | None = None, **settings: Any
) -> tuple[LanguageSummary, LanguageModel]:
    """Train a small model to the end."""
    with opened_small(path, variant, monitor, **settings) as run:
        run.learn()
        return run.conclude(), run.model
