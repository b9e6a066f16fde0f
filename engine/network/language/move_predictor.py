"""A move language model applied to games in progress: predicts their next moves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from engine.network.finite import require_distributions
from engine.network.language.model import LanguageModel
from engine.network.language.move_tokens import START, MoveTokenizer, next_tokens, token_of
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.tables import MAX_MOVES
from engine.rules.variant import Variant


@dataclass(frozen=True, kw_only=True)
class MovePrediction:
    """What the model predicts after a game so far, and what of it the rules allow."""

    # [M] uint16: the legal moves, most likely first; none where the game is over.
    moves: npt.NDArray[np.uint16]
    # [M] float32: the probability of each of them.
    probabilities: npt.NDArray[np.float32]
    # [V] float32: the probability of every token.
    token_probabilities: npt.NDArray[np.float32]
    # The tokens that the rules allow: those of `moves`, or the result of a game that is over.
    allowed_tokens: frozenset[int]

    @property
    def top_allowed(self) -> bool:
        """Whether the rules allow the most likely token."""
        return int(self.token_probabilities.argmax()) in self.allowed_tokens

    @property
    def allowed_probability(self) -> float:
        """The probability of all allowed tokens together."""
        return float(sum(float(self.token_probabilities[token]) for token in self.allowed_tokens))


class MovePredictor:
    """Predicts moves of one variant's games. See search.players.language.MovePredictor."""

    def __init__(self, model: LanguageModel, tokenizer: MoveTokenizer, variant: Variant) -> None:
        """Raises InputError where the vocabulary lacks moves of the variant."""
        self.model, self.tokenizer, self.variant = model.eval(), tokenizer, variant
        self._codes = tokenizer.codes(variant)

    def predict(self, positions: Sequence[Position]) -> list[MovePrediction]:
        """The prediction for the next token of each game.

        A game is the position with its moves (`move_stack`) from the variant's start. Of a game
        longer than the context only the last moves are read. Raises InputError for a game with
        another start, and NotFiniteError for logits that are not finite.
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
            self._prediction(position, row.numpy())
            for position, row in zip(positions, last.softmax(-1), strict=True)
        ]

    def tokens(self, position: Position) -> list[int]:
        """The tokens of the game up to the position, at most `context` of them."""
        if not np.array_equal(position.first_row, self.variant.start_row):
            raise InputError(
                f"the language model needs games of {self.variant.name} from their start; this one"
                f" began at another position, '{position.fen()}'"
            )
        replayed = Position(self.variant)
        tokens = [START]
        for move in position.move_stack:
            tokens.append(token_of(self.variant.tables, self._codes, replayed.row, move))
            replayed.push(move)
        kept = self.model.config.context - 1
        return [START, *tokens[max(1, len(tokens) - kept) :]]

    def _prediction(self, position: Position, row: npt.NDArray[np.float32]) -> MovePrediction:
        """Of a row [V] of token probabilities."""
        moves, tokens = np.empty(MAX_MOVES, np.uint16), np.empty(MAX_MOVES, np.int32)
        count = next_tokens(self.variant.tables, self._codes, position.row, moves, tokens)
        probabilities = row[tokens[:count]]
        order = np.argsort(-probabilities, kind="stable")
        return MovePrediction(
            moves=moves[:count][order],
            probabilities=probabilities[order],
            token_probabilities=row,
            allowed_tokens=frozenset(tokens[: max(1, count)].tolist()),
        )
