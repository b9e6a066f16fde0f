"""UCT finds the right moves of the smallest game."""

import math

import numpy as np
import pytest

from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import get_variant
from search.mcts.result import SearchResult
from search.mcts.roots import Roots
from search.mcts.uct import UctConfig, UctSearch
from tests.support.search.search_cases import decisions, keeping_moves, unfinished


def uct_search(position: Position, config: UctConfig, rng: np.random.Generator) -> SearchResult:
    """What the whole search of one position finds."""
    search = UctSearch(position.variant, Roots.from_positions([position]), config, rng)
    search.run()
    return search.result()


def test_uct_keeps_the_value_on_the_decision_positions() -> None:
    rng = np.random.default_rng(3)
    config = UctConfig(simulations=1000)
    right = 0
    for position in decisions("hexapawn"):
        result = uct_search(position, config, rng)
        right += int(result.moves[np.argmax(result.visit_counts)]) in keeping_moves(position)
    assert right >= 0.95 * 27


@pytest.mark.nojit
def test_visits_sum_to_the_simulations_and_values_stay_in_range() -> None:
    config = UctConfig(simulations=40)
    for position in unfinished("hexapawn")[:4]:
        result = uct_search(position, config, np.random.default_rng(1))
        assert result.moves.tolist() == position.legal_moves
        assert result.visit_counts.sum() == 40
        assert np.abs(result.q_values).max() <= 1
        assert result.policy.sum() == pytest.approx(1)


def test_the_same_seed_gives_the_same_search() -> None:
    position = Position(get_variant("gardner"))
    config = UctConfig(simulations=300)
    first, second, other = (
        uct_search(position, config, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.visit_counts, second.visit_counts)
    assert first.visit_counts.tolist() != other.visit_counts.tolist()


def test_a_search_can_go_on_past_its_first_pool_of_edges() -> None:
    position = Position(get_variant("gardner"))
    root = Roots.from_positions([position])
    config = UctConfig(simulations=10)
    search = UctSearch(position.variant, root, config, np.random.default_rng(1))
    first_pool = search.trees.edges.shape[1]
    search.run()
    search.run(3000)
    assert search.trees.edges.shape[1] > first_pool
    assert search.result().visit_counts.sum() == 3000
    for move in search.principal_variation():
        assert move in position.legal_moves
        position.push(move)


def test_without_exploration_the_best_arm_takes_the_rest() -> None:
    """Every arm is tried once; then only the mean counts."""
    position = Position(get_variant("gardner"), "4k/5/3QK/5/5 w - - 0 1")
    config = UctConfig(simulations=400, exploration=0.0)
    result = uct_search(position, config, np.random.default_rng(1))
    best = int(np.argmax(result.visit_counts))
    assert result.visit_counts.min() >= 1
    assert result.q_values[best] == pytest.approx(1.0)
    assert result.visit_counts[best] > 300


@pytest.mark.parametrize("settings", [{"simulations": 0}, {"exploration": math.nan}])
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError):
        UctConfig(**settings)  # type: ignore[arg-type]
