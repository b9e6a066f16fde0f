"""Forsyth-Edwards notation for boards of any size.

Fields after the side to move may be left out; castling and en passant are `-` where unknown.
"""

import re
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from engine.rules.attacks import is_check
from engine.rules.errors import FenError
from engine.rules.kernels import generate
from engine.rules.tables import (
    BLACK,
    BLACK_BIT,
    CASTLING,
    CLOCK,
    EMPTY,
    EN_PASSANT,
    KING,
    LARGEST_CLOCK,
    MAX_MOVES,
    NO_SQUARE,
    PAWN,
    REPETITION,
    ROOK,
    SIDE,
    WHITE,
)

if TYPE_CHECKING:
    from engine.rules.variant import Variant

Row = npt.NDArray[np.uint8]

CHESS_START: Final = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"
_RIGHTS: Final = "KQkq"


def square_name(variant: "Variant", square: int) -> str:
    """`a1` for 0."""
    return chr(ord("a") + square % variant.width) + str(square // variant.width + 1)


def parse_square(variant: "Variant", text: str) -> int:
    """The square of that name, NO_SQUARE where the board has none such."""
    match = re.fullmatch("([a-h])([1-8])", text)
    if not match:
        return NO_SQUARE
    file, rank = ord(match[1]) - ord("a"), int(match[2]) - 1
    if file >= variant.width or rank >= variant.height:
        return NO_SQUARE
    return rank * variant.width + file


def piece_symbol(variant: "Variant", code: int) -> str:
    """The FEN letter of a piece code: upper case for White."""
    letter = variant.piece_letters[code & ~BLACK_BIT]
    return letter if code & BLACK_BIT else letter.upper()


def _place_pieces(variant: "Variant", placement: str, row: Row, text: str) -> None:
    codes = {letter: piece_type for piece_type, letter in variant.piece_letters.items()}
    ranks = placement.split("/")
    if len(ranks) != variant.height:
        raise FenError(
            f"FEN '{text}': '{placement}' has {len(ranks)} ranks, {variant.name} has"
            f" {variant.height}"
        )
    for index, rank in enumerate(ranks):
        squares: list[int] = []
        for sign in rank:
            if sign in "12345678":
                squares += [EMPTY] * int(sign)
            elif sign.lower() in codes:
                squares.append(codes[sign.lower()] | (BLACK_BIT if sign.islower() else 0))
            else:
                raise FenError(f"FEN '{text}': '{sign}' is not a piece of {variant.name}")
        if len(squares) != variant.width:
            raise FenError(
                f"FEN '{text}': the rank '{rank}' has {len(squares)} squares, {variant.name} has"
                f" {variant.width}"
            )
        start = (variant.height - 1 - index) * variant.width
        row[start : start + variant.width] = squares


def _split_fields(text: str) -> tuple[str, str, str, str, int, int]:
    fields = text.split()
    if not 1 <= len(fields) <= 6:
        raise FenError(f"FEN '{text}': expected 1 to 6 fields, found {len(fields)}")
    side = fields[1] if len(fields) > 1 else "w"
    if side not in ("w", "b"):
        raise FenError(f"FEN '{text}': the side to move is '{side}', expected w or b")
    rest = fields[2:]
    texts = [field for field in rest if not re.fullmatch(r"-?\d+", field)]
    numbers = rest[len(texts) :]
    if rest[: len(texts)] != texts or len(texts) > 2 or len(numbers) > 2:
        raise FenError(f"FEN '{text}': cannot read '{' '.join(rest)}' after the side to move")
    for number, high in zip(numbers, (LARGEST_CLOCK, 10**6), strict=False):
        if not number.isdigit() or int(number) > high:
            raise FenError(f"FEN '{text}': the counter '{number}' is not a number up to {high}")
    castling, en_passant = (*texts, "-", "-")[:2]
    clock, full_move = (*(int(number) for number in numbers), 0, 1)[:2] if numbers else (0, 1)
    if len(numbers) == 1:
        full_move = 1
    return fields[0], side, castling, en_passant, clock, full_move


def _set_castling(variant: "Variant", castling: str, row: Row, text: str) -> None:
    if castling == "-":
        return
    for letter in castling:
        if letter not in _RIGHTS or castling.count(letter) > 1:
            raise FenError(f"FEN '{text}': the castling rights '{castling}' cannot be read")
        right = _RIGHTS.index(letter)
        king, rook = variant.castling[right][:2]
        colour_bit = BLACK_BIT if right >= 2 else 0
        if king == NO_SQUARE or row[king] != KING | colour_bit:
            raise FenError(f"FEN '{text}': no king can castle for the right '{letter}'")
        if row[rook] != ROOK | colour_bit:
            raise FenError(f"FEN '{text}': no rook can castle for the right '{letter}'")
        row[variant.squares + CASTLING] |= 1 << right


def _set_en_passant(variant: "Variant", name: str, row: Row, text: str) -> None:
    """Keep the square only where a capture there is legal, as `apply` does."""
    if name == "-":
        return

    square = parse_square(variant, name)
    side = int(row[variant.squares + SIDE])
    forward = variant.width if side == BLACK else -variant.width
    mover = PAWN | (BLACK_BIT if side == WHITE else 0)
    start, end = square - forward, square + forward
    board = row[: variant.squares]
    if (
        square == NO_SQUARE
        or not (0 <= start < variant.squares and 0 <= end < variant.squares)
        or not variant.double_step_region[1 - side] >> start & 1
        or (board[start], board[square], board[end]) != (EMPTY, EMPTY, mover)
    ):
        raise FenError(f"FEN '{text}': no pawn has just passed over '{name}'")
    row[variant.squares + EN_PASSANT] = square
    scratch = np.empty(MAX_MOVES, dtype=np.uint16)
    count = generate(variant.tables, row, scratch)
    captures = [
        move
        for move in scratch[:count].tolist()
        if move >> 6 & 63 == square and int(row[move & 63]) & 15 == PAWN
    ]
    if not any((move & 63) % variant.width != square % variant.width for move in captures):
        row[variant.squares + EN_PASSANT] = NO_SQUARE


def _check_pieces(variant: "Variant", row: Row, text: str) -> None:
    board = row[: variant.squares]
    for colour, name in ((WHITE, "White"), (BLACK, "Black")):
        bit = BLACK_BIT if colour == BLACK else 0
        kings = int((board == (KING | bit)).sum())
        if variant.has_king and kings != 1:
            raise FenError(f"FEN '{text}': {name} has {kings} kings, expected 1")
        pawns = np.flatnonzero(board == (PAWN | bit))
        for square in pawns:
            if variant.promotion_region[colour] >> int(square) & 1:
                raise FenError(
                    f"FEN '{text}': a pawn stands on {square_name(variant, int(square))}, where it"
                    " must promote"
                )
    if variant.has_king:
        waiting = row.copy()
        waiting[variant.squares + SIDE] ^= 1
        if is_check(variant.tables, waiting):
            raise FenError(f"FEN '{text}': the side that is not to move stands in check")


def parse_fen(variant: "Variant", text: str) -> tuple[Row, int]:
    """A row uint8[R] and the number of the full move; raises FenError that quotes the text."""
    text = " ".join(text.split())
    placement, side, castling, en_passant, clock, full_move = _split_fields(text)
    row = np.zeros(variant.row_size, dtype=np.uint8)
    _place_pieces(variant, placement, row, text)
    squares = variant.squares
    row[squares + SIDE] = BLACK if side == "b" else WHITE
    row[squares + EN_PASSANT] = NO_SQUARE
    row[squares + CLOCK] = clock
    row[squares + REPETITION] = 0
    _check_pieces(variant, row, text)
    _set_castling(variant, castling, row, text)
    _set_en_passant(variant, en_passant, row, text)
    return row, full_move


def placement_text(variant: "Variant", row: Row) -> str:
    """The first field of the FEN."""
    ranks = []
    for rank in reversed(range(variant.height)):
        codes = row[rank * variant.width : (rank + 1) * variant.width].tolist()
        signs = "".join(piece_symbol(variant, code) if code else "." for code in codes)
        ranks.append(re.sub(r"\.+", lambda gap: str(len(gap[0])), signs))
    return "/".join(ranks)


def write_fen(variant: "Variant", row: Row, full_move: int = 1) -> str:
    """The six fields of a row."""
    state = row[variant.squares :].tolist()
    rights = "".join(letter for i, letter in enumerate(_RIGHTS) if state[CASTLING] >> i & 1)
    target = state[EN_PASSANT]
    return " ".join(
        (
            placement_text(variant, row),
            "b" if state[SIDE] == BLACK else "w",
            rights or "-",
            "-" if target == NO_SQUARE else square_name(variant, target),
            str(state[CLOCK]),
            str(full_move),
        )
    )
