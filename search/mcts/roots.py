"""What a tree search begins with: positions, and the games that led to them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.signatures import Array2D
from engine.rules.position import Position


class Roots(NamedTuple):
    """B positions to search, each with the game that led to it."""

    positions: Array2D[np.uint8]
    """[B, R] rows."""
    histories: Array2D[np.uint64]
    """[B, H] Zobrist hashes of the earlier positions, oldest first; the root's own is not there."""
    history_lengths: npt.NDArray[np.int64]
    """[B] how many of the H count."""

    @classmethod
    def from_positions(cls, positions: Sequence[Position]) -> "Roots":
        """Roots of games in progress; the positions share one variant."""
        lengths = np.array([len(position.hashes) for position in positions], dtype=np.int64)
        histories = np.zeros((len(positions), max(1, int(lengths.max()))), dtype=np.uint64)
        for history, position in zip(histories, positions, strict=True):
            history[: len(position.hashes)] = position.hashes
        return cls(np.stack([position.row for position in positions]), histories, lengths)
