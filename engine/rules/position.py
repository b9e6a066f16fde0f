"""`Position`: the friendly face of one row, with the habits of python-chess's Board."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules import kernels, moves, outcome
from engine.rules.attacks import is_check
from engine.rules.errors import IllegalMoveError, InputError, require_text
from engine.rules.history import hash_row, play_move
from engine.rules.notation.board_text import board_text
from engine.rules.notation.fen import parse_fen, write_fen
from engine.rules.notation.san import parse_san, write_san
from engine.rules.notation.uci import parse_uci, write_uci
from engine.rules.tables import BLACK, CLOCK, REPETITION, SIDE, WHITE
from engine.rules.variant import Variant, get_variant


class Termination(IntEnum):
    """Why a game is over; the numbers are those of `outcome.termination`."""

    ONGOING = outcome.ONGOING
    CHECKMATE = outcome.CHECKMATE
    STALEMATE = outcome.STALEMATE
    FLAG = outcome.FLAG
    EXTINCTION = outcome.EXTINCTION
    INSUFFICIENT_MATERIAL = outcome.INSUFFICIENT_MATERIAL
    MOVE_RULE = outcome.MOVE_RULE
    REPETITION = outcome.REPETITION_RULE


_CLAIMED_DRAWS: Final = (Termination.REPETITION, Termination.MOVE_RULE)


@dataclass(frozen=True)
class Outcome:
    """How a game ended."""

    winner: int | None
    """WHITE, BLACK or None for a draw."""
    termination: Termination

    @property
    def result(self) -> str:
        """As in a PGN: 1-0, 0-1 or 1/2-1/2."""
        return {WHITE: "1-0", BLACK: "0-1", None: "1/2-1/2"}[self.winner]

    def value(self, colour: int) -> int:
        """1, 0 or -1 for the colour that asks."""
        return 0 if self.winner is None else 1 if self.winner == colour else -1


def _require_number(move: object) -> None:
    if isinstance(move, str):
        raise InputError(f"push takes a move's number; push_text({move!r}) plays a text")
    if not isinstance(move, int | np.integer):
        raise InputError(f"push takes a move's number, not {move!r}")


class Position:
    """A position in a game: the row, and the earlier positions that count as repetitions.

    Moves are the numbers of `engine.rules.moves`, squares are numbered from a1, file fastest.
    Methods with `uci`, `san` or `text` in their names read and write moves as people do; `text`
    takes both notations.

        >>> import pawnscope as ps
        >>> position = ps.Position("hexapawn")
        >>> [position.san(move) for move in position.legal_moves]
        ['a2', 'b2', 'c2']
        >>> move = position.push_text("b2")      # or "b1b2"
        >>> position
        Position('hexapawn', 'ppp/1P1/P1P b - - 1 1')
        >>> ps.Position("gardner", "k4/5/5/4P/4K b").turn == 1    # Black is to move
        True
    """

    def __init__(self, variant: Variant | str, fen: str | None = None) -> None:
        """The start position of a variant or of its name, or the position of a FEN.

        Raises FenError, UnknownVariantError, and InputError for arguments of other types.
        """
        if not isinstance(variant, Variant):
            variant = get_variant(variant)
        if fen is None:
            fen = variant.start_fen
        require_text(fen, "a FEN")
        self.variant = variant
        self.row: npt.NDArray[np.uint8]
        self.row, self._first_full_move = parse_fen(variant, fen)
        self._first_side = self.turn
        self.hashes: list[int] = []
        # The moves played, each with the row before it.
        self._played: list[tuple[int, npt.NDArray[np.uint8]]] = []

    @classmethod
    def from_row(
        cls, row: npt.NDArray[np.uint8], variant: Variant, hashes: tuple[int, ...] = ()
    ) -> "Position":
        """The position of a row uint8[R], after earlier positions with these Zobrist hashes."""
        position = cls.__new__(cls)
        position.variant = variant
        position.row = np.array(row, dtype=np.uint8)
        position._first_full_move, position._first_side = 1, position.turn
        position.hashes, position._played = list(hashes), []
        return position

    def copy(self) -> "Position":
        """An independent copy with its history."""
        twin = Position.from_row(self.row, self.variant, tuple(self.hashes))
        twin._first_full_move, twin._first_side = self._first_full_move, self._first_side
        twin._played = list(self._played)
        return twin

    @property
    def turn(self) -> int:
        """WHITE or BLACK."""
        return int(self.row[self.variant.squares + SIDE])

    @property
    def move_stack(self) -> list[int]:
        """The moves played since this object was made."""
        return [move for move, _ in self._played]

    @property
    def first_row(self) -> npt.NDArray[np.uint8]:
        """The row with which this object was made, before the moves of `move_stack`."""
        return self._played[0][1] if self._played else self.row

    @property
    def clock(self) -> int:
        """Half-moves since the last capture or pawn move."""
        return int(self.row[self.variant.squares + CLOCK])

    @property
    def full_move(self) -> int:
        """The number of the full move, counted as in a FEN."""
        return self._first_full_move + (len(self._played) + self._first_side) // 2

    @property
    def legal_moves(self) -> list[int]:
        """All legal moves; empty when the game is over, draws included."""
        return kernels.legal_moves(self.variant.tables, self.row)

    def outcome(self) -> Outcome | None:
        """How the game ended, None while it has not."""
        tables = self.variant.tables
        move_count = len(kernels.generated_moves(tables, self.row))
        termination = Termination(outcome.termination(tables, self.row, move_count))
        if termination == Termination.ONGOING:
            return None
        value = outcome.terminal_value(tables, int(termination), self.row)
        winner = None if value == 0 else self.turn if value > 0 else 1 - self.turn
        return Outcome(winner, termination)

    def continued(self) -> "Position":
        """This position, with its clock and repetitions at 0 where these have drawn the game.

        A draw of this kind may have to be claimed, and people and GUIs may play on.
        """
        ending = self.outcome()
        if ending is None or ending.termination not in _CLAIMED_DRAWS:
            return self
        row = self.row.copy()
        row[[self.variant.squares + CLOCK, self.variant.squares + REPETITION]] = 0
        return Position.from_row(row, self.variant)

    def is_check(self) -> bool:
        """Whether the side to move stands in check."""
        return bool(is_check(self.variant.tables, self.row))

    def is_capture(self, move: int) -> bool:
        """Whether the move takes a piece, en passant included."""
        return kernels.is_capture(self.variant.tables, self.row, move)

    def push(self, move: int) -> None:
        """Play a legal move (trusted: take it from `legal_moves` or a parser).

        Raises InputError for anything but a number: `push_text` plays texts.
        """
        _require_number(move)
        tables = self.variant.tables
        self.hashes.append(int(hash_row(tables, self.row)))
        self._played.append((int(move), self.row))
        recent = np.array(self.hashes[-self.clock - 1 :], dtype=np.uint64)
        after = np.empty_like(self.row)
        play_move(tables, self.row, move, recent, len(recent), after)
        self.row = after

    def pop(self) -> int:
        """Take the last move back and return it; raises IndexError where none was played."""
        move, self.row = self._played.pop()
        self.hashes.pop()
        return move

    def fen(self) -> str:
        """The FEN of the position."""
        return write_fen(self.variant, self.row, self.full_move)

    def is_castling(self, move: int) -> bool:
        """Whether the move is the king's move onto its own rook."""
        return moves.is_castling(self.row, move)

    def uci(self, move: int) -> str:
        """The move as UCI text (`notation.uci`)."""
        return write_uci(self.variant, self.row, move)

    def parse_uci(self, text: str) -> int:
        """The legal move of that UCI text; raises IllegalMoveError that quotes text and FEN."""
        return parse_uci(self.variant, self.row, text, self.full_move)

    def push_uci(self, text: str) -> int:
        """Play the move of that UCI text and return it; raises IllegalMoveError."""
        move = self.parse_uci(text)
        self.push(move)
        return move

    def san(self, move: int) -> str:
        """The legal move in standard algebraic notation."""
        return write_san(self.variant, self.row, move, self.full_move)

    def parse_san(self, text: str) -> int:
        """The legal move of that SAN text; raises IllegalMoveError."""
        return parse_san(self.variant, self.row, text, self.full_move)

    def push_san(self, text: str) -> int:
        """Play the move of that SAN text and return it; raises IllegalMoveError."""
        move = self.parse_san(text)
        self.push(move)
        return move

    def parse_text(self, text: str) -> int:
        """The legal move of a UCI or SAN text (no text means two different moves).

        Raises IllegalMoveError, and InputError for anything but a text.
        """
        require_text(text, "a move's notation")
        try:
            return self.parse_uci(text)
        except IllegalMoveError:
            return self.parse_san(text)

    def push_text(self, text: str) -> int:
        """Play the move of a UCI or SAN text and return it; raises IllegalMoveError."""
        move = self.parse_text(text)
        self.push(move)
        return move

    def __str__(self) -> str:
        return board_text(self.row, self.variant)

    def __repr__(self) -> str:
        return f"Position({self.variant.name!r}, {self.fen()!r})"


__all__ = ["BLACK", "WHITE", "Outcome", "Position", "Termination"]
