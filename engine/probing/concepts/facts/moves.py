"""What legal moves do, in many positions, and what the opponent's would do after passing."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.facts.attack_kernels import CHECKERS
from engine.probing.concepts.facts.attacks import attacks, exchange_values
from engine.probing.concepts.facts.move_kernels import FACTS, count_moves_to_win, look_at_moves
from engine.probing.concepts.positions import LegalMoves, Positions
from engine.probing.data.canonical import Rows
from engine.rules.compilation.signatures import contiguous
from engine.rules.kernels import generate_batch
from engine.rules.tables import EN_PASSANT, NO_SQUARE, SIDE
from engine.rules.variant import Variant
from engine.system.interrupts import interruptible

MoveFacts = npt.NDArray[np.int16]
"""[N, FACTS] counts, at the places named in move_kernels.py."""


class Passed(NamedTuple):
    """N positions after the side to move has passed."""

    rows: Rows
    """[N, R]; nothing can be captured en passant."""
    legal: LegalMoves
    """The opponent's moves."""
    is_allowed: npt.NDArray[np.bool_]
    """[N] False in check, where the king could be captured."""


def passed(positions: Positions) -> Passed:
    """The positions after passing; ask by `positions.shared(passed)`."""
    variant = positions.variant
    rows = positions.rows.copy()
    rows[:, variant.squares + SIDE] ^= 1
    rows[:, variant.squares + EN_PASSANT] = NO_SQUARE
    checkers = positions.shared(attacks).facts[:, 0, CHECKERS]
    return Passed(rows, LegalMoves(*generate_batch(variant.tables, rows)), checkers == 0)


def move_facts(positions: Positions) -> MoveFacts:
    """Of the legal moves; ask by `positions.shared(move_facts)`."""
    attackers = positions.shared(attacks).attackers
    return _facts(positions.variant, positions.rows, positions.legal, attackers)


def passed_facts(positions: Positions) -> MoveFacts:
    """Of the opponent's moves if the side to move passed; of no meaning where it may not.

    Its forks are not counted.
    """
    found, variant = positions.shared(passed), positions.variant
    none = np.empty((0, 2, variant.squares), np.uint8)
    return _facts(variant, found.rows, found.legal, none)


def if_passed(positions: Positions, labels: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Labels [N] of the positions after passing, NaN where that is not allowed."""
    allowed = positions.shared(passed).is_allowed
    return np.where(allowed, labels.astype(np.float64), np.nan)


def _facts(
    variant: Variant, rows: Rows, legal: LegalMoves, attackers: npt.NDArray[np.uint8]
) -> MoveFacts:
    facts = np.empty((len(rows), FACTS), np.int16)
    values, may_end = exchange_values(variant), wins_without_check(variant)
    rows = contiguous(rows, np.uint8)
    look_at_moves(variant.tables, values, rows, *legal, attackers, may_end, facts)
    return facts


def wins_without_check(variant: Variant) -> bool:
    """Whether a move can win by a flag, an extinction or a stalemate."""
    flags = any(variant.flag_region) and variant.flag_types != 0
    return flags or bool(variant.extinction_types) or variant.stalemate_value == -1


def moves_to_win(variant: Variant, rows: Rows, *, mates_only: bool) -> npt.NDArray[np.int8]:
    """In how many moves, 1 or 2, the side to move of rows [N, R] forces a win; 0 for neither.

    By checkmate where `mates_only`, else in any way. Every reply is answered, and draws by the
    rules end a line, but for repetitions, which are not counted. Hears ^C.
    """
    out = np.zeros(len(rows), np.int8)
    may_end = not mates_only and wins_without_check(variant)
    with interruptible() as stop:
        count_moves_to_win(variant.tables, contiguous(rows, np.uint8), may_end, out, stop)
    return out
