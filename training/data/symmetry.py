"""Mirror images of positions and moves, files exchanged, of variants with symmetric rules."""

import numpy as np
import numpy.typing as npt

from engine.rules.tables import EN_PASSANT, NO_SQUARE
from engine.rules.variant import Variant


def mirror_squares(variant: Variant) -> npt.NDArray[np.int64]:
    """[S] the square on the other side of the board, for each square."""
    squares = np.arange(variant.squares)
    file = squares % variant.width
    mirrored: npt.NDArray[np.int64] = squares - file + (variant.width - 1 - file)
    return mirrored


def mirror_boards(variant: Variant, boards: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The mirror images of squares [N, S]."""
    mirrored: npt.NDArray[np.uint8] = boards[:, mirror_squares(variant)]
    return mirrored


def mirror_positions(variant: Variant, positions: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The mirror images of rows [N, R]; the variant must be `mirrorable`."""
    squares = mirror_squares(variant)
    mirrored = positions.copy()
    mirrored[:, : variant.squares] = mirror_boards(variant, positions[:, : variant.squares])
    targets = positions[:, variant.squares + EN_PASSANT]
    wide = np.append(squares, [0] * (NO_SQUARE + 1 - len(squares)))
    mirrored[:, variant.squares + EN_PASSANT] = np.where(
        targets == NO_SQUARE, NO_SQUARE, wide[targets]
    )
    return mirrored


def mirror_moves(variant: Variant, moves: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """The mirror images of moves [M]."""
    squares = mirror_squares(variant)
    wide = moves.astype(np.int64)
    source, target = squares[wide & 63], squares[wide >> 6 & 63]
    mirrored: npt.NDArray[np.uint16] = (source | target << 6 | wide >> 12 << 12).astype(np.uint16)
    return mirrored
