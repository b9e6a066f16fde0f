"""What concepts need of a variant: pawns and their goals, values of pieces, the centre.

Squares are numbered and sets of squares are written as in sides.py: as a side sees the board that
plays up it.
"""

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.board.undefined import ConceptUndefinedError
from engine.rules.betza import CAPTURE_ONLY, MOVE_ONLY, Movement, Vector, parse_betza
from engine.rules.tables import (
    BISHOP,
    BLACK,
    KING,
    KNIGHT,
    PAWN,
    PIECE_TYPES,
    QUEEN,
    ROOK,
    WHITE,
)
from engine.rules.variant import Variant

_USUAL_VALUES: Final = {PAWN: 1.0, KNIGHT: 3.0, BISHOP: 3.0, ROOK: 5.0, QUEEN: 9.0, KING: 0.0}
_KNIGHT: Final = parse_betza("N")
_EMPTY_SHARE: Final = 0.69
"""The chance that a square is empty, with which Betza counts a rider's way as open."""
_KEPT: Final = 64
"""Variants whose facts are kept."""
UNREACHABLE: Final = 255
"""The distance from which no goal can be reached."""


@lru_cache(_KEPT)
def pawn_types(variant: Variant) -> tuple[int, ...]:
    """Piece types that go one rank forward at a time and can go straight, pawns among them.

    Raises ConceptUndefinedError where there are none.
    """
    steps = {(-1, 1), (0, 1), (1, 1)}
    types = [
        piece_type
        for piece_type, movement in variant.movements.items()
        if not movement.rides
        and steps.issuperset(movement.leaps)
        and movement.leaps.get((0, 1), 0) & MOVE_ONLY
    ]
    if not types:
        raise ConceptUndefinedError(f"{variant.name} has no pawns")
    return tuple(types)


def require_king(variant: Variant) -> None:
    """Raises ConceptUndefinedError where there is none."""
    if not variant.has_king:
        raise ConceptUndefinedError(f"{variant.name} has no king")


def capture_vectors(variant: Variant, piece_type: int) -> tuple[Vector, ...]:
    """Where a piece without rides captures: (files to the right, ranks forward)."""
    leaps = variant.movements[piece_type].leaps
    return tuple(vector for vector, mode in leaps.items() if mode & CAPTURE_ONLY)


@lru_cache(_KEPT)
def piece_values(variant: Variant) -> npt.NDArray[np.float64]:
    """The worth of a piece of each type, [PIECE_TYPES], 0 for types that the variant lacks.

    Pawns 1, knights and bishops 3, rooks 5, queens 9, kings 0. A variant's own pieces: 1 where
    they move like pawns, else by their mobility on a crowded board of this size, on which a knight
    is 3 (Betza, "About the Values of Chess Pieces", 1996), rounded to halves, at least 0.5.
    """
    values = np.zeros(PIECE_TYPES)
    try:
        pawns = pawn_types(variant)
    except ConceptUndefinedError:
        pawns = ()
    for piece_type, movement in variant.movements.items():
        if piece_type in _USUAL_VALUES:
            values[piece_type] = _USUAL_VALUES[piece_type]
        elif piece_type in pawns:
            values[piece_type] = 1.0
        else:
            # A board too narrow for a knight's leap has none to compare with.
            knight = _crowded_mobility(_KNIGHT, variant) or 1.0
            worth = 3.0 * _crowded_mobility(movement, variant) / knight
            values[piece_type] = max(0.5, round(2.0 * worth) / 2.0)
    values.setflags(write=False)
    return values


def _crowded_mobility(movement: Movement, variant: Variant) -> float:
    """The mean number of squares that a piece reaches on a board where others stand at random.

    A move that may only capture, or only not, counts half.
    """
    total = 0.0
    for vector in {*movement.leaps, *movement.rides}:
        leap, ride = movement.leaps.get(vector, 0), movement.rides.get(vector, 0)
        for steps in range(1, 8 if ride else 2):
            mode = ride if steps > 1 else leap | ride
            width = max(0, variant.width - abs(vector[0]) * steps)
            height = max(0, variant.height - abs(vector[1]) * steps)
            weight = 1.0 if mode == MOVE_ONLY | CAPTURE_ONLY else 0.5
            total += weight * width * height * _EMPTY_SHARE ** (steps - 1)
    return total / variant.squares


def seen_set(variant: Variant, region: int, colour: int) -> int:
    """A set of squares as the colour sees the board."""
    if colour == WHITE:
        return region & (1 << variant.squares) - 1
    ranks = [region >> rank * variant.width & (1 << variant.width) - 1 for rank in range(8)]
    return sum(
        ranks[variant.height - 1 - rank] << rank * variant.width for rank in range(variant.height)
    )


@lru_cache(_KEPT)
def goal_distances(variant: Variant) -> dict[int, npt.NDArray[np.uint8]]:
    """Of each type of pawn that has a goal: the fewest moves straight ahead from each square to a
    square where it promotes or wins, uint8[S], UNREACHABLE where there is none ahead.

    Raises ConceptUndefinedError where no pawn has a goal, or where the two sides' goals differ.
    """
    found = {}
    for piece_type in pawn_types(variant):
        white, black = (_distances(variant, piece_type, colour) for colour in (WHITE, BLACK))
        if (white != black).any():
            raise ConceptUndefinedError(f"the pawns of both sides of {variant.name} differ in goal")
        if (white < UNREACHABLE).any():
            found[piece_type] = white
    if not found:
        raise ConceptUndefinedError(f"the pawns of {variant.name} have nothing to gain ahead")
    return found


def _distances(variant: Variant, piece_type: int, colour: int) -> npt.NDArray[np.uint8]:
    goals = variant.flag_region[colour] if variant.flag_types >> piece_type & 1 else 0
    double = 0
    if piece_type == PAWN:
        if variant.promotion_types:
            goals |= variant.promotion_region[colour]
        double = seen_set(variant, variant.double_step_region[colour], colour)
    goals = seen_set(variant, goals, colour)
    width = variant.width
    distances = np.full(variant.squares, UNREACHABLE, np.uint8)
    for square in reversed(range(variant.squares)):
        if goals >> square & 1:
            distances[square] = 0
            continue
        ahead = [square + width] + [square + 2 * width] * (double >> square & 1)
        steps = [distances[target] for target in ahead if target < variant.squares]
        if steps and min(steps) < UNREACHABLE:
            distances[square] = min(steps) + 1
    distances.setflags(write=False)
    return distances


def middle(size: int) -> tuple[int, ...]:
    """The middle file of an odd number of files, the two of an even one; likewise of ranks."""
    return tuple(sorted({(size - 1) // 2, size // 2}))
