"""Several games at once against engines: one process for each, and the same games as one by one."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pawnscope
from engine.player import Choice, Limits, Player
from engine.rules.errors import IllegalMoveError
from engine.rules.position import Position
from engine.rules.variant import get_variant
from search.evaluator import UniformEvaluator
from search.mcts.puct import PuctConfig
from search.players.external import EngineError, EngineTimeoutError, ExternalPlayer
from search.players.network import TreePlayer
from training.evaluation.arena import Ending, PlayedGame, match_games

GARDNER = get_variant("gardner")


class Engine(ExternalPlayer):
    """Plays in this process, and holds the rest of the program to the manners of UCI."""

    def __init__(self, problems: dict[int, Exception] | None = None) -> None:
        """`problems`: what goes wrong at which move of this engine's life."""
        self.name = "engine"
        self._problems = problems or {}
        self._moves = 0
        self._line: list[int] = []
        self._busy = threading.Lock()
        self.games, self.closed = 1, False

    def new_game(self) -> None:
        if self.closed:
            raise EngineError("the engine has ended")
        self.games += 1
        self._line = []

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        assert not self.closed
        assert self._busy.acquire(blocking=False), "asked twice at once"
        # The game goes on from where this engine left it.
        assert position.move_stack[: len(self._line)] == self._line
        time.sleep(0.001)
        self._moves += 1
        problem = self._problems.get(self._moves)
        self._busy.release()
        if problem is not None:
            raise problem
        move = position.legal_moves[sum(position.move_stack) % len(position.legal_moves)]
        self._line = [*position.move_stack, move]
        return Choice(move=move)

    def close(self) -> None:
        self.closed = True


class Counting(TreePlayer):
    """How many positions it is asked about at once."""

    def __init__(self) -> None:
        super().__init__(UniformEvaluator(), PuctConfig(simulations=4), np.random.default_rng(0))
        self.most = 0

    def choose_batch(self, positions: "list[Position]") -> list[Choice]:  # type: ignore[override]
        self.most = max(self.most, len(positions))
        return super().choose_batch(positions)


def played(
    a: Player, b: Player, concurrency: int, engines: list[Engine], games: int = 12
) -> list[PlayedGame]:
    def further(_: int) -> Player:
        engines.append(Engine())
        return engines[-1]

    found = match_games(
        a,
        b,
        GARDNER,
        games=games,
        opening_plies=2,
        rng=np.random.default_rng(0),
        longest_game=40,
        make_copy=further,
        concurrency=concurrency,
    )
    return sorted(found, key=lambda game: game.number)


def test_games_at_once_are_those_played_one_by_one() -> None:
    few: list[Engine] = []
    alone = played(Counting(), Engine(), 1, few)
    assert not few
    for concurrency in (3, 5):
        ours, engines = Counting(), list[Engine]()
        together = played(ours, Engine(), concurrency, engines)
        assert ours.most == concurrency
        assert len(engines) == concurrency - 1
        assert [game.record for game in together] == [game.record for game in alone]


def test_no_more_engines_start_than_there_are_games() -> None:
    engines: list[Engine] = []
    assert len(played(Counting(), Engine(), 8, engines, games=3)) == 3
    assert len(engines) == 2


def test_engines_play_each_other_at_once() -> None:
    engines: list[Engine] = []
    games = played(Engine(), Engine(), 4, engines)
    assert len(games) == 12
    assert len(engines) == 6
    assert all(engine.games > 1 for engine in engines)


@pytest.mark.parametrize(
    ("problem", "ending"),
    [
        (EngineError("the engine has ended"), Ending.ILLEGAL),
        (EngineTimeoutError("the engine does not answer"), Ending.TIME),
        (IllegalMoveError("the move 'a1a1' is not legal"), Ending.ILLEGAL),
    ],
)
def test_one_failure_costs_one_game(problem: Exception, ending: Ending) -> None:
    engines: list[Engine] = []
    broken = Engine({3: problem})
    games = played(Counting(), broken, 4, engines)
    assert [game.ending for game in games].count(ending) == 1
    assert len(games) == 12
    assert broken.closed == isinstance(problem, EngineError)
    assert len(engines) == 3 + broken.closed


def test_an_engine_that_died_between_games_is_replaced() -> None:
    first = Engine()
    engines: list[Engine] = []

    def further(_: int) -> Player:
        engines.append(Engine())
        return engines[-1]

    games = match_games(
        Counting(),
        first,
        GARDNER,
        games=2,
        opening_plies=0,
        rng=np.random.default_rng(0),
        longest_game=10,
        make_copy=further,
    )
    next(games)
    first.close()
    assert next(games).ending != Ending.ILLEGAL
    assert len(engines) == 1


def unlucky(starts: int, engines: list[Engine]) -> Callable[[int], Player]:
    """Starts so many engines, and then none any more."""

    def further(_: int) -> Player:
        if len(engines) == starts:
            raise EngineError("the engine does not start")
        engines.append(Engine())
        return engines[-1]

    return further


def test_a_place_without_an_engine_leaves_its_games_to_the_others() -> None:
    engines: list[Engine] = []
    broken = Engine({3: EngineError("the engine has ended")})
    asked = {"games": 12, "opening_plies": 2, "longest_game": 40, "concurrency": 3}
    found = match_games(
        Counting(),
        broken,
        GARDNER,
        rng=np.random.default_rng(0),
        make_copy=unlucky(1, engines),
        **asked,  # type: ignore[arg-type]
    )
    games = sorted(found, key=lambda game: game.number)
    # The first place loses its engine, the third never has one.
    assert [game.number for game in games] == list(range(12))
    assert [game.ending for game in games].count(Ending.ILLEGAL) == 1
    assert broken.closed
    assert len(engines) == 1


def test_a_match_without_engines_ends_with_what_was_played() -> None:
    dead = EngineError("the engine has ended")
    games = match_games(
        Counting(),
        Engine({20: dead}),
        GARDNER,
        games=20,
        opening_plies=2,
        rng=np.random.default_rng(0),
        longest_game=20,
        make_copy=unlucky(0, []),
    )
    played: list[PlayedGame] = []
    with pytest.raises(EngineError, match="does not start"):
        played.extend(games)
    assert [game.ending for game in played] == [Ending.PLY_LIMIT, Ending.PLY_LIMIT, Ending.ILLEGAL]


def test_an_engine_that_the_caller_started_plays_one_game_at_a_time() -> None:
    engine = Engine()
    result = pawnscope.match(engine, "random", GARDNER, games=6)
    assert [game.number for game in result.played] == list(range(6))
    assert {game.ending for game in result.played} <= {Ending.NORMAL, Ending.PLY_LIMIT}
    assert engine.games == 7
    assert not engine.closed


def test_an_engine_hears_of_new_games(tmp_path: Path) -> None:
    log = tmp_path / "heard"
    script = Path(__file__).resolve().parents[2] / "support" / "search" / "fake_uci_engine.py"
    import sys

    engine = ExternalPlayer(f"{sys.executable} {script} {log} a2a3", GARDNER)
    engine.new_game()
    engine.close()
    assert log.read_text().split().count("ucinewgame") == 2


def test_games_that_were_played_are_left_out() -> None:
    def games(done: set[int]) -> list[PlayedGame]:
        found = match_games(
            Counting(),
            Counting(),
            GARDNER,
            games=10,
            opening_plies=2,
            rng=np.random.default_rng(4),
            longest_game=30,
            done=done,
        )
        return sorted(found, key=lambda game: game.number)

    every = games(set())
    part = games({0, 1, 2, 5, 8})
    assert [game.number for game in part] == [3, 4, 6, 7, 9]
    assert [game.record for game in part] == [every[number].record for number in (3, 4, 6, 7, 9)]
