"""PUCT by its contracts: whatever the evaluator says, these things hold."""

import math

import numpy as np
import pytest

from engine.rules.position import Position
from engine.rules.variant import get_variant
from search.evaluator import UniformEvaluator
from search.exact.evaluator import SolverEvaluator
from search.exact.solver import solve
from search.mcts.puct import PuctConfig, PuctSearch
from search.mcts.result import SearchResult
from search.mcts.search import tree_search
from search.scores import UNPROVEN
from tests.support.search.search_cases import (
    ScatteredEvaluator,
    TrueOrFalse,
    WhiteIsWinning,
    decisions,
    exact_value,
    game_of,
    keeping_moves,
    roots_of,
    unfinished,
)
from tests.support.search.tree_cases import (
    FromTable,
    PlantedBandit,
    assert_same,
    generator,
    openings,
)

MOST_MOVES = "R6R/3Q4/1Q4Q1/4Q3/2Q4Q/Q4Q2/pp1Q4/kBNN1KB1 w - - 0 1"
"""218 legal moves, the most of any position of chess (Petrovic 1964)."""


def search(name: str, positions: list[Position], **settings: float) -> SearchResult:
    variant = get_variant(name)
    config = PuctConfig(**settings)  # type: ignore[arg-type]
    return tree_search(
        variant, roots_of(*positions), ScatteredEvaluator(variant), config, generator()
    )


def test_policy_is_the_share_of_visits_while_nothing_is_proven() -> None:
    result = search("gardner", openings("gardner", 3), simulations=30)
    assert (result.proven_moves == UNPROVEN).all()
    np.testing.assert_allclose(result.policy, result.visit_counts / 30, rtol=1e-6)


def test_root_value_is_the_mean_of_the_evaluations() -> None:
    """Its own evaluation and the means of its moves, each as often as it was visited."""
    position = Position(get_variant("gardner"))
    alone = search("gardner", [position], simulations=0)
    result = search("gardner", [position], simulations=50)
    total = alone.value[0] + (result.visit_counts * result.q_values).sum()
    assert result.value[0] == pytest.approx(total / 51, abs=1e-5)


def test_a_search_can_go_on_and_be_stopped() -> None:
    variant = get_variant("gardner")
    roots = roots_of(Position(variant))
    config = PuctConfig(simulations=50)
    whole = PuctSearch(variant, roots, UniformEvaluator(), config, generator())
    whole.run()
    parts = PuctSearch(variant, roots, UniformEvaluator(), config, generator())
    answers = iter([False] * 9 + [True])
    parts.run(stop=lambda: next(answers))
    assert parts.result().visit_counts.sum() == 9
    parts.run(20)
    parts.run(50)
    assert_same(whole.result(), parts.result())


@pytest.mark.nojit
def test_with_the_truth_every_move_keeps_the_value() -> None:
    for position in decisions("hexapawn")[:8]:
        evaluator = TrueOrFalse(position.variant, 1, 4.0)
        config = PuctConfig(simulations=8, proofs=False)
        result = tree_search(position.variant, roots_of(position), evaluator, config, generator())
        assert result.moves[np.argmax(result.policy)] in keeping_moves(position)
        assert result.value[0] == pytest.approx(exact_value(position), abs=0.5)


@pytest.mark.nojit
def test_a_proven_root_stops_and_its_variation_is_a_proof() -> None:
    position = Position(get_variant("hexapawn"))
    config = PuctConfig(simulations=500)
    found = PuctSearch(
        position.variant, roots_of(position), UniformEvaluator(), config, generator()
    )
    found.run()
    assert found.result().proven.tolist() == [-1]
    line = found.principal_variation()
    for move in line:
        assert move in position.legal_moves
        position.push(move)
    outcome = position.outcome()
    assert outcome is not None
    assert outcome.result == "0-1"
    assert len(line) == found.result().distances.max()


@pytest.mark.parametrize("turn", [0, 1])
def test_values_are_seen_from_the_side_to_move(turn: int) -> None:
    """White is winning, says the evaluator: so White's moves are worth 1 and Black's -1."""
    variant = get_variant("gardner")
    position = openings("gardner", 2)[turn]
    assert position.turn == turn
    config = PuctConfig(simulations=60)
    result = tree_search(variant, roots_of(position), WhiteIsWinning(), config, generator())
    sign = -1 if turn else 1
    assert result.value[0] == pytest.approx(sign)
    np.testing.assert_allclose(result.q_values, sign, atol=1e-5)


def test_every_node_is_what_the_rules_say() -> None:
    """Rows, clocks, repetitions and results of a whole tree against games replayed by Position."""
    variant = get_variant("gardner")
    position = Position(variant, "k4/5/p4/P4/K4 w - - 3 9")
    for text in ("a1b1", "a5b5", "b1a1", "b5a5"):
        position.push_uci(text)
    config = PuctConfig(simulations=1500)
    found = PuctSearch(variant, roots_of(position), WhiteIsWinning(), config, generator())
    found.run()
    trees, replayed, repeated = found.trees, {0: position}, 0
    for node in range(1, int(trees.counters[0, 0])):
        record = trees.nodes[0, node]
        game = replayed[int(record["parent"])].copy()
        game.push(int(trees.edges[0, record["parent_edge"]]["move"]))
        replayed[node] = game
        np.testing.assert_array_equal(trees.rows[0, node], game.row)
        outcome = game.outcome()
        if outcome is not None:
            repeated += outcome.termination.name == "REPETITION"
            assert record["proven"] == outcome.value(game.turn) == 0
            assert record["edge_count"] == 0
    assert repeated > 10


@pytest.mark.nojit
def test_the_third_repetition_is_worth_nothing() -> None:
    variant = get_variant("gardner")
    position = Position(variant, "k4/5/5/5/K3R w - - 0 1")
    for text in ("e1e2", "a5b5", "e2e1", "b5a5", "e1e2", "a5b5", "e2e1"):
        position.push_uci(text)
    config = PuctConfig(simulations=200)
    result = tree_search(variant, roots_of(position), WhiteIsWinning(), config, generator())
    repeating = [position.uci(int(move)) for move in result.moves].index("b5a5")
    assert result.proven_moves[repeating] == 0
    assert result.q_values[repeating] == 0
    others = np.arange(len(result.moves)) != repeating
    assert (result.q_values[others] < -0.5).all()
    assert np.argmax(result.policy) == repeating


def test_the_move_rule_ends_games_inside_the_tree() -> None:
    position = Position(get_variant("gardner"), "k4/5/5/5/K3R w - - 98 80")
    config = PuctConfig(simulations=400)
    result = tree_search(
        position.variant, roots_of(position), WhiteIsWinning(), config, generator()
    )
    assert result.proven.tolist() == [0]
    assert result.wdl.tolist() == [[0, 1, 0]]


def test_a_position_may_have_more_moves_than_the_pool_held() -> None:
    position = Position(get_variant("chess"), MOST_MOVES)
    config = PuctConfig(simulations=2, proofs=False)
    evaluator = UniformEvaluator()
    found = PuctSearch(position.variant, roots_of(position), evaluator, config, generator())
    assert found.trees.edges.shape[1] >= 218
    found.run(300)
    result = found.result()
    assert result.moves.tolist() == position.legal_moves
    assert len(result.moves) == 218
    assert result.visit_counts.sum() == 300


@pytest.mark.nojit
def test_noise_is_dirichlet_and_mixed_by_its_fraction() -> None:
    variant = get_variant("gardner")
    position = Position(variant)
    roots = roots_of(*[position] * 400)
    evaluator = UniformEvaluator()
    noise = [
        tree_search(
            variant,
            roots,
            evaluator,
            PuctConfig(simulations=0, noise_fraction=fraction),
            generator(),
        ).priors.reshape(400, 7)
        for fraction in (1.0, 0.25)
    ]
    shape = 10.83 / 7
    variance = shape * (10.83 - shape) / (10.83**2 * 11.83)
    assert noise[0].mean(axis=0) == pytest.approx(np.full(7, 1 / 7), abs=0.025)
    assert noise[0].var(axis=0) == pytest.approx(np.full(7, variance), rel=0.3)
    np.testing.assert_allclose(noise[1], 0.75 / 7 + 0.25 * noise[0], atol=1e-5)


@pytest.mark.nojit
def test_a_golden_tree() -> None:
    """Four simulations of 3x3 Hexapawn by hand; c_puct 1, no growth, no FPU reduction.

    Root, value 0.1: a2 0.5, b2 0.3, c2 0.2. An untried move counts as the node's mean value V.

    1. sqrt N = 1: U = 0.5, 0.3, 0.2; a2, evaluated 0.2 for Black: Q(a2) = -0.2, V = -0.05.
    2. sqrt 2: a2 -0.2 + 1.414 * 0.5 / 2 = 0.154; b2 -0.05 + 1.414 * 0.3 = 0.374; b2, evaluated -0.4
       for Black: Q(b2) = 0.4, V = (0.1 - 0.2 + 0.4) / 3 = 0.1.
    3. sqrt 3: a2 0.233; b2 0.4 + 1.732 * 0.3 / 2 = 0.660; c2 0.1 + 1.732 * 0.2 = 0.446; b2, and
       below it c3xb2 of the prior 0.5, evaluated 0.6 for White: Q(b2) = (0.4 + 0.6) / 2 = 0.5.
    4. sqrt 4: a2 0.3; b2 0.5 + 2 * 0.3 / 3 = 0.7; c2 0.225 + 2 * 0.2 = 0.625; b2 again. For Black,
       V = -0.5 and sqrt 2: c3xb2 -0.6 + 1.414 * 0.5 / 2 = -0.246; a3xb2 and a3a2 -0.5 + 1.414 * 0.2
       = -0.217: the first of these two in the order of the rules. Judged -0.4 for White:
       Q(b2) = (0.4 + 0.6 - 0.4) / 3 = 0.2.
    """
    position = Position(get_variant("hexapawn"))
    replies = {"a3b2": 0.2, "c3b2": 0.5, "a3a2": 0.2, "c3c2": 0.1}
    evaluator = FromTable(position)
    evaluator.add("", {"a1a2": 0.5, "b1b2": 0.3, "c1c2": 0.2}, 0.1)
    evaluator.add("a1a2", {}, 0.2)
    evaluator.add("b1b2", replies, -0.4)
    evaluator.add("b1b2 c3b2", {}, 0.6)
    evaluator.add("b1b2 a3b2", {}, -0.4)
    evaluator.add("b1b2 a3a2", {}, -0.4)
    config = PuctConfig(simulations=4, c_puct=1.0, c_base=math.inf, fpu_reduction=0.0)
    result = tree_search(position.variant, roots_of(position), evaluator, config, generator())
    moves = [position.uci(int(move)) for move in result.moves]
    visits = dict(zip(moves, result.visit_counts.tolist(), strict=True))
    assert visits == {"a1a2": 1, "b1b2": 3, "c1c2": 0}
    values = dict(zip(moves, result.q_values.tolist(), strict=True))
    assert values["a1a2"] == pytest.approx(-0.2)
    assert values["b1b2"] == pytest.approx(0.2)
    assert result.value[0] == pytest.approx((0.1 - 0.2 + 3 * 0.2) / 5)
    assert moves[int(result.choices[0])] == "b1b2"


def test_the_temperature_of_the_root() -> None:
    clean = search("gardner", openings("gardner", 4), simulations=0)
    warm = search("gardner", openings("gardner", 4), simulations=0, root_temperature=1.7)
    for index in range(4):
        expected = game_of(clean, index)["priors"].astype(float) ** (1 / 1.7)
        expected /= expected.sum()
        np.testing.assert_allclose(game_of(warm, index)["priors"], expected, rtol=1e-5)


def test_forced_playouts_are_made() -> None:
    """Every tried move has sqrt(k P sum N) visits, but for the rounding of the last ones."""
    variant = get_variant("gardner")
    bandit = PlantedBandit(np.zeros(7), np.array([0.9, -0.9, -0.9, -0.9, -0.9, -0.9, -0.9]))
    for factor in (0.0, 2.0):
        config = PuctConfig(simulations=200, forced_playouts=factor, proofs=False)
        found = PuctSearch(variant, roots_of(Position(variant)), bandit, config, generator())
        bandit.watch(found)
        found.run()
        visits = found.result().visit_counts
        least = np.sqrt(2.0 * 200 / 7)
        assert visits.sum() == 200
        assert (visits.min() >= least - 1) == (factor == 2.0)
        bandit.forget()


def test_forced_playouts_are_pruned_from_the_policy() -> None:
    """No move keeps a visit beyond what Q + U of the best move allows, and none keeps just one."""
    variant = get_variant("gardner")
    values = np.array([0.5, 0.3, 0.1, -0.2, -0.5, -0.7, -0.9])
    bandit = PlantedBandit(np.linspace(-1, 1, 7), values)
    config = PuctConfig(simulations=300, forced_playouts=2.0, proofs=False, c_base=math.inf)
    found = PuctSearch(variant, roots_of(Position(variant)), bandit, config, generator())
    bandit.watch(found)
    found.run()
    result = found.result()
    visits, best = result.visit_counts.astype(float), int(result.visit_counts.argmax())
    # Pruned counts are whole numbers: the best move keeps all of its own.
    pruned = result.policy.astype(float) * visits[best] / result.policy[best]
    np.testing.assert_allclose(pruned, pruned.round(), atol=1e-3)
    pruned = pruned.round()
    scale = config.c_puct * math.sqrt(301)
    score = values + scale * result.priors / (1 + pruned)
    bound = values[best] + scale * result.priors[best] / (1 + visits[best])
    forced = np.sqrt(2.0 * result.priors * 300)
    assert (pruned <= visits).all()
    assert (pruned < visits).sum() >= 3
    assert 1 not in pruned
    for move in range(7):
        if pruned[move] > 0 and move != best:
            assert score[move] <= bound + 1e-5
        # Taking one more away was forbidden by the bound or by the number of forced playouts.
        if pruned[move] > 2 and move != best:
            less = values[move] + scale * result.priors[move] / pruned[move]
            assert less > bound - 1e-5 or pruned[move] - 1 < visits[move] - forced[move]
    assert result.choices.tolist() == [best]


def test_the_solver_as_evaluator_knows_value_and_best_moves() -> None:
    variant = get_variant("hexapawn")
    solution = solve(variant, limit_bytes=10**8)
    positions = unfinished("hexapawn")
    rows = np.stack([position.row for position in positions])
    moves = [np.array(position.legal_moves, dtype=np.uint16) for position in positions]
    offsets = np.cumsum([0, *map(len, moves)])
    evaluation = SolverEvaluator(solution).evaluate(rows, np.concatenate(moves), offsets)
    for index, position in enumerate(positions):
        logits = evaluation.logits[offsets[index] : offsets[index + 1]]
        best = moves[index][logits == logits.max()]
        assert set(best.tolist()) == set(solution.optimal_moves(position.row).tolist())
        keeping = np.isin(moves[index], keeping_moves(position))
        assert keeping.all() or logits[keeping].min() > logits[~keeping].max()
        win, _, loss = evaluation.wdl[index]
        assert win - loss == exact_value(position)
