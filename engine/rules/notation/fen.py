"""Forsyth-Edwards notation for boards of any size.

Fields after the side to move may be left out; castling and en passant are `-` where unknown.
"""

import re
from typing import Final

import numpy as np

from engine.rules.attacks import is_check
from engine.rules.errors import FenError
from engine.rules.geometry import Geometry
from engine.rules.kernels import generated_moves
from engine.rules.moves import from_square, to_square
from engine.rules.tables import (
    BLACK,
    BLACK_BIT,
    CASTLING,
    CLOCK,
    EMPTY,
    EN_PASSANT,
    KING,
    LARGEST_CLOCK,
    NO_SQUARE,
    PAWN,
    ROOK,
    SIDE,
    WHITE,
    Row,
)

CHESS_START: Final = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"
_RIGHTS: Final = "KQkq"


def square_name(board: Geometry, square: int) -> str:
    """`a1` for 0."""
    return chr(ord("a") + square % board.width) + str(square // board.width + 1)


def parse_square(board: Geometry, text: str) -> int:
    """The square of that name, NO_SQUARE where the board has none such."""
    match = re.fullmatch("([a-h])([1-8])", text)
    if not match:
        return NO_SQUARE
    file, rank = ord(match[1]) - ord("a"), int(match[2]) - 1
    if file >= board.width or rank >= board.height:
        return NO_SQUARE
    return rank * board.width + file


def piece_symbol(board: Geometry, code: int) -> str:
    """The FEN letter of a piece code, upper case for White; "." for an empty square."""
    if code == EMPTY:
        return "."
    letter = board.piece_letters[code & ~BLACK_BIT]
    return letter if code & BLACK_BIT else letter.upper()


def _place_pieces(board: Geometry, placement: str, row: Row) -> None:
    codes = {letter: piece_type for piece_type, letter in board.piece_letters.items()}
    ranks = placement.split("/")
    if len(ranks) != board.height:
        raise FenError(f"'{placement}' has {len(ranks)} ranks, {board.name} has {board.height}")
    for index, rank in enumerate(ranks):
        squares: list[int] = []
        for sign in rank:
            if sign in "12345678":
                squares += [EMPTY] * int(sign)
            elif sign.lower() in codes:
                squares.append(codes[sign.lower()] | (BLACK_BIT if sign.islower() else 0))
            else:
                raise FenError(f"'{sign}' is not a piece of {board.name}")
        if len(squares) != board.width:
            counted = f"{len(squares)} squares, {board.name} has {board.width}"
            raise FenError(f"the rank '{rank}' has {counted}")
        start = (board.height - 1 - index) * board.width
        row[start : start + board.width] = squares


def _split_fields(text: str) -> tuple[str, str, str, str, int, int]:
    fields = text.split()
    if not 1 <= len(fields) <= 6:
        raise FenError(f"expected 1 to 6 fields, found {len(fields)}")
    side = fields[1] if len(fields) > 1 else "w"
    if side not in ("w", "b"):
        raise FenError(f"the side to move is '{side}', expected w or b")
    rest = fields[2:]
    texts = [field for field in rest if not re.fullmatch(r"-?\d+", field)]
    numbers = rest[len(texts) :]
    if rest[: len(texts)] != texts or len(texts) > 2 or len(numbers) > 2:
        raise FenError(f"cannot read '{' '.join(rest)}' after the side to move")
    for number, high in zip(numbers, (LARGEST_CLOCK, 10**6), strict=False):
        if not number.isdigit() or int(number) > high:
            raise FenError(f"the counter '{number}' is not a number up to {high}")
    castling, en_passant = (*texts, "-", "-")[:2]
    clock, full_move = map(int, (*numbers, *("0", "1")[len(numbers) :]))
    return fields[0], side, castling, en_passant, clock, full_move


def _set_castling(board: Geometry, castling: str, row: Row) -> None:
    for letter in castling:
        if letter not in _RIGHTS or castling.count(letter) > 1:
            raise FenError(f"the castling rights '{castling}' cannot be read")
        right = _RIGHTS.index(letter)
        king, rook = board.castling[right][:2]
        colour_bit = BLACK_BIT if right >= 2 else 0
        if king == NO_SQUARE or row[king] != KING | colour_bit:
            raise FenError(f"no king can castle for the right '{letter}'")
        if row[rook] != ROOK | colour_bit:
            raise FenError(f"no rook can castle for the right '{letter}'")
        row[board.squares + CASTLING] |= 1 << right


def _set_en_passant(board: Geometry, name: str, row: Row) -> None:
    """Keep the square only where a capture there is legal, as `apply` does."""
    square = parse_square(board, name)
    side = int(row[board.squares + SIDE])
    forward = board.width if side == BLACK else -board.width
    mover = PAWN | (BLACK_BIT if side == WHITE else 0)
    start, end = square - forward, square + forward
    pieces = row[: board.squares]
    if (
        square == NO_SQUARE
        or not (0 <= start < board.squares and 0 <= end < board.squares)
        or not board.double_step_region[1 - side] >> start & 1
        or (pieces[start], pieces[square], pieces[end]) != (EMPTY, EMPTY, mover)
    ):
        raise FenError(f"no pawn has just passed over '{name}'")
    row[board.squares + EN_PASSANT] = square
    sources = [
        from_square(move)
        for move in generated_moves(board.tables, row)
        if to_square(move) == square and int(row[from_square(move)]) & ~BLACK_BIT == PAWN
    ]
    if all(source % board.width == square % board.width for source in sources):
        row[board.squares + EN_PASSANT] = NO_SQUARE


def _check_pieces(board: Geometry, row: Row) -> None:
    pieces = row[: board.squares]
    for colour, name in ((WHITE, "White"), (BLACK, "Black")):
        bit = BLACK_BIT if colour == BLACK else 0
        kings = int((pieces == (KING | bit)).sum())
        if board.has_king and kings != 1:
            raise FenError(f"{name} has {kings} kings, expected 1")
        for square in np.flatnonzero(pieces == (PAWN | bit)).tolist():
            if board.promotion_region[colour] >> square & 1:
                where = square_name(board, square)
                raise FenError(f"a pawn stands on {where}, where it must promote")
    if board.has_king:
        waiting = row.copy()
        waiting[board.squares + SIDE] ^= 1
        if is_check(board.tables, waiting):
            raise FenError("the side that is not to move stands in check")


def parse_fen(board: Geometry, text: str) -> tuple[Row, int]:
    """A row uint8[R] and the number of the full move; raises FenError that quotes the text."""
    text = " ".join(text.split())
    try:
        placement, side, castling, en_passant, clock, full_move = _split_fields(text)
        row = np.zeros(board.row_size, dtype=np.uint8)
        _place_pieces(board, placement, row)
        state = row[board.squares :]
        state[SIDE] = BLACK if side == "b" else WHITE
        state[EN_PASSANT], state[CLOCK] = NO_SQUARE, clock
        _check_pieces(board, row)
        if castling != "-":
            _set_castling(board, castling, row)
        if en_passant != "-":
            _set_en_passant(board, en_passant, row)
    except FenError as problem:
        raise FenError(f"FEN '{text}': {problem}") from None
    return row, full_move


def placement_text(board: Geometry, row: Row) -> str:
    """The first field of the FEN."""
    ranks = []
    for rank in reversed(range(board.height)):
        codes = row[rank * board.width : (rank + 1) * board.width].tolist()
        signs = "".join(piece_symbol(board, code) for code in codes)
        ranks.append(re.sub(r"\.+", lambda gap: str(len(gap[0])), signs))
    return "/".join(ranks)


def write_fen(board: Geometry, row: Row, full_move: int = 1) -> str:
    """The six fields of a row."""
    state = row[board.squares :].tolist()
    rights = "".join(letter for i, letter in enumerate(_RIGHTS) if state[CASTLING] >> i & 1)
    target = state[EN_PASSANT]
    return " ".join(
        (
            placement_text(board, row),
            "b" if state[SIDE] == BLACK else "w",
            rights or "-",
            "-" if target == NO_SQUARE else square_name(board, target),
            str(state[CLOCK]),
            str(full_move),
        )
    )
