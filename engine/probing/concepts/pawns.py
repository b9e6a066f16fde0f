"""Concepts of pawns: their structure, their way to the goal, their spare moves.

A pawn is a piece that goes straight forward one rank at a time (`pawn_types`): the pawn of chess,
that of Hexapawn and of Breakthrough, and what a variant's own Betza notation makes of one. Squares
are those that the pawn's side sees, playing up the board.
"""

from typing import Final

import numpy as np

from engine.probing.concepts.board.sides import Counts, Sets, Side, count
from engine.probing.concepts.board.undefined import ConceptUndefinedError
from engine.probing.concepts.board.variant_facts import (
    UNREACHABLE,
    capture_vectors,
    goal_distances,
    pawn_types,
    require_king,
)
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Labels, both_sides, concept
from engine.rules.tables import KING

_GUIDE: Final = "Stockfish Evaluation Guide"
_WIKI: Final = "Chess Programming Wiki"


@both_sides("passed pawns", kind="count", source=f"{_WIKI}, Passed Pawn", difference=True)
def passed(side: Side) -> Labels:
    """The number of pawns of {side} with no pawn of {other} ahead on their file or a file next to
    it.
    """
    return count(side.shared(_passed))


def _passed(side: Side) -> Sets:
    guards = side.enemy_pawns | side.beside(side.enemy_pawns)
    return side.pawns & ~side.behind(guards)


@both_sides("isolated pawns", kind="count", source=f"{_WIKI}, Isolated Pawn")
def isolated(side: Side) -> Labels:
    """The number of pawns of {side} with no pawn of their own side on the files next to theirs."""
    return count(side.shared(_isolated))


def _isolated(side: Side) -> Sets:
    files = side.up(side.down(side.pawns))
    return side.pawns & ~side.beside(files)


@both_sides("doubled pawns", kind="count", source=f"{_WIKI}, Doubled Pawn")
def doubled(side: Side) -> Labels:
    """The number of pawns of {side} that have another one of their side ahead on their file."""
    return count(side.pawns & side.behind(side.pawns))


@both_sides("blocked pawns", kind="count", source=f"{_GUIDE}, blocked")
def blocked(side: Side) -> Labels:
    """The number of pawns of {side} with a piece of either side on the square straight ahead."""
    return count(side.pawns & side.shift(side.occupied, 0, -1))


@both_sides("backward pawns", kind="count", source=f"{_WIKI}, Backward Pawn")
def backward(side: Side) -> Labels:
    """The number of pawns of {side} that have pawns of their side on a file next to theirs, all of
    them farther ahead, and whose next square straight ahead a pawn of {other} attacks.
    """
    # Squares level with or ahead of a pawn on the next file: its pawns there are not left behind.
    supported = side.up(side.beside(side.pawns))
    held = side.shift(side.enemy_pawn_attacks, 0, -1)
    return count(side.pawns & ~side.shared(_isolated) & ~supported & held)


@both_sides("connected pawns", kind="count", source=f"{_GUIDE}, connected")
def connected(side: Side) -> Labels:
    """The number of pawns of {side} beside another one on the same rank or protected by one."""
    return count(side.pawns & (side.beside(side.pawns) | side.pawn_attacks))


@both_sides("pawn islands", kind="count", source=f"{_WIKI}, Pawn Islands")
def islands(side: Side) -> Labels:
    """The number of groups of neighbouring files with pawns of {side}, as files without one divide
    them.
    """
    files = side.down(side.pawns) & side.ranks(0)
    return count(files & ~side.shift(files, 1, 0))


@both_sides("pawn levers", kind="count", source=f"{_WIKI}, Lever")
def levers(side: Side) -> Labels:
    """The number of pawns of {side} that attack a pawn of {other}."""
    found = np.zeros(len(side), np.uint64)
    for piece_type in pawn_types(side.variant):
        for files, ranks in capture_vectors(side.variant, piece_type):
            found |= side.own(piece_type) & side.shift(side.enemy_pawns, -files, -ranks)
    return count(found)


@both_sides("pawn advancement", kind="count", source=f"{_WIKI}, Pawn Advantage", difference=True)
def advancement(side: Side) -> Labels:
    """The number of ranks by which the pawns of {side} stand above their own first rank, summed."""
    total = np.zeros(len(side))
    for rank in range(1, side.height):
        total += rank * np.bitwise_count(side.pawns & side.ranks(rank))
    return total


@both_sides("pawn majority on a wing", kind="binary", source=f"{_WIKI}, Pawn Majority")
def majority(side: Side) -> Labels:
    """{side} has more pawns than {other} on the left or on the right half of the board, a middle
    file belonging to neither.
    """
    half = side.width // 2
    if not half:
        raise ConceptUndefinedError(f"{side.variant.name} has a single file, and so no wings")
    more = np.zeros(len(side), np.bool_)
    for files in (range(half), range(side.width - half, side.width)):
        wing = side.files(*files)
        more |= np.bitwise_count(side.pawns & wing) > np.bitwise_count(side.enemy_pawns & wing)
    return np.asarray(more, np.float64)


@concept("a pawn can break through", kind="binary", source="the passed pawn, with the move counted")
def breakthrough(positions: Positions) -> Labels:
    """The side to move has a pawn (or a piece that moves like one) that can walk straight to the
    last rank, and no enemy pawn could block or capture it on the way: no enemy pawn stands a files
    aside and d ranks ahead of it with d at least the larger of 1 and 2a.

    In pictures, P with the move; an enemy pawn on x stops it, one on o comes too late:

        x  x  x  x  x
        o  x  x  x  o      a = 1: an enemy two or more ranks ahead captures P as it passes, but at
        o  x  x  x  o             d = 1 it is too late, P steps past it;
        o  o  x  o  o      a = 2: it must come nearer first, so that it takes four ranks.
        o  o  P  o  o

    An enemy pawn that can come nearer only by capturing counts as one that stops P. On boards of up
    to four ranks this makes no difference, and the definition is exact (tests play out every
    position). Pieces other than pawns are ignored, and so is whether the enemy would be faster
    elsewhere: this is the passed pawn of chess with the move taken into account, not a proof of a
    win.
    """
    return np.asarray(positions.me.shared(_runners_to_move) != 0, np.float64)


@concept(
    "their pawn will break through", kind="binary", source="the passed pawn, with the move counted"
)
def their_breakthrough(positions: Positions) -> Labels:
    """The opponent has a pawn that will walk straight to the last rank although the side to move
    moves first: none of its pawns stands a files aside and d ranks ahead with d at least the larger
    of 1 and 2a - 1.
    """
    return np.asarray(positions.them.shared(_runners_to_wait) != 0, np.float64)


def _runners_to_move(side: Side) -> Sets:
    return _runners(side, tempo=0)


def _runners_to_wait(side: Side) -> Sets:
    return _runners(side, tempo=1)


def _runners(side: Side, tempo: int) -> Sets:
    """Pawns that no enemy pawn can stop, which has `tempo` moves more to do so."""
    stopped = np.zeros(len(side), np.uint64)
    # Squares up to `reach` files beside an enemy pawn.
    near, reach = side.enemy_pawns, 0
    for ahead in range(1, side.height):
        while reach < (ahead + tempo) // 2:
            near, reach = near | side.beside(near), reach + 1
        stopped |= side.shift(near, 0, -ahead)
    return side.pawns & ~stopped


@both_sides("distance of the leading pawn", kind="count", source=f"{_WIKI}, Pawn Race")
def leader(side: Side) -> Labels:
    """The fewest moves straight ahead that a pawn of {side} needs to promote or to win, whatever
    stands in its way, and undefined without pawns.
    """
    return _nearest(side, np.full(len(side), side.everywhere))


def _nearest(side: Side, among: Sets) -> Counts:
    """The fewest moves to the goal of the pawns in a set; NaN where it holds none."""
    nearest = np.full(len(side), np.nan)
    by_distance = goal_distances(side.variant)
    reached = {int(d) for found in by_distance.values() for d in found if d < UNREACHABLE}
    for distance in sorted(reached, reverse=True):
        has = np.zeros(len(side), np.bool_)
        for piece_type, distances in by_distance.items():
            squares = sum(1 << int(s) for s in np.flatnonzero(distances == distance))
            has |= side.own(piece_type) & among & np.uint64(squares) != 0
        nearest[has] = distance
    return nearest


def _moves_of_runners(positions: Positions) -> tuple[Counts, Counts]:
    """The moves that the fastest unstoppable pawns of both sides need, infinite without one."""
    mine = _nearest(positions.me, positions.me.shared(_runners_to_move))
    theirs = _nearest(positions.them, positions.them.shared(_runners_to_wait))
    return np.nan_to_num(mine, nan=np.inf), np.nan_to_num(theirs, nan=np.inf)


@concept("pawn race won", kind="binary", source=f"{_WIKI}, Pawn Race")
def race_won(positions: Positions) -> Labels:
    """By counting moves, the side to move has a pawn that no pawn can stop and that reaches its
    goal before any such pawn of the opponent.
    """
    mine, theirs = positions.shared(_moves_of_runners)
    return np.asarray((mine < np.inf) & (mine <= theirs), np.float64)


@concept("pawn race lost", kind="binary", source=f"{_WIKI}, Pawn Race")
def race_lost(positions: Positions) -> Labels:
    """By counting moves, the opponent has a pawn that no pawn can stop, the side to move having the
    move, and that reaches its goal before any such pawn of the side to move.
    """
    mine, theirs = positions.shared(_moves_of_runners)
    return np.asarray(theirs < mine, np.float64)


@both_sides("spare pawn moves", kind="count", source=f"{_WIKI}, Tempo")
def spare_moves(side: Side) -> Labels:
    """The number of single steps that the pawns of {side} can make straight ahead before they meet
    a piece or a square that a pawn of {other} attacks, as the board stands.
    """
    return side.shared(_spare_moves)


def _spare_moves(side: Side) -> Counts:
    free = side.empty & ~side.enemy_pawn_attacks
    front, total = side.pawns, np.zeros(len(side))
    for _ in range(1, side.height):
        front = side.shift(front, 0, 1) & free
        total += np.bitwise_count(front)
    return total


@concept("odd number of spare pawn moves", kind="binary", source=f"{_WIKI}, Zugzwang (tempo)")
def parity(positions: Positions) -> Labels:
    """The spare pawn moves of both sides together are odd in number, so that the side to move makes
    the last of them.
    """
    return (positions.me.shared(_spare_moves) + positions.them.shared(_spare_moves)) % 2


@concept("kings in opposition", kind="binary", source=f"{_WIKI}, Opposition (direct)")
def opposition(positions: Positions) -> Labels:
    """The kings face each other on a file or a rank with one square between them, so that the
    opponent has the opposition.
    """
    me = positions.me
    require_king(me.variant)
    king = me.own(KING)
    facing = np.zeros(len(me), np.uint64)
    for files, ranks in ((0, 2), (0, -2), (2, 0), (-2, 0)):
        facing |= me.shift(king, files, ranks)
    return np.asarray(facing & me.enemy(KING) != 0, np.float64)
