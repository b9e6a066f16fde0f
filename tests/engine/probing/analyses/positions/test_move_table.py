"""Legal moves with exact values: what is kept, what is best, and what is not known."""

import numpy as np
import pytest

from engine.probing.analyses.positions.move_table import Moves, Offsets, move_table
from engine.probing.concepts.truth import NO_DISTANCE, UNKNOWN, Outcomes
from engine.probing.data.canonical import Rows
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import get_variant

HEXAPAWN = get_variant("hexapawn")
START = Position("hexapawn").row
"""Three legal moves: a2, b2, c2."""


class Told:
    """Values and distances of the three moves, as they are told."""

    def __init__(self, values: list[int], distances: list[int]) -> None:
        self.values, self.distances = values, distances

    def moves(self, rows: Rows, moves: Moves, offsets: Offsets) -> Outcomes:
        """See `MoveTruth`."""
        count = len(rows)
        return Outcomes(
            np.array(self.values * count, np.int8), np.array(self.distances * count, np.int16)
        )


@pytest.mark.parametrize(
    ("values", "distances", "keeping", "optimal", "decision"),
    [
        # The winner hurries, the loser delays; draws in tables have no distance.
        ([1, 1, -1], [5, 3, 9], [1, 1, 0], [0, 1, 0], True),
        ([-1, -1, -1], [2, 8, 4], [1, 1, 1], [0, 1, 0], False),
        ([0, 0, -1], [NO_DISTANCE] * 3, [1, 1, 0], [1, 1, 0], True),
        ([0, -1, 0], [7, 1, 5], [1, 0, 1], [0, 0, 1], True),
    ],
)
def test_moves_that_keep_the_value_and_those_that_are_best(
    values: list[int],
    distances: list[int],
    keeping: list[int],
    optimal: list[int],
    decision: bool,
) -> None:
    exact = move_table(np.stack([START, START]), HEXAPAWN, Told(values, distances)).exact
    assert exact is not None
    assert exact.keeping.tolist() == 2 * [bool(flag) for flag in keeping]
    assert exact.optimal.tolist() == 2 * [bool(flag) for flag in optimal]
    assert exact.decisions.tolist() == 2 * [decision]
    assert exact.values.tolist() == 2 * [max(values)]
    assert exact.chance.tolist() == pytest.approx(2 * [sum(keeping) / 3])


def test_one_unknown_move_makes_its_position_unknown() -> None:
    exact = move_table(START[None], HEXAPAWN, Told([0, UNKNOWN, -1], [3, NO_DISTANCE, 2])).exact
    assert exact is not None
    assert not exact.known.any()
    assert not exact.decisions.any()
    assert not (exact.keeping | exact.optimal).any()
    assert np.isnan(exact.chance).all()


def test_of_equal_numbers_the_larger_priority_is_best() -> None:
    table = move_table(np.stack([START, START]), HEXAPAWN)
    numbers = np.array([1.0, 1.0, 0.0, 2.0, 3.0, 1.0])
    priorities = np.array([0.1, 0.9, 1.0, 0.9, 0.1, 0.5])
    assert table.best(numbers, priorities).tolist() == [1, 4]
    assert table.sums(numbers).tolist() == [2.0, 6.0]
    assert table.exact is None


def test_moves_are_found_and_others_refused() -> None:
    table = move_table(np.stack([START, START]), HEXAPAWN)
    assert table.find(table.moves[[2, 3]]).tolist() == [2, 3]
    with pytest.raises(InputError, match="is not legal in 'ppp/3/PPP w"):
        table.find(np.array([table.moves[0], 0], np.uint16))
    with pytest.raises(InputError, match=r"moves \[3\] for 2 positions"):
        table.find(table.moves[:3])
