"""Concepts of space: files, the centre, outposts, and what stands around the king.

Squares are those that the side sees, playing up the board.
"""

from typing import Final

import numpy as np

from engine.probing.concepts.board.sides import Sets, Side, count
from engine.probing.concepts.board.undefined import ConceptUndefinedError
from engine.probing.concepts.board.variant_facts import middle, require_king
from engine.probing.concepts.material import require
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Labels, both_sides, concept
from engine.rules.tables import BISHOP, KING, KNIGHT, ROOK

_GUIDE: Final = "Stockfish Evaluation Guide"
_WIKI: Final = "Chess Programming Wiki"


def _files_with(side: Side, sets: Sets) -> Sets:
    """All squares of the files on which the set has one."""
    return side.up(side.down(sets))


def _without_own_pawns(side: Side) -> Sets:
    """All squares of the files without pawns of the side."""
    return ~_files_with(side, side.pawns) & side.everywhere


@concept("open files", kind="count", source=f"{_WIKI}, Open File")
def open_files(positions: Positions) -> Labels:
    """The number of files without pawns of either side."""
    me = positions.me
    return count(~_files_with(me, me.pawns | me.enemy_pawns) & me.ranks(0))


@both_sides("half-open files", kind="count", source=f"{_WIKI}, Half-open File")
def half_open_files(side: Side) -> Labels:
    """The number of files with pawns of {other} and none of {side}."""
    files = side.shared(_without_own_pawns) & _files_with(side, side.enemy_pawns)
    return count(files & side.ranks(0))


@both_sides("rooks on open or half-open files", kind="count", source=f"{_GUIDE}, rook on file")
def rooks_on_files(side: Side) -> Labels:
    """The number of rooks of {side} on files without pawns of their own side."""
    require(side.variant, ROOK)
    return count(side.own(ROOK) & side.shared(_without_own_pawns))


@both_sides("connected rooks", kind="binary", source="McGrath et al. 2022 (connected rooks)")
def connected_rooks(side: Side) -> Labels:
    """Two rooks of {side} stand on one file or rank with nothing between them."""
    require(side.variant, ROOK)
    rooks = side.own(ROOK)
    seen = np.zeros(len(side), np.uint64)
    # Upwards and to the right is enough: of two rooks one is left of or below the other.
    for files, ranks in ((0, 1), (1, 0)):
        way = rooks
        for _ in range(max(side.width, side.height) - 1):
            way = side.shift(way, files, ranks)
            seen |= way
            way = way & side.empty
    return np.asarray(seen & rooks != 0, np.float64)


@both_sides("pieces in the centre", kind="count", source=f"{_WIKI}, Center Control")
def centre(side: Side) -> Labels:
    """The number of pieces of {side} on the centre: where the middle file, or the middle two of an
    even number, meets the middle rank or ranks.
    """
    return count(side.pieces & _centre(side))


def _centre(side: Side) -> np.uint64:
    return side.files(*middle(side.width)) & side.ranks(*middle(side.height))


@both_sides("pieces in the other half", kind="count", source=f"{_WIKI}, Space")
def beyond(side: Side) -> Labels:
    """The number of pieces of {side} beyond the middle of the board, a middle rank not included."""
    half = side.ranks(*range((side.height + 1) // 2, side.height))
    return count(side.pieces & half)


@both_sides("space", kind="count", source=f"{_GUIDE}, space area (simplified)", difference=True)
def space(side: Side) -> Labels:
    """The number of squares on the second rank and above within the own half, without the outer
    quarters of the files, that no pawn of {side} stands on and no pawn of {other} attacks.
    """
    edge = side.width // 4
    region = side.files(*range(edge, side.width - edge))
    region &= side.ranks(*range(1, 1 + (side.height - 1) // 2))
    return count(region & ~side.pawns & ~side.enemy_pawn_attacks)


@both_sides("outposts", kind="count", source=f"{_GUIDE}, outpost")
def outposts(side: Side) -> Labels:
    """The number of knights and bishops of {side} beyond the middle of the board that a pawn of
    their side protects and that no pawn of {other} could ever attack by advancing.
    """
    variant = side.variant
    minors = [kind for kind in (KNIGHT, BISHOP) if kind in variant.piece_types]
    if not minors:
        raise ConceptUndefinedError(f"{variant.name} has neither knights nor bishops")
    half = side.ranks(*range((side.height + 1) // 2, side.height))
    attackable = side.down(side.enemy_pawn_attacks)
    return count(side.own(*minors) & half & side.pawn_attacks & ~attackable)


def _king(side: Side) -> Sets:
    require_king(side.variant)
    return side.own(KING)


@both_sides("pawn shield", kind="count", source=f"{_WIKI}, King Safety (pawn shield)")
def pawn_shield(side: Side) -> Labels:
    """The number of pawns of {side} one or two ranks ahead of its king, on its file and those next
    to it.
    """
    king = _king(side)
    front = side.shift(king | side.beside(king), 0, 1)
    return count(side.pawns & (front | side.shift(front, 0, 1)))


@both_sides(
    "distance of the king from the centre", kind="count", source=f"{_WIKI}, King Centralization"
)
def king_centralisation(side: Side) -> Labels:
    """The number of king's moves from the king of {side} to the nearest central square."""
    return _king_steps(side, np.full(len(side), _centre(side)))


@concept("distance between the kings", kind="count", source=f"{_WIKI}, Distance (Chebyshev)")
def king_distance(positions: Positions) -> Labels:
    """The number of king's moves from one king to the other on an empty board."""
    return _king_steps(positions.me, positions.me.enemy(KING))


def _king_steps(side: Side, targets: Sets) -> Labels:
    """King's moves on an empty board to the nearest target of each position; NaN without a king."""
    king = _king(side)
    steps = np.where((king != 0) & (targets != 0), 0.0, np.nan)
    reached = king
    for _ in range(1, max(side.width, side.height)):
        steps += reached & targets == 0
        row = reached | side.beside(reached)
        reached = row | side.shift(row, 0, 1) | side.shift(row, 0, -1)
    return steps
