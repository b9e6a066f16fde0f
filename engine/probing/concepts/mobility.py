"""Concepts of mobility: how many moves there are, and by what.

Moves are legal ones. Those of the opponent are the moves that it would have if the side to move
passed, and undefined where that would leave a king to be captured.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.board.undefined import ConceptUndefinedError
from engine.probing.concepts.board.variant_facts import pawn_types
from engine.probing.concepts.facts.move_kernels import count_by_type
from engine.probing.concepts.facts.moves import if_passed, passed
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Labels, concept
from engine.rules.compilation.signatures import contiguous
from engine.rules.tables import (
    BISHOP,
    KING,
    KNIGHT,
    PIECE_TYPES,
    QUEEN,
    ROOK,
)

_MOBILITY: Final = "McGrath et al. 2022, table S1 (mobility)"
_BY_PIECE: Final = "Stockfish Evaluation Guide, mobility (here of legal moves)"
_NAMES: Final = {KNIGHT: "knights", BISHOP: "bishops", ROOK: "rooks", QUEEN: "queens", KING: "king"}


@concept("mobility", kind="count", source=_MOBILITY)
def mobility(positions: Positions) -> Labels:
    """The number of legal moves of the side to move."""
    return positions.legal.counts.astype(np.float64)


@concept("their mobility", kind="count", source=_MOBILITY)
def their_mobility(positions: Positions) -> Labels:
    """The number of moves that the opponent would have if the side to move passed, undefined where
    it is in check.
    """
    return positions.shared(_their_mobility)


def _their_mobility(positions: Positions) -> Labels:
    return if_passed(positions, positions.shared(passed).legal.counts)


def _moves_by_type(positions: Positions) -> npt.NDArray[np.int64]:
    """[N, PIECE_TYPES] legal moves of each type of piece."""
    counts = np.empty((len(positions), PIECE_TYPES), np.int64)
    count_by_type(contiguous(positions.rows, np.uint8), *positions.legal, counts)
    return counts


@concept("mobility (mine minus theirs)", kind="real", source=_MOBILITY)
def mobility_difference(positions: Positions) -> Labels:
    """Mine minus theirs: the number of legal moves of the side to move, and of those that the
    opponent would have if it passed, undefined in check.
    """
    return positions.legal.counts - positions.shared(_their_mobility)


def _moves_of(positions: Positions, *piece_types: int) -> Labels:
    variant = positions.variant
    if not set(piece_types) <= set(variant.piece_types):
        raise ConceptUndefinedError(f"{variant.name} has no {_NAMES[piece_types[0]]}")
    by_type = positions.shared(_moves_by_type)
    total: Labels = by_type[:, list(piece_types)].sum(axis=1).astype(np.float64)
    return total


@concept("pawn moves", kind="count", source=_BY_PIECE)
def pawn_moves(positions: Positions) -> Labels:
    """The number of legal moves of the side to move's pawns."""
    return _moves_of(positions, *pawn_types(positions.variant))


@concept("knight moves", kind="count", source=_BY_PIECE)
def knight_moves(positions: Positions) -> Labels:
    """The number of legal moves of the side to move's knights."""
    return _moves_of(positions, KNIGHT)


@concept("bishop moves", kind="count", source=_BY_PIECE)
def bishop_moves(positions: Positions) -> Labels:
    """The number of legal moves of the side to move's bishops."""
    return _moves_of(positions, BISHOP)


@concept("rook moves", kind="count", source=_BY_PIECE)
def rook_moves(positions: Positions) -> Labels:
    """The number of legal moves of the side to move's rooks."""
    return _moves_of(positions, ROOK)


@concept("queen moves", kind="count", source=_BY_PIECE)
def queen_moves(positions: Positions) -> Labels:
    """The number of legal moves of the side to move's queens."""
    return _moves_of(positions, QUEEN)


@concept("king moves", kind="count", source=_BY_PIECE)
def king_moves(positions: Positions) -> Labels:
    """The number of legal moves of the side to move's king, castling included."""
    return _moves_of(positions, KING)
