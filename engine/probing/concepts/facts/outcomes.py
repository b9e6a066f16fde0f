"""Exact results of positions, of their moves and of a null move, each asked for once."""

from engine.probing.concepts.board.undefined import ConceptUndefinedError
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.truth import Outcomes, Truth


def require_truth(positions: Positions) -> Truth:
    """The exact results; raises ConceptUndefinedError where there are none."""
    if positions.truth is None:
        raise ConceptUndefinedError(
            f"{positions.variant.name} is not solved here, so that exact results are not known"
        )
    return positions.truth


def outcomes(positions: Positions) -> Outcomes:
    """Of the N positions."""
    return require_truth(positions).positions(positions.rows)


def move_outcomes(positions: Positions) -> Outcomes:
    """Of their M legal moves, in the order of `positions.legal`."""
    return require_truth(positions).moves(positions.rows, *positions.legal)


def null_move_outcomes(positions: Positions) -> Outcomes:
    """Of passing the turn in each of the N positions."""
    return require_truth(positions).null_moves(positions.rows)
