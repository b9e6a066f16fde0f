"""Training sets: the games of each round, as a function of (seed, round)."""

from typing import Protocol

import numpy as np

from engine.network.language.move_tokens import Codes
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from training.language.held_out import PrefixHashes
from training.language.play import play_randomly
from training.language.token_games import TokenGames


class GameSource(Protocol):
    """A training set without end."""

    def round(self, number: int) -> TokenGames:
        """The games of a round, none of them held out."""
        ...


class RandomSource:
    """New random games in every round."""

    def __init__(
        self, variant: Variant, codes: Codes, hashes: PrefixHashes, *, games: int, seed: int
    ) -> None:
        self._variant, self._codes, self._hashes = variant, codes, hashes
        self._games, self._seed = games, seed
        self._context = len(hashes.keys) - 1

    def round(self, number: int) -> TokenGames:
        """See GameSource; about one game in HELD_OUT_OF is left out."""
        rng = np.random.default_rng([self._seed, 1, number])
        games = play_randomly(self._variant, self._codes, self._games, self._context, rng)
        return games.select(~self._hashes.held_out(games))


class FixedSource:
    """The same games in every epoch, each time in a new order."""

    def __init__(self, games: TokenGames, hashes: PrefixHashes, *, round_games: int, seed: int):
        """Raises InputError if all games are held out."""
        self._games = games.select(~hashes.held_out(games))
        if not len(self._games):
            raise InputError(f"{len(games)} games: all are held out, none is left to learn from")
        self._size, self._seed = min(round_games, len(self._games)), seed

    def round(self, number: int) -> TokenGames:
        """See GameSource."""
        rounds = len(self._games) // self._size
        rng = np.random.default_rng([self._seed, 1, number // rounds])
        begin = number % rounds * self._size
        return self._games.select(rng.permutation(len(self._games))[begin : begin + self._size])
