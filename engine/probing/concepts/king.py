"""Concepts of the king's safety: attacks on the squares around it, and its ways out."""

from typing import Final

import numpy as np

from engine.probing.concepts.board.variant_facts import require_king
from engine.probing.concepts.facts import attack_kernels, move_kernels
from engine.probing.concepts.facts.attacks import attacks
from engine.probing.concepts.facts.each_side import each_side
from engine.probing.concepts.facts.moves import if_passed, move_facts, passed_facts
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Labels, concept

_SAFETY: Final = "Chess Programming Wiki, King Safety"


@each_side(
    "attacked squares around the king",
    kind="count",
    source="McGrath et al. 2022 (num_king_attacked_squares)",
)
def ring_attacked(positions: Positions, side: int) -> Labels:
    """The number of squares next to the king of {side} that {other} attacks."""
    return _count(positions, side, attack_kernels.RING)


@each_side("attackers around the king", kind="count", source=f"{_SAFETY} (attacking king zone)")
def ring_attackers(positions: Positions, side: int) -> Labels:
    """The number of pieces of {other} that attack a square next to the king of {side}."""
    return _count(positions, side, attack_kernels.RING_ATTACKERS)


def _count(positions: Positions, side: int, fact: int) -> Labels:
    require_king(positions.variant)
    return positions.shared(attacks).facts[:, side, fact].astype(np.float64)


@concept("my king's escape squares", kind="count", source=f"{_SAFETY} (mobility of the king)")
def my_escapes(positions: Positions) -> Labels:
    """The number of squares to which the king of the side to move may go, castling apart."""
    require_king(positions.variant)
    return positions.shared(move_facts)[:, move_kernels.KING_STEPS].astype(np.float64)


@concept("their king's escape squares", kind="count", source=f"{_SAFETY} (mobility of the king)")
def their_escapes(positions: Positions) -> Labels:
    """The number of squares to which the opponent's king could go if the side to move passed,
    castling apart, undefined where the side to move is in check.
    """
    require_king(positions.variant)
    return if_passed(positions, positions.shared(passed_facts)[:, move_kernels.KING_STEPS])


@each_side("distance of the nearest enemy to the king", kind="count", source=f"{_SAFETY} (tropism)")
def nearest_enemy(positions: Positions, side: int) -> Labels:
    """The number of steps of a king from the king of {side} to the nearest piece of {other}."""
    return _count(positions, side, attack_kernels.NEAREST_ENEMY)
