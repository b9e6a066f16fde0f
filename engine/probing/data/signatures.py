"""Coarser kinds of position, for a split that is harder than one by canonical position.

A probe that has seen every material signature can score by interpolating among near positions. If a
whole signature or pawn skeleton is held out, it cannot.
"""

from typing import Literal

import numpy as np

from engine.probing.data.canonical import Boards, Groups, canonical_groups, smaller_mirror
from engine.rules.tables import BLACK_BIT, EMPTY, PAWN, PIECE_CODES
from engine.rules.variant import Variant

HeldOut = Literal["material", "pawns"]
"""What is held out whole: a material signature or a pawn skeleton."""
NAMES: dict[HeldOut, str] = {"material": "material signature", "pawns": "pawn skeleton"}


def signatures(boards: Boards, variant: Variant, kind: HeldOut) -> Groups:
    """[N] number of each canonical board's [N, S] kind, 0 to the number of kinds - 1.

    A material signature counts the pieces of each type and side. A pawn skeleton says where the
    pawns stand, of a game with pieces of other types beside them.
    """
    if kind == "pawns":
        pawns = np.where(np.isin(boards, (PAWN, PAWN | BLACK_BIT)), boards, EMPTY)
        return canonical_groups(smaller_mirror(pawns, variant))
    counts = np.stack([(boards == code).sum(axis=1) for code in range(1, PIECE_CODES)], axis=1)
    return canonical_groups(counts.astype(np.uint8))


def usual_kind(variant: Variant) -> HeldOut:
    """Pawn skeletons where there are pawns of chess among other pieces, else material."""
    return "pawns" if PAWN in variant.piece_types and len(variant.piece_types) > 2 else "material"
