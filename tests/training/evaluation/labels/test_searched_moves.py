"""Searches for analyses of play: legal moves, better with more simulations, always the same."""

import numpy as np

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.analyses.play import play_of
from engine.probing.analyses.positions.move_table import move_table
from engine.rules.variant import get_variant
from search.exact.solver import solve
from tests.support.network.network_cases import small_config
from training.evaluation.labels.exact import SolutionTruth
from training.evaluation.labels.searched_moves import search_of


def test_a_search_with_an_untrained_network_plays_better_than_the_network() -> None:
    variant = get_variant("hexapawn4x3")
    solution = solve(variant)
    rows = solution.decision_positions()[::7]
    network = PolicyValueNet(small_config("hexapawn4x3", "geometric")).eval()
    table = move_table(rows, variant, SolutionTruth(solution))
    search = search_of(variant, 64)
    played = play_of(network, table, search.moves)
    assert played.search is not None
    assert played.search.mean() > 0.95 > 0.7 > played.network.mean()
    assert (search.moves(network, rows) == search.moves(network, rows)).all()
    assert search.name == "64 simulations"
    fewer = play_of(network, table, search_of(variant, 2).moves)
    assert fewer.search is not None
    assert np.mean(fewer.search) < played.search.mean()
