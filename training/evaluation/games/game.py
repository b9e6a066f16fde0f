"""One game of a match: in progress, and finished, with its record."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final
from zlib import crc32

from engine.rules.pgn import GameRecord
from engine.rules.position import Position
from engine.rules.tables import BLACK, CLOCK, REPETITION, WHITE
from engine.rules.variant import Variant
from training.evaluation.games.tags import date_text, in_one_line
from training.evaluation.openings import Opening

LONGEST_GAME: Final = 512
"""Plies, including the opening. A longer game is a draw."""


class Ending(StrEnum):
    """Why a game ended; the values are those of the PGN tag Termination (PGN standard, 9.8.1)."""

    NORMAL = "normal"
    """By the rules of the game."""
    PLY_LIMIT = "adjudication"
    """A draw after so many plies."""
    ILLEGAL = "rules infraction"
    """Lost by an illegal move, or by an engine that died."""
    TIME = "time forfeit"
    """Lost by an engine that did not answer."""


@dataclass(frozen=True, kw_only=True)
class PlayedGame:
    """One finished game between players A and B."""

    # Counted from 0; games 2i and 2i + 1 share an opening.
    number: int
    # The colour of A.
    colour: int
    # WHITE, BLACK or None for a draw.
    winner: int | None
    ending: Ending
    # In words: the rule that ended the game, or what went wrong.
    reason: str
    # The moves, opening included.
    record: GameRecord
    # Moves of the opening.
    opening_plies: int = 0

    @property
    def points(self) -> float:
        """A's points: 0, ½ or 1."""
        return 0.5 if self.winner is None else float(self.winner == self.colour)

    @property
    def identity(self) -> tuple[int, ...]:
        """Equal for games that are equal from their starts on, move by move."""
        return crc32(self.record.start_fen.encode()), *self.record.moves

    def continuations(self) -> list[int]:
        """See `continuations` of this module."""
        start = Position(self.record.variant, self.record.start_fen)
        return continuations(start, self.record.moves, self.opening_plies)


def continuations(start: Position, moves: Sequence[int], opening_plies: int) -> list[int]:
    """One number for each position from the end of the opening on, which stands for the position
    and all later moves.

    Positions that differ only in clock and repetitions count as equal. The numbers hold for this
    process only, because Python's hashes do.
    """
    position, rows = start.copy(), []
    place = start.variant.squares
    for move in (*moves, None):
        row = position.row.copy()
        row[[place + CLOCK, place + REPETITION]] = 0
        rows.append(row.tobytes())
        if move is not None:
            position.push(move)
    # Backwards: each hash contains that of the following position.
    found, rest = [], 0
    for ply in range(len(rows) - 1, opening_plies - 1, -1):
        rest = hash((rest, *moves[ply : ply + 1]))
        found.append(hash((rows[ply], rest)))
    return found[::-1]


class GameInProgress:
    """A game in progress."""

    def __init__(
        self,
        number: int,
        place: int,
        names: tuple[str, str],
        variant: Variant,
        opening: Opening,
        longest: int,
    ) -> None:
        # A has White in the first game of a pair.
        self.number, self.place, self.colour = number, place, BLACK if number % 2 else WHITE
        self.names = names[self.colour], names[1 - self.colour]
        self.opening = opening
        self.position = Position(variant, opening.start_fen)
        self._start_fen = self.position.fen()
        self._date = date_text(date.today())
        self._longest = longest
        self._end: tuple[int | None, Ending, str] | None = None
        for move in opening.moves:
            self.position.push(move)
        self._check_end()

    @property
    def over(self) -> bool:
        return self._end is not None

    @property
    def mover(self) -> int:
        """0 where A is to move, 1 where B is."""
        return int(self.position.turn != self.colour)

    def play(self, move: int) -> None:
        """Play the move of the side to move; an illegal one loses the game."""
        if move not in self.position.legal_moves:
            self.forfeit(Ending.ILLEGAL, f"an illegal move ({self.position.uci(move)})")
            return
        self.position.push(move)
        self._check_end()

    def forfeit(self, ending: Ending, reason: str) -> None:
        self._end = 1 - self.position.turn, ending, reason

    def _check_end(self) -> None:
        outcome = self.position.outcome()
        if outcome is not None:
            words = outcome.termination.name.lower().replace("_", " ")
            self._end = outcome.winner, Ending.NORMAL, words
        elif len(self.position.move_stack) >= self._longest:
            self._end = None, Ending.PLY_LIMIT, f"unfinished after {self._longest} plies"

    def finished(self) -> PlayedGame:
        assert self._end is not None
        winner, ending, reason = self._end
        moves = tuple(self.position.move_stack)
        opening_plies = len(self.opening.moves)
        comments = {opening_plies: "end of the opening"} if opening_plies else {}
        last = comments.get(len(moves))
        comments[len(moves)] = f"{last}; {reason}" if last else reason
        tags = {
            "Event": "Pawnscope match",
            "Date": self._date,
            "Round": str(self.number + 1),
            "White": in_one_line(self.names[WHITE]),
            "Black": in_one_line(self.names[BLACK]),
            "Termination": ending.value,
        }
        if self.opening.name:
            tags["Opening"] = in_one_line(self.opening.name)
        record = GameRecord(
            variant=self.position.variant,
            start_fen=self._start_fen,
            moves=moves,
            result={WHITE: "1-0", BLACK: "0-1", None: "1/2-1/2"}[winner],
            tags=tags,
            comments=comments,
        )
        return PlayedGame(
            number=self.number,
            colour=self.colour,
            winner=winner,
            ending=ending,
            reason=reason,
            record=record,
            opening_plies=opening_plies,
        )
