"""The truth curve gives full marks to the truth and none to the indifferent."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.rules.variant import get_variant
from search.evaluator import Evaluation, Evaluator, UniformEvaluator
from search.exact.evaluator import SolverEvaluator
from search.exact.solution import Solution
from search.exact.solver import solve
from search.mcts.puct import PuctConfig
from search.mcts.roots import Roots
from search.mcts.search import tree_search
from tests.support.training.training_cases import hexapawn
from training.config import TrainingConfig
from training.evaluation import truth as truth_module
from training.evaluation.truth import Truth, TruthCurves
from training.run.variant_state import make_curve


@pytest.fixture(scope="module")
def larger() -> tuple[Truth, Solution]:
    """4x4."""
    variant = get_variant("hexapawn4x4")
    solution = solve(variant)
    return Truth.of(variant, solution), solution


class Backwards:
    """Likes best what another evaluator likes least."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def evaluate(
        self,
        positions: npt.NDArray[np.uint8],
        moves: npt.NDArray[np.uint16],
        offsets: npt.NDArray[np.int64],
    ) -> Evaluation:
        """See Evaluator."""
        judged = self._evaluator.evaluate(positions, moves, offsets)
        return Evaluation(-judged.logits, judged.wdl)


def test_the_decisions_are_counted(larger: tuple[Truth, Solution]) -> None:
    truth = Truth.of(*hexapawn())
    assert len(truth) == 27
    assert len(larger[0]) == 5073
    # A decision has moves that keep the value and moves that do not.
    kept = np.add.reduceat(truth.keeps, truth.offsets[:-1])
    assert (kept > 0).all()
    assert (kept < np.diff(truth.offsets)).all()


def test_the_truth_is_right_everywhere(larger: tuple[Truth, Solution]) -> None:
    truth, solution = Truth.of(*hexapawn()), hexapawn()[1]
    assert truth.raw(SolverEvaluator(solution)) == 1.0
    assert truth.search(SolverEvaluator(solution), 16) == 1.0
    evaluator = SolverEvaluator(larger[1])
    assert larger[0].raw(evaluator) == 1.0
    # More than are searched at once.
    assert larger[0].sample(600, np.random.default_rng(0)).search(evaluator, 16) == 1.0


def test_a_game_without_a_decision_has_no_curve() -> None:
    """On one file the only moves are those that both sides are left with."""
    for name, has_one in (("hexapawn1x3", False), ("hexapawn2x3", True)):
        variant = get_variant(name)
        curve = make_curve(variant, solve(variant), TrainingConfig(variant=name), 1)
        assert (curve is not None) == has_one


def test_the_indifferent_and_the_contrary_earn_nothing(larger: tuple[Truth, Solution]) -> None:
    truth, solution = larger
    assert truth.raw(UniformEvaluator()) == 0.0
    assert truth.raw(Backwards(SolverEvaluator(solution))) == 0.0


def test_search_finds_what_the_evaluator_does_not_know() -> None:
    truth = Truth.of(*hexapawn())
    by_depth = [truth.search(UniformEvaluator(), simulations) for simulations in (0, 8, 200)]
    assert by_depth[0] == 0.0
    assert by_depth[0] < by_depth[1] < 1.0
    assert by_depth[2] == 1.0


def slow_share(truth: Truth, scores: npt.NDArray[np.floating]) -> float:
    kept = []
    for index in range(len(truth)):
        part = slice(truth.offsets[index], truth.offsets[index + 1])
        best = max(scores[part])
        kept.append(all(truth.keeps[part][scores[part] == best]))
    return sum(kept) / len(kept)


def test_the_worst_of_equal_scores_counts(larger: tuple[Truth, Solution]) -> None:
    truth = larger[0]
    rng = np.random.default_rng(0)
    for levels in (2, 4, 1000):
        scores = rng.integers(0, levels, len(truth.moves)).astype(np.float32)
        assert truth.share_kept(scores) == pytest.approx(slow_share(truth, scores))


def test_a_search_is_judged_by_its_policy(larger: tuple[Truth, Solution]) -> None:
    truth = larger[0].sample(300, np.random.default_rng(0))
    result = tree_search(
        truth.variant,
        Roots(truth.positions, np.zeros((300, 1), np.uint64), np.zeros(300, np.int64)),
        UniformEvaluator(),
        PuctConfig(simulations=12),
        np.random.default_rng(0),
    )
    # The first in the order of policy, then value, then prior.
    keys = np.stack([result.policy, result.q_values, result.priors], axis=1).astype(np.float64)
    ranks = np.unique(keys, axis=0, return_inverse=True)[1].astype(np.float64)
    share = truth.search(UniformEvaluator(), 12)
    assert share == pytest.approx(slow_share(truth, ranks), abs=0.01)
    assert 0.0 < share < 1.0


def test_a_sample_is_fixed_and_part_of_the_whole(larger: tuple[Truth, Solution]) -> None:
    truth = larger[0]
    first, again, other = (truth.sample(400, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert len(first) == 400
    assert np.array_equal(first.positions, again.positions)
    assert not np.array_equal(first.positions, other.positions)
    places = {row.tobytes(): index for index, row in enumerate(truth.positions)}
    found = [places[row.tobytes()] for row in first.positions]
    assert found == sorted(set(found))
    for index, place in enumerate(found):
        ours = slice(first.offsets[index], first.offsets[index + 1])
        theirs = slice(truth.offsets[place], truth.offsets[place + 1])
        assert np.array_equal(first.moves[ours], truth.moves[theirs])
        assert np.array_equal(first.keeps[ours], truth.keeps[theirs])


def test_a_sample_of_more_than_there_are_is_the_whole() -> None:
    truth = Truth.of(*hexapawn())
    assert truth.sample(27, np.random.default_rng(1)) is truth
    assert len(truth.sample(26, np.random.default_rng(1))) == 26


class Curve:
    """A truth curve whose points cost what the next of `costs` says."""

    def __init__(self, clock: list[float], costs: list[float]) -> None:
        self._clock, self._costs = clock, costs

    def measure(self, evaluator: Evaluator) -> dict[str, float]:
        self._clock[0] += self._costs.pop(0)
        return {"raw": 0.5, "search": 0.5}


def pauses(monkeypatch: pytest.MonkeyPatch, costs: list[float]) -> list[float]:
    """The pauses after measurements of such costs in seconds; a second is asked for."""
    clock = [0.0]
    monkeypatch.setattr(truth_module, "working_time", lambda: clock[0])
    curve: Any = Curve(clock, list(costs))
    curves = TruthCurves({"hexapawn": curve}, 1.0)
    found, seconds = [], 0.0
    for _ in costs:
        curves.measure(lambda name: UniformEvaluator(), seconds)
        after = seconds
        while not curves.is_due(seconds):
            seconds += 0.25
        found.append(seconds - after)
    return found


def test_one_slow_measurement_does_not_put_off_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    # The first one as where everything was compiled in it, another while the machine was busy.
    assert pauses(monkeypatch, [30.0, 0.05, 0.05, 8.0, 0.05]) == [10.0, 1.0, 1.0, 1.0, 1.0]


def test_costly_measurements_come_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pauses(monkeypatch, [0.5, 0.4, 0.6]) == [5.0, 4.0, 4.0]
    # One alone may have been slow by chance; of two the quicker is what measuring takes.
    assert pauses(monkeypatch, [90.0, 80.0, 85.0]) == [10.0, 800.0, 800.0]
