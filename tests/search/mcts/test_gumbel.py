"""Gumbel MCTS by its contracts: it improves any policy, by the paper's schedule."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.rules.position import Position
from engine.rules.variant import get_variant
from search.evaluator import UniformEvaluator
from search.mcts.gumbel import GumbelConfig, GumbelSearch
from search.mcts.result import SearchResult
from search.mcts.search import tree_search
from search.mcts.selection import considered_visits
from search.scores import UNPROVEN
from tests.support.search.search_cases import (
    ScatteredEvaluator,
    TrueOrFalse,
    game_of,
    roots_of,
    unfinished,
)
from tests.support.search.tree_cases import (
    FromTable,
    PlantedBandit,
    generator,
    openings,
)

START_MOVES = 7
"""Of gardner."""


def search(name: str, positions: list[Position], **options: float) -> SearchResult:
    variant = get_variant(name)
    config = GumbelConfig(**options)  # type: ignore[arg-type]
    evaluator = ScatteredEvaluator(variant)
    return tree_search(variant, roots_of(*positions), evaluator, config, generator())


def bandit_search(bandit: PlantedBandit, games: int, seed: int, **options: float) -> SearchResult:
    """Many games of one planted root, each with Gumbel noise of its own."""
    position = Position(get_variant("gardner"))
    config = GumbelConfig(proofs=False, **options)  # type: ignore[arg-type]
    found = GumbelSearch(
        position.variant, roots_of(*[position] * games), bandit, config, generator(seed)
    )
    bandit.watch(found)
    found.run()
    return found.result()


def halved(considered: int, budget: int) -> list[int]:
    """Visits of each move by the paper's text: phases of equal visits, the better half stays."""
    visits = [0] * considered
    phases = int(np.ceil(np.log2(considered))) if considered > 1 else 1
    left, spent = considered, 0
    while spent < budget:
        for _ in range(max(1, budget // (phases * left))):
            for move in range(left):
                if spent < budget:
                    visits[move] += 1
                    spent += 1
        left = max(2, left // 2) if considered > 1 else 1
    return visits


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("considered", "budget", "profile"),
    [
        # 200 simulations and 16 moves: 3 for each, 6 for 8, 12 for 4, 25 for 2, and the other 6.
        (16, 200, [49] * 2 + [21] * 2 + [9] * 4 + [3] * 8),
        (16, 64, [15] * 2 + [7] * 2 + [3] * 4 + [1] * 8),
        (16, 32, [4] * 4 + [2] * 4 + [1] * 8),
        (16, 16, [1] * 16),
        (16, 2, [1] * 2 + [0] * 14),
        (4, 7, [3, 2, 1, 1]),
        (3, 6, [3, 2, 1]),
        (2, 5, [3, 2]),
        (1, 5, [5]),
    ],
)
def test_visits_of_sequential_halving(considered: int, budget: int, profile: list[int]) -> None:
    visits = [0] * considered
    for step in range(budget):
        # Moves stand in the order of their scores: the first one whose turn it is gets the visit.
        wanted = considered_visits(np.int64(considered), np.int64(budget), np.int64(step))
        visits[visits.index(int(wanted))] += 1
    assert sorted(visits, reverse=True) == profile == halved(considered, budget)


@pytest.mark.parametrize("considered", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("simulations", [1, 3, 16, 50, 131])
def test_a_search_spends_its_visits_so(considered: int, simulations: int) -> None:
    positions = openings("gardner", 6)
    result = search("gardner", positions, simulations=simulations, considered=considered)
    assert (result.proven_moves == UNPROVEN).all()
    for index, position in enumerate(positions):
        visits = game_of(result, index)["visit_counts"]
        moves = len(position.legal_moves)
        profile = halved(min(considered, moves), simulations)
        assert sorted(visits.tolist(), reverse=True)[: len(profile)] == sorted(profile)[::-1]
        assert visits.sum() == simulations


def test_visits_have_the_schedule_game_by_game() -> None:
    variant, positions = get_variant("gardner"), openings("gardner", 4)
    wanted = np.array([0, 1, 60, 7])
    evaluator, config = ScatteredEvaluator(variant), GumbelConfig(simulations=10, considered=4)
    result = tree_search(variant, roots_of(*positions), evaluator, config, generator(), wanted)
    assert result.simulations.tolist() == wanted.tolist()
    for index, simulations in enumerate(wanted):
        visits = np.sort(game_of(result, index)["visit_counts"])[::-1]
        assert visits[:4].tolist() == halved(4, int(simulations))


def completed(
    game: dict[str, npt.NDArray[np.floating]], root_value: float
) -> npt.NDArray[np.float64]:
    """The completed values of a root's moves, as the paper writes them."""
    visits, priors = game["visit_counts"].astype(float), game["priors"].astype(float)
    tried = visits > 0
    if not tried.any():
        return np.full(len(visits), root_value)
    mean = (priors * game["q_values"])[tried].sum() / priors[tried].sum()
    mixed = (root_value + visits.sum() * mean) / (1 + visits.sum())
    return np.where(tried, game["q_values"].astype(float), mixed)


@pytest.mark.parametrize("simulations", [0, 1, 5, 40])
def test_policy_is_the_softmax_over_completed_values(simulations: int) -> None:
    positions = openings("gardner", 5)
    result = search("gardner", positions, simulations=simulations, c_visit=7.0, c_scale=0.8)
    alone = search("gardner", positions, simulations=0)
    for index in range(len(positions)):
        game = game_of(result, index)
        values = completed(game, float(alone.value[index]))
        sigma = (7.0 + game["visit_counts"].max()) * 0.8 * (values + 1) / 2
        weights = game["priors"] * np.exp(sigma - sigma.max())
        np.testing.assert_allclose(game["policy"], weights / weights.sum(), rtol=2e-4, atol=1e-7)


LOGITS = arrays(np.float64, START_MOVES, elements=st.floats(-4, 4))
VALUES = arrays(np.float64, START_MOVES, elements=st.floats(-0.9, 0.9))


@settings(max_examples=60, deadline=None)
@given(LOGITS, VALUES, st.sampled_from([7, 16, 40]), st.sampled_from([0.05, 1.0]))
def test_the_policy_never_gets_worse(
    logits: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    simulations: int,
    c_scale: float,
) -> None:
    """Under the true values, once every move was tried, whatever the priors and the scale."""
    bandit = PlantedBandit(logits, values)
    result = bandit_search(bandit, 2, 3, simulations=simulations, considered=7, c_scale=c_scale)
    assert (result.visit_counts > 0).all()
    for index in range(2):
        expected = game_of(result, index)["policy"].astype(float) @ values
        assert expected >= bandit.root_value - 1e-5


@settings(max_examples=60, deadline=None)
@given(LOGITS, VALUES, st.integers(0, 12), st.integers(1, 7))
def test_completed_values_never_get_worse(
    logits: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    simulations: int,
    considered: int,
) -> None:
    """With moves untried, the policy improves under the values that complete the known ones."""
    bandit = PlantedBandit(logits, values)
    result = bandit_search(bandit, 2, 5, simulations=simulations, considered=considered)
    for index in range(2):
        game = game_of(result, index)
        believed = completed(game, bandit.root_value)
        gain = (game["policy"].astype(float) - bandit.priors) @ believed
        assert gain >= -1e-5


@pytest.mark.parametrize("simulations", [1, 2, 4, 6])
def test_with_moves_untried_the_policy_gets_better_on_average_over_the_draws(
    simulations: int,
) -> None:
    """A single draw may miss what is good: v_mix is an estimate. No theorem; 20 random roots."""
    rng = generator(simulations)
    for _ in range(20):
        values = np.clip(rng.normal(size=7) * 0.3, -0.95, 0.95)
        bandit = PlantedBandit(rng.normal(size=7), values)
        result = bandit_search(bandit, 100, 4, simulations=simulations, considered=4)
        expected = result.policy.reshape(100, 7).astype(float) @ values
        assert expected.mean() >= bandit.root_value


@settings(max_examples=40, deadline=None)
@given(LOGITS, VALUES, st.integers(1, 20), st.integers(1, 7))
def test_the_choice_is_never_worse_than_the_draw_that_it_began_with(
    logits: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    simulations: int,
    considered: int,
) -> None:
    """Without simulations the choice is a draw from the priors; halving only leaves it for better.

    So the expected value of the choice is at least that of the priors, for every number of moves
    that is considered.
    """
    bandit = PlantedBandit(logits, values)
    drawn = bandit_search(PlantedBandit(logits, values), 20, 9, simulations=0)
    chosen = bandit_search(bandit, 20, 9, simulations=simulations, considered=considered)
    assert (values[chosen.choices] >= values[drawn.choices] - 1e-6).all()


def test_without_simulations_moves_are_drawn_as_the_priors_say() -> None:
    logits = np.log(np.array([0.4, 0.3, 0.1, 0.1, 0.05, 0.04, 0.01]))
    result = bandit_search(PlantedBandit(logits, np.zeros(7)), 20_000, 2, simulations=0)
    shares = np.bincount(result.choices, minlength=7) / 20_000
    np.testing.assert_allclose(shares, np.exp(logits), atol=0.012)
    np.testing.assert_allclose(result.policy.reshape(-1, 7)[0], np.exp(logits), rtol=1e-4)


def test_moves_are_considered_without_replacement() -> None:
    """The pair {a, b} is drawn with p_a p_b / (1 - p_a) + p_b p_a / (1 - p_b)."""
    priors = np.array([0.4, 0.3, 0.1, 0.1, 0.05, 0.04, 0.01])
    bandit = PlantedBandit(np.log(priors), np.zeros(7))
    result = bandit_search(bandit, 4000, 2, simulations=2, considered=2)
    both = result.visit_counts.reshape(-1, 7)[:, [0, 1]].sum(axis=1) == 2
    expected = 0.4 * 0.3 / 0.6 + 0.3 * 0.4 / 0.7
    assert both.mean() == pytest.approx(expected, abs=0.03)


def test_without_noise_the_likeliest_moves_are_considered() -> None:
    positions = openings("gardner", 5)
    result = search("gardner", positions, simulations=4, considered=4, gumbel_scale=0.0)
    for index in range(len(positions)):
        game = game_of(result, index)
        likeliest = np.argsort(-game["priors"])[:4]
        assert set(np.flatnonzero(game["visit_counts"])) == set(likeliest)


@pytest.mark.nojit
def test_a_golden_tree() -> None:
    """Four simulations of 3x3 Hexapawn worked out by hand; c_visit 2, c_scale 1, two moves kept.

    Root, value 0.1: a2 0.5, b2 0.3, c2 0.2. Two considered, no noise: a2, b2, a2, b2 (4 // 2 = 2
    visits for each of the two in the only phase).

    1. a2: evaluated 0.2 for Black, so Q(a2) = -0.2.
    2. b2: evaluated -0.4 for Black, so Q(b2) = 0.4.
    3. Each was visited once, and the better score goes first: sigma(q) = (2 + 1) (q + 1) / 2, so
       log 0.5 + 1.2 = 0.507 for a2, log 0.3 + 2.1 = 0.896 for b2. b2 it is. Below it no move has
       been tried: the likeliest of a3xb2 0.2, c3xb2 0.5, a2 0.2, c2 0.1 is c3xb2, evaluated 0.6 for
       White: Q(b2) = (0.4 + 0.6) / 2 = 0.5.
    4. a2, and below it bxa2 0.7 rather than b2 0.1 or c2 0.2, evaluated -0.8 for White:
       Q(a2) = (-0.2 - 0.8) / 2 = -0.5.

    Then v_mix = (0.1 + 4 (0.5 * -0.5 + 0.3 * 0.5) / 0.8) / 5 = -0.08, sigma has the factor 4 / 2,
    and the policy is in proportion to 0.5 e^-1, 0.3 e^1, 0.2 e^-0.16.
    """
    position = Position(get_variant("hexapawn"))
    evaluator = FromTable(position)
    evaluator.add("", {"a1a2": 0.5, "b1b2": 0.3, "c1c2": 0.2}, 0.1)
    evaluator.add("a1a2", {"b3a2": 0.7, "b3b2": 0.1, "c3c2": 0.2}, 0.2)
    evaluator.add("b1b2", {"a3b2": 0.2, "c3b2": 0.5, "a3a2": 0.2, "c3c2": 0.1}, -0.4)
    evaluator.add("b1b2 c3b2", {}, 0.6)
    evaluator.add("a1a2 b3a2", {}, -0.8)
    config = GumbelConfig(simulations=4, considered=2, gumbel_scale=0.0, c_visit=2.0)
    result = tree_search(position.variant, roots_of(position), evaluator, config, generator())
    moves = [position.uci(int(move)) for move in result.moves]
    assert dict(zip(moves, result.visit_counts.tolist(), strict=True)) == {
        "a1a2": 2,
        "b1b2": 2,
        "c1c2": 0,
    }
    weights = {"a1a2": 0.5 * np.exp(-1.0), "b1b2": 0.3 * np.exp(1.0), "c1c2": 0.2 * np.exp(-0.16)}
    expected = np.array([weights[move] for move in moves])
    np.testing.assert_allclose(result.policy, expected / expected.sum(), rtol=1e-5)
    assert moves[int(result.choices[0])] == "b1b2"
    np.testing.assert_allclose(result.q_values[moves.index("a1a2")], -0.5, rtol=1e-5)
    np.testing.assert_allclose(result.q_values[moves.index("b1b2")], 0.5, rtol=1e-5)


@pytest.mark.nojit
def test_below_the_root_visits_follow_the_improved_policy() -> None:
    """N(a) / sum N stays within a visit of pi'(a): equation 14 makes the shares converge to it."""
    position = Position(get_variant("gardner"))
    bandit = PlantedBandit(np.zeros(7), np.full(7, 0.3))
    config = GumbelConfig(simulations=60, considered=1, gumbel_scale=0.0, proofs=False)
    found = GumbelSearch(position.variant, roots_of(position), bandit, config, generator())
    bandit.watch(found)
    found.run()
    child = found.trees.nodes[0, found.trees.edges[0, 0]["child"]]
    start, count = int(child["edge_start"]), int(child["edge_count"])
    edges = found.trees.edges[0, start : start + count]
    # All values are alike, so pi' is the prior, which is even here.
    assert edges["visits"].sum() == 59
    assert edges["visits"].max() - edges["visits"].min() <= 1


def test_a_search_can_be_stopped_and_go_on() -> None:
    variant = get_variant("gardner")
    config = GumbelConfig(simulations=50)
    found = GumbelSearch(
        variant, roots_of(Position(variant)), UniformEvaluator(), config, generator()
    )
    answers = iter([False] * 9 + [True])
    found.run(stop=lambda: next(answers))
    assert found.result().visit_counts.sum() == 9
    before = found.result().visit_counts
    found.run(9 + 32)
    result = found.result()
    assert result.visit_counts.sum() == 41
    # The second run is a round of 32 for the seven moves, whatever was visited before.
    assert sorted((result.visit_counts - before).tolist()) == sorted(halved(7, 32))
    assert len(found.principal_variation()) > 1
    assert found.principal_variation()[0] == result.moves[result.choices[0]]


@pytest.mark.parametrize("simulations", [1, 2, 4, 8, 16])
def test_known_losses_are_never_played(simulations: int) -> None:
    """Unless all moves lose; and a known win is played, however early the search ends."""
    positions = unfinished("hexapawn")
    variant = positions[0].variant
    evaluator = TrueOrFalse(variant, -1, -4.0)
    config = GumbelConfig(simulations=simulations)
    result = tree_search(variant, roots_of(*positions), evaluator, config, generator())
    for index in range(len(positions)):
        game = game_of(result, index)
        known = game["proven_moves"][result.choices[index]]
        losses = game["proven_moves"] == -1
        assert losses.all() or (known != -1 and game["policy"][losses].sum() == 0)
        assert known == 1 or not (game["proven_moves"] == 1).any()
