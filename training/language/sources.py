"""Training sets: the games of each round, as a function of (seed, round)."""

from collections.abc import Callable

import numpy as np

from engine.network.language.move_tokens import Codes
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from training.language.held_out import PrefixHashes
from training.language.play import play_randomly
from training.language.token_games import TokenGames

GameSource = Callable[[int], TokenGames]
"""The games of the round of that number, none of them held out."""


def random_source(
    variant: Variant, codes: Codes, hashes: PrefixHashes, *, games: int, seed: int
) -> GameSource:
    """New random games in every round; about one in HELD_OUT_OF of `games` is left out."""
    context = len(hashes.keys) - 1

    def of_round(number: int) -> TokenGames:
        rng = np.random.default_rng([seed, 1, number])
        played = play_randomly(variant, codes, games, context, rng)
        return played.select(~hashes.held_out(played))

    return of_round


def fixed_source(
    games: TokenGames, hashes: PrefixHashes, *, round_games: int, seed: int
) -> GameSource:
    """The same games in every epoch, each time in a new order; raises InputError if all are held
    out."""
    learned = games.select(~hashes.held_out(games))
    if not len(learned):
        raise InputError(f"{len(games)} games: all are held out, none is left to learn from")
    size = min(round_games, len(learned))
    rounds = len(learned) // size

    def of_round(number: int) -> TokenGames:
        rng = np.random.default_rng([seed, 1, number // rounds])
        begin = number % rounds * size
        return learned.select(rng.permutation(len(learned))[begin : begin + size])

    return of_round
