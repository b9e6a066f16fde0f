"""Matches: paired openings, forfeits, batches, and an Elo interval that holds what it promises."""

import json
import math
from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.player import BatchPlayer, Choice, Limits, Player
from engine.rules.errors import IllegalMoveError, InputError
from engine.rules.moves import make_move
from engine.rules.pgn import read_pgn, write_pgn
from engine.rules.position import Position
from engine.rules.tables import BLACK, WHITE
from engine.rules.variant import get_variant
from search.evaluator import UniformEvaluator
from search.exact.solver import solve
from search.mcts.puct import PuctConfig
from search.players.builtin import PerfectPlayer, RandomPlayer
from search.players.external import EngineError, EngineTimeoutError
from search.players.network import PolicyPlayer, TreePlayer
from tests.support.training.training_cases import play_game
from training.evaluation.arena import (
    Ending,
    MatchResult,
    PlayedGame,
    match_games,
    play_match,
    summarise,
)
from training.evaluation.elo import elo_difference, elo_of_score, expected_score
from training.evaluation.openings import random_openings

HEXAPAWN = get_variant("hexapawn")
GARDNER = get_variant("gardner")


class FirstMove(Player):
    """The first legal move."""

    name = "first"

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        return Choice(move=position.legal_moves[0])


class Failing(FirstMove):
    """Does what it must not at its second move of a game."""

    name = "failing"

    def __init__(self, problem: Exception | None) -> None:
        self._problem = problem
        self.closed = False

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        if len(position.move_stack) < 2:
            return super().choose(position)
        if self._problem is not None:
            raise self._problem
        return Choice(move=make_move(0, 0))

    def close(self) -> None:
        self.closed = True


class OneByOne(Player):
    """A batch player without its batches."""

    def __init__(self, player: Player) -> None:
        self.name, self._player = player.name, player

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        return self._player.choose(position)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def played(a: Player, b: Player, name: str, games: int, plies: int) -> list[PlayedGame]:
    found = match_games(
        a, b, get_variant(name), games=games, opening_plies=plies, rng=rng(), longest_game=60
    )
    return sorted(found, key=lambda game: game.number)


def test_a_game_is_played_by_the_rules() -> None:
    game = play_game(FirstMove(), FirstMove(), HEXAPAWN)
    position = Position(HEXAPAWN)
    for move in game.record.moves:
        assert move == position.legal_moves[0]
        position.push(move)
    outcome = position.outcome()
    assert outcome is not None
    assert game.winner == outcome.winner
    assert game.record.result == outcome.result
    assert game.ending == Ending.NORMAL


def test_each_opening_is_played_with_both_colours() -> None:
    games = played(RandomPlayer(rng(1)), RandomPlayer(rng(2)), "gardner", 8, 3)
    assert [game.colour for game in games] == [WHITE, BLACK] * 4
    openings = [game.record.moves[:3] for game in games]
    assert openings[0::2] == openings[1::2]
    assert len(set(openings)) == 4


def test_openings_leave_the_game_open_and_differ() -> None:
    openings = list(islice(random_openings(GARDNER, 2, rng()), 30))
    positions = set()
    for opening in openings:
        position = Position(GARDNER)
        for move in opening:
            assert move in position.legal_moves
            position.push(move)
        assert len(opening) == 2
        assert position.legal_moves
        positions.add(position.fen())
    assert len(positions) == 30
    assert openings == list(islice(random_openings(GARDNER, 2, rng()), 30))
    with pytest.raises(InputError, match="9 plies"):
        next(random_openings(HEXAPAWN, 9, rng()))


def test_more_openings_than_there_are_repeat() -> None:
    every = {(move,) for move in Position(HEXAPAWN).legal_moves}
    openings = random_openings(HEXAPAWN, 1, rng())
    for _ in range(50):
        assert set(islice(openings, len(every))) == every


@pytest.mark.parametrize(
    ("problem", "ending"),
    [
        (None, Ending.ILLEGAL),
        (IllegalMoveError("the move 'a1a1' is not legal"), Ending.ILLEGAL),
        (EngineError("the engine has ended"), Ending.ILLEGAL),
        (EngineTimeoutError("the engine does not answer"), Ending.TIME),
    ],
)
def test_whoever_breaks_the_rules_or_down_loses(problem: Exception | None, ending: Ending) -> None:
    for which in (0, 1):
        pair: list[Player] = [FirstMove(), FirstMove()]
        pair[which] = Failing(problem)
        result = play_match(pair[0], pair[1], GARDNER, games=6, rng=rng())
        assert (result.wins, result.losses) == ((0, 6) if which == 0 else (6, 0))
        assert result.illegal == (6 if ending == Ending.ILLEGAL else 0)
        assert result.time_losses == (6 if ending == Ending.TIME else 0)


def test_a_dead_engine_is_replaced() -> None:
    dead, fresh = Failing(EngineError("the engine has ended")), FirstMove()
    asked = []

    def make_copy(which: int) -> Player:
        asked.append(which)
        return fresh

    games = list(
        match_games(
            FirstMove(), dead, GARDNER, games=4, opening_plies=0, rng=rng(), make_copy=make_copy
        )
    )
    assert asked == [1]
    assert dead.closed
    assert [game.ending for game in games] == [Ending.ILLEGAL, *[Ending.NORMAL] * 3]


def test_bugs_of_our_own_players_are_not_forfeits() -> None:
    with pytest.raises(ZeroDivisionError):
        play_game(FirstMove(), Failing(ZeroDivisionError()), GARDNER)


def test_a_game_without_end_is_a_draw() -> None:
    game = play_game(RandomPlayer(rng()), RandomPlayer(rng()), GARDNER, longest_game=4)
    assert len(game.record.moves) == 4
    assert (game.winner, game.ending) == (None, Ending.PLY_LIMIT)


@pytest.mark.parametrize("kind", ["mcts", "policy"])
def test_games_side_by_side_are_those_played_one_by_one(kind: str) -> None:
    def player() -> Player:
        if kind == "policy":
            return PolicyPlayer(UniformEvaluator())
        return TreePlayer(UniformEvaluator(), PuctConfig(simulations=12), rng())

    assert isinstance(player(), BatchPlayer)
    together = played(player(), FirstMove(), "gardner", 8, 2)
    one_by_one = played(OneByOne(player()), FirstMove(), "gardner", 8, 2)
    assert [game.record.moves for game in together] == [game.record.moves for game in one_by_one]


def test_perfect_play_is_perfect() -> None:
    perfect = PerfectPlayer(solve(HEXAPAWN), rng(1))
    for game in played(perfect, perfect, "hexapawn", 10, 0):
        assert game.winner == BLACK
        assert len(game.record.moves) == 6
    against_random = played(perfect, RandomPlayer(rng(2)), "hexapawn", 40, 0)
    assert all(game.winner == BLACK for game in against_random if game.colour == BLACK)
    assert any(game.winner == WHITE for game in against_random if game.colour == WHITE)


def test_games_are_written_and_read_back() -> None:
    games = played(RandomPlayer(rng(1)), RandomPlayer(rng(2)), "gardner", 6, 2)
    text = "".join(write_pgn(game.record) for game in games)
    for game, read in zip(games, read_pgn(text), strict=True):
        assert read.moves == game.record.moves
        assert read.result == game.record.result
        assert read.variant is GARDNER
        assert read.tags["Termination"] == game.ending.value
        assert game.reason in read.comments[len(read.moves)]


def games_of(points: Sequence[float]) -> list[PlayedGame]:
    """Games of which A got so many points, in a row of pairs."""
    record = play_game(FirstMove(), FirstMove(), HEXAPAWN).record
    winners = {1.0: WHITE, 0.5: None, 0.0: BLACK}
    return [
        PlayedGame(
            number=number,
            colour=WHITE,
            winner=winners[point],
            ending=Ending.NORMAL,
            reason="",
            record=record,
        )
        for number, point in enumerate(points)
    ]


def test_the_score_counts_games_and_pairs() -> None:
    games = games_of([1, 1, 1, 0.5, 0.5, 0.5, 0, 1, 0.5, 0, 0, 0, 1])
    result = summarise(games[::-1], games_repeat=True)
    assert (result.distinct_pairs, result.independent_pairs) == (1, 1)
    result = summarise(games[::-1], games_repeat=False)
    assert (result.distinct_pairs, result.independent_pairs) == (1, 6)
    assert (result.wins, result.draws, result.losses) == (5, 4, 4)
    assert result.pairs == (1, 1, 2, 1, 1)
    assert result.games == 13
    assert result.score == pytest.approx(7 / 13)
    assert result.elo.elo == pytest.approx(elo_of_score(7 / 13))


def test_published_elo_differences() -> None:
    # FIDE handbook B.02, table 8.1.2 rounds these to 0.64, 0.76 and 0.91.
    assert expected_score(100) == pytest.approx(0.64, abs=0.005)
    assert expected_score(200) == pytest.approx(0.76, abs=0.005)
    assert expected_score(400) == pytest.approx(10 / 11)
    assert elo_difference(75, 0, 25).elo == pytest.approx(400 * math.log10(3))


def test_jeffreys_interval_of_a_match_without_draws() -> None:
    # Brown, Cai and DasGupta 2001, table 5: 2 of 10 gives 0.044 to 0.503.
    found = elo_difference(2, 0, 8)
    assert expected_score(found.low) == pytest.approx(0.044, abs=5e-4)
    assert expected_score(found.high) == pytest.approx(0.503, abs=5e-4)


def test_many_games_agree_with_the_normal_approximation() -> None:
    wins, draws, losses = 1500, 1000, 1100
    games = wins + draws + losses
    score = (wins + draws / 2) / games
    variance = (wins + draws / 4) / games - score**2
    half = 1.96 * math.sqrt(variance / games)
    found = elo_difference(wins, draws, losses)
    assert found.low == pytest.approx(elo_of_score(score - half), abs=0.3)
    assert found.high == pytest.approx(elo_of_score(score + half), abs=0.3)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_the_interval_is_finite_symmetric_and_holds_the_estimate(
    wins: int, draws: int, losses: int
) -> None:
    found = elo_difference(wins, draws, losses)
    assert found.low < found.elo < found.high
    json.dumps(found, allow_nan=False)
    turned = elo_difference(losses, draws, wins)
    assert turned.elo == pytest.approx(-found.elo, abs=1e-6)
    assert turned.low == pytest.approx(-found.high, abs=1e-6)
    assert elo_difference(wins + 1, draws, losses).elo > found.elo


@given(
    st.lists(st.integers(0, 10**6), min_size=5, max_size=5),
    st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 1)),
    st.floats(0, 1),
)
def test_the_interval_of_pairs_is_finite_symmetric_and_holds_the_estimate(
    pairs: list[int], outside: tuple[int, int, int], share: float
) -> None:
    """Any pairs, of which any number repeat others, and games outside them."""
    wins, draws, losses = outside
    wins += 2 * pairs[4] + pairs[3]
    draws += pairs[1] + 2 * pairs[2] + pairs[3]
    losses += 2 * pairs[0] + pairs[1]
    independent = max(1, round(share * sum(pairs)))
    found = elo_difference(wins, draws, losses, pairs, independent)
    assert found.low <= found.elo <= found.high
    assert found.low < found.high
    json.dumps(found, allow_nan=False)
    turned = elo_difference(losses, draws, wins, pairs[::-1], independent)
    assert turned.elo == pytest.approx(-found.elo, abs=1e-6, rel=1e-6)
    assert turned.low == pytest.approx(-found.high, abs=1e-6, rel=1e-6)


def test_repeated_wins_do_not_raise_the_estimate() -> None:
    """A pair that was won once is not won more surely for being played again."""
    once, often = (elo_difference(2 * n, 0, 0, (0, 0, 0, 0, n), 1) for n in (1, 10_000))
    assert often == pytest.approx(once)
    assert elo_difference(1, 0, 0, (0, 0, 0, 0, 0), 0) == elo_difference(1, 0, 0)
    with pytest.raises(ValueError, match="3 independent ones of 2 pairs"):
        elo_difference(4, 0, 0, (0, 0, 0, 0, 2), 3)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_expected_scores_of_any_difference(elo: float) -> None:
    assert 0.0 <= expected_score(elo) <= 1.0
    assert expected_score(elo) + expected_score(-elo) == pytest.approx(1.0)


def test_pairs_tell_the_players_from_the_openings() -> None:
    # In every opening one side wins, whoever plays it: the players are equal for sure.
    by_games = elo_difference(50, 0, 50)
    by_pairs = elo_difference(50, 0, 50, [0, 0, 50, 0, 0])
    assert by_pairs.high - by_pairs.low < 0.25 * (by_games.high - by_games.low)
    # Both games of a pair always end alike: half as much is known.
    alike = elo_difference(50, 0, 50, [25, 0, 0, 0, 25])
    assert alike.high - alike.low > 1.3 * (by_games.high - by_games.low)
    with pytest.raises(ValueError, match="3 pairs in 4 games"):
        elo_difference(2, 0, 2, [0, 0, 3, 0, 0])


@pytest.mark.parametrize("elo", [0.0, 150.0, 400.0])
@pytest.mark.parametrize(("bias", "draws"), [(0.0, 0.0), (0.0, 0.6), (300.0, 0.3)])
def test_the_interval_covers_a_planted_difference(elo: float, bias: float, draws: float) -> None:
    """95 % of matches of 50 pairs, whose openings favour one side by `bias` Elo, must hold it."""
    generator, pairs, matches = rng(5), 50, 600
    chances = np.array([expected_score(elo + bias), expected_score(elo - bias)])
    planted = elo_of_score(float(chances.mean()))
    drawn = draws * 2 * np.minimum(chances, 1 - chances)
    points = np.array([0.0, 0.5, 1.0])
    wins = chances - drawn / 2
    held = 0
    for _ in range(matches):
        shares = generator.random((pairs, 2))
        results = points[(shares < wins + drawn).astype(int) + (shares < wins)]
        held += _holds(results, planted)
    # Three standard errors below and, for the caution at the edge, more above.
    assert 0.925 <= held / matches <= 0.995


def _holds(results: np.ndarray[tuple[int, int], np.dtype[np.float64]], planted: float) -> bool:
    counts = [int((results == points).sum()) for points in (1.0, 0.5, 0.0)]
    totals = results.sum(axis=1)
    pairs = tuple(int((totals == points).sum()) for points in (0.0, 0.5, 1.0, 1.5, 2.0))
    result = MatchResult(
        wins=counts[0],
        draws=counts[1],
        losses=counts[2],
        pairs=pairs,
        distinct_pairs=len(totals),
        independent_pairs=len(totals),
        distinct=2 * len(totals),
        illegal=0,
        time_losses=0,
    )
    return result.elo.low <= planted <= result.elo.high
