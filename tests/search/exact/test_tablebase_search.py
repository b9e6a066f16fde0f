"""Searches and players that look endgames up: exact values in the tree, and wins that are won."""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from engine.player import Choice, Limits, Player
from engine.rules.errors import InputError
from engine.rules.history import hash_row
from engine.rules.position import Position
from engine.rules.tables import CLOCK
from engine.rules.variant import get_variant
from scripts.cli import main
from scripts.players import player_of
from search.evaluator import UniformEvaluator
from search.exact.tablebase.file import table_names
from search.exact.tablebase.tables import Tablebases, solve_endgames
from search.mcts.puct import PuctConfig, PuctSearch
from search.mcts.result import SearchResult
from search.minimax.alphabeta import AlphaBetaConfig, alphabeta
from search.minimax.material import WIN_SCORE
from search.players.tablebase import TablebaseBatchPlayer, TablebasePlayer, with_tablebases
from search.scores import UNPROVEN
from tests.support.search.search_cases import roots_of, searched

GARDNER = get_variant("gardner")
KEYS = ("visit_counts", "q_values", "proven_moves", "distances", "policy", "wdl", "proven")


@cache
def tables() -> Tablebases:
    return solve_endgames(GARDNER, 3)[0]


def known(position: Position) -> tuple[int, int]:
    values, distances = tables().lookup(position.row[None])
    return int(values[0]), int(distances[0])


def decided(name: str, count: int) -> list[Position]:
    """Unfinished positions of a material that one side wins."""
    rows = tables().positions(name)
    values, distances = tables().lookup(rows)
    rows = rows[(values != 0) & (distances > 0)]
    chosen = np.random.default_rng(3).choice(len(rows), count, replace=False)
    return [Position.from_row(row, GARDNER) for row in rows[chosen]]


def attached_or_not(kind: str, position: Position) -> tuple[SearchResult, SearchResult]:
    """With the tables and without."""
    return searched(kind, position, variant=tables().attached), searched(kind, position)


@pytest.mark.parametrize("kind", ["puct", "gumbel"])
def test_moves_into_the_tables_are_proven(kind: str) -> None:
    positions = decided("KRvK", 20) + decided("KPvK", 20)
    result = searched(kind, *positions, variant=tables().attached)
    values = [known(position)[0] for position in positions]
    assert result.proven.tolist() == values
    seen = 0
    for game, position in enumerate(positions):
        for place in range(result.offsets[game], result.offsets[game + 1]):
            if result.proven_moves[place] == UNPROVEN:
                continue
            after = position.copy()
            after.push(int(result.moves[place]))
            value, distance = known(after)
            assert result.proven_moves[place] == -value
            assert value == 0 or result.distances[place] == distance + 1
            seen += 1
    assert seen > 60


def test_a_capture_into_the_tables() -> None:
    # The rook may take the knight: a win that three men prove, no search could.
    position = Position(GARDNER, "4k/5/5/n4/R3K w - - 0 1")
    assert known(position) == (UNPROVEN, 0)
    for kind in ("puct", "gumbel"):
        with_tables, without = attached_or_not(kind, position)
        assert (int(with_tables.proven[0]), int(without.proven[0])) == (1, UNPROVEN)
        assert with_tables.moves[with_tables.choices[0]] == position.parse_uci("a1a2")


def test_searches_without_tables_are_as_they_were() -> None:
    start = Position(GARDNER)
    for kind in ("puct", "gumbel"):
        with_tables, without = attached_or_not(kind, start)
        for key in KEYS:
            np.testing.assert_array_equal(getattr(with_tables, key), getattr(without, key))


@pytest.mark.parametrize("kind", ["puct", "gumbel"])
def test_wins_that_the_move_rule_forestalls_are_draws(kind: str) -> None:
    position = max(decided("KRvK", 200), key=lambda p: known(p)[1])
    value, distance = known(position)
    assert (value, distance) == (-1, 20)
    rule = 100
    for clock, proven in ((rule - distance, value), (rule - distance + 1, 0)):
        row = position.row.copy()
        row[GARDNER.squares + CLOCK] = clock
        result = searched(kind, Position.from_row(row, GARDNER), variant=tables().attached)
        assert result.proven[0] == proven


def test_alphabeta_knows_the_distance_at_once() -> None:
    for position in decided("KQvK", 20) + decided("KPvK", 20):
        value, distance = known(position)
        position.variant = tables().attached
        score = alphabeta(position, AlphaBetaConfig(depth=1, quiescence=False)).score
        assert score == value * (WIN_SCORE - distance)


def test_a_covered_position_becomes_a_root_all_the_same() -> None:
    position = Position(GARDNER, "4k/5/5/n4/R3K w - - 0 1")
    rng = np.random.default_rng(1)
    config = PuctConfig(simulations=60, proofs=False)
    roots = roots_of(position)
    search = PuctSearch(tables().attached, roots, UniformEvaluator(), config, rng)
    search.run()
    capture = position.parse_uci("a1a2")
    assert search.trees.nodes[0, 0]["edge_count"] > 0
    search.advance(np.array([[capture]]))
    search.run()
    after = position.copy()
    after.push(capture)
    assert len(search.result().moves) == len(after.legal_moves)


class Fool(Player):
    """Plays the first legal move, alone and in batches."""

    name = "fool"

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player."""
        return Choice(move=position.legal_moves[0])

    def choose_batch(self, positions: Sequence[Position]) -> list[Choice]:
        """See BatchPlayer."""
        return [self.choose(position) for position in positions]


@pytest.mark.parametrize("name", ["KRvK", "KPvK"])
def test_wins_are_won_as_fast_as_can_be(name: str) -> None:
    player = with_tablebases(Fool(), tables())
    for position in decided(name, 8):
        value, distance = known(position)
        winner = position.turn if value > 0 else 1 - position.turn
        choice = player.choose(position)
        assert (choice.value, len(choice.principal_variation)) == (value, distance)
        for left in range(distance, 0, -1):
            assert known(position)[1] == left
            position.push(player.choose(position).move)
        outcome = position.outcome()
        assert outcome is not None
        assert outcome.winner == winner


def test_what_the_tables_do_not_decide_is_left_to_the_player() -> None:
    player = with_tablebases(Fool(), tables())
    drawn = Position(GARDNER, "4k/5/5/5/N3K w - - 0 1")
    for position in (Position(GARDNER), Position(GARDNER, "4k/5/n4/5/R3K w - - 0 1")):
        assert player.choose(position).move == position.legal_moves[0]
    with pytest.raises(InputError, match="the game is over"):
        player.choose(drawn)
    assert isinstance(player, TablebaseBatchPlayer)
    won = decided("KQvK", 3)
    mixed = [Position(GARDNER), won[0], won[1], Position(GARDNER), won[2]]
    choices = player.choose_batch(mixed)
    assert choices == [player.choose(position) for position in mixed]
    assert [choice.value is None for choice in choices] == [True, False, False, True, False]


def test_a_win_by_repetition_is_none() -> None:
    # The quickest move leads where the game has been twice: the table's second best is played.
    position = next(p for p in decided("KRvK", 200) if known(p) == (1, 9))
    player = with_tablebases(Fool(), tables())
    quickest = player.choose(position).move
    after = position.copy()
    after.push(quickest)
    twice = (int(hash_row(GARDNER.tables, after.row)),) * 2
    spoilt = Position.from_row(position.row, GARDNER, twice)
    spoilt.row[GARDNER.squares + CLOCK] = 10
    choice = player.choose(spoilt)
    assert choice.move != quickest
    assert choice.value == 1


def test_uci_finds_the_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    solve_endgames(GARDNER, 3, folder=tmp_path)
    lines = [
        "uci",
        "setoption name UCI_Variant value gardner",
        f"setoption name TablebasePath value {tmp_path / 'none'}",
        f"setoption name tablebasepath value {tmp_path}",
        "position fen 3k1/5/5/1K1P1/5 w - - 0 1",
        "go depth 1",
        "setoption name TablebasePath value <empty>",
        "go depth 1",
        "quit",
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    assert main(["uci", "--player", "alphabeta:1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "option name TablebasePath type string default <empty>" in said
    assert sum("No such file" in line for line in said) == 1
    mates = [line for line in said if "score mate 13" in line]
    assert len(mates) == 1
    assert sum(line.startswith("bestmove") for line in said) == 2


def test_players_of_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    solve_endgames(GARDNER, 3, folder=tmp_path)
    rng = np.random.default_rng(1)
    assert list(table_names(tmp_path, GARDNER))
    assert not list(table_names(tmp_path, get_variant("chess")))
    position = decided("KRvK", 1)[0]
    helped = player_of("alphabeta:1", GARDNER, rng, tmp_path)
    assert helped.name == "alphabeta:1"
    assert len(helped.choose(position).principal_variation) == known(position)[1]
    assert not isinstance(player_of("random", GARDNER, rng, tmp_path), TablebasePlayer)
    words = ["match", "alphabeta:1", "random", "--games", "2", "--tablebases", str(tmp_path)]
    assert main([*words, "gardner"]) == 0
    assert main([*words, "petty"]) == 2
    assert "no tablebases of petty there" in capsys.readouterr().err
