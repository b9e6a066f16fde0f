"""Moves as UCI text: `e2e4`, `e7e8q`."""

from engine.rules.errors import IllegalMoveError
from engine.rules.geometry import Geometry
from engine.rules.kernels import generated_moves, legal_moves
from engine.rules.moves import from_square, is_castling, make_move, promotion, to_square
from engine.rules.notation.fen import square_name, write_fen
from engine.rules.tables import Row


def write_uci(board: Geometry, row: Row, move: int) -> str:
    """The move as UCI text.

    Castling is the king's own move (e1g1), except where that is an ordinary king move too; then it
    is king takes rook (Fairy-Stockfish's rule).
    """
    source, target = from_square(move), to_square(move)
    if is_castling(row, move):
        landing = board.castling_target(move)
        if make_move(source, landing) not in generated_moves(board.tables, row):
            target = landing
    letter = board.piece_letters[promotion(move)] if promotion(move) else ""
    return square_name(board, source) + square_name(board, target) + letter


def parse_uci(board: Geometry, row: Row, text: str, full_move: int = 1) -> int:
    """The legal move of that UCI text; raises IllegalMoveError that quotes the text and the FEN.

    Castling may also be written as king takes rook.
    """
    wanted = " ".join(text.split())
    legal = legal_moves(board.tables, row)
    for move in legal:
        if write_uci(board, row, move) == wanted:
            return move
    for move in legal:
        names = square_name(board, from_square(move)) + square_name(board, to_square(move))
        if is_castling(row, move) and names == wanted:
            return move
    raise IllegalMoveError(refusal(board, row, wanted, full_move, is_over=not legal))


def refusal(board: Geometry, row: Row, text: str, full_move: int, *, is_over: bool) -> str:
    """The message for a move that is not legal."""
    reason = "comes after the end of the game in" if is_over else "is not legal in"
    return f"the move '{text}' {reason} '{write_fen(board, row, full_move)}' ({board.name})"
