"""A move language model as a player: it has learned from games and does not know the rules."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.player import Choice, Limits, Player, legal_moves
from engine.rules.position import Position


class MovePrediction(Protocol):
    """What a model predicts after a game so far."""

    @property
    def moves(self) -> npt.NDArray[np.uint16]:
        """The legal moves, most likely first."""
        ...

    @property
    def top_allowed(self) -> bool:
        """Whether the most likely token of all is a legal move."""
        ...


class MovePredictor(Protocol):
    """A model that predicts the next move from all moves of a game so far."""

    def predict(self, positions: Sequence[Position]) -> Sequence[MovePrediction]:
        """For games that are not over; raises InputError for one with another start."""
        ...


class LanguagePlayer(Player):
    """Plays the most likely legal move. `asked` and `illegal` count how often the most likely token
    of all was not legal."""

    name = "language"
    deterministic = True

    def __init__(self, predictor: MovePredictor) -> None:
        self._predictor = predictor
        # Positions in which it chose, and those of them where the most likely token was not legal.
        self.asked, self.illegal = 0, 0

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player; raises InputError for a game that began at another position."""
        legal_moves(position)
        return self.choose_batch([position])[0]

    def choose_batch(self, positions: Sequence[Position]) -> list[Choice]:
        """See BatchPlayer."""
        choices = []
        for prediction in self._predictor.predict(positions):
            self.asked += 1
            self.illegal += not prediction.top_allowed
            move = int(prediction.moves[0])
            choices.append(Choice(move=move, principal_variation=(move,), nodes=1))
        return choices
