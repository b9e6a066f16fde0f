"""Which positions are the same for a probe: symmetric ones.

A network sees the board from the side to move, so that a white position and the same position with
the colours swapped are one input to it; the mirror image is nearly the same. If such symmetric
positions stood on both sides of a split, a probe could score by recognising positions. All four are
one *canonical position*:

    White to move    mirrored     Black to move    mirrored

    3 |  p  .  .     .  .  p        .  .  p        p  .  .
    2 |  .  P  .     .  P  .        .  p  .        .  p  .
    1 |  .  .  P     P  .  .        P  .  .        .  .  P

Castling rights, en passant, clock and repetition are left out, and the mirror image counts as the
same even where castling tells it apart: grouping too many positions costs nothing, too few would
leak.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.tables import BLACK, BLACK_BIT, EMPTY, PIECE_CODES, SIDE
from engine.rules.variant import Variant

Rows = npt.NDArray[np.uint8]
Boards = npt.NDArray[np.uint8]
"""[N, S] piece codes as the side to move sees them: its own are types, the enemy's type | 16."""
Groups = npt.NDArray[np.int64]
"""[N] number of each row's canonical position, 0 to the number of distinct ones - 1."""

_HASH_SEED: Final = 0x70726F62
"""Fixed, so that a position hashes alike in every process."""


def seen_boards(rows: Rows, variant: Variant) -> Boards:
    """Boards [N, S] of rows [N, R] as their side to move sees them, playing up the board."""
    size = variant.squares
    seen: Boards = rows[:, :size].astype(np.uint8)
    black = np.flatnonzero(rows[:, size + SIDE] == BLACK)
    turned = seen[black].reshape(-1, variant.height, variant.width)[:, ::-1].reshape(-1, size)
    # The other colour, where there is a piece.
    seen[black] = turned ^ (turned != EMPTY) * np.uint8(BLACK_BIT)
    return seen


def canonical_boards(rows: Rows, variant: Variant) -> Boards:
    """Of each row's board and its mirror image the lexicographically smaller one, [N, S]."""
    return smaller_mirror(seen_boards(rows, variant), variant)


def smaller_mirror(boards: Boards, variant: Variant) -> Boards:
    """Of each board [N, S] and its mirror image the lexicographically smaller one."""
    mirrored = boards.reshape(-1, variant.height, variant.width)[:, :, ::-1].reshape(boards.shape)
    differs = boards != mirrored
    first = differs.argmax(axis=1)[:, None]
    own, other = np.take_along_axis(boards, first, 1), np.take_along_axis(mirrored, first, 1)
    return np.where(other < own, mirrored, boards)


def canonical_groups(boards: Boards) -> Groups:
    """Number the distinct rows of `boards` [N, S]."""
    contiguous = np.ascontiguousarray(boards)
    whole = contiguous.view(np.dtype((np.void, contiguous.shape[1]))).ravel()
    return np.unique(whole, return_inverse=True)[1].astype(np.int64).ravel()


def board_fractions(boards: Boards, seed: int) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each board [N, S]: fixed by board and seed, otherwise random.

    A Zobrist hash: one random 64-bit key for each piece code on each square, all XORed.
    """
    generator = np.random.default_rng((_HASH_SEED, seed))
    keys = generator.integers(0, 1 << 64, size=(boards.shape[1], PIECE_CODES), dtype=np.uint64)
    chosen = keys[np.arange(boards.shape[1]), boards]
    fractions: npt.NDArray[np.float64] = np.bitwise_xor.reduce(chosen, axis=1) / 2.0**64
    return np.minimum(fractions, np.nextafter(1.0, 0.0))
