"""Random games of any variant, the same ones every time, for tests to walk along."""

from collections.abc import Iterator

import numpy as np

from engine.rules.position import Position
from engine.rules.variant import Variant


def random_games(
    variant: Variant, games: int, plies: int, *, seed: int = 0, fen: str | None = None
) -> Iterator[Position]:
    """Positions at the end of random games: over, or cut off after so many plies."""
    generator = np.random.default_rng(seed)
    for _ in range(games):
        position = Position(variant, fen)
        for _ in range(plies):
            moves = position.legal_moves
            if not moves:
                break
            position.push(int(generator.choice(moves)))
        yield position


def replayed(game: Position) -> Iterator[Position]:
    """The game once more: a position of its own before each move, and the last."""
    moves = list(game.move_stack)
    position = game.copy()
    while position.move_stack:
        position.pop()
    yield position.copy()
    for move in moves:
        position.push(move)
        yield position.copy()
