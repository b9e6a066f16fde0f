"""Standard algebraic notation for every variant.

A move is its piece's letter, as much of the from-square as is needed, `x`, the to-square and
`=Q`; `O-O` and `O-O-O` castle. Pawns have no letter and name their file when they capture; so do
the pieces of Hexapawn and Breakthrough, and any custom piece whose letter is p where there are no
pawns. `+` is a check, `#` a checkmate or a move that wins by the variant's own rule.
(PGN standard, section 8.2.3; python-chess for the use of `#` in variants.)
"""

import re
from typing import Final

import numpy as np

from engine.rules.attacks import is_check
from engine.rules.errors import IllegalMoveError
from engine.rules.geometry import Geometry
from engine.rules.kernels import apply, generated_moves, is_capture, legal_moves
from engine.rules.moves import from_square, is_castling, promotion, to_square
from engine.rules.notation.fen import square_name, write_fen
from engine.rules.notation.uci import refusal, write_uci
from engine.rules.outcome import CHECKMATE, terminal_value, termination
from engine.rules.tables import BLACK_BIT, PAWN, Row

_SAN: Final = re.compile(
    r"(?P<piece>[A-Z])?(?P<file>[a-h])?(?P<rank>[1-8])?[-x:]?"
    r"(?P<to>[a-h][1-8])(?:=?(?P<promotion>[A-Za-z]))?"
)
_MARKS: Final = re.compile(r"[+#!?]+\Z")
_CASTLING: Final = {"O-O": True, "0-0": True, "O-O-O": False, "0-0-0": False}
"""Whether it castles towards the higher files (king's side)."""


def _is_pawn_like(piece_type: int, board: Geometry) -> bool:
    if PAWN in board.piece_types:
        return piece_type == PAWN
    return board.piece_letters[piece_type] == "p"


def _piece_type(row: Row, move: int) -> int:
    return int(row[from_square(move)]) & ~BLACK_BIT


def _disambiguation(board: Geometry, row: Row, move: int) -> str:
    """The file, else the rank, else both that tell the move from those of like pieces."""
    origin, piece_type = from_square(move), _piece_type(row, move)
    rivals = [
        from_square(other)
        for other in legal_moves(board.tables, row)
        if to_square(other) == to_square(move)
        and promotion(other) == promotion(move)
        and from_square(other) != origin
        and _piece_type(row, other) == piece_type
        and not is_castling(row, other)
    ]
    text = square_name(board, origin)
    named = _is_pawn_like(piece_type, board) and is_capture(board.tables, row, move)
    if all(rival % board.width != origin % board.width for rival in rivals):
        return text[0] if rivals or named else ""
    if all(rival // board.width != origin // board.width for rival in rivals) and not named:
        return text[1]
    return text


def _without_mark(board: Geometry, row: Row, move: int) -> str:
    if is_castling(row, move):
        return "O-O" if to_square(move) > from_square(move) else "O-O-O"
    piece_type = _piece_type(row, move)
    text = "" if _is_pawn_like(piece_type, board) else board.piece_letters[piece_type].upper()
    text += _disambiguation(board, row, move)
    text += "x" if is_capture(board.tables, row, move) else ""
    text += square_name(board, to_square(move))
    if promotion(move):
        text += f"={board.piece_letters[promotion(move)].upper()}"
    return text


def _mark(board: Geometry, row: Row, move: int) -> str:
    tables, after = board.tables, np.empty_like(row)
    apply(tables, row, move, after)
    reason = termination(tables, after, len(generated_moves(tables, after)))
    if reason == CHECKMATE or (reason and terminal_value(tables, reason, after) < 0):
        return "#"
    return "+" if is_check(tables, after) else ""


def write_san(board: Geometry, row: Row, move: int, full_move: int = 1) -> str:
    """Write a legal move; raises IllegalMoveError where it is not legal here."""
    if move not in legal_moves(board.tables, row):
        text = write_uci(board, row, move)
        raise IllegalMoveError(refusal(board, row, text, full_move, is_over=False))
    return _without_mark(board, row, move) + _mark(board, row, move)


def _candidates(board: Geometry, row: Row, text: str) -> list[int]:
    """The legal moves that the text may mean."""
    bare = _MARKS.sub("", text)
    legal = legal_moves(board.tables, row)
    if bare in _CASTLING:
        return [
            move
            for move in legal
            if is_castling(row, move) and (to_square(move) > from_square(move)) == _CASTLING[bare]
        ]
    match = _SAN.fullmatch(bare)
    if match is None:
        return []
    letters = {letter: piece_type for piece_type, letter in board.piece_letters.items()}
    wanted = letters.get((match["piece"] or "").lower())
    found = []
    for move in legal:
        piece_type = _piece_type(row, move)
        origin = square_name(board, from_square(move))
        if (
            square_name(board, to_square(move)) == match["to"]
            and not is_castling(row, move)
            and (piece_type == wanted if match["piece"] else _is_pawn_like(piece_type, board))
            and match["file"] in (None, origin[0])
            and match["rank"] in (None, origin[1])
            and (
                match["promotion"] is None
                or promotion(move) == letters.get(match["promotion"].lower())
            )
        ):
            found.append(move)
    return found


def parse_san(board: Geometry, row: Row, text: str, full_move: int = 1) -> int:
    """Read a move; raises IllegalMoveError that quotes the text and the FEN.

    Check marks and `!?` are ignored, more of the from-square than needed may be given, a pawn's
    letter may be written, zeros may castle, and `x` and `=` may be left out.
    """
    text = " ".join(text.split())
    moves = _candidates(board, row, text)
    if len(moves) == 1:
        return moves[0]
    if moves:
        choices = " or ".join(write_uci(board, row, move) for move in moves)
        where = f"'{write_fen(board, row, full_move)}' ({board.name})"
        raise IllegalMoveError(f"the move '{text}' is ambiguous, {choices}, in {where}")
    is_over = not legal_moves(board.tables, row)
    raise IllegalMoveError(refusal(board, row, text, full_move, is_over=is_over))
