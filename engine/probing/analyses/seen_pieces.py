"""Boards as the side to move sees them, as letters: upper case is its own, lower case theirs."""

import numpy as np
import numpy.typing as npt

from engine.probing.data.canonical import Rows, canonical_boards, canonical_groups, seen_boards
from engine.rules.tables import BLACK_BIT, EMPTY
from engine.rules.variant import Variant


def seen_letters(rows: Rows, variant: Variant) -> tuple[tuple[str, ...], ...]:
    """The letter on each square, "" where it is empty, of rows uint8[N, R]."""
    return tuple(
        tuple(piece_letter(int(code), variant) for code in board)
        for board in seen_boards(rows, variant)
    )


def piece_letter(code: int, variant: Variant) -> str:
    """Of a piece code as seen: a type, or type | 16 for the opponent's."""
    if code == EMPTY:
        return ""
    letter = variant.piece_letters[code & ~BLACK_BIT]
    return letter.lower() if code & BLACK_BIT else letter.upper()


def piece_name(code: int, variant: Variant) -> str:
    """In words: "my P", "their Q"."""
    side = "their" if code & BLACK_BIT else "my"
    return f"{side} {piece_letter(code, variant).upper()}"


def one_of_each(
    rows: Rows, variant: Variant, most: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Indices of one row of each canonical position, at most `most` of them, drawn at random."""
    groups = canonical_groups(canonical_boards(rows, variant))
    first = np.unique(groups, return_index=True)[1]
    if len(first) > most:
        first = rng.choice(first, most, replace=False)
    return np.sort(first).astype(np.int64)
