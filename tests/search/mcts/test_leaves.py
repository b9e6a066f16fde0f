"""Several leaves of one tree at a time: larger batches, and every visit counted once."""

from typing import Any

import numpy as np
import pytest

from engine.rules.position import Position
from engine.rules.variant import get_variant
from search.evaluator import Evaluation, Evaluator, UniformEvaluator
from search.mcts.batch import BatchSearch
from search.mcts.gumbel import GumbelConfig, GumbelSearch
from search.mcts.puct import PuctConfig, PuctSearch
from search.mcts.tree import EDGES_USED, NODES_USED
from search.scores import UNPROVEN
from tests.support.search.search_cases import (
    Moves,
    Offsets,
    Rows,
    ScatteredEvaluator,
    TrueOrFalse,
    WhiteIsWinning,
    exact_value,
    game_of,
    roots_of,
    unfinished,
)
from tests.support.search.tree_cases import WINS_IN_ONE, generator, openings

KINDS = ["puct", "gumbel"]


class Counting:
    """Notes how many positions stand in each batch."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self.batches: list[int] = []

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See Evaluator."""
        self.batches.append(len(positions))
        found = self._evaluator.evaluate(positions, moves, offsets)
        return Evaluation(found.logits, found.wdl)


def start(
    kind: str, evaluator: Evaluator, positions: list[Position], **options: Any
) -> BatchSearch:
    variant, roots = positions[0].variant, roots_of(*positions)
    if kind == "puct":
        return PuctSearch(variant, roots, evaluator, PuctConfig(**options), generator())
    return GumbelSearch(variant, roots, evaluator, GumbelConfig(**options), generator())


def check_counts(search: BatchSearch) -> None:
    """Nothing waits any more, and visits add up at every node."""
    trees = search.trees
    for game in range(len(trees.counters)):
        nodes, edges = trees.counters[game, [NODES_USED, EDGES_USED]]
        assert not trees.edges[game, :edges]["pending"].any()
        for node in trees.nodes[game, :nodes]:
            first, count = int(node["edge_start"]), int(node["edge_count"])
            through = trees.edges[game, first : first + count]["visits"].sum()
            assert node["visits"] > 0
            # A proven node is visited without going on.
            assert node["visits"] == through + 1 or node["proven"] != UNPROVEN
            assert node["win"] + node["draw"] + node["loss"] == pytest.approx(1, abs=1e-4)
        for edge in trees.edges[game, :edges]:
            if edge["visits"]:
                assert trees.nodes[game, edge["child"]]["visits"] == edge["visits"]
            else:
                assert edge["value"] == 0


@pytest.mark.nojit
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leaves", [1, 3, 16])
def test_visits_add_up(kind: str, leaves: int) -> None:
    positions = openings("hexapawn4x4", 3)
    evaluator = ScatteredEvaluator(positions[0].variant)
    search = start(kind, evaluator, positions, simulations=90, leaves=leaves)
    search.run()
    check_counts(search)
    result = search.result()
    for game in range(3):
        assert game_of(result, game)["visit_counts"].sum() == result.simulations[game]
        assert result.simulations[game] == 90 or result.proven[game] != UNPROVEN


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leaves", [2, 16])
def test_the_root_value_is_the_mean_of_the_evaluations(kind: str, leaves: int) -> None:
    position = Position(get_variant("gardner"))
    evaluator = ScatteredEvaluator(position.variant)
    search = start(kind, evaluator, [position], simulations=200, leaves=leaves, proofs=False)
    own = float(search.result().value[0])
    search.run()
    result = search.result()
    total = own + (result.visit_counts * result.q_values).sum()
    assert result.value[0] == pytest.approx(total / 201, abs=1e-5)
    assert result.visit_counts.sum() == 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_tree_fills_batches(kind: str) -> None:
    position = Position(get_variant("gardner"))
    counting = Counting(ScatteredEvaluator(position.variant))
    search = start(kind, counting, [position], simulations=800, leaves=16)
    search.run()
    assert max(counting.batches) <= 16
    assert np.mean(counting.batches) > 6


def test_different_numbers_of_simulations_still_hold() -> None:
    positions = openings("gardner", 4)
    evaluator = ScatteredEvaluator(positions[0].variant)
    search = start("puct", evaluator, positions, simulations=0, leaves=8)
    search.run(np.array([0, 1, 60, 7]))
    assert search.result().simulations.tolist() == [0, 1, 60, 7]
    check_counts(search)


def test_a_position_with_one_move_does_not_stand_still() -> None:
    """All leaves are below the same move, which waits for its evaluation: batches stay small."""
    position = Position(get_variant("gardner"), "k4/2R2/1K3/5/5 b - - 0 1")
    assert len(position.legal_moves) == 1
    search = start("puct", UniformEvaluator(), [position], simulations=50, leaves=16, proofs=False)
    search.run()
    assert search.result().visit_counts.tolist() == [50]
    check_counts(search)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "fen"), WINS_IN_ONE)
def test_a_proven_win_is_found(kind: str, name: str, fen: str) -> None:
    position = Position(get_variant(name), fen)
    evaluator: Evaluator = UniformEvaluator() if position.turn else WhiteIsWinning()
    considered = {"considered": 64} if kind == "gumbel" else {}
    search = start(kind, evaluator, [position], simulations=160, leaves=16, **considered)
    search.run()
    result = search.result()
    assert result.proven.tolist() == [1]
    assert result.distances[result.choices[0]] == 1
    check_counts(search)


@pytest.mark.nojit
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("liar", [False, True])
def test_proofs_are_the_truth(kind: str, liar: bool) -> None:
    positions = unfinished("hexapawn")
    evaluator = TrueOrFalse(positions[0].variant, -1, -4.0) if liar else UniformEvaluator()
    search = start(kind, evaluator, positions, simulations=2000, leaves=8)
    search.run()
    result = search.result()
    assert result.proven.tolist() == [exact_value(position) for position in positions]
    np.testing.assert_array_equal(result.value, result.proven)
    check_counts(search)
