"""Concepts that are said of either side, from what was found of both at once."""

import inspect
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import BothSides, Concept, Kind, concept

MINE: Final = 0
THEIRS: Final = 1
"""Sides: the side to move and its opponent."""

EachSideFunction = Callable[[Positions, int], npt.NDArray[np.generic]]
_WHO: Final = ("the side to move", "the opponent")
_WHOSE: Final = ("my", "their")


def each_side(
    name: str, *, kind: Kind, source: str = "", per_square: bool = False
) -> Callable[[EachSideFunction], BothSides]:
    """Register the decorated function of positions and a side as "my NAME" and "their NAME".

    In the docstring `{side}` stands for the side and `{other}` for its opponent. It differs from
    `both_sides` in that the function is handed all of the positions.
    """

    def register(function: EachSideFunction) -> BothSides:
        def of(side: int) -> Concept:
            def labels(positions: Positions) -> npt.NDArray[np.generic]:
                return function(positions, side)

            text = inspect.getdoc(function) or ""
            labels.__doc__ = text.format(side=_WHO[side], other=_WHO[1 - side])
            # The family of a concept is the module of its function.
            labels.__module__ = function.__module__
            register_one = concept(
                f"{_WHOSE[side]} {name}", kind=kind, source=source, per_square=per_square
            )
            return register_one(labels)

        return BothSides(of(MINE), of(THEIRS), None)

    return register
