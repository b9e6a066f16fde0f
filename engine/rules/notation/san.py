"""Standard algebraic notation for every variant.

A move is its piece's letter, as much of the from-square as is needed, `x`, the to-square and
`=Q`; `O-O` and `O-O-O` castle. Pawns have no letter and name their file when they capture; so do
the men of Hexapawn and Breakthrough, and any custom piece whose letter is p where there are no
pawns. `+` is a check, `#` a checkmate or a move that wins by the variant's own rule.
(PGN standard, section 8.2.3; python-chess for the use of `#` in variants.)
"""

import re
from typing import Final

from engine.rules.errors import IllegalMoveError
from engine.rules.moves import from_square, promotion, to_square
from engine.rules.notation.fen import square_name
from engine.rules.position import Position, Termination
from engine.rules.tables import BLACK_BIT, PAWN
from engine.rules.variant import Variant

_SAN: Final = re.compile(
    r"(?P<piece>[A-Z])?(?P<file>[a-h])?(?P<rank>[1-8])?[-x:]?"
    r"(?P<to>[a-h][1-8])(?:=?(?P<promotion>[A-Za-z]))?"
)
_MARKS: Final = re.compile(r"[+#!?]+\Z")
_CASTLING: Final = {"O-O": True, "0-0": True, "O-O-O": False, "0-0-0": False}
"""Whether it castles towards the higher files (king's side)."""


def _is_pawn_like(piece_type: int, variant: Variant) -> bool:
    if PAWN in variant.piece_types:
        return piece_type == PAWN
    return variant.piece_letters[piece_type] == "p"


def _piece_type(position: Position, square: int) -> int:
    return int(position.row[square]) & ~BLACK_BIT


def _disambiguation(position: Position, move: int) -> str:
    """The file, else the rank, else both that tell the move from those of like pieces."""
    width = position.variant.width
    origin, piece_type = from_square(move), _piece_type(position, from_square(move))
    rivals = [
        from_square(other)
        for other in position.legal_moves
        if to_square(other) == to_square(move)
        and promotion(other) == promotion(move)
        and from_square(other) != origin
        and _piece_type(position, from_square(other)) == piece_type
        and not position.is_castling(other)
    ]
    text = square_name(position.variant, origin)
    named = _is_pawn_like(piece_type, position.variant) and position.is_capture(move)
    if all(rival % width != origin % width for rival in rivals):
        return text[0] if rivals or named else ""
    if all(rival // width != origin // width for rival in rivals) and not named:
        return text[1]
    return text


def _without_mark(position: Position, move: int) -> str:
    variant = position.variant
    if position.is_castling(move):
        return "O-O" if to_square(move) > from_square(move) else "O-O-O"
    piece_type = _piece_type(position, from_square(move))
    text = "" if _is_pawn_like(piece_type, variant) else variant.piece_letters[piece_type].upper()
    text += _disambiguation(position, move)
    text += "x" if position.is_capture(move) else ""
    text += square_name(variant, to_square(move))
    if promotion(move):
        text += f"={variant.piece_letters[promotion(move)].upper()}"
    return text


def _mark(position: Position, move: int) -> str:
    mover = position.turn
    position.push(move)
    try:
        outcome = position.outcome()
        if outcome is not None and (
            outcome.winner == mover or outcome.termination == Termination.CHECKMATE
        ):
            return "#"
        return "+" if position.is_check() else ""
    finally:
        position.pop()


def san(position: Position, move: int) -> str:
    """Write a legal move; raises IllegalMoveError where it is not legal here."""
    if move not in position.legal_moves:
        raise IllegalMoveError(
            f"the move '{position.uci(move)}' is not legal in '{position.fen()}'"
            f" ({position.variant.name})"
        )
    return _without_mark(position, move) + _mark(position, move)


def _candidates(position: Position, text: str) -> list[int]:
    """The legal moves that the text may mean."""
    bare = _MARKS.sub("", text)
    if bare in _CASTLING:
        return [
            move
            for move in position.legal_moves
            if position.is_castling(move)
            and (to_square(move) > from_square(move)) == _CASTLING[bare]
        ]
    match = _SAN.fullmatch(bare)
    if match is None:
        return []
    variant = position.variant
    letters = {letter: piece_type for piece_type, letter in variant.piece_letters.items()}
    wanted = letters.get((match["piece"] or "").lower())
    found = []
    for move in position.legal_moves:
        piece_type = _piece_type(position, from_square(move))
        origin = square_name(variant, from_square(move))
        if (
            square_name(variant, to_square(move)) == match["to"]
            and not position.is_castling(move)
            and (piece_type == wanted if match["piece"] else _is_pawn_like(piece_type, variant))
            and match["file"] in (None, origin[0])
            and match["rank"] in (None, origin[1])
            and (
                match["promotion"] is None
                or promotion(move) == letters.get(match["promotion"].lower())
            )
        ):
            found.append(move)
    return found


def parse_san(position: Position, text: str) -> int:
    """Read a move; raises IllegalMoveError that quotes the text and the FEN.

    Check marks and `!?` are not looked at, more of the from-square than needed may be given, a
    pawn's letter may be written, zeros may castle, and `x` and `=` may be left out.
    """
    text = " ".join(text.split())
    moves = _candidates(position, text)
    if len(moves) == 1:
        return moves[0]
    where = f"'{position.fen()}' ({position.variant.name})"
    if moves:
        choices = " or ".join(position.uci(move) for move in moves)
        raise IllegalMoveError(f"the move '{text}' is ambiguous, {choices}, in {where}")
    reason = "is not legal in" if position.legal_moves else "comes after the end of the game in"
    raise IllegalMoveError(f"the move '{text}' {reason} {where}")
