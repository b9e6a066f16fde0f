"""Games for a language model: made by kernels, split by hash, and their prefixes compared.

A game is a row of tokens (`engine/network/language/move_tokens.py`):

    place    0      1     2          k     k + 1
    token    start  a2a3  b4a3  …    e1e2  1-0      NO_TOKEN …

What follows place t is to be named from the places 0 … t: the *prefix*. A game that is longer than
the context is cut off and has no result.

Two facts make held-out games trustworthy, both by a 64-bit Zobrist hash of (place, token), whose
keys are those of a vocabulary and a context: a game is held out where its hash says so, whatever
the run's seed, so that no training stream can hold one; and of every prefix of a held-out game it
is known whether training has seen a game begin like that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from engine.network.checkpoint import load_tensors, save_tensors
from engine.network.language.move_tokens import (
    FIRST_MOVE,
    NO_TOKEN,
    START,
    Codes,
    MoveTokenizer,
    result_token,
    token_of,
)
from engine.network.model.config import LARGEST_VOCABULARY, quoted
from engine.rules.compilation.decorators import kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.errors import InputError
from engine.rules.kernels import (
    apply,
    copy_into,
    generate,
    generate_batch,
    hash_row,
    repetitions,
    termination,
)
from engine.rules.moves import SQUARE_BITS, SQUARE_MASK
from engine.rules.tables import CLOCK, MAX_MOVES, REPETITION, SQUARES, Tables
from engine.rules.variant import Variant
from search.evaluator import Evaluator, evaluate
from training.selfplay.games import GAME_GOES_ON, play_moves

HELD_OUT_OF: Final = 16
"""One game in so many is held out."""
_GAMES_FORMAT: Final = "pawnscope-language-games-1"
CHUNK: Final = 512
"""Games made at once while held-out ones are looked for, or by a network."""
_MOST_CHUNKS: Final = 256
_TRIES: Final = 4
"""After so many chunks, and so many times the games of which those wanted are held out if all are
different, there are no more: the game is small."""
_HASH_SEED: Final = 0x4C414E47
_HELD_OUT_SEED: Final = (_HASH_SEED, 1)
_CALIBRATION_SEED: Final = (_HASH_SEED, 2)
"""The same for all runs. Each use has numbers of its own."""
_CALIBRATION: Final = 2000
"""Random games by which the length of a variant's games is judged."""


@dataclass(frozen=True, kw_only=True)
class TokenGames:
    """G games of up to T tokens after the start."""

    # [G, T + 1] int32: tokens, NO_TOKEN behind the last.
    tokens: npt.NDArray[np.int32]
    # [G] int64: tokens after the start, the result included.
    lengths: npt.NDArray[np.int64]
    # [G, T] uint16: the moves as the rules write them, 0 behind the last.
    moves: npt.NDArray[np.uint16]
    # [G, T] float32 in nats: how unlikely whoever played held each token; 0 for a result.
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
        """Tokens to be named, in all games."""
        return int(self.lengths.sum())

    def select(self, which: npt.NDArray[Any]) -> "TokenGames":
        """The games of these numbers, or where `which` bool[G] is true."""
        return TokenGames(
            tokens=self.tokens[which],
            lengths=self.lengths[which],
            moves=self.moves[which],
            surprisal=self.surprisal[which],
        )


def join_games(parts: list[TokenGames]) -> TokenGames:
    """All games of the parts, which have one context."""
    return TokenGames(
        tokens=np.concatenate([part.tokens for part in parts]),
        lengths=np.concatenate([part.lengths for part in parts]),
        moves=np.concatenate([part.moves for part in parts]),
        surprisal=np.concatenate([part.surprisal for part in parts]),
    )


def _empty(games: int, context: int) -> TokenGames:
    tokens = np.full((games, context + 1), NO_TOKEN, np.int32)
    tokens[:, 0] = START
    return TokenGames(
        tokens=tokens,
        lengths=np.zeros(games, np.int64),
        moves=np.zeros((games, context), np.uint16),
        surprisal=np.zeros((games, context), np.float32),
    )


@kernel
def play_on(
    tables: Tables,
    row: npt.NDArray[np.uint8],
    move: int | np.uint16,
    history: npt.NDArray[np.uint64],
    ply: int,
    after: npt.NDArray[np.uint8],
) -> None:
    """Play a legal move in place, as ply number `ply` of its game; `after` is scratch."""
    squares = tables[SQUARES]
    history[ply] = hash_row(tables, row)
    apply(tables, row, np.int64(move), after)
    seen = repetitions(history, ply + 1, after[squares + CLOCK], hash_row(tables, after))
    after[squares + REPETITION] = min(seen, 255)
    copy_into(row, after)


@kernel
def _play_randomly(
    tables: Tables,
    codes: Codes,
    start: npt.NDArray[np.uint8],
    choices: Array2D[np.float64],
    tokens: Array2D[np.int32],
    lengths: npt.NDArray[np.int64],
    moves: Array2D[np.uint16],
    surprisal: Array2D[np.float32],
) -> None:
    """Fill games [G]; move t of each is the share `choices[g, t]` of the way through the legal."""
    context = choices.shape[1]
    row, after = np.empty_like(start), np.empty_like(start)
    legal = np.empty(MAX_MOVES, np.uint16)
    history = np.empty(context + 1, np.uint64)
    for game in range(choices.shape[0]):
        copy_into(row, start)
        for ply in range(context):
            count = generate(tables, row, legal)
            reason = termination(tables, row, count)
            lengths[game] = ply + 1
            if reason:
                tokens[game, ply + 1] = result_token(tables, row, reason)
                break
            move = legal[int(choices[game, ply] * count)]
            tokens[game, ply + 1] = token_of(tables, codes, row, move)
            moves[game, ply] = move
            surprisal[game, ply] = np.log(np.float64(count))
            play_on(tables, row, move, history, ply, after)


def play_randomly(
    variant: Variant, codes: Codes, games: int, context: int, rng: np.random.Generator
) -> TokenGames:
    """Games in which every legal move is as likely as any other, from the start to the end.

    The same generator gives the same games.
    """
    made = _empty(games, context)
    choices = rng.random((games, context))
    _play_randomly(
        variant.tables,
        codes,
        variant.start_row,
        choices,
        made.tokens,
        made.lengths,
        made.moves,
        made.surprisal,
    )
    return made


def usual_context(variant: Variant, longest: int) -> int:
    """Tokens that hold 99 of 100 random games with their result: a multiple of 8, at most
    `longest`."""
    codes = MoveTokenizer.of(variant).codes(variant)
    rng = np.random.default_rng(_CALIBRATION_SEED)
    lengths = play_randomly(variant, codes, _CALIBRATION, longest, rng).lengths
    return min(longest, -(-int(np.quantile(lengths, 0.99)) // 8) * 8)


@kernel
def _draw_moves(
    offsets: npt.NDArray[np.int64],
    logits: npt.NDArray[np.float32],
    temperature: float,
    draws: npt.NDArray[np.float64],
    choices: npt.NDArray[np.int64],
    surprisal: npt.NDArray[np.float32],
) -> None:
    """The place in all moves of each game's move, drawn by softmax, and how unlikely it was."""
    for game in range(choices.shape[0]):
        start, end = offsets[game], offsets[game + 1]
        highest = logits[start:end].max()
        total = 0.0
        for index in range(start, end):
            total += np.exp((logits[index] - highest) / temperature)
        left = draws[game] * total
        for index in range(start, end):
            share = np.exp((logits[index] - highest) / temperature)
            left -= share
            # Rounding at the end leaves the last one.
            if left < 0.0 or index == end - 1:
                choices[game] = index
                surprisal[game] = np.log(total / share)
                break


def play_by_policy(
    variant: Variant,
    codes: Codes,
    evaluator: Evaluator,
    games: int,
    context: int,
    temperature: float,
    rng: np.random.Generator,
) -> TokenGames:
    """Games of a network against itself, each move drawn from its policy at the temperature."""
    made = _empty(games, context)
    positions = np.repeat(variant.start_row[None], games, 0)
    histories = np.zeros((games, context + 1), np.uint64)
    running = np.arange(games)
    for ply in range(context):
        moves, offsets = generate_batch(variant.tables, positions)
        logits = evaluate(evaluator, positions, moves, offsets).logits
        choices = np.empty(len(running), np.int64)
        surprisal = np.empty(len(running), np.float32)
        draws = rng.random(len(running))
        _draw_moves(offsets, logits, temperature, draws, choices, surprisal)
        made.moves[running, ply] = moves[choices]
        made.surprisal[running, ply] = surprisal
        lengths = np.full(len(running), ply)
        results = play_moves(variant, positions, histories, lengths, moves[choices])
        going = results == GAME_GOES_ON
        running, positions, histories = running[going], positions[going], histories[going]
        if not len(running):
            break
    _write_tokens(variant.tables, codes, variant.start_row, made.moves, made.tokens, made.lengths)
    return made


@kernel
def _write_tokens(
    tables: Tables,
    codes: Codes,
    start: npt.NDArray[np.uint8],
    moves: Array2D[np.uint16],
    tokens: Array2D[np.int32],
    lengths: npt.NDArray[np.int64],
) -> None:
    """Fill the tokens [G, T + 1] of games by their moves [G, T], which go on to their end."""
    context = moves.shape[1]
    row, after = np.empty_like(start), np.empty_like(start)
    legal = np.empty(MAX_MOVES, np.uint16)
    history = np.empty(context + 1, np.uint64)
    for game in range(moves.shape[0]):
        copy_into(row, start)
        for ply in range(context):
            lengths[game] = ply + 1
            reason = termination(tables, row, generate(tables, row, legal))
            if reason:
                tokens[game, ply + 1] = result_token(tables, row, reason)
                break
            tokens[game, ply + 1] = token_of(tables, codes, row, moves[game, ply])
            play_on(tables, row, moves[game, ply], history, ply, after)


class PrefixHashes:
    """Zobrist hashes of games and of how they begin."""

    def __init__(self, vocabulary: int, context: int) -> None:
        rng = np.random.default_rng(_HASH_SEED)
        # [T + 1, V]: two different sequences have one hash by a chance of 2 ** -64.
        self.keys = rng.integers(0, 2**64, (context + 1, vocabulary), dtype=np.uint64)

    def prefixes(self, games: TokenGames) -> npt.NDArray[np.uint64]:
        """[G, T + 1]: the hash of the places 0 … t; behind a game's end that of the whole game."""
        places = np.arange(games.context + 1)
        keys = np.where(games.tokens == NO_TOKEN, 0, self.keys[places, games.tokens])
        return np.bitwise_xor.accumulate(keys.astype(np.uint64), axis=1)

    def whole(self, games: TokenGames) -> npt.NDArray[np.uint64]:
        """[G]: the hash of each game from start to end."""
        return self.prefixes(games)[:, -1]

    def held_out(self, games: TokenGames) -> npt.NDArray[np.bool_]:
        """[G]: which of them no training may see."""
        held: npt.NDArray[np.bool_] = self.whole(games) % np.uint64(HELD_OUT_OF) == 0
        return held


MakeGames = Callable[[np.random.Generator], TokenGames]


def held_out_games(make: MakeGames, hashes: PrefixHashes, wanted: int) -> TokenGames:
    """Different games that no training sees, the same ones whatever its seed: as many as wanted, or
    fewer of a small game. `make` gives about CHUNK at once.

    Raises InputError where there is none.
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
    """As `held_out_games`, of games that are there already."""
    return _some(_distinct(_held_out(games, hashes), hashes), wanted)


def _held_out(games: TokenGames, hashes: PrefixHashes) -> TokenGames:
    return games.select(hashes.held_out(games))


def _distinct(games: TokenGames, hashes: PrefixHashes) -> TokenGames:
    """Each game once, in the order in which they come first."""
    return games.select(np.sort(np.unique(hashes.whole(games), return_index=True)[1]))


def _some(games: TokenGames, wanted: int) -> TokenGames:
    if not len(games):
        raise InputError("the game is too small: no sequence of moves is left to be held out")
    return games.select(np.arange(min(wanted, len(games))))


@kernel
def _mark(
    tokens: Array2D[np.int32],
    keys: Array2D[np.uint64],
    known: npt.NDArray[np.uint64],
    seen: npt.NDArray[np.uint8],
) -> None:
    for game in range(tokens.shape[0]):
        number = np.uint64(0)
        for place in range(tokens.shape[1]):
            if tokens[game, place] < 0:
                break
            number ^= keys[place, tokens[game, place]]
            index = np.searchsorted(known, number)
            if index == known.shape[0] or known[index] != number:
                # No longer prefix can be known either: with each game all its beginnings are.
                break
            seen[index] = 1


class SeenPrefixes:
    """Which beginnings of the held-out games training has seen."""

    def __init__(self, games: TokenGames, hashes: PrefixHashes) -> None:
        self._hashes = hashes
        prefixes = hashes.prefixes(games)
        known, places = np.unique(prefixes, return_inverse=True)
        self._known = known
        self._places = places.reshape(prefixes.shape)
        # [U] uint8: 1 for the prefixes that were seen; it travels with a run's state.
        self.seen: npt.NDArray[np.uint8] = np.zeros(len(known), np.uint8)

    def mark(self, games: TokenGames) -> None:
        """Training sees these games."""
        _mark(games.tokens, self._hashes.keys, self._known, self.seen)

    def shared(self) -> npt.NDArray[np.bool_]:
        """[G, T]: whether a game of the training set begins as the held-out game does up to place
        t, from which token t + 1 is to be named."""
        shared: npt.NDArray[np.bool_] = self.seen[self._places][:, :-1] > 0
        return shared


class GameSource(Protocol):
    """The training set: games without end, a function of the seed and of the round."""

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
        """See GameSource; about one in HELD_OUT_OF is missing."""
        rng = np.random.default_rng([self._seed, 1, number])
        games = play_randomly(self._variant, self._codes, self._games, self._context, rng)
        return games.select(~self._hashes.held_out(games))


class FixedSource:
    """The same games again and again, in a new order each time."""

    def __init__(self, games: TokenGames, hashes: PrefixHashes, *, round_games: int, seed: int):
        """Raises InputError where all of the games are held out."""
        self._games = games.select(~hashes.held_out(games))
        if not len(self._games):
            raise InputError(f"{len(games)} games: none is left to learn from")
        self._size, self._seed = min(round_games, len(self._games)), seed

    def round(self, number: int) -> TokenGames:
        """See GameSource."""
        rounds = len(self._games) // self._size
        rng = np.random.default_rng([self._seed, 1, number // rounds])
        begin = number % rounds * self._size
        return self._games.select(rng.permutation(len(self._games))[begin : begin + self._size])


def batches(games: TokenGames, size: int, rng: np.random.Generator) -> list[TokenGames]:
    """The games, in batches of as many tokens as `size` games have on average, in random order.

    Those of a batch are alike in length: little is padded, and what is padded is not learned.
    """
    order = np.argsort(games.lengths, kind="stable")
    ends = np.cumsum(games.lengths[order])
    which = (ends - 1) * len(games) // (size * games.token_count)
    parts = [games.select(order[which == number]) for number in np.unique(which)]
    return [parts[index] for index in rng.permutation(len(parts))]


def save_token_games(path: Path, games: TokenGames, variant: Variant, tokenizer: str) -> None:
    """Write games whole or not at all; `tokenizer` is the digest of theirs. Raises OSError."""
    tensors = {name: getattr(games, name) for name in TokenGames.__dataclass_fields__}
    save_tensors(
        path,
        tensors,
        {"format": _GAMES_FORMAT, "variant": variant.digest, "tokenizer": tokenizer},
    )


def load_token_games(
    path: Path, variant: Variant, tokenizer: str, *, vocabulary: int = LARGEST_VOCABULARY
) -> TokenGames:
    """The games of `save_token_games` over so many words; raises InputError for others, OSError.

    Whether the moves are legal is not looked at: the rules' kernels stay on the board in any case.
    """
    tensors, header = load_tensors(path)
    wanted = {"format": _GAMES_FORMAT, "variant": variant.digest, "tokenizer": tokenizer}
    for name, value in wanted.items():
        if header.get(name) != value:
            raise InputError(f"{path}: {name} is {quoted(header.get(name))}, not {value!r}")
    for name in TokenGames.__dataclass_fields__:
        if name not in tensors:
            raise InputError(f"{path}: the array '{name}' is missing")
    games = TokenGames(**{name: tensors[name].numpy() for name in TokenGames.__dataclass_fields__})
    _check_games(path, games, variant, vocabulary)
    return games


def _check_games(path: Path, games: TokenGames, variant: Variant, vocabulary: int) -> None:
    """Raises InputError for arrays of other kinds or sizes than `TokenGames` says, and for tokens,
    lengths and squares that are none: kernels trust them."""
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
            raise InputError(f"{path}: the array '{name}' holds what cannot be in {variant.name}")


def play_corpus(
    make: Callable[[int, np.random.Generator], TokenGames],
    games: int,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> TokenGames:
    """So many games, made chunk by chunk with the numbers of the seed; `progress` hears of each."""
    rng = np.random.default_rng([seed, 2])
    parts = []
    for begin in range(0, games, CHUNK):
        parts.append(make(min(CHUNK, games - begin), rng))
        progress(len(parts[-1]))
    return join_games(parts)
