"""What concept functions are handed: positions, with what several concepts need computed once."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.board.sides import Side
from engine.probing.concepts.truth import Truth
from engine.probing.data.canonical import Rows, seen_boards
from engine.probing.data.searched import Searched
from engine.rules.kernels import generate_batch
from engine.rules.tables import BLACK_BIT, EMPTY
from engine.rules.variant import Variant

Flags = npt.NDArray[np.bool_]
"""[N, H, W] whether something holds of each square, as the side to move sees the board."""

Fact = TypeVar("Fact")


class LegalMoves(NamedTuple):
    """The legal moves of N positions, M in all."""

    moves: npt.NDArray[np.uint16]
    """[M]; those of position n are `moves[offsets[n]:offsets[n + 1]]`."""
    offsets: npt.NDArray[np.int64]
    """[N + 1]."""

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """[N] legal moves of each position."""
        return np.diff(self.offsets)


class Positions:
    """N unfinished positions of one variant, H ranks by W files, as their side to move sees them.

    The side to move plays up the board: index [n, 0, 0] is its own left corner, for Black as for
    White.
    """

    def __init__(
        self,
        rows: Rows,
        variant: Variant,
        truth: Truth | None = None,
        searched: Searched | None = None,
    ) -> None:
        """`rows` uint8[N, R]; `truth` where exact results are known, `searched` where searches
        were made."""
        self.rows: Rows = np.ascontiguousarray(rows)
        self.variant = variant
        self.truth = truth
        self.searched = searched
        self._facts: dict[Callable[[Positions], Any], Any] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def shared(self, fact: "Callable[[Positions], Fact]") -> Fact:
        """What `fact` finds in these positions, computed once: for what several concepts need."""
        if fact not in self._facts:
            self._facts[fact] = fact(self)
        found: Fact = self._facts[fact]
        return found

    @cached_property
    def legal(self) -> LegalMoves:
        """The legal moves."""
        return LegalMoves(*generate_batch(self.variant.tables, self.rows))

    @cached_property
    def boards(self) -> npt.NDArray[np.uint8]:
        """Piece codes [N, H, W]: those of the side to move are types, the opponent's type | 16."""
        shape = (-1, self.variant.height, self.variant.width)
        return seen_boards(self.rows, self.variant).reshape(shape)

    @cached_property
    def me(self) -> Side:
        """The side to move and its sets of squares, for many positions at once."""
        return Side(self.boards, self.variant)

    @cached_property
    def them(self) -> Side:
        """The opponent and its sets of squares, as it sees the board from the other end."""
        return Side(self.boards, self.variant, turned=True)

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
