"""Games small enough to know by hand, and evaluators whose answer is known."""

import zlib
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.rules.moves import from_square, make_move, promotion, to_square
from engine.rules.position import Position
from engine.rules.tables import BLACK_BIT, CASTLING, EMPTY, SIDE
from engine.rules.variant import Variant, get_variant
from search.evaluator import Evaluation, UniformEvaluator
from search.mcts.gumbel import GumbelConfig
from search.mcts.puct import PuctConfig
from search.mcts.result import SearchResult
from search.mcts.roots import Roots
from search.mcts.search import tree_search

Rows = npt.NDArray[np.uint8]
Moves = npt.NDArray[np.uint16]
Offsets = npt.NDArray[np.int64]


@cache
def value_of(variant_name: str, board: str) -> int:
    """The game value for the side to move, by looking at every game; `board` is a FEN."""
    position = Position(get_variant(variant_name), board)
    outcome = position.outcome()
    if outcome is not None:
        return outcome.value(position.turn)
    return max(-value_of(variant_name, after.fen()) for after in children(position))


def exact_value(position: Position) -> int:
    """The game value for the side to move of a game that cannot repeat."""
    fields = position.fen().split()
    return value_of(position.variant.name, " ".join([*fields[:4], "0", "1"]))


def children(position: Position) -> list[Position]:
    """The position after each legal move, in the order of the moves."""
    result = []
    for move in position.legal_moves:
        after = position.copy()
        after.push(move)
        result.append(after)
    return result


@cache
def reachable(variant_name: str) -> tuple[Position, ...]:
    """Every position that a game can reach, finished ones included."""
    found: dict[bytes, Position] = {}
    waiting = [Position(get_variant(variant_name))]
    while waiting:
        position = waiting.pop()
        key = position.row[: position.variant.squares + 1].tobytes()
        if key not in found:
            found[key] = position
            waiting.extend(children(position))
    return tuple(Position.from_row(position.row, position.variant) for position in found.values())


def unfinished(variant_name: str) -> list[Position]:
    """The reachable positions in which the game goes on."""
    return [position for position in reachable(variant_name) if position.legal_moves]


def keeping_moves(position: Position) -> list[int]:
    """The legal moves that keep the game value."""
    value = exact_value(position)
    after = zip(position.legal_moves, children(position), strict=True)
    return [move for move, child in after if -exact_value(child) == value]


def decisions(variant_name: str) -> list[Position]:
    """The unfinished positions in which the choice changes the result."""
    positions = unfinished(variant_name)
    return [p for p in positions if len(keeping_moves(p)) < len(p.legal_moves)]


def play_out(position: Position, rng: np.random.Generator, plies: int) -> Position:
    """The position after some random moves; stops short of the end of the game."""
    for _ in range(plies):
        after = [child for child in children(position) if child.outcome() is None]
        if not after:
            break
        position = after[rng.integers(len(after))]
    return position


def game_of(result: SearchResult, game: int) -> dict[str, npt.NDArray[Any]]:
    """One game's share of every per-move array."""
    names = ("moves", "visit_counts", "priors", "q_values", "proven_moves", "distances", "policy")
    part = slice(result.offsets[game], result.offsets[game + 1])
    return {name: getattr(result, name)[part] for name in names}


def roots_of(*positions: Position) -> Roots:
    """Roots of these positions."""
    return Roots.from_positions(positions)


def colour_swapped(position: Position) -> Position:
    """The same position with colours and ranks swapped, without a history."""
    variant = position.variant
    row = position.row.copy()
    board = row[: variant.squares].reshape(variant.height, variant.width)[::-1].reshape(-1)
    row[: variant.squares] = np.where(board == EMPTY, EMPTY, board ^ BLACK_BIT)
    row[variant.squares + SIDE] ^= 1
    assert row[variant.squares + CASTLING] == 0
    return Position.from_row(row, variant)


def swapped_move(variant: Variant, move: int) -> int:
    """The move with its ranks swapped."""

    def flip(square: int) -> int:
        rank, file = divmod(square, variant.width)
        return (variant.height - 1 - rank) * variant.width + file

    return make_move(flip(from_square(move)), flip(to_square(move)), promotion(move))


class TrueOrFalse:
    """Judges by the truth, or against it, in a game that cannot repeat."""

    def __init__(self, variant: Variant, value_sign: int, prior_weight: float) -> None:
        """1 tells the value, 0 hides it, -1 turns it round; the weight makes logits of values."""
        self._variant = variant
        self._value_sign = value_sign
        self._prior_weight = prior_weight

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See Evaluator."""
        logits, wdl = [], []
        for index, row in enumerate(positions):
            position = Position.from_row(row, self._variant)
            value = self._value_sign * exact_value(position)
            wdl.append((value == 1, value == 0, value == -1))
            assert position.legal_moves == moves[offsets[index] : offsets[index + 1]].tolist()
            logits += [-self._prior_weight * exact_value(after) for after in children(position)]
        return Evaluation(np.array(logits, dtype=np.float32), np.array(wdl, dtype=np.float32))


class ScatteredEvaluator:
    """Arbitrary judgements that depend on the position alone, the same for both colours."""

    def __init__(self, variant: Variant) -> None:
        """Judges positions of one variant without castling."""
        self._variant = variant

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See Evaluator."""
        logits = np.empty(len(moves), dtype=np.float32)
        wdl = np.empty((len(positions), 3), dtype=np.float32)
        for index, row in enumerate(positions):
            position = Position.from_row(row, self._variant)
            black = position.turn == 1
            seen = colour_swapped(position) if black else position
            key = seen.row.tobytes()
            shares = [zlib.crc32(key + bytes([part])) + 1 for part in range(3)]
            wdl[index] = np.array(shares) / sum(shares)
            for place in range(offsets[index], offsets[index + 1]):
                move = int(moves[place])
                move = swapped_move(self._variant, move) if black else move
                logits[place] = zlib.crc32(key + move.to_bytes(2, "big")) / 2**31
        return Evaluation(logits, wdl)


class WhiteIsWinning:
    """Holds every position a sure win for White, and all moves alike."""

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See Evaluator."""
        black_to_move = positions[:, positions.shape[1] - 5 + SIDE]
        wdl = np.zeros((len(positions), 3), dtype=np.float32)
        wdl[np.arange(len(positions)), 2 * black_to_move] = 1.0
        return Evaluation(np.zeros(len(moves), dtype=np.float32), wdl)


def searched(kind: str, *positions: Position, variant: Variant | None = None) -> SearchResult:
    """What "puct" or "gumbel" finds with 40 simulations and no opinion, from each position, in its
    own variant or another with the same moves."""
    rng, evaluator = np.random.default_rng(1), UniformEvaluator()
    played, roots = variant or positions[0].variant, roots_of(*positions)
    config = (PuctConfig if kind == "puct" else GumbelConfig)(simulations=40)
    return tree_search(played, roots, evaluator, config, rng)
