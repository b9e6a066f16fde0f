"""The board as text, with files and ranks, for terminals, logs and `str(position)`."""

from engine.rules.geometry import Geometry
from engine.rules.notation.fen import piece_symbol
from engine.rules.tables import Row


def board_text(row: Row, board: Geometry, *, flipped: bool = False) -> str:
    """Draw a row `[R]`; `flipped` shows it from Black's side. No line ends in a blank or newline.

    3  p p p
    2  . . .
    1  P P P

       a b c
    """
    files = range(board.width)[:: -1 if flipped else 1]
    ranks = range(board.height)[:: 1 if flipped else -1]
    lines = []
    for rank in ranks:
        codes = (int(row[rank * board.width + file]) for file in files)
        lines.append(f"{rank + 1}  {' '.join(piece_symbol(board, code) for code in codes)}")
    letters = " ".join(chr(ord("a") + file) for file in files)
    return "\n".join([*lines, "", f"   {letters}"])
