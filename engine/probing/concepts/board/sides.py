"""Sets of squares of many positions at once, as one side sees them.

A set is a 64-bit number, bit s for square s, so that one instruction on an array answers for all
positions (bitboards). Squares are numbered from the side's own left corner, along its first rank
(here on 4 files by 3 ranks); the side plays up the board:

    8  9 10 11
    4  5  6  7
    0  1  2  3

Each concept about one side is written once, for a `Side`: that of the side to move, or that of the
opponent, which sees the same board turned.
"""

from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.board.variant_facts import capture_vectors, pawn_types
from engine.rules.tables import BLACK_BIT, BOARD, EMPTY
from engine.rules.variant import Variant

Sets = npt.NDArray[np.uint64]
"""[N] a set of squares for each position."""
Counts = npt.NDArray[np.float64]
"""[N] whole numbers."""
Fact = TypeVar("Fact")


def count(sets: Sets) -> Counts:
    """The number of squares in each set."""
    return np.bitwise_count(sets).astype(np.float64)


class Side:
    """One side's pieces in N positions, as that side sees the board."""

    def __init__(
        self, boards: npt.NDArray[np.uint8], variant: Variant, *, turned: bool = False
    ) -> None:
        """`boards` uint8[N, H, W]: piece codes; the side's own are types, the other's type | 16.

        Where `turned`, as the other side sees them.
        """
        self.variant = variant
        self.width, self.height = variant.width, variant.height
        self._boards = boards
        self._turned = turned
        self._codes: dict[int, Sets] = {}
        self._facts: dict[Callable[[Side], Any], Any] = {}
        self.everywhere = self.files(*range(self.width))

    def __len__(self) -> int:
        return len(self._boards)

    def shared(self, fact: "Callable[[Side], Fact]") -> Fact:
        """What `fact` finds of this side, computed once: for what several concepts need."""
        if fact not in self._facts:
            self._facts[fact] = fact(self)
        found: Fact = self._facts[fact]
        return found

    @cached_property
    def _padded(self) -> npt.NDArray[np.uint8]:
        """Codes [N, 16 or 32 or 64] of the squares as this side numbers them, then empty ones."""
        size = next(size for size in (16, 32, BOARD) if size >= self.variant.squares)
        padded = np.zeros((len(self._boards), size), np.uint8)
        seen = self._boards[:, ::-1] if self._turned else self._boards
        padded[:, : self.variant.squares] = seen.reshape(len(padded), -1)
        return padded

    def _pack(self, flags: npt.NDArray[np.bool_]) -> Sets:
        packed = np.packbits(flags, bitorder="little").view(f"<u{flags.shape[1] // 8}")
        return packed.astype(np.uint64)

    def _code(self, code: int) -> Sets:
        if code not in self._codes:
            self._codes[code] = self._pack(self._padded == code)
        return self._codes[code]

    def own(self, *piece_types: int) -> Sets:
        """Squares with a piece of this side, of one of these types."""
        return self._union(piece_types, BLACK_BIT if self._turned else 0)

    def enemy(self, *piece_types: int) -> Sets:
        """Squares with a piece of the other side, of one of these types."""
        return self._union(piece_types, 0 if self._turned else BLACK_BIT)

    def _union(self, piece_types: tuple[int, ...], colour: int) -> Sets:
        found = self._code(piece_types[0] | colour)
        for piece_type in piece_types[1:]:
            found = found | self._code(piece_type | colour)
        return found

    @cached_property
    def enemies(self) -> Sets:
        """Squares with any piece of the other side."""
        others = self._pack(self._padded >= BLACK_BIT)
        return self.occupied & ~others if self._turned else others

    @cached_property
    def occupied(self) -> Sets:
        """Squares with a piece."""
        return self._pack(self._padded != EMPTY)

    @cached_property
    def pieces(self) -> Sets:
        """Squares with any piece of this side."""
        return self.occupied & ~self.enemies

    @cached_property
    def empty(self) -> Sets:
        """Squares without a piece."""
        return ~self.occupied & self.everywhere

    @cached_property
    def pawns(self) -> Sets:
        """Own pawns, or pieces that move like them. Raises ConceptUndefinedError without any."""
        return self.own(*pawn_types(self.variant))

    @cached_property
    def enemy_pawns(self) -> Sets:
        """The other side's pawns."""
        return self.enemy(*pawn_types(self.variant))

    @cached_property
    def pawn_attacks(self) -> Sets:
        """Squares on which own pawns could capture."""
        return self._pawn_attacks(self.own, 1)

    @cached_property
    def enemy_pawn_attacks(self) -> Sets:
        """Squares on which the other side's pawns could capture."""
        return self._pawn_attacks(self.enemy, -1)

    def _pawn_attacks(self, pieces: Callable[[int], Sets], forward: int) -> Sets:
        found = np.zeros(len(self), np.uint64)
        for piece_type in pawn_types(self.variant):
            for files, ranks in capture_vectors(self.variant, piece_type):
                found |= self.shift(pieces(piece_type), files, ranks * forward)
        return found

    def files(self, *numbers: int) -> np.uint64:
        """The squares of these files, 0 for the leftmost."""
        return _files(self.width, self.height, numbers)

    def ranks(self, *numbers: int) -> np.uint64:
        """The squares of these ranks, 0 for the side's first."""
        return _ranks(self.width, self.height, numbers)

    def shift(self, sets: Sets, files: int, ranks: int) -> Sets:
        """All squares moved to the right and up (negative: left and down), as far as the board."""
        if abs(files) >= self.width or abs(ranks) >= self.height:
            return np.zeros_like(sets)
        if files:
            stays = range(max(0, -files), min(self.width, self.width - files))
            sets = sets & self.files(*stays)
        distance = files + ranks * self.width
        if distance < 0:
            return sets >> np.uint64(-distance)
        return (sets << np.uint64(distance)) & self.everywhere

    def ahead(self, sets: Sets) -> Sets:
        """All squares in front of one of the set, on its file."""
        return self.up(self.shift(sets, 0, 1))

    def behind(self, sets: Sets) -> Sets:
        """All squares behind one of the set, on its file."""
        return self.down(self.shift(sets, 0, -1))

    def up(self, sets: Sets) -> Sets:
        """The set and all squares in front of it."""
        for ranks in (1, 2, 4):
            if ranks < self.height:
                sets = sets | self.shift(sets, 0, ranks)
        return sets

    def down(self, sets: Sets) -> Sets:
        """The set and all squares behind it."""
        for ranks in (1, 2, 4):
            if ranks < self.height:
                sets = sets | self.shift(sets, 0, -ranks)
        return sets

    def beside(self, sets: Sets) -> Sets:
        """The squares to the left and right of one of the set."""
        return self.shift(sets, -1, 0) | self.shift(sets, 1, 0)

    def flags(self, sets: Sets) -> npt.NDArray[np.bool_]:
        """The sets as flags [N, S]."""
        octets = sets.astype("<u8").view(np.uint8).reshape(len(sets), -1)
        bits = np.unpackbits(octets, axis=1, bitorder="little", count=self.variant.squares)
        return bits.astype(np.bool_)


def _set(squares: Iterable[int]) -> np.uint64:
    return np.uint64(sum(1 << square for square in squares))


@lru_cache(1024)
def _files(width: int, height: int, numbers: tuple[int, ...]) -> np.uint64:
    return _set(rank * width + file for rank in range(height) for file in numbers)


@lru_cache(1024)
def _ranks(width: int, height: int, numbers: tuple[int, ...]) -> np.uint64:
    return _set(rank * width + file for rank in numbers for file in range(width))
