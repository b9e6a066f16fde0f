"""Openings: symmetric moves are one, probabilities and the line are the network's."""

import math

import numpy as np
import pytest

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.analyses.openings import opening, symmetric_moves
from engine.probing.analyses.positions.move_table import move_table
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import get_variant
from tests.engine.probing.analyses.cases import HEXAPAWN, Solved, slow_logits
from tests.support.network.network_cases import lively_network, small_config


def test_a_network_that_has_learned_nothing_spreads_over_joined_moves() -> None:
    solved = Solved("hexapawn")
    found = opening(PolicyValueNet(small_config("hexapawn", "geometric")), solved)
    assert [each.move for each in found.moves] == ["a2/c2", "b2"]
    assert [each.probability for each in found.moves] == pytest.approx([2 / 3, 1 / 3])
    entropy = math.log(3) - 2 / 3 * math.log(2)
    assert (found.entropy, found.uniform_entropy) == pytest.approx((entropy, entropy))
    # Whoever moves first loses (Gardner 1962).
    assert (found.value, {each.value for each in found.moves}) == (-1, {-1})
    assert max(each.distance or 0 for each in found.moves) == solved.solution.plies
    assert "a2/c2" in repr(found)


def test_probabilities_are_the_sums_over_symmetric_moves() -> None:
    network = lively_network("hexapawn", "geometric", seed=7)
    found = opening(network)
    start = HEXAPAWN.start_row
    chances = np.exp(slow_logits(network, start))
    assert [each.probability for each in found.moves] == pytest.approx(
        [chances[0] + chances[2], chances[1]], abs=1e-5
    )
    assert found.moves[0].value is None
    assert found.value is None


def test_the_line_plays_the_likeliest_of_joined_moves() -> None:
    solved = Solved("hexapawn4x4")
    network = lively_network("hexapawn4x4", "residual", seed=1)
    found = opening(network, solved, plies=5)
    position = Position("hexapawn4x4")
    for each in found.line:
        table = move_table(position.row[None], position.variant)
        chances = np.exp(slow_logits(network, position.row))
        joined = np.bincount(symmetric_moves(table), chances)
        assert each.probability == pytest.approx(joined.max(), abs=1e-5)
        move = position.parse_san(each.move)
        keeping = solved.solution.value_preserving_moves(position.row)
        assert each.keeps_value == (move in keeping.tolist())
        position.push(move)


def test_two_symmetric_moves_outweigh_the_likeliest_single_one() -> None:
    network = lively_network("hexapawn", "geometric", seed=1)
    chances = np.exp(slow_logits(network, HEXAPAWN.start_row))
    assert chances.argmax() == 1
    first = opening(network, plies=1).line[0]
    assert first.move == "a2"
    assert first.probability == pytest.approx(chances[0] + chances[2], abs=1e-5)


def test_moves_that_only_a_mirror_with_other_pieces_would_join_stay_apart() -> None:
    found = opening(lively_network("chess", "geometric"), plies=1)
    assert len(found.moves) == 20
    assert len(opening(lively_network("gardner", "geometric"), plies=0).line) == 0


def test_the_line_ends_with_the_game_and_a_finished_game_is_refused() -> None:
    network = lively_network("hexapawn", "geometric")
    assert 2 < len(opening(network, plies=100).line) < 9
    with pytest.raises(InputError, match="P1p/3/3 b"):
        opening(network, variant=get_variant("hexapawn"), fen="P1p/3/3 b")
