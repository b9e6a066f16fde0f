"""Games made by kernels: random ones, and those of a network that plays against itself."""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.network.language.move_tokens import Codes, MoveTokenizer, result_token, token_of
from engine.rules.compilation.decorators import copy_into, kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.history import push
from engine.rules.kernels import generate, generate_batch
from engine.rules.outcome import termination
from engine.rules.tables import MAX_MOVES, Tables
from engine.rules.variant import Variant
from search.evaluator import Evaluator, evaluate
from training.language.token_games import TokenGames, empty_games, join_games
from training.selfplay.games import UNFINISHED, play_moves

CHUNK: Final = 512
"""Games made at once."""
_CALIBRATION_SEED: Final = (0x4C414E47, 2)
_CALIBRATION: Final = 2000
"""Random games that measure the usual length of a variant's games; the same for all runs."""


@kernel
def _play_games(
    tables: Tables,
    codes: Codes,
    start: npt.NDArray[np.uint8],
    choices: Array2D[np.float64],
    tokens: Array2D[np.int32],
    lengths: npt.NDArray[np.int64],
    moves: Array2D[np.uint16],
    surprisal: Array2D[np.float32],
) -> None:
    """Fill games [G]. Move t is the legal move with index `choices[g, t]` times their number; where
    that is negative, it is the one that `moves` holds already, and its surprisal stays."""
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
            if choices[game, ply] >= 0.0:
                moves[game, ply] = legal[int(choices[game, ply] * count)]
                surprisal[game, ply] = np.log(np.float64(count))
            tokens[game, ply + 1] = token_of(tables, codes, row, moves[game, ply])
            push(tables, row, np.int64(moves[game, ply]), history, ply, after)


def _fill(
    variant: Variant, codes: Codes, games: TokenGames, choices: npt.NDArray[np.float64]
) -> TokenGames:
    """The games, filled as `_play_games` says."""
    _play_games(
        variant.tables,
        codes,
        variant.start_row,
        choices,
        games.tokens,
        games.lengths,
        games.moves,
        games.surprisal,
    )
    return games


def play_randomly(
    variant: Variant, codes: Codes, games: int, context: int, rng: np.random.Generator
) -> TokenGames:
    """Games from the start to the end in which all legal moves are equally likely.

    The same generator state gives the same games.
    """
    return _fill(variant, codes, empty_games(games, context), rng.random((games, context)))


def usual_context(variant: Variant, longest: int) -> int:
    """The number of tokens that 99 of 100 random games need, result included: a multiple of 8, at
    most `longest`."""
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
    """Draw each game's move by softmax: its index among all moves given, and its surprisal."""
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
    """Games of a network against itself; each move is drawn from its policy at the temperature."""
    made = empty_games(games, context)
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
        results = play_moves(variant.tables, positions, histories, lengths, moves[choices])
        going = results == UNFINISHED
        running, positions, histories = running[going], positions[going], histories[going]
        if not len(running):
            break
    return _fill(variant, codes, made, np.full((games, context), -1.0))


def play_corpus(
    make: Callable[[int, np.random.Generator], TokenGames],
    games: int,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> TokenGames:
    """`games` games, made chunk by chunk from the seed; `progress` gets the size of each chunk."""
    rng = np.random.default_rng([seed, 2])
    parts = []
    for begin in range(0, games, CHUNK):
        parts.append(make(min(CHUNK, games - begin), rng))
        progress(len(parts[-1]))
    return join_games(parts)
