"""Concepts of pawns."""

import numpy as np

from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import ConceptUndefinedError, Labels, concept
from engine.rules.betza import MOVE_ONLY
from engine.rules.variant import Variant


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
    variant = positions.variant
    types = pawn_types(variant)
    own, enemy = positions.my(*types), positions.their(*types)
    stopped = np.zeros_like(own)
    for ahead in range(1, variant.height):
        for aside in range(-(ahead // 2), ahead // 2 + 1):
            left, right = max(0, -aside), min(variant.width, variant.width - aside)
            if left < right:
                seen = enemy[:, ahead:, left + aside : right + aside]
                stopped[:, :-ahead, left:right] |= seen
    return np.asarray((own & ~stopped).any(axis=(1, 2)), np.float64)


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
