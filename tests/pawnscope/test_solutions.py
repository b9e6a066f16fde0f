"""Exact values from Python: by name, one or many, and of this game's positions only."""

import numpy as np
import pytest

import pawnscope as ps
from search.exact.solver import solve

HEXAPAWN = ps.get_variant("hexapawn4x4")


@pytest.fixture(scope="module")
def solution() -> ps.Solution:
    return ps.solve("hexapawn4x4")


def test_values_are_the_solvers(solution: ps.Solution) -> None:
    exact = solve(HEXAPAWN)
    rows = solution.positions()
    values, distances = exact.lookup_batch(rows)
    np.testing.assert_array_equal(solution.value(rows), values)
    np.testing.assert_array_equal(solution.distance(rows), distances)
    white, black = ps.Position("hexapawn4x4"), ps.Position(HEXAPAWN)
    black.push_text("a2")
    for position in (white, black):
        value = solution.value(position)
        assert type(value) is int
        assert (value, solution.distance(position)) == (
            exact.value(position.row),
            exact.distance(position.row),
        )
    assert solution.value([white, black]).tolist() == [solution.value(white), solution.value(black)]
    assert solution.value([white]).shape == (1,)
    assert solution.winner == exact.winner == 1
    assert "11 plies" in repr(solution)


def test_moves_have_values_for_the_side_that_makes_them(solution: ps.Solution) -> None:
    for opening in ((), ("b2",)):
        position = ps.Position(HEXAPAWN)
        for text in opening:
            position.push_text(text)
        found = solution.move_values(position)
        for san, value in found.items():
            after = position.copy()
            after.push_text(san)
            assert value == -solution.value(after)
        assert next(iter(found.values())) == max(found.values()) == solution.value(position)
        for san in solution.best_moves(position):
            after = position.copy()
            after.push_text(san)
            assert solution.distance(after) == solution.distance(position) - 1


def test_other_positions_are_refused(solution: ps.Solution) -> None:
    with pytest.raises(ps.InputError, match="is of hexapawn, the solution of hexapawn4x4"):
        solution.value(ps.Position("hexapawn"))
    with pytest.raises(ps.InputError, match="cannot be reached from the start of hexapawn4x4"):
        solution.value(ps.Position(HEXAPAWN, "pppp/PPPP/4/4 w"))
    with pytest.raises(ps.InputError, match="one Position is expected, not 2 positions"):
        solution.best_moves([ps.Position(HEXAPAWN)] * 2)  # type: ignore[arg-type]
    with pytest.raises(ps.InputError, match="positions is empty"):
        solution.value([])


@pytest.mark.parametrize(
    ("name", "limit", "told"),
    [
        ("gardner", 1 << 30, "^gardner: only games in which no move can be taken back"),
        ("hexapwn", 1 << 30, "unknown variant 'hexapwn'"),
        ("hexapawn", -1, "limit_bytes = -1 is not a number of bytes"),
        ("hexapawn5x5", 1 << 20, r"more than the limit of 1\.0 MiB"),
    ],
)
def test_games_that_are_not_solved(name: str, limit: int, told: str) -> None:
    with pytest.raises(ps.InputError, match=told) as raised:
        ps.solve(name, limit_bytes=limit)
    # A library's caller has no options of a command line.
    assert "--" not in str(raised.value)
