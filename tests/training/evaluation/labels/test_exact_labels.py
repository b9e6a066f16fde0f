"""Exact results for concepts: of solutions beyond what the start reaches, of endgame tables."""

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from engine.probing.concepts.beyond_rules import exact
from engine.probing.concepts.truth import NO_DISTANCE, UNKNOWN
from engine.probing.data.canonical import Rows
from engine.rules.attacks import is_check
from engine.rules.errors import InputError
from engine.rules.kernels import generate_batch
from engine.rules.position import Position
from engine.rules.tables import CLOCK
from engine.rules.variant import get_variant
from search.exact.solution import UnreachablePositionError
from search.exact.solver import solve
from search.exact.tablebase.tables import solve_endgames
from tests.support.search.tablebase_cases import Known, known_endgames, small_endgame
from training.evaluation.labels.exact import SolutionTruth, TablebaseTruth, after_null_moves

ROOKS = small_endgame("rooks")


def test_results_after_null_moves_are_kept_and_the_clock_does_not_matter() -> None:
    variant = get_variant("hexapawn4x3")
    solution = solve(variant)
    rows = solution.unfinished_positions()
    truth = SolutionTruth(solution)
    whole = truth.null_moves(rows)
    late = rows.copy()
    late[:, variant.squares + CLOCK] = 9
    again, turned = truth.null_moves(late), SolutionTruth(solution).null_moves(late[::-1].copy())
    assert again.values.tolist() == turned.values[::-1].tolist() == whole.values.tolist()
    assert again.distances.tolist() == turned.distances[::-1].tolist() == whole.distances.tolist()
    # The solution itself knows the same positions as before.
    assert len(solution.unfinished_positions()) == len(rows)
    with pytest.raises(UnreachablePositionError):
        truth.positions(after_null_moves(rows, variant))


def test_a_game_that_grows_too_large_after_null_moves_is_refused() -> None:
    solution = solve(get_variant("hexapawn4x4"))
    rows = solution.unfinished_positions()
    with pytest.raises(InputError, match=r"hexapawn4x4: .* positions fill the limit of 256\.0 KiB"):
        SolutionTruth(solution, limit_bytes=1 << 18).null_moves(rows)


@cache
def tables() -> TablebaseTruth:
    return TablebaseTruth(solve_endgames(ROOKS, 3)[0])


def sample() -> tuple[list[Known], Rows]:
    """Unfinished positions of the small endgame that the tables cover, not all of them."""
    found = known_endgames(ROOKS, 3)[::11]
    open_ones = [at for at in found if Position.from_row(at.row, ROOKS).outcome() is None]
    rows = np.stack([at.row for at in open_ones])
    covered = tables().positions(rows).values != UNKNOWN
    assert covered.sum() > 90
    return [at for at, has in zip(open_ones, covered, strict=True) if has], rows[covered]


def result_of(found: dict[bytes, Known], row: npt.NDArray[np.uint8]) -> int:
    outcome = Position.from_row(row, ROOKS).outcome()
    if outcome is not None:
        return outcome.value(Position.from_row(row, ROOKS).turn)
    return found[row[:-2].tobytes()].value


def test_tables_give_values_distances_and_those_of_all_moves() -> None:
    known, rows = sample()
    every = {at.row[:-2].tobytes(): at for at in known_endgames(ROOKS, 3)}
    found = tables().positions(rows)
    assert found.values.tolist() == [at.value for at in known]
    assert found.distances.tolist() == [at.distance if at.value else NO_DISTANCE for at in known]
    moves, offsets = generate_batch(ROOKS.tables, rows)
    after = tables().moves(rows, moves, offsets)
    wanted = []
    for index, row in enumerate(rows):
        position = Position.from_row(row, ROOKS)
        for move in moves[offsets[index] : offsets[index + 1]]:
            position.push(int(move))
            wanted.append(-result_of(every, position.row))
            position.pop()
    assert after.values.tolist() == wanted
    counts = exact.winning_moves.labels(rows, ROOKS, truth=tables())
    assert counts.tolist() == np.add.reduceat(np.array(wanted) == 1, offsets[:-1]).tolist()


def test_tables_know_null_moves_but_in_check() -> None:
    known, rows = sample()
    every = {at.row[:-2].tobytes(): at for at in known_endgames(ROOKS, 3)}
    passed = after_null_moves(rows, ROOKS)
    found = tables().null_moves(rows)
    checks = np.array([is_check(ROOKS.tables, row) for row in rows])
    assert 0 < checks.sum() < len(rows)
    assert (found.values[checks] == UNKNOWN).all()
    wanted = [-result_of(every, row) for row in passed[~checks]]
    assert found.values[~checks].tolist() == wanted
    labels = exact.threat.labels(rows, ROOKS, truth=tables())
    assert np.isnan(labels[checks]).all()
    worse = np.array(wanted) < np.array([at.value for at in known])[~checks]
    assert labels[~checks].tolist() == worse.tolist()
    assert worse.any()


def test_what_no_table_covers_has_no_label() -> None:
    known, rows = sample()
    both = np.stack([rows[0], ROOKS.start_row])
    for concept in (exact.game_value, exact.zugzwang, exact.difficulty, exact.best_target):
        labels = concept.labels(both, ROOKS, truth=tables())
        assert np.isnan(labels[1]).all(), concept.name
    assert exact.game_value.labels(both, ROOKS, truth=tables())[0] == known[0].value
