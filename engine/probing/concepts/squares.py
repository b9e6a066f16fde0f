"""What stands on each square."""

from typing import Final

import numpy as np

from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Labels, concept
from engine.rules.tables import (
    BISHOP,
    BLACK_BIT,
    EMPTY,
    FIRST_CUSTOM,
    KING,
    KNIGHT,
    PAWN,
    PIECE_TYPES,
    QUEEN,
    ROOK,
)

_BOARD_STATE: Final = "Karvonen 2024 (board state of a chess language model)"
_KINDS: Final = {
    EMPTY: "empty",
    PAWN: "pawn",
    KNIGHT: "knight",
    BISHOP: "bishop",
    ROOK: "rook",
    QUEEN: "queen",
    KING: "king",
} | {t: f"custom piece {t - FIRST_CUSTOM + 1}" for t in range(FIRST_CUSTOM, PIECE_TYPES)}


@concept("my piece on the square", kind="binary", source=_BOARD_STATE, per_square=True)
def my_piece(positions: Positions) -> Labels:
    """A piece of the side to move stands on the square."""
    return np.asarray(positions.mine, np.float64)


@concept("their piece on the square", kind="binary", source=_BOARD_STATE, per_square=True)
def their_piece(positions: Positions) -> Labels:
    """A piece of the opponent stands on the square."""
    return np.asarray(positions.theirs, np.float64)


@concept(
    "owner of the square",
    kind="categorical",
    source="Nanda et al. 2023 (mine, yours, empty in Othello)",
    per_square=True,
    class_names=((0, "empty"), (1, "mine"), (2, "theirs")),
)
def owner(positions: Positions) -> Labels:
    """Whose piece stands on the square, if any."""
    return np.asarray(positions.mine + np.uint8(2) * positions.theirs, np.float64)


@concept(
    "kind of piece on the square",
    kind="categorical",
    source=_BOARD_STATE,
    per_square=True,
    class_names=tuple(_KINDS.items()),
)
def piece_kind(positions: Positions) -> Labels:
    """The kind of the piece on the square, whoever owns it, or that the square is empty."""
    return np.asarray(positions.boards % BLACK_BIT, np.float64)
