"""Who attacks what in many positions, and what that comes to, found once for all concepts."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.board.variant_facts import piece_values
from engine.probing.concepts.facts.attack_kernels import FACTS, KING_WORTH, find_attacks
from engine.probing.concepts.positions import Positions
from engine.rules.compilation.signatures import contiguous
from engine.rules.tables import BOARD, KING
from engine.rules.variant import Variant


class Attacks(NamedTuple):
    """Attacks in N positions; side 0 is the side to move, side 1 the opponent."""

    attackers: npt.NDArray[np.uint8]
    """[N, 2, S] how many pieces of the side attack the square, or defend it."""
    gains: npt.NDArray[np.float32]
    """[N, S] what the enemy of the piece on the square wins by capturing it (`exchange`), 0 for
    empty squares and kings."""
    facts: npt.NDArray[np.int16]
    """[N, 2, FACTS] counts of each side, at the places named in attack_kernels.py."""


def attacks(positions: Positions) -> Attacks:
    """The attacks in the positions; ask by `positions.shared(attacks)`."""
    variant, count = positions.variant, len(positions)
    found = Attacks(
        attackers=np.empty((count, 2, variant.squares), np.uint8),
        gains=np.empty((count, variant.squares), np.float32),
        facts=np.empty((count, 2, FACTS), np.int16),
    )
    rows = contiguous(positions.rows, np.uint8)
    moves, offsets = positions.legal
    values, near = exchange_values(variant), rings(variant)
    attackers, gains, facts = found
    find_attacks(variant.tables, values, near, rows, moves, offsets, attackers, gains, facts)
    return found


@lru_cache(64)
def exchange_values(variant: Variant) -> npt.NDArray[np.float64]:
    """`piece_values` [16] with kings above all, for exchanges."""
    values = piece_values(variant).copy()
    values[KING] = KING_WORTH
    return values


@lru_cache(64)
def rings(variant: Variant) -> npt.NDArray[np.int64]:
    """[64] the set of squares next to each square."""
    sets = np.zeros(BOARD, np.int64)
    ranks, files = np.divmod(np.arange(variant.squares), variant.width)
    for square in range(variant.squares):
        near = np.maximum(abs(ranks - ranks[square]), abs(files - files[square])) == 1
        sets[square] = np.bitwise_or.reduce(np.left_shift(1, np.flatnonzero(near), dtype=np.int64))
    return sets
