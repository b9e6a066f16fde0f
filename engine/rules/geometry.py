"""The board and pieces of a variant: what notation needs to read and write positions and moves."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from engine.rules.moves import from_square, to_square
from engine.rules.tables import CASTLING_RIGHTS, KING, NO_SQUARE, STATE_SIZE, Tables


@dataclass(frozen=True, kw_only=True, eq=False)
class Geometry(ABC):
    """Board, pieces and regions. Bitmaps have bit s set for square s (S squares)."""

    name: str
    width: int
    height: int
    piece_letters: dict[int, str]
    """Piece type to its lower-case letter."""
    promotion_region: tuple[int, int]
    """Bitmaps for white and black; a pawn that arrives there must promote."""
    double_step_region: tuple[int, int]
    """Bitmaps, empty where the variant has no double step."""
    castling: tuple[tuple[int, int, int, int], ...]
    """For K, Q, k, q: squares king from, rook from, king to, rook to; NO_SQUARE for never."""

    @property
    def squares(self) -> int:
        """S."""
        return self.width * self.height

    @property
    def row_size(self) -> int:
        """R = S + 5."""
        return self.squares + STATE_SIZE

    @property
    def piece_types(self) -> tuple[int, ...]:
        """All piece types of the variant, promoted ones included."""
        return tuple(sorted(self.piece_letters))

    @property
    def has_king(self) -> bool:
        """Whether the king is royal."""
        return KING in self.piece_letters

    @property
    @abstractmethod
    def tables(self) -> Tables:
        """The first argument of every kernel."""

    def castling_target(self, move: int) -> int:
        """The square on which the king lands by a castling move; NO_SQUARE for another move."""
        squares = from_square(move), to_square(move)
        for right in range(CASTLING_RIGHTS):
            if self.castling[right][:2] == squares:
                return self.castling[right][2]
        return NO_SQUARE
