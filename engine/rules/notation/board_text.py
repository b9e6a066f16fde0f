"""The board as text, with files and ranks, for terminals, logs and `str(position)`."""

import numpy as np
import numpy.typing as npt

from engine.rules.geometry import Geometry
from engine.rules.tables import BLACK_BIT, EMPTY

_EMPTY_SIGN = "."
_WHITE_SYMBOLS = dict(zip("pnbrqk", "♙♘♗♖♕♔", strict=True))
_BLACK_SYMBOLS = dict(zip("pnbrqk", "♟♞♝♜♛♚", strict=True))


def piece_text(code: int, variant: Geometry, *, unicode: bool = False) -> str:
    """One sign for a piece: its letter (capital for White) or, where it has one, its symbol."""
    if code == EMPTY:
        return _EMPTY_SIGN
    letter = variant.piece_letters[code & ~BLACK_BIT]
    if code & BLACK_BIT:
        return _BLACK_SYMBOLS.get(letter, letter) if unicode else letter
    return _WHITE_SYMBOLS.get(letter, letter.upper()) if unicode else letter.upper()


def board_text(
    row: npt.NDArray[np.uint8],
    variant: Geometry,
    *,
    unicode: bool = False,
    flipped: bool = False,
) -> str:
    """Draw a row `[R]`; `flipped` shows it from Black's side. No line ends in a blank or newline.

    3  p p p
    2  . . .
    1  P P P

       a b c
    """
    files = range(variant.width)[:: -1 if flipped else 1]
    ranks = range(variant.height)[:: 1 if flipped else -1]
    margin = len(str(variant.height))
    lines = []
    for rank in ranks:
        signs = [
            piece_text(int(row[rank * variant.width + file]), variant, unicode=unicode)
            for file in files
        ]
        lines.append(f"{rank + 1:>{margin}}  {' '.join(signs)}")
    letters = " ".join(chr(ord("a") + file) for file in files)
    return "\n".join([*lines, "", f"{'':{margin}}  {letters}"])
