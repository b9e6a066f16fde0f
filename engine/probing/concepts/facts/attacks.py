"""Who attacks what in many positions, and what that comes to, found once for all concepts."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.board.variant_facts import piece_values
from engine.probing.concepts.facts.attack_kernels import FACTS, KING_WORTH, find_attacks
from engine.probing.concepts.positions import Positions
from engine.rules.compilation.signatures import contiguous
from engine.rules.tables import KING
from engine.rules.variant import Variant


class Attacks(NamedTuple):
    """Attacks in N positions; side 0 is the side to move, side 1 the opponent."""

    attackers: npt.NDArray[np.uint8]
    """[N, 2, S] how many pieces of the side attack the square, or defend it."""
    gains: npt.NDArray[np.float32]
    """[N, S] what the enemy of the piece on the square wins by capturing it (`exchange`), 0 for
    empty squares and kings."""
    best: npt.NDArray[np.float32]
    """[N, 2] the most of these that the side wins."""
    facts: npt.NDArray[np.int16]
    """[N, 2, FACTS] counts of each side, at the places named in attack_kernels.py."""


def attacks(positions: Positions) -> Attacks:
    """The attacks in the positions; ask by `positions.shared(attacks)`."""
    variant, count = positions.variant, len(positions)
    found = Attacks(
        attackers=np.empty((count, 2, variant.squares), np.uint8),
        gains=np.empty((count, variant.squares), np.float32),
        best=np.empty((count, 2), np.float32),
        facts=np.empty((count, 2, FACTS), np.int16),
    )
    rows = contiguous(positions.rows, np.uint8)
    moves, offsets = positions.legal
    values, steps = exchange_values(variant), king_steps(variant)
    find_attacks(variant.tables, values, steps, rows, moves, offsets, *found)
    return found


@lru_cache(64)
def exchange_values(variant: Variant) -> npt.NDArray[np.float64]:
    """`piece_values` [16] with kings above all, for exchanges."""
    values = piece_values(variant).copy()
    values[KING] = KING_WORTH
    return values


@lru_cache(64)
def king_steps(variant: Variant) -> npt.NDArray[np.uint8]:
    """[S, S] steps of a king from square to square of an empty board."""
    ranks, files = np.divmod(np.arange(variant.squares), variant.width)
    ranks_apart, files_apart = abs(ranks[:, None] - ranks), abs(files[:, None] - files)
    steps: npt.NDArray[np.uint8] = np.maximum(ranks_apart, files_apart).astype(np.uint8)
    return steps
