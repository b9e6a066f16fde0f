"""Games as tokens: one for the start, one for each ply, one for the result.

    start  a2a3  b4a3  b1a3  …  e1e2  1-0

The token of a ply is the move's UCI text, which people and engines write as well. Sequences stay
short: one letter a token would make them five times as long. A vocabulary holds every move that the
pieces of its variants could make from any square, computed from the rules' tables: of one variant
(some hundred tokens, so the softmax is cheap) or of all built-in variants (`MoveTokenizer.of_all`).
Squares have the same names on every board, so "a2a3" is the same token in
every variant.

The last token is the result, which also says that the game is over. The special tokens have the
same numbers in every vocabulary, and the moves follow in alphabetical order:

    0 start    1 1-0    2 1/2-1/2    3 0-1    4 … moves
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import internal_kernel, kernel
from engine.rules.errors import InputError
from engine.rules.kernels import generate
from engine.rules.moves import make_move
from engine.rules.notation.fen import square_name
from engine.rules.outcome import terminal_value, termination
from engine.rules.tables import (
    BLACK_BIT,
    CASTLING_RIGHTS,
    CASTLING_SQUARES,
    EMPTY,
    KING,
    NO_SQUARE,
    PAWN,
    SIDE,
    SQUARES,
    Tables,
    piece_lines,
)
from engine.rules.variant import BUILT_IN, Variant, get_variant

START: Final = 0
WHITE_WINS: Final = 1
DRAW: Final = 2
BLACK_WINS: Final = 3
FIRST_MOVE: Final = 4
"""Tokens from here on are moves."""
SPECIAL: Final = ("start", "1-0", "1/2-1/2", "0-1")
"""The texts of the tokens before FIRST_MOVE."""
NO_TOKEN: Final = -1

_MOVE: Final = re.compile(r"[a-h][1-8][a-h][1-8][a-z]?")
_MOVES: Final = 1 << 16
"""The number of packed moves; the castling rights follow them in `Codes`."""

Codes = npt.NDArray[np.int32]
"""int32[65536 + 4]: the token of each packed move, then of castling with each right; NO_TOKEN for
moves that no piece makes. Castling is packed as king takes own rook; only the position tells it
from another move to that square, see `token_of`."""


def moves_of(variant: Variant) -> Iterator[tuple[int, str]]:
    """The indices into `Codes`, and the UCI texts, of all moves that the variant's pieces could
    make from any square."""
    width, height = variant.width, variant.height
    lines = piece_lines(variant.movements, width, height, variant.double_step_region)
    for (code, source), piece in lines.items():
        colour = code >> 4
        for target in {target for line in piece for target, _ in line}:
            text = square_name(variant, source) + square_name(variant, target)
            promotes = variant.promotion_region[colour] >> target & 1
            if code & ~BLACK_BIT == PAWN and promotes and variant.promotion_types:
                for kind in variant.promotion_types:
                    yield make_move(source, target, kind), text + variant.piece_letters[kind]
            else:
                yield make_move(source, target), text
    for right, (king, rook, landing, _) in enumerate(variant.castling):
        if king == NO_SQUARE:
            continue
        # As `Position.uci`: the king's own move, unless that is an ordinary king's move as well.
        steps = {target for line in lines[KING, king] for target, _ in line}
        target = rook if landing in steps else landing
        yield _MOVES + right, square_name(variant, king) + square_name(variant, target)


class MoveTokenizer:
    """A vocabulary of moves: from moves to tokens and back."""

    def __init__(self, moves: Iterable[str]) -> None:
        """The vocabulary of these UCI texts; raises InputError for a text that is not a move's."""
        texts = sorted(set(moves))
        for text in texts:
            if not _MOVE.fullmatch(text):
                raise InputError(f"'{text}' is not a move in UCI notation")
        # The text of each token.
        self.texts: Final = (*SPECIAL, *texts)
        self._tokens = {text: token for token, text in enumerate(self.texts)}

    @classmethod
    def of(cls, *variants: Variant) -> "MoveTokenizer":
        """The vocabulary of some variants; it depends on their rules alone."""
        return cls(text for variant in variants for _, text in moves_of(variant))

    @classmethod
    def of_all(cls) -> "MoveTokenizer":
        """The vocabulary of all built-in variants, Hexapawn in every size included."""
        return cls.of(*(get_variant(name) for name in BUILT_IN))

    def __len__(self) -> int:
        """V."""
        return len(self.texts)

    @cached_property
    def digest(self) -> str:
        """A short hash of the texts in their order."""
        return hashlib.sha256(" ".join(self.texts).encode()).hexdigest()[:16]

    def token(self, text: str) -> int:
        """The token of a move's UCI text or of a special text; raises InputError for another."""
        if text not in self._tokens:
            raise InputError(f"the vocabulary has no token '{text}'")
        return self._tokens[text]

    def codes(self, variant: Variant) -> Codes:
        """The table in which kernels look up tokens; raises InputError where the vocabulary lacks a
        move of the variant."""
        codes = np.full(_MOVES + CASTLING_RIGHTS, NO_TOKEN, np.int32)
        for index, text in moves_of(variant):
            if text not in self._tokens:
                raise InputError(f"the vocabulary lacks the move '{text}' of {variant.name}")
            codes[index] = self._tokens[text]
        return codes


@kernel
def token_of(
    tables: Tables, codes: Codes, row: npt.NDArray[np.uint8], move: int | np.uint16
) -> int:
    """The token of a legal move in the position of a row."""
    packed = np.int64(move)
    source, target = packed & 63, packed >> 6 & 63
    code, captured = row[source], row[target]
    if code & 15 == KING and captured != EMPTY and captured >> 4 == code >> 4:
        for right in range(CASTLING_RIGHTS):
            place = CASTLING_SQUARES + 4 * right
            if tables[place] == source and tables[place + 1] == target:
                return int(codes[_MOVES + right])
    return int(codes[packed])


@internal_kernel
def result_token(tables: Tables, row: npt.NDArray[np.uint8], reason: int) -> int:
    """The result token of a game that ended in the row's position for that reason."""
    value = terminal_value(tables, reason, row)
    if value == 0:
        return DRAW
    side = np.int64(row[tables[SQUARES] + SIDE])
    return WHITE_WINS if (value > 0) == (side == 0) else BLACK_WINS


@kernel
def next_tokens(
    tables: Tables,
    codes: Codes,
    row: npt.NDArray[np.uint8],
    moves: npt.NDArray[np.uint16],
    tokens: npt.NDArray[np.int32],
) -> int:
    """Write the legal moves and their tokens (arrays of MAX_MOVES) and return their number. Returns
    0 where the game is over; `tokens[0]` is then the result."""
    count = generate(tables, row, moves)
    reason = termination(tables, row, count)
    if reason:
        tokens[0] = result_token(tables, row, reason)
        return 0
    for index in range(count):
        tokens[index] = token_of(tables, codes, row, moves[index])
    return count
