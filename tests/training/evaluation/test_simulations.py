"""Searches against the truth: full marks for the truth, regrets that are what was given away."""

import math

import numpy as np
import pytest
from scipy.stats import hypergeom

from engine.rules.variant import get_variant
from search.evaluator import Evaluator, UniformEvaluator
from search.exact.evaluator import SolverEvaluator
from search.exact.solver import solve
from search.mcts.puct import PuctConfig
from search.mcts.roots import Roots
from search.mcts.search import tree_search
from search.scores import UNPROVEN
from tests.support.search.search_cases import TrueOrFalse, decisions, exact_value
from tests.support.training.training_cases import hexapawn
from training.evaluation.simulations import (
    COUNTS,
    SearchPoint,
    _share_interval,
    measure_search,
    regret_interval,
)
from training.evaluation.truth import SEARCHES, Truth, search_positions


def measure(truth: Truth, evaluator: Evaluator, search: str, simulations: int) -> SearchPoint:
    return measure_search(truth, len(truth), evaluator, search, simulations)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("simulations", COUNTS)
def test_the_truth_gives_nothing_away(search: str, simulations: int) -> None:
    variant, solution = hexapawn()
    truth = Truth.of(variant, solution)
    point = measure(truth, SolverEvaluator(solution), search, simulations)
    assert (point.share, point.share_low, point.share_high) == (1.0, 1.0, 1.0)
    assert (point.regret, point.regret_low, point.regret_high) == (0.0, 0.0, 0.0)
    assert (point.search, point.simulations, point.positions) == (search, simulations, 27)
    assert point.policy_regret < 0.05


def test_one_simulation_of_gumbel_plays_the_network_s_move() -> None:
    """With noise left out the first move considered is the likeliest."""
    variant = get_variant("hexapawn")
    truth = Truth.of(*hexapawn())
    for weight in (3.0, -3.0):
        evaluator = TrueOrFalse(variant, 0, weight)
        point = measure(truth, evaluator, "gumbel", 1)
        # Against the truth the one simulation still meets wins and losses in one.
        assert (point.share == 1.0) == (weight > 0)


@pytest.mark.parametrize("search", SEARCHES)
def test_many_simulations_find_what_the_network_does_not_know(search: str) -> None:
    truth = Truth.of(*hexapawn())
    shares = [measure(truth, UniformEvaluator(), search, count).share for count in (1, 256)]
    assert shares[0] < shares[1] == 1.0


def test_the_regret_is_what_the_played_move_gives_away() -> None:
    variant = get_variant("hexapawn")
    positions = decisions("hexapawn")
    rows = np.stack([position.row for position in positions])
    evaluator = TrueOrFalse(variant, -1, -2.0)
    found = search_positions(variant, rows, evaluator, "puct", 3)
    result = tree_search(
        variant,
        Roots.from_positions(positions),
        evaluator,
        PuctConfig(simulations=3),
        np.random.default_rng(0),
    )
    given_away, expected = [], []
    for index, position in enumerate(positions):
        part = slice(result.offsets[index], result.offsets[index + 1])
        regrets = []
        for move in position.legal_moves:
            after = position.copy()
            after.push(move)
            regrets.append(exact_value(position) + exact_value(after))
        given_away.append(regrets[result.choices[index]])
        expected.append(float(np.dot(regrets, result.policy[part])))
        assert found.places[index] == part.start + result.choices[index]
    point = measure(Truth.of(*hexapawn()), evaluator, "puct", 3)
    assert 0.0 < point.regret == pytest.approx(np.mean(given_away))
    assert point.share == pytest.approx(np.mean(np.equal(given_away, 0)))
    assert point.policy_regret == pytest.approx(np.mean(expected))
    assert (result.proven != UNPROVEN).any()


def test_a_sample_has_an_interval_and_the_whole_has_none() -> None:
    variant = get_variant("hexapawn4x4")
    truth = Truth.of(variant, solve(variant))
    evaluator = UniformEvaluator()
    whole = measure(truth, evaluator, "puct", 4)
    assert whole.share_low == whole.share == whole.share_high
    held = {"share": 0, "regret": 0}
    for seed in range(40):
        sample = truth.sample(300, np.random.default_rng(seed))
        part = measure_search(sample, len(truth), evaluator, "puct", 4)
        assert part.positions == 300
        assert part.share_low < part.share < part.share_high
        for name in held:
            low, high = getattr(part, f"{name}_low"), getattr(part, f"{name}_high")
            held[name] += low <= getattr(whole, name) <= high
    # 95 % of 40 less two standard errors.
    assert min(held.values()) >= 35


def test_no_error_in_a_sample_is_no_proof_of_perfection() -> None:
    # Clopper and Pearson: with a share p of errors none of 10 is one with chance (1 - p)^10.
    low, high = regret_interval(np.zeros(10, np.int64), 10**9)
    assert low == 0.0
    assert (1 - high / 2) ** 10 == pytest.approx(0.0125, rel=1e-6)
    # Nor is a sample of losses in the place of wins.
    low, high = regret_interval(np.full(10, 2), 10**9)
    assert high == 2.0
    assert (low / 2) ** 10 == pytest.approx(0.0125, rel=1e-6)
    assert regret_interval(np.array([0, 2, 1, 0]), 4) == (0.75, 0.75)


@pytest.mark.parametrize(("total", "sample"), [(12, 5), (30, 10), (30, 28)])
def test_the_interval_of_the_regret_holds_what_it_promises(total: int, sample: int) -> None:
    """Over every number of errors, the chance that a sample's interval holds the mean is counted,
    with the errors that are hardest to bound: all of a whole point, or of two."""
    found = [hypergeom(total, errors, sample) for errors in range(total + 1)]
    for size in (1, 2):
        samples = [size * (np.arange(sample) < seen) for seen in range(sample + 1)]
        intervals = [regret_interval(regrets, total) for regrets in samples]
        for regrets, (low, high) in zip(samples, intervals, strict=True):
            assert 0.0 <= low <= regrets.mean() <= high <= 2.0
        for errors, chances in enumerate(found):
            held = [low <= size * errors / total <= high for low, high in intervals]
            assert chances.pmf(np.flatnonzero(held)).sum() >= 0.95


def test_jeffreys_interval_of_a_share() -> None:
    # Brown, Cai and DasGupta 2001, table 5: 2 of 10 gives 0.044 to 0.503.
    low, high = _share_interval(2, 10, 10**9)
    assert (low, high) == pytest.approx((0.044, 0.503), abs=5e-4)
    assert _share_interval(10, 10, 10**9) == pytest.approx((0.783, 1.0), abs=1e-3)
    assert _share_interval(0, 10, 10**9) == pytest.approx((0.0, 0.217), abs=1e-3)
    assert _share_interval(7, 10, 10) == (0.7, 0.7)
    assert math.isclose(sum(_share_interval(5, 10, 1000)), 1.0)
