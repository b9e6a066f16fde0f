"""What concept functions are handed: positions, with what several concepts need computed once."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from engine.probing.data.canonical import Rows, seen_boards
from engine.rules.tables import BLACK_BIT, EMPTY
from engine.rules.variant import Variant

Flags = npt.NDArray[np.bool_]
"""[N, H, W] whether something holds of each square, as the side to move sees the board."""


class Positions:
    """N unfinished positions of one variant, H ranks by W files, as their side to move sees them.

    The side to move plays up the board: index [n, 0, 0] is its own left corner, for Black as for
    White.
    """

    def __init__(self, rows: Rows, variant: Variant) -> None:
        """`rows` uint8[N, R]."""
        self.rows: Rows = np.ascontiguousarray(rows)
        self.variant = variant

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def boards(self) -> npt.NDArray[np.uint8]:
        """Piece codes [N, H, W]: those of the side to move are types, the opponent's type | 16."""
        shape = (-1, self.variant.height, self.variant.width)
        return seen_boards(self.rows, self.variant).reshape(shape)

    @cached_property
    def mine(self) -> Flags:
        """Squares with a piece of the side to move."""
        flags: Flags = (self.boards != EMPTY) & (self.boards < BLACK_BIT)
        return flags

    @cached_property
    def theirs(self) -> Flags:
        """Squares with a piece of the opponent."""
        return self.boards >= BLACK_BIT

    def my(self, *piece_types: int) -> Flags:
        """Squares with a piece of the side to move of one of these types (`PAWN` to `KING`)."""
        flags: Flags = np.isin(self.boards, piece_types)
        return flags

    def their(self, *piece_types: int) -> Flags:
        """Squares with a piece of the opponent of one of these types."""
        flags: Flags = np.isin(self.boards, [code | BLACK_BIT for code in piece_types])
        return flags
