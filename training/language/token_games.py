"""Games as rows of tokens: in memory, in batches, and on disk.

A row holds the tokens of one game (`engine/network/language/move_tokens.py`):

    place    0      1     2          k     k + 1
    token    start  a2a3  b4a3  …    e1e2  1-0      NO_TOKEN …

The model predicts the token of place t + 1 from the *prefix*, the places 0 … t. A game that is
longer than the context is cut off and has no result.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.network.checkpoint import load_tensors, save_tensors
from engine.network.language.move_tokens import FIRST_MOVE, NO_TOKEN, START
from engine.network.model.config import LARGEST_VOCABULARY
from engine.rules.errors import InputError
from engine.rules.moves import SQUARE_BITS, SQUARE_MASK
from engine.rules.variant import Variant
from engine.settings import quoted

_FORMAT: Final = "pawnscope-language-games-1"


@dataclass(frozen=True, kw_only=True)
class TokenGames:
    """G games of up to T tokens after the start."""

    # [G, T + 1] int32: tokens, NO_TOKEN behind the last.
    tokens: npt.NDArray[np.int32]
    # [G] int64: tokens after the start, the result included.
    lengths: npt.NDArray[np.int64]
    # [G, T] uint16: the moves as the rules write them, 0 behind the last.
    moves: npt.NDArray[np.uint16]
    # [G, T] float32: surprisal of each token, in nats, under the policy that played; 0 for results.
    surprisal: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def context(self) -> int:
        """T."""
        return int(self.moves.shape[1])

    @cached_property
    def plies(self) -> npt.NDArray[np.int64]:
        """[G]: moves of each game."""
        plies: npt.NDArray[np.int64] = (self.tokens >= FIRST_MOVE).sum(1)
        return plies

    @property
    def token_count(self) -> int:
        """Tokens to predict, in all games."""
        return int(self.lengths.sum())

    def select(self, which: npt.NDArray[Any]) -> "TokenGames":
        """The games with these indices, or where `which` bool[G] is true."""
        return TokenGames(**{name: getattr(self, name)[which] for name in _ARRAYS})


_ARRAYS: Final = tuple(TokenGames.__dataclass_fields__)


def join_games(parts: list[TokenGames]) -> TokenGames:
    """All games of the parts, which have the same context."""
    return TokenGames(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    )


def empty_games(games: int, context: int) -> TokenGames:
    """Games without moves, to be filled by kernels."""
    tokens = np.full((games, context + 1), NO_TOKEN, np.int32)
    tokens[:, 0] = START
    return TokenGames(
        tokens=tokens,
        lengths=np.zeros(games, np.int64),
        moves=np.zeros((games, context), np.uint16),
        surprisal=np.zeros((games, context), np.float32),
    )


def batches(games: TokenGames, size: int, rng: np.random.Generator) -> list[TokenGames]:
    """The games in batches, in random order; each batch has about the tokens of `size` games.

    The games of a batch have similar lengths, so that there is little padding.
    """
    order = np.argsort(games.lengths, kind="stable")
    ends = np.cumsum(games.lengths[order])
    which = (ends - 1) * len(games) // (size * games.token_count)
    parts = [games.select(order[which == number]) for number in np.unique(which)]
    return [parts[index] for index in rng.permutation(len(parts))]


def save_token_games(path: Path, games: TokenGames, variant: Variant, tokenizer: str) -> None:
    """Write games, completely or not at all; `tokenizer` is its digest. Raises OSError."""
    header = {"format": _FORMAT, "variant": variant.digest, "tokenizer": tokenizer}
    save_tensors(path, {name: getattr(games, name) for name in _ARRAYS}, header)


def load_token_games(
    path: Path, variant: Variant, tokenizer: str, *, vocabulary: int = LARGEST_VOCABULARY
) -> TokenGames:
    """The games of `save_token_games`, with tokens below `vocabulary`.

    Raises OSError, and InputError for games of another variant or tokenizer and for damaged arrays.
    Whether the moves are legal is not checked: the rules' kernels stay on the board in any case.
    """
    tensors, header = load_tensors(path)
    wanted = {"format": _FORMAT, "variant": variant.digest, "tokenizer": tokenizer}
    for name, value in wanted.items():
        if header.get(name) != value:
            raise InputError(f"{path}: {name} is {quoted(header.get(name))}, not {value!r}")
    for name in _ARRAYS:
        if name not in tensors:
            raise InputError(f"{path}: the array '{name}' is missing")
    games = TokenGames(**{name: tensors[name].numpy() for name in _ARRAYS})
    _check_games(path, games, variant, vocabulary)
    return games


def _check_games(path: Path, games: TokenGames, variant: Variant, vocabulary: int) -> None:
    """Raises InputError for arrays of another type or shape than `TokenGames` has, and for tokens,
    lengths and squares out of range: kernels trust them."""
    whole = games.moves.ndim == 2
    size, context = games.moves.shape if whole else (0, 0)
    kinds = {
        "tokens": (np.int32, (size, context + 1)),
        "lengths": (np.int64, (size,)),
        "moves": (np.uint16, (size, context)),
        "surprisal": (np.float32, (size, context)),
    }
    for name, (kind, shape) in kinds.items():
        array = getattr(games, name)
        if not whole or array.dtype != kind or array.shape != shape:
            raise InputError(f"{path}: the array '{name}' is {array.dtype}{list(array.shape)}")
    squares = np.stack([games.moves & SQUARE_MASK, games.moves >> SQUARE_BITS & SQUARE_MASK])
    sound = {
        "tokens": ((games.tokens >= NO_TOKEN) & (games.tokens < vocabulary)).all(),
        "moves": (squares < variant.squares).all(),
        "lengths": ((games.lengths >= 1) & (games.lengths <= context)).all(),
    }
    for name, is_sound in sound.items():
        if not is_sound:
            raise InputError(f"{path}: the array '{name}' is out of range for {variant.name}")
