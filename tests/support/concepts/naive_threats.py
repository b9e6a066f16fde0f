"""Attacks and threats once more, in plain loops over the dictionary boards of the naive rules.

Nothing here comes from the tested code: lines are seen by taking a piece off the board and looking
what is attacked then.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.board.variant_facts import piece_values
from engine.rules.notation.fen import write_fen
from engine.rules.variant import Variant
from tests.support.rules.naive_rules import Board, Game, other, side_of, start
from tests.support.rules.naive_variant import Square, rules_of

KING_WORTH = 1000.0


@dataclass(frozen=True)
class NaiveThreats:
    """One position, asked about either side: "w" or "b"."""

    game: Game
    values: dict[str, float]

    @classmethod
    def of(cls, row: npt.NDArray[np.uint8], variant: Variant) -> "NaiveThreats":
        game = start(rules_of(variant.ini(), variant.name), write_fen(variant, row))
        worth = piece_values(variant)
        values = {letter: float(worth[t]) for t, letter in variant.piece_letters.items()}
        if variant.has_king:
            values[game.rules.king] = KING_WORTH
        return cls(game, values)

    @cached_property
    def me(self) -> str:
        return self.game.side

    @cached_property
    def you(self) -> str:
        return other(self.game.side)

    @property
    def board(self) -> Board:
        return self.game.board

    def seen(self, square: Square) -> int:
        """The number of a square as the side to move sees the board."""
        height, width = self.game.rules.height, self.game.rules.width
        rank = square[1] if self.me == "w" else height - 1 - square[1]
        return rank * width + square[0]

    def squares(self) -> list[Square]:
        rules = self.game.rules
        return [(file, rank) for rank in range(rules.height) for file in range(rules.width)]

    def pieces(self, side: str) -> list[Square]:
        return [square for square, piece in self.board.items() if side_of(piece) == side]

    def worth(self, square: Square) -> float:
        return self.values[self.board[square].lower()]

    def hits(self, board: Board, square: Square) -> set[Square]:
        """Squares on which the piece there could capture."""
        reach = self.game.reach(board, square, board[square])
        return {target for target, modes in reach if "c" in modes}

    def attackers(self, board: Board, target: Square, side: str) -> list[Square]:
        return [
            square
            for square, piece in board.items()
            if side_of(piece) == side and target in self.hits(board, square)
        ]

    def without(self, square: Square) -> Board:
        return {at: piece for at, piece in self.board.items() if at != square}

    def king(self, side: str) -> Square | None:
        letter = self.game.rules.king
        letter = letter.upper() if side == "w" else letter
        return next((at for at, piece in self.board.items() if letter and piece == letter), None)

    def exchange(self, board: Board, target: Square, side: str) -> float:
        """What `side` wins by capturing on the target, each time with the least piece, or not."""
        attackers = self.attackers(board, target, side)
        if not attackers:
            return 0.0
        worth = {at: self.values[board[at].lower()] for at in attackers}
        results = []
        for at in attackers:
            if worth[at] > min(worth.values()):
                continue
            after = {square: piece for square, piece in board.items() if square != at}
            after[target] = board[at]
            royal = board[at].lower() == self.game.rules.king
            if royal and self.attackers(after, target, other(side)):
                continue
            won = self.values[board[target].lower()]
            results.append(max(0.0, won - self.exchange(after, target, other(side))))
        # Equally valuable attackers may uncover different ones; any order is the definition.
        self.orders.append(len(set(results)))
        return results[0] if results else 0.0

    @cached_property
    def orders(self) -> list[int]:
        """Of each exchange, how many results its first captures had; above 1 it is ambiguous."""
        return []

    def hanging(self, side: str) -> dict[Square, float]:
        """The side's pieces, kings apart, that lose material, and how much."""
        gains = {
            square: self.exchange(self.board, square, other(side))
            for square in self.pieces(side)
            if square != self.king(side)
        }
        return {square: gain for square, gain in gains.items() if gain > 0}

    def worth_attacking(self, attacker: Square, target: Square) -> bool:
        defended = self.attackers(self.board, target, side_of(self.board[target]))
        return self.worth(target) > self.worth(attacker) or not defended

    def enemies_hit(self, board: Board, square: Square) -> set[Square]:
        side = side_of(board[square])
        hit = self.hits(board, square)
        return {at for at in hit if at in board and side_of(board[at]) != side}

    def forks(self, side: str) -> int:
        return sum(
            sum(self.worth_attacking(at, hit) for hit in self.enemies_hit(self.board, at)) > 1
            for at in self.pieces(side)
        )

    def pinned(self, side: str) -> int:
        king = self.king(side)
        assert king is not None
        before = set(self.attackers(self.board, king, other(side)))
        pieces = [at for at in self.pieces(side) if at != king]
        found = 0
        for at in pieces:
            shields = set(self.attackers(self.without(at), king, other(side))) - before
            # A shield that is not attacked itself, by a piece that cannot capture there, is none.
            found += any(at in self.hits(self.board, attacker) for attacker in shields)
        return found

    def lines(self, side: str) -> list[tuple[Square, Square, Square]]:
        """The side's attackers, an enemy that each attacks, and the enemy behind that one."""
        return [
            (at, first, behind)
            for at in self.pieces(side)
            for first in self.enemies_hit(self.board, at)
            for behind in self.enemies_hit(self.without(first), at)
            - self.enemies_hit(self.board, at)
        ]

    def pinned_to_piece(self, side: str) -> int:
        return len(
            {
                first
                for at, first, behind in self.lines(other(side))
                if behind != self.king(side)
                and self.worth(behind) > max(self.worth(first), self.worth(at))
            }
        )

    def skewers(self, side: str) -> int:
        return sum(
            behind != self.king(other(side))
            and self.worth(first) > max(self.worth(behind), self.worth(at))
            for at, first, behind in self.lines(side)
        )

    def can_fork(self) -> bool:
        """Whether a legal move forks where no enemy attacks the piece."""
        for text, step in self.game.legal.items():
            source, target = self.square(text[:2]), self.square(text[2:4])
            promoted = len(text) > 4
            moved = target in step.board and (promoted or step.board[target] == self.board[source])
            en_passant = moved and target not in self.board and len(step.board) < len(self.board)
            if step.castling or not moved or en_passant:
                continue
            if self.attackers(step.board, target, self.you):
                continue
            after = NaiveThreats(
                Game(self.game.rules, step.board, self.you, "", None, 0, 1), self.values
            )
            hit = after.enemies_hit(step.board, target)
            if sum(after.worth_attacking(target, at) for at in hit) > 1:
                return True
        return False

    def can_discover(self) -> bool:
        """Whether a move opens a line of another piece to an enemy worth attacking."""
        for at in self.pieces(self.me):
            before = self.enemies_hit(self.board, at)
            for text, step in self.game.legal.items():
                source = self.square(text[:2])
                if source == at or step.castling or len(step.board) < len(self.board) - 1:
                    continue
                opened = self.enemies_hit(self.without(source), at) - before
                after = self.hits(step.board, at)
                for target in opened:
                    stays = step.board.get(target) == self.board[target]
                    if stays and target in after and self.worth_attacking(at, target):
                        return True
        return False

    @staticmethod
    def square(text: str) -> Square:
        return "abcdefgh".index(text[0]), int(text[1]) - 1

    def ring(self, side: str) -> list[Square]:
        king = self.king(side)
        assert king is not None
        return [
            square
            for square in self.squares()
            if max(abs(square[0] - king[0]), abs(square[1] - king[1])) == 1
        ]
