"""Endgames near the move rule and after repetitions, against brute force over all clocks."""

import io
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from engine.rules.errors import InputError
from engine.rules.history import hash_row
from engine.rules.position import Position
from engine.rules.tables import BLACK_BIT, CLOCK, EN_PASSANT, KING, NO_SQUARE, PAWN, ROOK
from engine.rules.variant import Variant, get_variant
from scripts.cli import main
from scripts.players import player_of
from search.exact.solution import UnreachablePositionError
from search.exact.solver import solve
from search.exact.tablebase.tables import Tablebases, solve_endgames
from search.minimax.alphabeta import (
    ENTRY,
    EXACT,
    AlphaBetaConfig,
    _probe,
    _store,
    alphabeta,
)
from search.minimax.material import LONGEST_WIN, WIN_SCORE
from search.minimax.search_stack import start_stack
from search.players.builtin import AlphaBetaPlayer, PerfectPlayer
from search.players.tablebase import PerfectEndgamePlayer, table_choice, with_tablebases
from search.scores import NO_SCORE, UNPROVEN
from tests.support.search.clock_cases import ClockTruth, at_clock, clock_truth, king_and, placed
from tests.support.search.search_cases import searched
from tests.support.search.tablebase_cases import has_unborn_pawn, hurried_endgame, legal_rows
from tests.support.training.training_cases import child_of

GARDNER = get_variant("gardner")
SILVERMAN = get_variant("silverman4x4")
SHALLOW = AlphaBetaConfig(depth=2)
PUSH = "5/5/5/P4/K2k1 w - - 98 60"
LATE = "4k/5/2K2/5/R4 w - - 98 60"


@cache
def tables(variant: Variant, men: int = 3) -> Tablebases:
    return solve_endgames(variant, men)[0]


def positions_at(truth: ClockTruth, clock: int, count: int) -> list[int]:
    """Positions of king and pawn, not all alike in value."""
    covered = truth.selected(KING, KING | BLACK_BIT, PAWN)
    rng = np.random.default_rng(clock)
    return [int(index) for index in rng.choice(covered, count, replace=False)]


def test_values_at_every_clock() -> None:
    truth = king_and(GARDNER, PAWN)
    for clock in (0, 50, *range(80, 100)):
        rows = truth.rows.copy()
        rows[:, -2] = clock
        np.testing.assert_array_equal(tables(GARDNER).values(rows), truth.values[clock])


@pytest.mark.parametrize(
    ("name", "men", "moves"),
    [("rooks", 3, 2), ("rooks", 3, 4), ("narrow", 3, 2), ("goals", 2, 1), ("giving", 2, 1)],
)
def test_values_under_a_rule_that_draws_even_fresh_wins(name: str, men: int, moves: int) -> None:
    variant = hurried_endgame(name, moves)
    covered, reports = solve_endgames(variant, men)
    rows = [row for row in legal_rows(variant, men) if not has_unborn_pawn(variant, row)]
    going_on = [row for row in rows if Position.from_row(row, variant).legal_moves]
    truth = clock_truth(variant, np.stack(going_on))
    for clock in range(variant.clock_rule):
        worn = truth.rows.copy()
        worn[:, -2] = clock
        np.testing.assert_array_equal(covered.values(worn), truth.values[clock])
    # Colours stand for each other and mirror images, too: the tables hold fewer positions.
    values, _ = covered.lookup(truth.rows)
    drawn = (values != 0) & (truth.values[0] == 0)
    assert drawn.any() == any(report.drawn_by_rule for report in reports) == (name != "giving")


def test_en_passant_under_the_move_rule() -> None:
    variant = hurried_endgame("passing", 1)
    rows = [row for row in legal_rows(variant, 4) if Position.from_row(row, variant).legal_moves]
    truth = clock_truth(variant, np.stack(rows))
    assert (truth.rows[:, variant.squares + EN_PASSANT] != NO_SQUARE).sum() > 20
    for clock in range(2):
        worn = truth.rows.copy()
        worn[:, -2] = clock
        np.testing.assert_array_equal(tables(variant, 4).values(worn), truth.values[clock])


@pytest.mark.parametrize("clock", [95, 98, 99])
def test_perfect_keeps_every_value(clock: int) -> None:
    truth, player = king_and(GARDNER, PAWN), PerfectEndgamePlayer(tables(GARDNER))
    seen = set()
    for index in positions_at(truth, clock, 600):
        row = at_clock(truth.rows[index], clock)
        choice = player.choose(Position.from_row(row, GARDNER))
        value = int(truth.values[clock, index])
        assert truth.gain(index, clock, choice.move) == choice.value == value
        seen.add(value)
    # With one ply left nobody can lose: the winner has no move after the loser's.
    assert seen == ({0, 1} if clock == 99 else {-1, 0, 1})


@pytest.mark.parametrize("kind", ["alphabeta", "puct", "gumbel"])
def test_searches_keep_every_value(kind: str) -> None:
    truth, clock = king_and(GARDNER, PAWN), 98
    indices = positions_at(truth, clock, 150)
    rows = [at_clock(truth.rows[index], clock) for index in indices]
    positions = [Position.from_row(row, tables(GARDNER).attached) for row in rows]
    if kind == "alphabeta":
        for index, position in zip(indices, positions, strict=True):
            found = alphabeta(position, AlphaBetaConfig(depth=2))
            value = int(truth.values[clock, index])
            assert truth.gain(index, clock, found.moves[0]) == value
            assert (abs(found.score) > WIN_SCORE - LONGEST_WIN) == (value != 0)
        return
    result = searched(kind, *positions)
    for game, index in enumerate(indices):
        assert result.proven[game] == truth.values[clock, index]
        move = int(result.moves[result.offsets[game] + result.choices[game]])
        assert truth.gain(index, clock, move) == truth.values[clock, index]


@pytest.mark.parametrize("resistance", ["longest", "random"])
def test_no_win_slips_in_play(resistance: str) -> None:
    truth, rng = king_and(GARDNER, PAWN), np.random.default_rng(5)
    player = PerfectEndgamePlayer(tables(GARDNER))
    games = 0
    for clock in (91, 94, 96, 98):
        won = truth.selected(KING, KING | BLACK_BIT, PAWN)
        won = won[truth.values[clock, won] == 1]
        for index in rng.choice(won, 8, replace=False):
            position = Position.from_row(at_clock(truth.rows[index], clock), GARDNER)
            winner = position.turn
            while position.outcome() is None:
                move = player.choose(position).move
                if position.turn != winner and resistance == "random":
                    move = int(rng.choice(position.legal_moves))
                position.push(move)
            outcome = position.outcome()
            assert outcome is not None
            assert outcome.winner == winner
            games += 1
    assert games == 32


def spoilt_positions(count: int) -> list[tuple[Position, ClockTruth, int]]:
    """Decided rook endings, in whose games much of what lies ahead has stood twice already; with
    the truth and the place there."""
    rng, clock = np.random.default_rng(7), 84
    first = placed(SILVERMAN, KING, KING | BLACK_BIT, ROOK)
    plain = clock_truth(SILVERMAN, first)
    hashes = np.array([int(hash_row(SILVERMAN.tables, row)) for row in plain.rows], np.uint64)
    lost = np.flatnonzero(plain.values[clock] == -1)
    decided = {1: np.flatnonzero(plain.values[clock] == 1), -1: lost}
    found = []
    for _ in range(count):
        drawn = rng.choice(lost, 42, replace=False)
        twice = tuple(int(hash_) for hash_ in np.repeat(hashes[drawn], 2))
        truth = clock_truth(SILVERMAN, first, frozenset(twice), clock)
        # The most interesting: what the repetitions have spoilt, and as many others.
        for places in decided.values():
            spoilt = places[truth.values[clock, places] == 0]
            for index in (*spoilt[:4], *rng.choice(places, 4)):
                row = at_clock(plain.rows[index], clock)
                if int(hashes[index]) not in twice:
                    found.append((Position.from_row(row, SILVERMAN, twice), truth, int(index)))
    return found


@cache
def spoilt_games() -> list[tuple[Position, ClockTruth, int]]:
    return spoilt_positions(4)


def test_repetitions_before_the_root_count() -> None:
    values = set()
    for position, truth, index in spoilt_games():
        choice = table_choice(position, tables(SILVERMAN))
        assert choice is not None
        value = int(truth.values[position.clock, index])
        assert choice.value == value
        assert truth.gain(index, position.clock, choice.move) == value
        values.add(value)
    assert values == {-1, 0, 1}


@pytest.mark.parametrize("kind", ["puct", "gumbel", "alphabeta"])
def test_searches_prove_no_win_that_repetitions_spoil(kind: str) -> None:
    for position, truth, index in spoilt_games():
        value = int(truth.values[position.clock, index])
        seen = position.copy()
        seen.variant = tables(SILVERMAN).attached
        if kind == "alphabeta":
            score = alphabeta(seen, AlphaBetaConfig(depth=4)).score
            assert abs(score) < WIN_SCORE - LONGEST_WIN or value == np.sign(score)
        else:
            assert searched(kind, seen).proven[0] in (UNPROVEN, value)


def shuffled(row: npt.NDArray[np.uint8]) -> Position | None:
    """Both sides go to and fro from here until three positions have stood twice."""
    for white, black in product(Position.from_row(row, SILVERMAN).legal_moves, range(3)):
        position, line = Position.from_row(row, SILVERMAN), [white]
        position.push(white)
        answers = position.legal_moves
        if black >= len(answers):
            continue
        line.append(answers[black])
        line += [move >> 6 & 63 | (move & 63) << 6 for move in line]
        position.pop()
        for move in (*line, *line[:2]):
            if move not in position.legal_moves:
                break
            position.push(move)
        else:
            return position if position.legal_moves else None
    return None


def test_wins_are_won_against_a_friend_of_repetitions() -> None:
    rng = np.random.default_rng(2)
    player = with_tablebases(AlphaBetaPlayer(SHALLOW), tables(SILVERMAN))
    rows = tables(SILVERMAN).positions("KRvK")
    rows = rows[tables(SILVERMAN).values(rows) == 1]
    games = 0
    for row in rng.permutation(rows)[:60]:
        position = shuffled(row)
        if position is None or table_value(position) == 0:
            continue
        loser = position.turn if table_value(position) < 0 else 1 - position.turn
        while position.outcome() is None:
            move = player.choose(position).move
            if position.turn == loser:
                move = max(position.legal_moves, key=lambda move: times(position, move))
            position.push(move)
        outcome = position.outcome()
        assert outcome is not None
        assert outcome.winner == 1 - loser
        games += 1
    assert games > 10


def table_value(position: Position) -> float:
    choice = table_choice(position, tables(SILVERMAN))
    assert choice is not None
    assert choice.value is not None
    return choice.value


def times(position: Position, move: int) -> int:
    """How often the position after a move has stood already."""
    position.push(move)
    seen = position.hashes.count(int(hash_row(SILVERMAN.tables, position.row)))
    position.pop()
    return seen


def test_a_spoilt_win_is_left_to_the_other_player() -> None:
    player = with_tablebases(AlphaBetaPlayer(SHALLOW), tables(SILVERMAN))
    seen = 0
    for position, truth, index in spoilt_games():
        known = int(tables(SILVERMAN).values(position.row[None])[0])
        if known == 1 and truth.values[position.clock, index] == 0:
            assert player.choose(position).nodes > 1
            assert abs(player.choose(position).value or 0.0) < 1.0
            seen += 1
    assert seen > 1


def test_a_stored_score_is_of_its_own_clock() -> None:
    position = Position(SILVERMAN, "3k/4/4/RK2 w - - 10 30")
    position.variant = tables(SILVERMAN).attached
    found = []
    for variant in (SILVERMAN, tables(SILVERMAN).attached):
        stack, table = start_stack(position, 4), np.zeros(16, dtype=ENTRY)
        _store(variant.tables, stack, table, 0, 2, np.int64(7), np.int64(0), EXACT)
        stack.rows[0, variant.squares + CLOCK] = 12
        limits = np.int64(-WIN_SCORE), np.int64(WIN_SCORE)
        found.append(int(_probe(variant.tables, stack, table, 0, 2, *limits)[1]))
    # Without tables a clock that far from the rule does not matter.
    assert found == [7, NO_SCORE]


def test_the_perfect_player_has_endgames_too(tmp_path: Path) -> None:
    solve_endgames(GARDNER, 3, folder=tmp_path)
    rng = np.random.default_rng(1)
    player = player_of("perfect", GARDNER, rng, tmp_path)
    assert player.name == "perfect"
    choice = player.choose(Position(GARDNER, PUSH))
    assert (Position(GARDNER, PUSH).uci(choice.move), choice.value) == ("a2a3", 1.0)
    assert player.choose(Position(GARDNER, LATE)).value == 0.0
    with pytest.raises(InputError, match=r"do not know every move of 'rnbqk/"):
        player.choose(Position(GARDNER))
    with pytest.raises(InputError, match="only games in which no move can be taken back"):
        player_of("perfect", GARDNER, rng)


@pytest.mark.parametrize(
    ("player", "positions", "expected"),
    [
        ("perfect", [PUSH, LATE], [["mate", "8"], ["cp", "0"]]),
        # A search may be ended by what follows, the tables' word is not.
        ("alphabeta:2", [PUSH], [["mate", "8"]]),
    ],
)
def test_uci_near_the_move_rule(
    player: str,
    positions: list[str],
    expected: list[list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    solve_endgames(GARDNER, 3, folder=tmp_path)
    lines = ["uci", "setoption name UCI_Variant value gardner"]
    lines += [f"setoption name TablebasePath value {tmp_path}"]
    for text in positions:
        lines += [f"position fen {text}", "go depth 2", "isready"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join([*lines, "quit"])))
    assert main(["uci", "--player", player]) == 0
    said = capsys.readouterr().out.splitlines()
    scores = [line.partition(" score ")[2].split()[:2] for line in said if " score " in line]
    assert scores == expected
    assert next(line for line in said if line.startswith("bestmove")) == "bestmove a2a3"


def test_solutions_refuse_clocks_that_no_game_reaches() -> None:
    variant = child_of("hexapawn", "slow", nMoveRule="7")
    player = PerfectPlayer(solve(variant), np.random.default_rng(1))
    assert player.choose(Position(variant, "ppp/3/PPP w - - 1 1")).value == -1.0
    with pytest.raises(UnreachablePositionError, match=r"'ppp/3/PPP w - - 2 1' cannot be reached"):
        player.choose(Position(variant, "ppp/3/PPP w - - 2 1"))
