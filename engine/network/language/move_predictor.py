"""A move language model as it reads games in progress: moves in, what is expected next out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.network.finite import require_distributions
from engine.network.language.model import LanguageModel
from engine.network.language.move_tokens import START, MoveTokenizer, next_tokens, token_of
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.tables import MAX_MOVES
from engine.rules.variant import Variant


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What the model expects after a game so far, and what of it the rules allow."""

    # [M] uint16: the legal moves, most likely first; none where the game is over.
    moves: npt.NDArray[np.uint16]
    # [M] float32: what the model gives each of them.
    shares: npt.NDArray[np.float32]
    # [V] float32: what it gives every word.
    words: npt.NDArray[np.float32]
    # The tokens that the rules allow: those of `moves`, or of the result where the game is over.
    allowed: frozenset[int]

    @property
    def best_legal(self) -> bool:
        """Whether the likeliest word of all is one that the rules allow."""
        return int(self.words.argmax()) in self.allowed

    @property
    def allowed_mass(self) -> float:
        """What the model gives all allowed words together."""
        return float(sum(float(self.words[token]) for token in self.allowed))


class MoveReader:
    """Reads games of one variant. See search.players.language.MoveLanguage."""

    def __init__(self, model: LanguageModel, tokenizer: MoveTokenizer, variant: Variant) -> None:
        """Raises InputError where the vocabulary lacks moves of the variant."""
        self.model, self.tokenizer, self.variant = model.eval(), tokenizer, variant
        self._codes = tokenizer.codes(variant)

    def next_moves(self, positions: Sequence[Position]) -> list[Expectation]:
        """What is expected next in each of the games.

        A game must have begun at the variant's start and have its moves (`move_stack`), else
        InputError. Of one that is longer than the context, the beginning is forgotten. Raises
        NotFiniteError where the model's logits are none.
        """
        games = [self.tokens(position) for position in positions]
        lengths = [len(game) for game in games]
        padded = torch.full((len(games), max(lengths)), START)
        for row, game in zip(padded, games, strict=True):
            row[: len(game)] = torch.tensor(game)
        with torch.no_grad():
            logits = self.model(padded)
        last = logits[torch.arange(len(games)), torch.tensor(lengths) - 1]
        require_distributions(last, f"the language model of {self.variant.name}")
        return [
            self._expectation(position, words)
            for position, words in zip(positions, last.softmax(-1), strict=True)
        ]

    def tokens(self, position: Position) -> list[int]:
        """The game up to the position, at most the context's number of tokens."""
        if not np.array_equal(position.first_row, self.variant.start_row):
            raise InputError(
                f"a language model reads games of {self.variant.name} from their start; this one"
                f" was set up, at '{position.fen()}'"
            )
        walk = Position(self.variant)
        tokens = [START]
        for move in position.move_stack:
            tokens.append(token_of(self.variant.tables, self._codes, walk.row, move))
            walk.push(move)
        room = self.model.config.context - 1
        return [START, *tokens[max(1, len(tokens) - room) :]]

    def _expectation(self, position: Position, words: Tensor) -> Expectation:
        moves, tokens = np.empty(MAX_MOVES, np.uint16), np.empty(MAX_MOVES, np.int32)
        count = next_tokens(self.variant.tables, self._codes, position.row, moves, tokens)
        shares = words.numpy()[tokens[:count]]
        order = np.argsort(-shares, kind="stable")
        return Expectation(
            moves=moves[:count][order],
            shares=shares[order],
            words=words.numpy(),
            allowed=frozenset(tokens[: max(1, count)].tolist()),
        )
