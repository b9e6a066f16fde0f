"""Concepts of material: what stands on the board, wherever it stands."""

from typing import Final

import numpy as np

from engine.probing.concepts.board.sides import Counts, Sets, Side, count
from engine.probing.concepts.board.undefined import ConceptUndefinedError
from engine.probing.concepts.board.variant_facts import pawn_types, piece_values
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Labels, both_sides, concept
from engine.rules.tables import BISHOP, BLACK_BIT, KING, KNIGHT, LIGHT_SQUARES, QUEEN, ROOK
from engine.rules.variant import Variant

_SHANNON: Final = "Shannon 1950"
_COUNTS: Final = "Shannon 1950 (numbers of pieces of each kind)"
_GUIDE: Final = "Stockfish Evaluation Guide"
_NAMES: Final = {KNIGHT: "knights", BISHOP: "bishops", ROOK: "rooks", QUEEN: "queens"}


def _material(side: Side) -> Counts:
    return _worth(side, side.variant.piece_types)


def _worth(side: Side, piece_types: tuple[int, ...]) -> Counts:
    values = piece_values(side.variant)
    total = np.zeros(len(side))
    for piece_type in piece_types:
        if values[piece_type]:
            total += values[piece_type] * np.bitwise_count(side.own(piece_type))
    return total


@concept("material", kind="real", source=_SHANNON)
def material(positions: Positions) -> Labels:
    """Own minus enemy material: pawns 1, knights and bishops 3, rooks 5, queens 9, kings 0, a
    variant's own pieces by their mobility on a crowded board (1 where they move like pawns).

    `piece_values` has the details.
    """
    return positions.me.shared(_material) - positions.them.shared(_material)


@both_sides("material", kind="real", source=_SHANNON)
def material_of_a_side(side: Side) -> Labels:
    """The material of {side}, as valued for the concept "material"."""
    return side.shared(_material)


@concept("total material", kind="real", source=_SHANNON)
def total_material(positions: Positions) -> Labels:
    """The material of both sides together, as valued for the concept "material"."""
    return positions.me.shared(_material) + positions.them.shared(_material)


@concept("phase of the game", kind="real", source=f"{_GUIDE}, phase (linear, over the start)")
def phase(positions: Positions) -> Labels:
    """The share of the start position's pieces that is still on the board, weighed by their values,
    without pawns and kings.
    """
    variant = positions.variant
    others = _officers(variant)
    codes = variant.start_row[: variant.squares]
    start = piece_values(variant)[codes[codes > 0] % BLACK_BIT]
    whole = start[np.isin(codes[codes > 0] % BLACK_BIT, others)].sum()
    if not whole:
        raise ConceptUndefinedError(
            f"{variant.name} begins without pieces other than pawns and kings"
        )
    left: Labels = (_worth(positions.me, others) + _worth(positions.them, others)) / whole
    return left


def _officers(variant: Variant) -> tuple[int, ...]:
    """The types of all pieces but pawns and kings."""
    try:
        pawns = pawn_types(variant)
    except ConceptUndefinedError:
        pawns = ()
    return tuple(t for t in variant.piece_types if t != KING and t not in pawns)


@both_sides("pieces", kind="count", source=_COUNTS, difference=True)
def pieces(side: Side) -> Labels:
    """The number of pieces of {side}, pawns and king included."""
    return count(side.pieces)


@both_sides("pawns", kind="count", source=_COUNTS, difference=True)
def pawns(side: Side) -> Labels:
    """The number of pawns of {side}, or of pieces that move like pawns."""
    return count(side.pawns)


def require(variant: Variant, piece_type: int) -> None:
    """Raises ConceptUndefinedError where a variant has no such piece."""
    if piece_type not in variant.piece_types:
        raise ConceptUndefinedError(f"{variant.name} has no {_NAMES[piece_type]}")


def _number(side: Side, piece_type: int) -> Counts:
    require(side.variant, piece_type)
    return count(side.own(piece_type))


@both_sides("knights", kind="count", source=_COUNTS, difference=True)
def knights(side: Side) -> Labels:
    """The number of knights of {side}."""
    return _number(side, KNIGHT)


@both_sides("bishops", kind="count", source=_COUNTS, difference=True)
def bishops(side: Side) -> Labels:
    """The number of bishops of {side}."""
    return _number(side, BISHOP)


@both_sides("rooks", kind="count", source=_COUNTS, difference=True)
def rooks(side: Side) -> Labels:
    """The number of rooks of {side}."""
    return _number(side, ROOK)


@both_sides("queens", kind="count", source=_COUNTS, difference=True)
def queens(side: Side) -> Labels:
    """The number of queens of {side}."""
    return _number(side, QUEEN)


def _bishops_by_colour(side: Side) -> tuple[Sets, Sets]:
    """Bishops on the squares of either colour."""
    variant = side.variant
    require(variant, BISHOP)
    light = np.uint64(int(variant.tables[LIGHT_SQUARES]) & (1 << variant.squares) - 1)
    found = side.own(BISHOP)
    return found & light, found & ~light


@both_sides("bishop pair", kind="binary", source="McGrath et al. 2022 (bishop pair)")
def bishop_pair(side: Side) -> Labels:
    """Bishops of {side} stand on squares of both colours."""
    light, dark = _bishops_by_colour(side)
    return np.asarray((light != 0) & (dark != 0), np.float64)


@concept("opposite-coloured bishops", kind="binary", source=f"{_GUIDE}, opposite bishops")
def opposite_bishops(positions: Positions) -> Labels:
    """Each side has one bishop, and they stand on squares of different colours."""
    mine, theirs = _bishops_by_colour(positions.me), _bishops_by_colour(positions.them)
    if positions.variant.height % 2 == 0:
        # The opponent counts ranks from the other end, where the colours are swapped.
        theirs = theirs[::-1]
    numbers = [count(found) for found in (*mine, *theirs)]
    one_each = (numbers[0] + numbers[1] == 1) & (numbers[2] + numbers[3] == 1)
    return np.asarray(one_each & (numbers[0] != numbers[2]), np.float64)
