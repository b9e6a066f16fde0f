"""Alpha-beta is minimax with fewer nodes; both know the truth of the smallest game."""

import numpy as np
import pytest

from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import get_variant
from search.minimax.alphabeta import AlphaBetaConfig, alphabeta
from search.minimax.material import WIN_SCORE, piece_values, score_to_value
from search.minimax.minimax import minimax
from tests.support.search.search_cases import exact_value, play_out, reachable

WHOLE_GAME = 9
"""Plies: no game of 3x3 Hexapawn is longer."""


def plain(depth: int) -> AlphaBetaConfig:
    return AlphaBetaConfig(depth=depth, quiescence=False)


def test_equal_to_minimax_and_to_the_truth_on_every_position_with_fewer_nodes() -> None:
    positions = reachable("hexapawn")
    assert len(positions) == 135
    nodes, minimax_nodes = 0, 0
    for position in positions:
        whole = minimax(position, WHOLE_GAME)
        found = alphabeta(position, plain(WHOLE_GAME))
        assert found.score == whole.score
        assert score_to_value(found.score) == exact_value(position)
        assert bool(found.moves) == bool(position.legal_moves)
        nodes += found.nodes
        minimax_nodes += whole.nodes
    assert nodes < minimax_nodes


@pytest.mark.nojit
def test_the_start_is_lost_in_six_plies() -> None:
    position = Position(get_variant("hexapawn"))
    found = alphabeta(position, AlphaBetaConfig(depth=8, quiescence=False, table_bits=10))
    assert found.score == 6 - WIN_SCORE
    assert minimax(position, 6).score == found.score
    for move in found.moves:
        position.push(move)
    assert position.outcome() is not None


@pytest.mark.parametrize(("name", "depth"), [("gardner", 4), ("losalamos", 3), ("silverman4x5", 4)])
def test_equal_to_minimax_at_a_depth(name: str, depth: int) -> None:
    rng = np.random.default_rng(5)
    for plies in (0, 1, 6, 11, 20):
        position = play_out(Position(get_variant(name)), rng, plies)
        for ply in range(1, depth + 1):
            whole, found = minimax(position, ply), alphabeta(position, plain(ply))
            assert found.score == whole.score
            if ply == depth:
                assert found.nodes < whole.nodes


def test_the_table_does_not_change_the_score() -> None:
    rng = np.random.default_rng(6)
    for plies in (2, 9, 16):
        position = play_out(Position(get_variant("gardner")), rng, plies)
        small = AlphaBetaConfig(depth=5, quiescence=False, table_bits=1)
        assert alphabeta(position, small).score == alphabeta(position, plain(5)).score


@pytest.mark.nojit
def test_a_repetition_with_the_game_before_is_a_draw() -> None:
    """The side that is a rook down finds the move that repeats for the third time."""
    position = Position(get_variant("gardner"), "k4/5/5/5/K3R w - - 0 1")
    for text in ("e1e2", "a5b5", "e2e1", "b5a5", "e1e2", "a5b5", "e2e1"):
        position.push_uci(text)
    for depth in (1, 2, 3):
        for found in (minimax(position, depth), alphabeta(position, AlphaBetaConfig(depth=depth))):
            assert found.score == 0
            assert [position.uci(move) for move in found.moves] == ["b5a5"]


def test_a_repetition_inside_the_line_is_a_draw() -> None:
    """Two plies earlier the winner must see it coming, and plays something else."""
    position = Position(get_variant("gardner"), "k4/5/5/5/K3R w - - 0 1")
    for text in ("e1e2", "a5b5", "e2e1", "b5a5", "e1e2", "a5b5"):
        position.push_uci(text)
    for found in (minimax(position, 2), alphabeta(position, AlphaBetaConfig(depth=2))):
        assert found.score == 500
        assert position.uci(found.moves[0]) != "e2e1"


def test_quiescence_sees_the_recapture() -> None:
    """The queen could take a defended pawn: one ply deep that looks like a gain."""
    position = Position(get_variant("gardner"), "1k3/1p3/p4/5/Q2K1 w - - 0 1")
    assert minimax(position, 1).score == 900 - 100
    assert alphabeta(position, plain(1)).score == 900 - 100
    found = alphabeta(position, AlphaBetaConfig(depth=1))
    assert found.score == 900 - 200
    assert position.uci(found.moves[0]) != "a1a3"


def test_mate_is_found_and_counted_in_plies() -> None:
    position = Position(get_variant("gardner"), "4k/5/3QK/5/5 w - - 0 1")
    found = alphabeta(position, AlphaBetaConfig(depth=5))
    assert found.score == WIN_SCORE - 1
    assert found.depth == 1


def test_a_limit_of_nodes_is_kept() -> None:
    position = Position(get_variant("gardner"))
    found = alphabeta(position, AlphaBetaConfig(depth=30), node_limit=5000)
    assert found.nodes == 5000
    assert found.depth >= 3
    assert found.moves[0] in position.legal_moves
    assert minimax(position, 9, node_limit=700).nodes == 700


def test_a_raised_flag_stops_at_once() -> None:
    position = Position(get_variant("gardner"))
    raised = np.ones(1, dtype=np.uint8)
    assert alphabeta(position, AlphaBetaConfig(depth=30), stop=raised).nodes == 0
    assert minimax(position, 30, stop=raised).moves == ()


def test_the_position_is_left_as_it_was() -> None:
    position = Position(get_variant("gardner"))
    before = position.row.copy(), list(position.hashes)
    alphabeta(position, AlphaBetaConfig(depth=3))
    np.testing.assert_array_equal(position.row, before[0])
    assert position.hashes == before[1]


def test_custom_pieces_have_a_value() -> None:
    for name in ("hexapawn", "breakthrough", "chess"):
        variant = get_variant(name)
        values = piece_values(variant)
        for piece_type in variant.piece_types:
            assert values[piece_type] == values[piece_type + 16]
            assert values[piece_type] >= 100 or piece_type == 6


@pytest.mark.parametrize("settings", [{"depth": 0}, {"depth": 65}, {"table_bits": 0}])
def test_settings_out_of_range_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        AlphaBetaConfig(**settings)  # type: ignore[arg-type]
