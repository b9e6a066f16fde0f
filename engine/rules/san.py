"""Standard algebraic notation for every variant.

A move is its piece's letter, as much of the from-square as is needed, `x`, the to-square and
`=Q`; `O-O` and `O-O-O` castle. Pawns have no letter and name their file when they capture; so do
the men of Hexapawn and Breakthrough, and any custom piece whose letter is p where there are no
pawns. `#` marks a move that wins the game, by mate or by the variant's own rule, `+` a check.
(PGN standard, section 8.2.3; python-chess for the use of `#` in variants.)
"""

import re
from typing import TYPE_CHECKING, Final

from engine.rules.errors import IllegalMoveError
from engine.rules.moves import from_square, promotion, to_square
from engine.rules.tables import BLACK_BIT, EMPTY, EN_PASSANT, PAWN
from engine.rules.variant import Variant

if TYPE_CHECKING:
    from engine.rules.position import Position

_SAN: Final = re.compile(
    r"(?P<piece>[A-Z])?(?P<file>[a-z])?(?P<rank>[0-9]+)?[-x:]?"
    r"(?P<to>[a-z][0-9]+)(?:=?(?P<promotion>[A-Za-z]))?"
)
_MARKS: Final = re.compile(r"[+#!?]+\Z")
_CASTLING: Final = {"O-O": True, "0-0": True, "O-O-O": False, "0-0-0": False}
"""Whether it castles towards the higher files (king's side)."""


def _square_text(square: int, variant: Variant) -> str:
    return f"{chr(ord('a') + square % variant.width)}{square // variant.width + 1}"


def _is_pawn_like(piece_type: int, variant: Variant) -> bool:
    if PAWN in variant.piece_types:
        return piece_type == PAWN
    return variant.piece_letters[piece_type] == "p"


def _piece_type(position: "Position", square: int) -> int:
    return int(position.row[square]) & ~BLACK_BIT


def _is_castling(position: "Position", move: int) -> bool:
    """Inside, castling is the king taking its own rook."""
    mover, target = position.row[from_square(move)], position.row[to_square(move)]
    return target != EMPTY and (mover & BLACK_BIT) == (target & BLACK_BIT)


def _is_capture(position: "Position", move: int) -> bool:
    square = to_square(move)
    if position.row[square] != EMPTY:
        return True
    en_passant = position.row[position.variant.squares + EN_PASSANT]
    if square != en_passant or _piece_type(position, from_square(move)) != PAWN:
        return False
    width = position.variant.width
    return square % width != from_square(move) % width


def _disambiguation(position: "Position", move: int) -> str:
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
        and not _is_castling(position, other)
    ]
    text = _square_text(origin, position.variant)
    named = _is_pawn_like(piece_type, position.variant) and _is_capture(position, move)
    if all(rival % width != origin % width for rival in rivals):
        return text[0] if rivals or named else ""
    if all(rival // width != origin // width for rival in rivals) and not named:
        return text[1:]
    return text


def _without_mark(position: "Position", move: int) -> str:
    variant = position.variant
    if _is_castling(position, move):
        return "O-O" if to_square(move) > from_square(move) else "O-O-O"
    piece_type = _piece_type(position, from_square(move))
    text = "" if _is_pawn_like(piece_type, variant) else variant.piece_letters[piece_type].upper()
    text += _disambiguation(position, move)
    text += "x" if _is_capture(position, move) else ""
    text += _square_text(to_square(move), variant)
    if promotion(move):
        text += f"={variant.piece_letters[promotion(move)].upper()}"
    return text


def san(position: "Position", move: int) -> str:
    """Write a legal move; raises IllegalMoveError where it is not legal here."""
    if move not in position.legal_moves:
        raise IllegalMoveError(f"illegal move '{position.uci(move)}' in '{position.fen()}'")
    text = _without_mark(position, move)
    mover = position.turn
    position.push(move)
    try:
        outcome = position.outcome()
        if outcome is not None and outcome.winner == mover:
            return text + "#"
        return text + "+" if position.is_check() else text
    finally:
        position.pop()


def _candidates(position: "Position", text: str) -> list[int]:
    """The legal moves that the text may mean, promotions to be told apart by the caller."""
    bare = _MARKS.sub("", text.strip())
    if bare in _CASTLING:
        return [
            move
            for move in position.legal_moves
            if _is_castling(position, move)
            and (to_square(move) > from_square(move)) == _CASTLING[bare]
        ]
    match = _SAN.fullmatch(bare)
    if match is None:
        raise IllegalMoveError(f"'{text}' is not a move in algebraic notation")
    letters = {letter: piece_type for piece_type, letter in position.variant.piece_letters.items()}
    wanted = letters.get((match["piece"] or "").lower())
    found = []
    for move in position.legal_moves:
        piece_type = _piece_type(position, from_square(move))
        origin = _square_text(from_square(move), position.variant)
        named = match["piece"] is not None
        if (
            _square_text(to_square(move), position.variant) == match["to"]
            and not _is_castling(position, move)
            and (piece_type == wanted if named else _is_pawn_like(piece_type, position.variant))
            and match["file"] in (None, origin[0])
            and match["rank"] in (None, origin[1:])
            and (
                match["promotion"] is None
                or promotion(move) == letters.get(match["promotion"].lower())
            )
        ):
            found.append(move)
    return found


def parse_san(position: "Position", text: str) -> int:
    """Read a move; raises IllegalMoveError that quotes the text and the FEN.

    Check marks and `!?` are not looked at, more of the from-square than needed may be given, a
    pawn's letter may be written, zeros may castle, and `x` and `=` may be left out.
    """
    moves = _candidates(position, text)
    if len(moves) == 1:
        return moves[0]
    if moves:
        choices = " or ".join(position.uci(move) for move in moves)
        raise IllegalMoveError(f"ambiguous move '{text}' ({choices}) in '{position.fen()}'")
    raise IllegalMoveError(f"illegal move '{text}' in '{position.fen()}'")
