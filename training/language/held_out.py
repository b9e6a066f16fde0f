"""Held-out games, and which of their prefixes training has seen.

Both rest on a 64-bit Zobrist hash over (place, token), whose keys depend only on vocabulary and
context. A game is held out if its hash says so, whatever the seed of the run, so no training source
can contain one. And for every prefix of a held-out game it is known whether a training game began
with it.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.network.language.move_tokens import NO_TOKEN
from engine.rules.compilation.decorators import kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.errors import InputError
from training.language.play import CHUNK
from training.language.token_games import TokenGames, join_games

HELD_OUT_OF: Final = 16
"""One game in this number is held out."""
_HASH_SEED: Final = 0x4C414E47
_HELD_OUT_SEED: Final = (_HASH_SEED, 1)
"""The same for all runs."""
_MOST_CHUNKS: Final = 256
_TRIES: Final = 4
"""The search for held-out games gives up after _MOST_CHUNKS chunks, or after _TRIES times the games
that it would take if all were different: the variant has no more."""


class PrefixHashes:
    """Zobrist hashes of games and of their prefixes."""

    def __init__(self, vocabulary: int, context: int) -> None:
        rng = np.random.default_rng(_HASH_SEED)
        # [T + 1, V]: two different sequences have the same hash with probability 2 ** -64.
        self.keys = rng.integers(0, 2**64, (context + 1, vocabulary), dtype=np.uint64)

    def prefixes(self, games: TokenGames) -> npt.NDArray[np.uint64]:
        """[G, T + 1]: the hash of the places 0 … t; after a game's end, that of the whole game."""
        places = np.arange(games.context + 1)
        keys = np.where(games.tokens == NO_TOKEN, 0, self.keys[places, games.tokens])
        return np.bitwise_xor.accumulate(keys.astype(np.uint64), axis=1)

    def whole(self, games: TokenGames) -> npt.NDArray[np.uint64]:
        """[G]: the hash of each game from start to end."""
        return self.prefixes(games)[:, -1]

    def held_out(self, games: TokenGames) -> npt.NDArray[np.bool_]:
        """[G]: which games no training may see."""
        held: npt.NDArray[np.bool_] = self.whole(games) % np.uint64(HELD_OUT_OF) == 0
        return held


MakeGames = Callable[[np.random.Generator], TokenGames]


def held_out_games(make: MakeGames, hashes: PrefixHashes, wanted: int) -> TokenGames:
    """`wanted` different held-out games, or fewer of a small variant; the same for every run.

    `make` gives about CHUNK games at a time. Raises InputError where there are none.
    """
    rng = np.random.default_rng(_HELD_OUT_SEED)
    found: list[TokenGames] = []
    known: set[int] = set()
    for _ in range(max(_MOST_CHUNKS, _TRIES * wanted * HELD_OUT_OF // CHUNK)):
        held = _distinct(_held_out(make(rng), hashes), hashes)
        numbers = hashes.whole(held).tolist()
        found.append(held.select(np.array([number not in known for number in numbers], np.bool_)))
        known.update(numbers)
        if len(known) >= wanted:
            break
    return _some(join_games(found), wanted)


def distinct_held_out(games: TokenGames, hashes: PrefixHashes, wanted: int) -> TokenGames:
    """As `held_out_games`, from games that exist already."""
    return _some(_distinct(_held_out(games, hashes), hashes), wanted)


def _held_out(games: TokenGames, hashes: PrefixHashes) -> TokenGames:
    return games.select(hashes.held_out(games))


def _distinct(games: TokenGames, hashes: PrefixHashes) -> TokenGames:
    """Each game once, in the order of first occurrence."""
    return games.select(np.sort(np.unique(hashes.whole(games), return_index=True)[1]))


def _some(games: TokenGames, wanted: int) -> TokenGames:
    if not len(games):
        raise InputError("the game is too small: no sequence of moves can be held out")
    return games.select(np.arange(min(wanted, len(games))))


@kernel
def _mark(
    tokens: Array2D[np.int32],
    keys: Array2D[np.uint64],
    known: npt.NDArray[np.uint64],
    seen: npt.NDArray[np.uint8],
) -> None:
    """Set `seen` [U] for the prefixes of games that are among the sorted hashes `known` [U]."""
    for game in range(tokens.shape[0]):
        number = np.uint64(0)
        for place in range(tokens.shape[1]):
            if tokens[game, place] < 0:
                break
            number ^= keys[place, tokens[game, place]]
            index = np.searchsorted(known, number)
            if index == known.shape[0] or known[index] != number:
                # No longer prefix is known either: `known` holds all prefixes of its games.
                break
            seen[index] = 1


class SeenPrefixes:
    """Which prefixes of the held-out games training has seen."""

    def __init__(self, games: TokenGames, hashes: PrefixHashes) -> None:
        self._hashes = hashes
        prefixes = hashes.prefixes(games)
        known, places = np.unique(prefixes, return_inverse=True)
        self._known = known
        self._places = places.reshape(prefixes.shape)
        # [U] uint8: 1 for the prefixes that were seen; it is part of a run's state.
        self.seen: npt.NDArray[np.uint8] = np.zeros(len(known), np.uint8)

    def mark(self, games: TokenGames) -> None:
        """Note that training sees these games."""
        _mark(games.tokens, self._hashes.keys, self._known, self.seen)

    def shared(self) -> npt.NDArray[np.bool_]:
        """[G, T]: whether a game of the training set has the held-out game's prefix up to place
        t, from which token t + 1 is predicted."""
        shared: npt.NDArray[np.bool_] = self.seen[self._places][:, :-1] > 0
        return shared
