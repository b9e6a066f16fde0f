"""Openings of a match: all positions after a few plies, in random order, or a sample of many."""

import itertools
from collections.abc import Iterator
from typing import Final

import numpy as np

from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import Variant

_SMALLEST_BOARD: Final = 16
"""Squares; on smaller boards two random plies decide many games."""
_OPENING_PLIES: Final = 2
_MOST_LISTED: Final = 10_000
"""Openings that are listed and shuffled; of more a sample is drawn."""
_TRIES: Final = 200

Opening = tuple[int, ...]
"""Moves from the start position that are played before the players are asked."""


def default_opening_plies(variant: Variant) -> int:
    """Plies before a game: 2, and none on boards so small that they would decide it."""
    return _OPENING_PLIES if variant.squares >= _SMALLEST_BOARD else 0


def random_openings(variant: Variant, plies: int, rng: np.random.Generator) -> Iterator[Opening]:
    """Sequences of legal moves from the start, none of which ends the game, without end.

    They lead to different positions, each of them once in random order, until no new one is left;
    then they begin anew in another order. Where there are more than 10,000 they are drawn by
    playing at random. Raises InputError where every sequence of so many plies ends the game.
    """
    every = _all_openings(variant, plies)
    if every is None:
        yield from _sampled_openings(variant, plies, rng)
        return
    if not every:
        raise _closed(variant, plies)
    while True:
        for index in rng.permutation(len(every)):
            yield every[index]


def _closed(variant: Variant, plies: int) -> InputError:
    return InputError(f"no opening of {plies} plies leaves a game of {variant.name} open")


def _all_openings(variant: Variant, plies: int) -> list[Opening] | None:
    """An opening to every open position after so many plies; None where there are too many."""
    level = [Position(variant)]
    for _ in range(plies):
        after: dict[bytes, Position] = {}
        for position in level:
            for move in position.legal_moves:
                child = position.copy()
                child.push(move)
                after.setdefault(child.row.tobytes(), child)
            if len(after) > _MOST_LISTED:
                return None
        level = list(after.values())
    return [tuple(position.move_stack) for position in level if position.legal_moves]


def _sampled_openings(variant: Variant, plies: int, rng: np.random.Generator) -> Iterator[Opening]:
    seen: set[bytes] = set()
    while True:
        tried = (_random_position(variant, plies, rng) for _ in range(_TRIES))
        open_ones = (position for position in tried if position is not None)
        found = next(open_ones, None)
        if found is None:
            raise _closed(variant, plies)
        either = itertools.chain([found], open_ones)
        fresh = (position for position in either if position.row.tobytes() not in seen)
        chosen = next(fresh, None)
        if chosen is None:
            seen.clear()
            chosen = found
        seen.add(chosen.row.tobytes())
        yield tuple(chosen.move_stack)


def _random_position(variant: Variant, plies: int, rng: np.random.Generator) -> Position | None:
    """After so many random plies; None where the game is over by then."""
    position = Position(variant)
    for _ in range(plies):
        moves = position.legal_moves
        if not moves:
            return None
        position.push(moves[int(rng.integers(len(moves)))])
    return position if position.legal_moves else None
