"""Concepts of threats: what is attacked, what can be won by force, and what stands in line.

Exchanges are valued by `piece_values` (board/variant_facts.py) and by captures on one square alone.
What the opponent threatens is what it could do if the side to move passed; in check, where that
would leave the king to be captured, it is undefined. Repetitions are not counted.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.board.undefined import ConceptUndefinedError
from engine.probing.concepts.board.variant_facts import require_king
from engine.probing.concepts.facts import attack_kernels, move_kernels
from engine.probing.concepts.facts.attacks import attacks
from engine.probing.concepts.facts.each_side import MINE, each_side
from engine.probing.concepts.facts.moves import (
    if_passed,
    move_facts,
    moves_to_win,
    passed,
    passed_facts,
    wins_without_check,
)
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Labels, concept
from engine.rules.betza import CAPTURE_ONLY
from engine.rules.tables import PAWN, QUEEN
from engine.rules.variant import Variant

_WIKI: Final = "Chess Programming Wiki"
_MCGRATH: Final = "McGrath et al. 2022"
_WIKIPEDIA: Final = "Wikipedia"
_EXCHANGE: Final = f"{_WIKI}, Static Exchange Evaluation"


def _require_riders(variant: Variant) -> None:
    modes = (mode for movement in variant.movements.values() for mode in movement.rides.values())
    if not any(mode & CAPTURE_ONLY for mode in modes):
        raise ConceptUndefinedError(f"{variant.name} has no pieces that capture along lines")


def _require_mate(variant: Variant) -> None:
    require_king(variant)
    if variant.checkmate_value != -1:
        raise ConceptUndefinedError(f"{variant.name} is not lost by being checkmated")


def _require_promotion(variant: Variant) -> None:
    promotes = variant.promotion_types and any(variant.promotion_region)
    if PAWN not in variant.piece_types or not promotes:
        raise ConceptUndefinedError(f"{variant.name} has no promotion")


def _attack_count(positions: Positions, side: int, fact: int) -> Labels:
    return positions.shared(attacks).facts[:, side, fact].astype(np.float64)


def _moves(positions: Positions, fact: int) -> Labels:
    return positions.shared(move_facts)[:, fact].astype(np.float64)


def _their_moves(positions: Positions, fact: int) -> Labels:
    return if_passed(positions, positions.shared(passed_facts)[:, fact])


def _pieces(positions: Positions, side: int) -> npt.NDArray[np.bool_]:
    """[N, S] the squares with a piece of the side."""
    flags = positions.mine if side == MINE else positions.theirs
    return flags.reshape(len(positions), -1)


# Attacks and exchanges.


@each_side("attackers of the square", kind="count", source=f"{_WIKI}, Attacks", per_square=True)
def attackers_of_squares(positions: Positions, side: int) -> npt.NDArray[np.generic]:
    """The number of pieces of {side} that attack the square, or defend it where it is their own."""
    return positions.shared(attacks).attackers[:, side]


@each_side("hanging piece on the square", kind="binary", source=_EXCHANGE, per_square=True)
def hanging_on_squares(positions: Positions, side: int) -> npt.NDArray[np.generic]:
    """On the square stands a piece of {side}, no king, which {other} wins material by capturing if
    each side captures on that square as long as it pays.
    """
    return (positions.shared(attacks).gains > 0) & _pieces(positions, side)


@each_side("hanging pieces", kind="count", source=_EXCHANGE)
def hanging(positions: Positions, side: int) -> Labels:
    """The number of pieces of {side}, kings apart, which {other} wins material by capturing if each
    side captures on that square as long as it pays.
    """
    return _attack_count(positions, side, attack_kernels.HANGING)


@each_side("attacked pieces without a defender", kind="count", source=f"{_WIKI}, Hanging Piece")
def undefended(positions: Positions, side: int) -> Labels:
    """The number of pieces of {side} that {other} attacks and that none of {side} defends."""
    return _attack_count(positions, side, attack_kernels.UNDEFENDED)


@each_side("best capture", kind="real", source=_EXCHANGE)
def best_capture(positions: Positions, side: int) -> Labels:
    """The most material that {side} wins by captures on one square if each side may stop, whoever
    is to move.
    """
    return positions.shared(attacks).best[:, side].astype(np.float64)


@each_side("queen attacked", kind="binary", source=f"{_MCGRATH} (can_capture_queen)")
def queen_attacked(positions: Positions, side: int) -> npt.NDArray[np.generic]:
    """A piece of {other} attacks a queen of {side}."""
    if QUEEN not in positions.variant.piece_types:
        raise ConceptUndefinedError(f"{positions.variant.name} has no queens")
    return _attack_count(positions, side, attack_kernels.QUEENS_ATTACKED) > 0


@concept("in check", kind="binary", source=f"{_MCGRATH} (in_check)")
def in_check(positions: Positions) -> npt.NDArray[np.generic]:
    """The king of the side to move is attacked."""
    require_king(positions.variant)
    return _attack_count(positions, MINE, attack_kernels.CHECKERS) > 0


@concept("capture available", kind="binary", source=f"{_MCGRATH} (capture_possible)")
def capture_available(positions: Positions) -> npt.NDArray[np.generic]:
    """The side to move has a legal move that captures."""
    return _moves(positions, move_kernels.CAPTURES) > 0


@concept("my captures", kind="count", source=f"{_WIKI}, Captures")
def my_captures(positions: Positions) -> Labels:
    """The number of legal moves of the side to move that capture."""
    return _moves(positions, move_kernels.CAPTURES)


@concept("their captures", kind="count", source=f"{_WIKI}, Captures")
def their_captures(positions: Positions) -> Labels:
    """The number of captures that the opponent would have if the side to move passed, undefined
    where it is in check.
    """
    return _their_moves(positions, move_kernels.CAPTURES)


@concept("my checks", kind="count", source=f"{_MCGRATH} (has_check_move)")
def my_checks(positions: Positions) -> Labels:
    """The number of legal moves of the side to move that give check."""
    require_king(positions.variant)
    return _moves(positions, move_kernels.CHECKS)


@concept("their checks", kind="count", source=f"{_MCGRATH} (has_check_move)")
def their_checks(positions: Positions) -> Labels:
    """The number of checks that the opponent could give if the side to move passed, undefined where
    it is in check.
    """
    require_king(positions.variant)
    return _their_moves(positions, move_kernels.CHECKS)


# Forks, and pieces in line.


@each_side("forks", kind="count", source=f"{_WIKIPEDIA}, Fork (chess)")
def forks(positions: Positions, side: int) -> Labels:
    """The number of pieces of {side} that attack two or more pieces of {other} which are worth more
    than they (as the king is) or not defended.
    """
    return _attack_count(positions, side, attack_kernels.FORKS)


@concept("fork available", kind="binary", source=f"{_WIKIPEDIA}, Fork (chess)")
def fork_available(positions: Positions) -> npt.NDArray[np.generic]:
    """The side to move has a legal move after which the piece attacks two or more enemies which are
    worth more than it (as the king is) or not defended, and no enemy attacks it.
    """
    return _moves(positions, move_kernels.FORKS) > 0


@each_side("pinned pieces", kind="count", source=f"{_WIKIPEDIA}, Pin (chess), absolute pin")
def pinned(positions: Positions, side: int) -> Labels:
    """The number of pieces of {side} that alone keep a piece of {other} from attacking their king
    along a line.
    """
    require_king(positions.variant)
    _require_riders(positions.variant)
    return _attack_count(positions, side, attack_kernels.PINNED)


@each_side("pieces pinned to a better one", kind="count", source=f"{_WIKIPEDIA}, Pin (chess)")
def pinned_to_piece(positions: Positions, side: int) -> Labels:
    """The number of attacked pieces of {side} behind which, along the line of the attack, a piece
    of {side} stands that is worth more than they and than the attacker, no king.
    """
    _require_riders(positions.variant)
    return _attack_count(positions, side, attack_kernels.PINNED_TO_PIECE)


@each_side("skewers", kind="count", source=f"{_WIKIPEDIA}, Skewer (chess)")
def skewers(positions: Positions, side: int) -> Labels:
    """The number of lines along which a piece of {side} attacks a piece of {other} that is worth
    more than the attacker and more than the piece of {other} next behind it.
    """
    _require_riders(positions.variant)
    return _attack_count(positions, side, attack_kernels.SKEWERS)


@concept("discovered attack available", kind="binary", source=f"{_WIKIPEDIA}, Discovered attack")
def discovery_available(positions: Positions) -> npt.NDArray[np.generic]:
    """A legal move takes a piece of the side to move off a line on which another one then attacks
    an enemy that is worth more than this one (as the king is) or not defended.
    """
    _require_riders(positions.variant)
    return _attack_count(positions, MINE, attack_kernels.DISCOVERIES) > 0


# Mates, wins and promotions.


@concept("mate in one", kind="binary", source=f"{_WIKIPEDIA}, Chess problem")
def mate_in_one(positions: Positions) -> npt.NDArray[np.generic]:
    """The side to move has a legal move that gives checkmate."""
    _require_mate(positions.variant)
    return _moves(positions, move_kernels.MATES) > 0


@concept("their mate in one", kind="binary", source=f"{_MCGRATH} (has_mate_threat)")
def their_mate_in_one(positions: Positions) -> Labels:
    """The opponent could give checkmate if the side to move passed, undefined where it is in
    check.
    """
    _require_mate(positions.variant)
    return if_passed(positions, positions.shared(passed_facts)[:, move_kernels.MATES] > 0)


@concept("mate in two", kind="binary", source=f"{_WIKIPEDIA}, Chess problem")
def mate_in_two(positions: Positions) -> npt.NDArray[np.generic]:
    """The side to move can force checkmate by its second move, against every reply, and not by its
    first.
    """
    _require_mate(positions.variant)
    return np.equal(positions.shared(_mates), 2)


@concept("their mate in two", kind="binary", source=f"{_WIKIPEDIA}, Chess problem")
def their_mate_in_two(positions: Positions) -> Labels:
    """If the side to move passed, the opponent could force checkmate by its second move and not by
    its first, undefined where the side to move is in check.
    """
    _require_mate(positions.variant)
    return if_passed(positions, positions.shared(_their_mates) == 2)


@concept("win in one move", kind="binary", source="the rules")
def win_in_one(positions: Positions) -> npt.NDArray[np.generic]:
    """The side to move has a legal move that ends the game with its win, in whatever way."""
    return _moves(positions, move_kernels.WINS) > 0


@concept("their win in one move", kind="binary", source="the rules, null-move search")
def their_win_in_one(positions: Positions) -> Labels:
    """The opponent could end the game with its win, in whatever way, if the side to move passed,
    undefined where it is in check.
    """
    return if_passed(positions, positions.shared(passed_facts)[:, move_kernels.WINS] > 0)


@concept("win in two moves", kind="binary", source="the rules")
def win_in_two(positions: Positions) -> npt.NDArray[np.generic]:
    """The side to move can force a win, in whatever way, by its second move, against every reply,
    and not by its first.
    """
    return np.equal(positions.shared(_wins), 2)


@concept("their win in two moves", kind="binary", source="the rules, null-move search")
def their_win_in_two(positions: Positions) -> Labels:
    """If the side to move passed, the opponent could force a win, in whatever way, by its second
    move and not by its first, undefined where the side to move is in check.
    """
    return if_passed(positions, positions.shared(_their_wins) == 2)


def _mates(positions: Positions) -> npt.NDArray[np.int8]:
    return moves_to_win(positions.variant, positions.rows, mates_only=True)


def _their_mates(positions: Positions) -> npt.NDArray[np.int8]:
    return _after_passing(positions, mates_only=True)


def _wins(positions: Positions) -> npt.NDArray[np.int8]:
    if not wins_without_check(positions.variant):
        return positions.shared(_mates)
    return moves_to_win(positions.variant, positions.rows, mates_only=False)


def _their_wins(positions: Positions) -> npt.NDArray[np.int8]:
    if not wins_without_check(positions.variant):
        return positions.shared(_their_mates)
    return _after_passing(positions, mates_only=False)


def _after_passing(positions: Positions, *, mates_only: bool) -> npt.NDArray[np.int8]:
    """In how many moves the opponent wins if the side to move passes, where it may."""
    found = positions.shared(passed)
    counts = np.zeros(len(positions), np.int8)
    rows = found.rows[found.is_allowed]
    counts[found.is_allowed] = moves_to_win(positions.variant, rows, mates_only=mates_only)
    return counts


@concept("promotion available", kind="binary", source=f"{_WIKI}, Promotions")
def promotion_available(positions: Positions) -> npt.NDArray[np.generic]:
    """The side to move has a legal move that promotes."""
    _require_promotion(positions.variant)
    return _moves(positions, move_kernels.PROMOTIONS) > 0


@concept("their promotion available", kind="binary", source=f"{_WIKI}, Promotions")
def their_promotion_available(positions: Positions) -> Labels:
    """The opponent could promote if the side to move passed, undefined where it is in check."""
    _require_promotion(positions.variant)
    return if_passed(positions, positions.shared(passed_facts)[:, move_kernels.PROMOTIONS] > 0)
