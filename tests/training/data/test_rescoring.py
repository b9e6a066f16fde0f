"""Truth in the place of targets: what is known is taken, what is not is left alone. The gate."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from engine.network.checkpoint import save_checkpoint
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.position import Position
from engine.rules.tables import CLOCK, REPETITION
from engine.rules.variant import Variant, define_variants, get_variant
from search.evaluator import UniformEvaluator
from search.exact.evaluator import SolverEvaluator
from search.exact.solution import Solution
from search.exact.solver import solve
from search.exact.tablebase.tables import Tablebases, solve_endgames
from search.scores import UNPROVEN
from tests.support.training.training_cases import (
    SMALL_NETWORK,
    child_of,
    hexapawn,
    self_play_config,
)
from training.data.rescoring import exact_values, rescore
from training.data.shards import GameRows, load_games, select
from training.data.targets import value_targets
from training.run.gate import gate_score
from training.selfplay.actors.local import Actor
from training.selfplay.actors.protocol import SelfPlayRequest
from training.selfplay.games import SelfPlay


@pytest.fixture(scope="module")
def games() -> tuple[Variant, Solution, GameRows]:
    """Random games of 4x4, in which many a result is not what it should have been."""
    variant = get_variant("hexapawn4x4")
    config = self_play_config(noise_fraction=1.0, simulations=1, games=16)
    rows = SelfPlay(variant, config, np.random.default_rng(5)).play(UniformEvaluator(), 300)
    return variant, solve(variant), rows


def test_values_become_the_truth_for_both_sides(games: tuple[Variant, Solution, GameRows]) -> None:
    variant, solution, rows = games
    rescored = rescore(variant, rows, exact_values(solution), "value")
    values, _ = solution.lookup_batch(rows.positions)
    assert (rows.outcomes != values).any()
    assert np.array_equal(rescored.proven, values)
    assert np.array_equal(1 - value_targets(rescored, 0.5).argmax(1), values)
    assert rescored.policy is rows.policy
    assert rescore(variant, rows, exact_values(solution), "none") is rows


def test_policies_keep_the_moves_that_keep_the_value(
    games: tuple[Variant, Solution, GameRows],
) -> None:
    variant, solution, rows = games
    rescored = rescore(variant, rows, exact_values(solution), "both")
    sums = np.add.reduceat(rescored.policy, rows.offsets[:-1])
    np.testing.assert_allclose(sums, 1.0, rtol=1e-6)
    replaced = 0
    for index, row in enumerate(rows.positions):
        part = slice(rows.offsets[index], rows.offsets[index + 1])
        good = np.isin(rows.moves[part], solution.value_preserving_moves(row))
        before, after = rows.policy[part], rescored.policy[part]
        assert (after[~good] == 0).all()
        if before[good].sum() > 0:
            np.testing.assert_allclose(after[good], before[good] / before[good].sum(), rtol=1e-5)
        else:
            np.testing.assert_allclose(after[good], 1 / good.sum(), rtol=1e-5)
            replaced += 1
    assert replaced


class HalfBlind:
    """Knows the positions with few pieces, as a tablebase does."""

    def __init__(self, solution: Solution, men: int) -> None:
        self._solution, self._men = solution, men

    def __call__(self, rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
        """See Oracle."""
        values, _ = self._solution.lookup_batch(rows)
        men = (rows[:, : self._solution.variant.squares] > 0).sum(1)
        known: npt.NDArray[np.int8] = np.where(men <= self._men, values, UNPROVEN).astype(np.int8)
        return known


def test_unknown_positions_are_unchanged(games: tuple[Variant, Solution, GameRows]) -> None:
    variant, solution, rows = games
    men = (rows.positions[:, : variant.squares] > 0).sum(1)
    few = men <= 5
    assert few.any()
    assert not few.all()
    # What search has proven stays, where the oracle is silent.
    values, _ = solution.lookup_batch(rows.positions)
    proven = np.where(np.arange(len(rows)) % 3 == 0, values, UNPROVEN).astype(np.int8)
    rows = replace(rows, proven=proven)
    rescored = rescore(variant, rows, HalfBlind(solution, 5), "both")
    assert np.array_equal(rescored.proven[few], values[few])
    assert np.array_equal(rescored.proven[~few], rows.proven[~few])
    for index in np.flatnonzero(~few & (rows.proven == UNPROVEN)):
        part = slice(rows.offsets[index], rows.offsets[index + 1])
        assert np.array_equal(rescored.policy[part], rows.policy[part])
    sums = np.add.reduceat(rescored.policy, rows.offsets[:-1])
    np.testing.assert_allclose(sums, 1.0, rtol=1e-6)


def test_tablebases_tell_the_truth_of_endgames_and_searches_know_it(tmp_path: Path) -> None:
    text = "[tableending:gardner]\nstartFen = 3k1/5/5/5/K3R w - - 0 1\n"
    (name,) = define_variants(text, "")
    variant = get_variant(name)
    tables, _ = solve_endgames(variant, 3, folder=tmp_path)
    network = PolicyValueNet(NetworkConfig.for_variant(variant, SMALL_NETWORK))
    save_checkpoint(tmp_path / "network", network, metadata={})
    order = SelfPlayRequest(
        variant=name, checkpoint=tmp_path / "network", folder=tmp_path, round=1, positions=60
    )
    unproven = {}
    for folder in ("", str(tmp_path)):
        config = self_play_config(tablebases=folder, simulations=4, longest_game=16)
        (shard,) = Actor(variant, config, 1, 0, 0).play(order, lambda _: None)
        rows = load_games(tmp_path / shard, variant)
        known = tables.values(rows.positions)
        assert (known != UNPROVEN).all()
        unproven[folder] = (rows.proven == UNPROVEN).mean()
        rescored = rescore(variant, rows, tables.values, "both")
        # After a repetition the tables' word may not hold in that game.
        told = rescored.proven != UNPROVEN
        assert told.mean() > 0.9
        assert np.array_equal(rescored.proven[told], known[told])
        sums = np.add.reduceat(rescored.policy, rows.offsets[:-1])
        np.testing.assert_allclose(sums, 1.0, rtol=1e-6)
        for index in np.flatnonzero(told):
            part = slice(rows.offsets[index], rows.offsets[index + 1])
            position = Position.from_row(rows.positions[index], variant)
            for move, share in zip(rows.moves[part], rescored.policy[part], strict=True):
                position.push(int(move))
                outcome = position.outcome()
                value = (
                    tables.values(position.row[None])[0]
                    if outcome is None
                    else outcome.value(position.turn)
                )
                assert share == 0 or -value == known[index]
                position.pop()
    assert unproven[str(tmp_path)] < unproven[""] - 0.3


def random_rook_endings(moves: str) -> tuple[Variant, Tablebases, GameRows]:
    """Random games of king and rook, in which nothing is proven."""
    variant = child_of(
        "gardner", f"hurry{moves}", startFen="3k1/5/5/5/K3R w - - 0 1", nMoveRule=moves
    )
    config = self_play_config(longest_game=30, noise_fraction=1.0, simulations=1)
    rows = SelfPlay(variant, config, np.random.default_rng(3)).play(UniformEvaluator(), 60)
    fresh = np.full(len(rows), UNPROVEN, np.int8)
    return variant, solve_endgames(variant, 3)[0], replace(rows, proven=fresh)


def test_a_win_that_the_move_rule_forestalls_is_a_draw() -> None:
    variant, tables, rows = random_rook_endings("20")
    values, distances = tables.lookup(rows.positions)
    # A clock that has almost run out: 40 plies without progress are a draw.
    hurried = rows.positions.copy()
    hurried[:, variant.squares + CLOCK] = 39
    rows = replace(rows, positions=hurried, games=np.arange(len(rows), dtype=np.int32))
    rescored = rescore(variant, rows, tables.values, "both")
    late = (values != 0) & (distances > 1)
    assert late.any()
    assert (rescored.proven[late] == 0).all()
    assert np.array_equal(rescored.proven[~late], values[~late])
    for index in np.flatnonzero(late):
        part = slice(rows.offsets[index], rows.offsets[index + 1])
        position = Position.from_row(hurried[index], variant)
        for move, share in zip(rows.moves[part], rescored.policy[part], strict=True):
            position.push(int(move))
            outcome = position.outcome()
            if share > 0:
                assert outcome is not None
                assert outcome.winner is None
            position.pop()
    # What a search has proven is not overwritten.
    drawn = np.zeros(len(rows), np.int8)
    assert not rescore(variant, replace(rows, proven=drawn), tables.values, "value").proven.any()


def test_wins_that_a_repetition_may_spoil_are_left_alone() -> None:
    variant, tables, rows = random_rook_endings("50")
    values = tables.values(rows.positions)
    place = variant.squares + REPETITION
    clocks = rows.positions[:, variant.squares + CLOCK]
    # Somewhere in the middle of each game a position comes up for the second time.
    repeated = np.flatnonzero(clocks == 6)
    positions = rows.positions.copy()
    positions[:, place] = 0
    positions[repeated, place] = 1
    rows = replace(rows, positions=positions)
    rescored = rescore(variant, rows, tables.values, "both")
    spoilt = np.zeros(len(rows), np.bool_)
    for index in repeated:
        for later in range(index + 1, len(rows)):
            if rows.games[later] != rows.games[index] or clocks[later] == 0:
                break
            spoilt[later] = values[later] != 0
    assert spoilt.sum() > 10
    assert (rescored.proven[spoilt] == UNPROVEN).all()
    assert np.array_equal(rescored.proven[~spoilt], values[~spoilt])


def test_wins_that_an_unrecorded_repetition_may_spoil_are_left_alone() -> None:
    variant, tables, rows = random_rook_endings("50")
    positions = rows.positions.copy()
    positions[:, variant.squares + REPETITION] = 0
    rows = replace(rows, positions=positions)
    clocks = positions[:, variant.squares + CLOCK]
    values = tables.values(positions)
    whole = rescore(variant, rows, tables.values, "value")
    assert np.array_equal(whole.proven, values)
    # Who is recorded, and of whom an earlier ply could have come up for the second time: after
    # four plies at the earliest.
    for recorded, doubtful in (
        ((0, 3, 5), (5,)),
        ((0, 3, 4), ()),
        ((0, 3, 4, 5, 6), ()),
        ((0, 1, 2, 3, 5, 6, 7), (5, 6, 7)),
    ):
        places = np.flatnonzero(np.isin(clocks, recorded))
        rescored = rescore(variant, select(rows, places), tables.values, "value")
        expected = np.where(
            np.isin(clocks[places], doubtful) & (values[places] != 0), UNPROVEN, values[places]
        )
        assert (values[places][np.isin(clocks[places], recorded[-1:])] != 0).any()
        assert np.array_equal(rescored.proven, expected)
    # Where nothing can come back, and where repetitions do not count, nothing is in doubt.
    free = child_of("gardner", "free", startFen="3k1/5/5/5/K3R w - - 0 1", nFoldRule="0")
    late = select(rows, np.flatnonzero(clocks == 9))
    assert np.array_equal(rescore(free, late, tables.values, "value").proven, values[clocks == 9])


def test_a_reset_between_two_rows_hides_plies_too() -> None:
    variant, tables, rows = random_rook_endings("50")
    won = np.flatnonzero(tables.values(rows.positions) != 0)[:2]
    positions = rows.positions[won].copy()
    positions[:, variant.squares + REPETITION] = 0
    positions[:, variant.squares + CLOCK] = 4, 5
    values = tables.values(positions)
    # One ply later, and fifteen.
    for left, second in (((30, 29), values[1]), ((30, 15), UNPROVEN)):
        pair = replace(
            select(rows, won),
            positions=positions,
            moves_left=np.array(left, np.int16),
            games=np.zeros(2, np.int32),
        )
        assert rescore(variant, pair, tables.values, "value").proven.tolist() == [values[0], second]


def test_the_gate_lets_the_better_one_in() -> None:
    variant, solution = hexapawn()
    config = self_play_config(simulations=2, varied_starts=1.0, opening_plies=2)
    perfect, ignorant = SolverEvaluator(solution), UniformEvaluator()

    def score(challenger: object, champion: object) -> float:
        return gate_score(
            variant,
            challenger,  # type: ignore[arg-type]
            champion,  # type: ignore[arg-type]
            config,
            40,
            np.random.default_rng(1),
        )

    # Equal players, each start with both sides: exactly half of the points.
    assert score(perfect, perfect) == 0.5
    assert score(ignorant, ignorant) == 0.5
    better = score(perfect, ignorant)
    assert better > 0.6
    assert score(ignorant, perfect) == pytest.approx(1 - better)
