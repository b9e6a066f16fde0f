"""Concepts that need the exact solution of a game, which the caller hands in."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Concept, ConceptUndefinedError, Labels
from engine.probing.data.canonical import Rows

ExactValues = Callable[[Rows], npt.NDArray[np.int8]]
"""Game values int8[N] of rows uint8[N, R], from the side to move: 1, 0 or -1."""


def game_value(exact_values: ExactValues | None) -> Concept:
    """The concept "game value"; undefined without `exact_values`, as of a game that is not solved.

    Not registered, since each game has its own solution.
    """

    def function(positions: Positions) -> Labels:
        if exact_values is None:
            raise ConceptUndefinedError(
                f"{positions.variant.name} is not solved, so that the exact value is not known"
            )
        return exact_values(positions.rows).astype(np.float64)

    return Concept(
        name="game value",
        kind="categorical",
        definition="The result with best play of both sides, for the side to move: win, draw or "
        "loss, as an exact solution of the game has it.",
        function=function,
        source="exact solution",
        family="exact",
        class_names=((1, "win"), (0, "draw"), (-1, "loss")),
    )
