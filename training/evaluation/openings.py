"""Openings of a match: those of a list, or all positions after a few plies or a sample of many."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import Variant

_SMALLEST_BOARD: Final = 16
"""Squares; on smaller boards two random plies decide many games."""
_OPENING_PLIES: Final = 2
_MOST_LISTED: Final = 10_000
"""Openings that are listed and shuffled. If there are more, this number is sampled."""
_TRIES: Final = 200

Moves = tuple[int, ...]


class Opening(NamedTuple):
    """Where the players of a game begin to choose."""

    # Played before, from the position of the FEN.
    moves: Moves = ()
    # None for the variant's own start.
    start_fen: str | None = None
    # Of a file's opening; empty for none.
    name: str = ""


def default_opening_plies(variant: Variant) -> int:
    """Plies of an opening: 2, or none on boards so small that they would decide the game."""
    return _OPENING_PLIES if variant.squares >= _SMALLEST_BOARD else 0


def listed_openings(
    openings: Sequence[Opening], rng: np.random.Generator, *, repeat: bool = True
) -> Iterator[Opening]:
    """These openings once, in random order; with `repeat` again and again, each time in another."""
    while openings:
        for index in rng.permutation(len(openings)):
            yield openings[index]
        if not repeat:
            return


def random_openings(
    variant: Variant, plies: int, rng: np.random.Generator, *, repeat: bool = True
) -> Iterator[Moves]:
    """An endless sequence of openings: legal moves from the start that do not end the game.

    Each position occurs once, in random order; then all occur again in another order. If there are
    more than 10,000, openings are sampled by random moves. Raises InputError where every sequence
    of so many plies ends the game.

    Without `repeat` no position occurs twice: when those of so many plies are used, those one ply
    longer follow, until no unfinished game is left. Of more than 10,000 at a depth, that number is
    sampled, each position with the same probability.
    """
    level = _positions_after(variant, plies)
    if level is None:
        yield from _sampled_openings(variant, plies, rng, repeat=repeat)
        return
    every = _open(level)
    if not every:
        raise _closed(variant, plies)
    while every:
        for index in rng.permutation(len(every)):
            yield every[index]
        if not repeat:
            level = _one_ply_on(level, rng)
            every = _open(level)


def _closed(variant: Variant, plies: int) -> InputError:
    return InputError(f"no opening of {plies} plies leaves a game of {variant.name} open")


def _positions_after(variant: Variant, plies: int) -> list[Position] | None:
    """Every position after so many plies, once; None where there are too many."""
    level = [Position(variant)]
    for _ in range(plies):
        after: dict[bytes, Position] = {}
        for position in level:
            for child in _children(position):
                after.setdefault(child.row.tobytes(), child)
            if len(after) > _MOST_LISTED:
                return None
        level = list(after.values())
    return level


def _children(position: Position) -> Iterator[Position]:
    for move in position.legal_moves:
        child = position.copy()
        child.push(move)
        yield child


def _open(level: list[Position]) -> list[Moves]:
    """Moves to those of the positions that are not over."""
    return [tuple(position.move_stack) for position in level if position.legal_moves]


def _one_ply_on(level: list[Position], rng: np.random.Generator) -> list[Position]:
    """The positions one ply later, each once; a random sample of too many."""
    ways: dict[bytes, tuple[int, int]] = {}
    for place, position in enumerate(level):
        for child in _children(position):
            ways.setdefault(child.row.tobytes(), (place, child.move_stack[-1]))
    found = list(ways.values())
    if len(found) > _MOST_LISTED:
        chosen = rng.choice(len(found), size=_MOST_LISTED, replace=False)
        found = [found[index] for index in chosen]
    after = []
    for place, move in found:
        child = level[place].copy()
        child.push(move)
        after.append(child)
    return after


def _sampled_openings(
    variant: Variant, plies: int, rng: np.random.Generator, *, repeat: bool
) -> Iterator[Moves]:
    seen: set[bytes] = set()
    shortest = plies
    while True:
        tried = (_random_position(variant, plies, rng) for _ in range(_TRIES))
        open_ones = (position for position in tried if position is not None)
        found = next(open_ones, None)
        if found is None:
            if plies > shortest:
                return
            raise _closed(variant, plies)
        either = itertools.chain([found], open_ones)
        fresh = (position for position in either if position.row.tobytes() not in seen)
        chosen = next(fresh, None)
        if chosen is None:
            seen.clear()
            if not repeat:
                plies += 1
                continue
            chosen = found
        seen.add(chosen.row.tobytes())
        yield tuple(chosen.move_stack)


def _random_position(variant: Variant, plies: int, rng: np.random.Generator) -> Position | None:
    """A sequence of so many random moves; None if it ends the game."""
    position = Position(variant)
    for _ in range(plies):
        moves = position.legal_moves
        if not moves:
            return None
        position.push(moves[int(rng.integers(len(moves)))])
    return position if position.legal_moves else None
