"""Self-play writes down the games that it played, each row from its own side to move."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.rules.history import hash_row
from engine.rules.moves import make_move
from engine.rules.position import Position
from engine.rules.tables import CLOCK, REPETITION, SIDE
from engine.rules.variant import Variant, get_variant
from search.evaluator import Evaluation, Evaluator, UniformEvaluator
from search.exact.evaluator import SolverEvaluator
from search.exact.solver import solve
from search.exact.tablebase.tables import solve_endgames
from search.scores import NO_SCORE, UNPROVEN
from tests.support.training.training_cases import (
    child_of,
    hexapawn,
    rook_ending,
    rows_of_game,
    self_play_config,
)
from training.data.shards import UNKNOWN_END, GameRows
from training.selfplay.games import SelfPlay, _random_walk

RANDOM: dict[str, Any] = {"noise_fraction": 1.0, "simulations": 1}
"""With an evaluator that knows nothing: moves at random."""


def play(
    variant: Variant,
    positions: int,
    evaluator: Evaluator | None = None,
    *,
    seed: int = 1,
    **changes: Any,
) -> GameRows:
    self_play = SelfPlay(variant, self_play_config(**changes), np.random.default_rng(seed))
    return self_play.play(evaluator or UniformEvaluator(), positions)


def replay(variant: Variant, rows: GameRows, game: int) -> Position:
    """Play the game again by legal moves alone; the position before its last move.

    Every row must be the position that `Position` makes of the one before it, with its clock and
    its repetitions.
    """
    places = rows_of_game(rows, game)
    position = Position.from_row(rows.positions[places[0]], variant)
    for place, following in itertools.zip_longest(places, places[1:]):
        part = slice(rows.offsets[place], rows.offsets[place + 1])
        assert position.legal_moves == rows.moves[part].tolist()
        assert rows.policy[part].sum() == pytest.approx(1.0)
        if following is not None:
            reached = [
                after
                for after in replies(position)
                if np.array_equal(after.row, rows.positions[following])
            ]
            assert len(reached) == 1
            position = reached[0]
    return position


def replies(position: Position) -> list[Position]:
    """The position after each legal move."""
    twins = [position.copy() for _ in position.legal_moves]
    for twin, move in zip(twins, position.legal_moves, strict=True):
        twin.push(move)
    return twins


def ends(position: Position) -> set[int]:
    """Results for the side to move of the moves that end the game."""
    outcomes = [after.outcome() for after in replies(position)]
    return {outcome.value(position.turn) for outcome in outcomes if outcome is not None}


@pytest.mark.parametrize(
    "variant",
    [*map(get_variant, ["hexapawn", "gardner", "silverman4x5", "diana"]), rook_ending()],
    ids=lambda variant: variant.name,
)
def test_a_game_is_a_row_of_legal_moves_to_its_end(variant: Variant) -> None:
    rows = play(variant, 120, games=3, **RANDOM)
    for game in range(rows.game_count):
        places = rows_of_game(rows, game)
        assert np.array_equal(rows.positions[places[0]], variant.start_row)
        last = replay(variant, rows, game)
        assert rows.moves_left[places].tolist() == list(range(len(places), 0, -1))
        assert rows.outcomes[places[-1]] in ends(last)
        assert np.array_equal(rows.outcomes[places[1:]], -rows.outcomes[places[:-1]])


def test_repetitions_and_draws_are_met_on_the_way() -> None:
    variant = rook_ending()
    rows = play(variant, 400, **RANDOM)
    assert {0, 1} == set(rows.positions[:, variant.squares + REPETITION])
    assert rows.positions[:, variant.squares + CLOCK].max() > 12
    games = {game: rows_of_game(rows, game) for game in range(rows.game_count)}
    drawn = [game for game, places in games.items() if not rows.outcomes[places].any()]
    assert drawn
    for game in drawn:
        assert 0 in ends(replay(variant, rows, game))


@pytest.mark.parametrize("name", ["hexapawn", "hexapawn3x4"])
def test_perfect_players_reach_the_value_of_every_position(name: str) -> None:
    variant = get_variant(name)
    solution = solve(variant)
    evaluator = SolverEvaluator(solution)
    rows = play(variant, 300, evaluator, games=16, varied_starts=0.8, opening_plies=5)
    values, _ = solution.lookup_batch(rows.positions)
    assert np.array_equal(rows.outcomes, values)
    black = rows.positions[:, variant.squares + SIDE] == 1
    for side in (black, ~black):
        assert {-1, 1} == set(rows.outcomes[side])
    known = rows.proven != UNPROVEN
    assert known.any()
    assert np.array_equal(rows.proven[known], values[known])
    assert np.array_equal(1 - rows.search_wdl.argmax(1), values)


def test_players_who_know_nothing_do_not() -> None:
    variant, solution = hexapawn()
    rows = play(variant, 300, **RANDOM)
    values, _ = solution.lookup_batch(rows.positions)
    assert (rows.outcomes != values).mean() > 0.1


def test_a_won_game_is_won_for_white_and_lost_for_black() -> None:
    start = "2p/3/P2/3/3 w - - 0 1"
    race = child_of("hexapawn", "race", maxRank="5", flagRegionWhite="*5", startFen=start)
    rows = play(race, 3, games=1)
    assert rows.moves_left.tolist() == [3, 2, 1]
    assert rows.outcomes.tolist() == [1, -1, 1]
    assert rows.moves[0] == make_move(6, 9)


def test_a_game_broken_off_is_a_draw_for_both() -> None:
    rows = play(get_variant("hexapawn"), 60, longest_game=2)
    assert np.bincount(rows.games).tolist() == [2] * rows.game_count
    # Nobody knows how long it would have lasted.
    assert (rows.moves_left == UNKNOWN_END).all()
    assert not rows.outcomes.any()


def test_a_game_ends_where_the_tables_know_it() -> None:
    start = "3k1/4p/5/5/K3R w - - 0 1"
    variant = child_of("gardner", "covered", startFen=start, nMoveRule="12")
    tables, _ = solve_endgames(variant, 3)
    config = self_play_config(simulations=1, noise_fraction=1.0, longest_game=40)
    rows = SelfPlay(tables.attached, config, np.random.default_rng(2)).play(UniformEvaluator(), 300)
    seen = set()
    for game in range(rows.game_count):
        places = rows_of_game(rows, game)
        # Only the last position may be covered, for what follows it is the tables' value.
        assert (tables.scores_at_clock(rows.positions[places]) == NO_SCORE).all()
        last = Position.from_row(rows.positions[places[-1]], variant)
        (after,) = (
            twin
            for twin in replies(last)
            if np.array_equal(twin.row[: variant.squares], rows.endings[places[-1]])
        )
        if after.outcome() is not None:
            assert rows.moves_left[places].tolist() == list(range(len(places), 0, -1))
            continue
        assert (rows.moves_left[places] == UNKNOWN_END).all()
        value = tables.values(after.row[None])[0]
        if len(places) < 40 and value != UNPROVEN:
            assert rows.outcomes[places[-1]] == -value
            seen.add(int(rows.outcomes[places[-1]]) * (1 if last.turn == 0 else -1))
    assert len(seen) > 1


def test_varied_starts_are_positions_of_the_game() -> None:
    variant, solution = hexapawn()
    rows = play(variant, 600, varied_starts=1.0, opening_plies=4, **RANDOM)
    firsts = rows.positions[np.flatnonzero(np.diff(rows.games, prepend=-1))]
    # Board and side to move.
    starts = {row[: variant.squares + 1].tobytes() for row in firsts}
    unfinished = solution.unfinished_positions()
    assert starts <= {row[: variant.squares + 1].tobytes() for row in unfinished}
    assert len(starts) > 20
    assert variant.start_row[: variant.squares + 1].tobytes() not in starts


def test_a_random_walk_is_a_game_with_its_history() -> None:
    variant = rook_ending()
    rng = np.random.default_rng(0)
    repeated, ended = 0, 0
    for _ in range(60):
        choices = rng.random(10)
        row, history = variant.start_row.copy(), np.zeros(10, np.uint64)
        played = _random_walk(variant.tables, row, history, choices)
        position = Position(variant)
        for choice in choices:
            if position.legal_moves:
                position.push(position.legal_moves[int(choice * len(position.legal_moves))])
        if position.outcome() is not None:
            assert played == -1
            ended += 1
            continue
        assert played == 10
        assert np.array_equal(row, position.row)
        assert history.tolist() == position.hashes
        repeated += int(row[variant.squares + REPETITION])
    assert repeated
    assert ended


def test_the_history_of_a_varied_start_counts_in_the_game() -> None:
    variant = rook_ending()
    config = self_play_config(games=40, varied_starts=1.0, opening_plies=8, **RANDOM)
    self_play = SelfPlay(variant, config, np.random.default_rng(1))
    start = int(hash_row(variant.tables, variant.start_row))
    repeated = 0
    for _ in range(4):
        before = [
            Position.from_row(row, variant, tuple(history[:length].tolist()))
            for row, history, length in zip(
                self_play._positions, self_play._histories, self_play._lengths, strict=True
            )
        ]
        assert all(position.hashes[0] == start for position in before)
        self_play.step(UniformEvaluator())
        for game, position in enumerate(before):
            # A game that has just ended has made room for another.
            if self_play._recorder.plies[game]:
                row = self_play._positions[game]
                assert any(np.array_equal(after.row, row) for after in replies(position))
                repeated += int(row[variant.squares + REPETITION])
    assert repeated


def test_the_same_seed_plays_the_same_games() -> None:
    settings: dict[str, Any] = {
        "noise_fraction": 0.5,
        "varied_starts": 0.5,
        "longest_game": 20,
    }
    first, again, other = (
        play(get_variant("gardner"), 100, seed=seed, **settings) for seed in (7, 7, 8)
    )
    for name in GameRows.__dataclass_fields__:
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    assert not np.array_equal(first.positions[:20], other.positions[:20])


def test_after_the_temperature_the_best_move_is_played() -> None:
    variant = get_variant("gardner")
    rows = play(variant, 80, temperature_plies=4, longest_game=20, noise_fraction=0.5)
    drawn = 0
    for game in range(rows.game_count):
        places = rows_of_game(rows, game)
        for ply, (place, following) in enumerate(itertools.pairwise(places)):
            part = slice(rows.offsets[place], rows.offsets[place + 1])
            position = Position.from_row(rows.positions[place], variant)
            position.push(int(rows.moves[part][rows.policy[part].argmax()]))
            board = slice(0, variant.squares)
            best = np.array_equal(position.row[board], rows.positions[following][board])
            assert best or ply < 4
            drawn += not best
    assert drawn


def test_progress_tells_of_every_position() -> None:
    self_play = SelfPlay(get_variant("hexapawn"), self_play_config(), np.random.default_rng(1))
    told: list[int] = []
    rows = self_play.play(UniformEvaluator(), 50, told.append)
    assert sum(told) == len(rows) >= 50
    assert len(told) == rows.game_count


@pytest.mark.parametrize("search", ["puct", "gumbel"])
def test_full_searches_alone_are_lessons(search: str) -> None:
    """Playout-cap randomisation: the games are whole, but only some of their plies are noted."""
    variant = get_variant("hexapawn4x4")
    settings: dict[str, Any] = {"search": search, "simulations": 12, "fast_simulations": 3}
    config = self_play_config(games=8, noise_fraction=0.25, full_share=0.4, **settings)
    self_play = SelfPlay(variant, config, np.random.default_rng(4))
    rows = self_play.play(UniformEvaluator(), 150)
    noted, plies, simulations = (
        len(rows),
        self_play.statistics.plies,
        self_play.statistics.simulations,
    )
    assert 0.25 < noted / plies < 0.55
    # Where nothing is proven: 12 simulations in recorded plies, 3 in the others.
    assert simulations <= 12 * noted / 0.7 + 3 * plies
    for game in range(rows.game_count):
        places = rows_of_game(rows, game)
        left = rows.moves_left[places].astype(int)
        assert (np.diff(left) < 0).all()
        # Signs go by plies, not by rows.
        side = rows.positions[places, variant.squares + SIDE].astype(int)
        assert np.array_equal(np.diff(left) % 2, np.diff(side) % 2)
        results = rows.outcomes[places] * np.where(side == side[0], 1, -1)
        assert len(set(results)) == 1
        for place, following in itertools.pairwise(places):
            reply = int(rows.replies[place])
            # Also where the reply was a fast move.
            assert reply != 0
            if rows.moves_left[following] == rows.moves_left[place] - 1:
                part = slice(rows.offsets[following], rows.offsets[following + 1])
                assert reply in rows.moves[part]


@pytest.mark.parametrize("search", ["puct", "gumbel"])
def test_perfect_players_keep_the_value_whatever_searches(search: str) -> None:
    variant, solution = hexapawn()
    settings: dict[str, Any] = {"search": search, "full_share": 0.5, "fast_simulations": 4}
    rows = play(
        variant,
        200,
        SolverEvaluator(solution),
        games=16,
        varied_starts=0.8,
        noise_fraction=0.25,
        **settings,
    )
    values, _ = solution.lookup_batch(rows.positions)
    kept = rows.outcomes == values
    # Gumbel's noise at full strength may lose a won game, as it is meant to explore.
    assert kept.mean() > 0.9
    for side in (0, 1):
        assert {-1, 1} == set(rows.outcomes[rows.positions[:, variant.squares + SIDE] == side])


class Pessimist:
    """Finds every position lost."""

    def evaluate(
        self,
        positions: npt.NDArray[np.uint8],
        moves: npt.NDArray[np.uint16],
        offsets: npt.NDArray[np.int64],
    ) -> Evaluation:
        """See Evaluator."""
        wdl = np.tile(np.array([0.05, 0, 0.95], np.float32), (len(positions), 1))
        return Evaluation(np.zeros(len(moves), np.float32), wdl)


@pytest.mark.parametrize("play_on", [0.0, 0.5, 1.0])
def test_a_lost_side_resigns_and_a_share_is_played_on_to_see(play_on: float) -> None:
    variant = get_variant("gardner")
    config = self_play_config(
        games=16,
        longest_game=12,
        temperature_plies=99,
        resign_below=-0.8,
        resign_play_on=play_on,
    )
    self_play = SelfPlay(variant, config, np.random.default_rng(1))
    # The value of the root is then the pessimist's alone.
    self_play.simulations = 0
    rows = self_play.play(Pessimist(), 600)
    found = self_play.statistics
    lengths = np.bincount(rows.games)
    # The first to find itself lost twice running is the side that began, on its second turn.
    given_up = lengths == 3
    assert given_up.sum() == found.resigned
    assert given_up.mean() == pytest.approx(1 - play_on, abs=0.2)
    for game in np.flatnonzero(given_up):
        assert rows.outcomes[rows_of_game(rows, int(game))].tolist() == [-1, 1, -1]
        assert (rows.moves_left[rows_of_game(rows, int(game))] == UNKNOWN_END).all()
    # Of those played on, most are broken off as draws: giving up would have been wrong.
    played_on = len(lengths) - found.resigned
    assert found.checked == played_on
    assert found.wrong == sum(
        rows.outcomes[rows_of_game(rows, int(game))[0]] != -1 for game in np.flatnonzero(~given_up)
    )
    assert (found.wrong > 0) == (play_on > 0)
