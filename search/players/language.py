"""A move language model at the board: it knows games, and not the rules."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.player import Choice, Limits, Player, legal_moves
from engine.rules.position import Position


class NextMoves(Protocol):
    """What a model expects after a game so far."""

    @property
    def moves(self) -> npt.NDArray[np.uint16]:
        """The legal moves, most likely first."""
        ...

    @property
    def best_legal(self) -> bool:
        """Whether the likeliest of all words is a legal move."""
        ...


class MoveLanguage(Protocol):
    """A model that reads games as they were played, from the start."""

    def next_moves(self, positions: Sequence[Position]) -> Sequence[NextMoves]:
        """For games that are not over; raises InputError for one that began elsewhere."""
        ...


class LanguagePlayer(Player):
    """The likeliest of the legal moves, so that its strength is that of what it has read; `asked`
    and `illegal` say how often it would have broken the rules."""

    name = "language"
    deterministic = True

    def __init__(self, language: MoveLanguage) -> None:
        self._language = language
        # Positions in which it chose, and those of them where its first choice was not legal.
        self.asked, self.illegal = 0, 0

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player; raises InputError for a game that did not begin at the start."""
        legal_moves(position)
        return self.choose_batch([position])[0]

    def choose_batch(self, positions: Sequence[Position]) -> list[Choice]:
        """As `choose`, for positions of one variant from games that are not over, all at once."""
        choices = []
        for expected in self._language.next_moves(positions):
            self.asked += 1
            self.illegal += not expected.best_legal
            move = int(expected.moves[0])
            choices.append(Choice(move=move, principal_variation=(move,), nodes=1))
        return choices
