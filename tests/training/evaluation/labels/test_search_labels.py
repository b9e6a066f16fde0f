"""Searches for concepts against single searches of each length, by evaluators of known views."""

from functools import cache

import numpy as np
import pytest

from engine.probing.concepts.beyond_rules.search import search_value
from engine.probing.data.canonical import Rows
from engine.rules.errors import InputError
from engine.rules.tables import REPETITION
from engine.rules.variant import get_variant
from search.evaluator import Evaluation, Moves, Offsets, UniformEvaluator
from search.mcts.puct import PuctConfig
from search.mcts.result import SearchResult
from search.mcts.roots import Roots
from search.mcts.search import tree_search
from tests.support.network.network_cases import lively_network
from tests.support.network.probing_cases import solved_rows
from training.evaluation.labels.search import looks, search_rows, search_with_network

HEXAPAWN = get_variant("hexapawn4x4")
ROWS = solved_rows("hexapawn4x4", 40)


class OpinionatedEvaluator:
    """Likes moves by their number and positions by their bytes: fixed, and often wrong."""

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        logits = (moves.astype(np.int64) * 7919 % 31 / 8).astype(np.float32)
        weights = np.arange(1, positions.shape[1] + 1)
        views = (positions @ weights % 17 / 16).astype(np.float32)
        wdl = np.stack([views, np.zeros_like(views), 1 - views], axis=1)
        return Evaluation(logits, wdl)


@cache
def alone(index: int, simulations: int) -> SearchResult:
    """One position searched by itself, from the beginning."""
    roots = Roots(ROWS[index : index + 1], np.zeros((1, 1), np.uint64), np.zeros(1, np.int64))
    config = PuctConfig(simulations=simulations)
    return tree_search(HEXAPAWN, roots, OpinionatedEvaluator(), config, np.random.default_rng(5))


def test_facts_are_those_of_single_searches() -> None:
    simulations = 20
    found = search_rows(OpinionatedEvaluator(), HEXAPAWN, ROWS, simulations=simulations)
    facts = found.facts(ROWS)
    assert looks(simulations) == [0, 1, 2, 3, 4, 6, 8, 12, 16, 20]
    changed = 0
    for index in range(len(ROWS)):
        result = alone(index, simulations)
        assert facts.values[index] == result.value[0]
        visits = result.visit_counts
        shares = visits / visits.sum() if visits.sum() else result.policy.astype(np.float64)
        entropy = -sum(share * np.log(share) for share in shares if share > 0)
        assert facts.entropies[index] == pytest.approx(entropy, abs=1e-12)
        distance = sum(abs(a - b) for a, b in zip(shares, result.priors, strict=True)) / 2
        assert facts.disagreements[index] == pytest.approx(distance, abs=1e-6)
        final = result.choices[0]
        assert facts.changes[index] == (result.priors[final] < result.priors.max())
        stable = simulations
        for number in reversed(looks(simulations)):
            if alone(index, number).choices[0] != final:
                break
            stable = number
        assert facts.stable_after[index] == stable
        changed += stable > 0
    assert changed > 5
    assert facts.changes.sum() > 5


def test_positions_are_found_again_wherever_they_stand_and_others_have_no_label() -> None:
    found = search_rows(OpinionatedEvaluator(), HEXAPAWN, ROWS, simulations=6)
    turned = search_rows(OpinionatedEvaluator(), HEXAPAWN, ROWS[::-1], simulations=6)
    repeated = ROWS.copy()
    repeated[:, HEXAPAWN.squares + REPETITION] = 1
    for once, again in zip(found.facts(ROWS), turned.facts(repeated), strict=True):
        np.testing.assert_array_equal(once, again)
    others = solved_rows("hexapawn4x4", 4000)
    known = {row.tobytes() for row in ROWS}
    labels = search_value.labels(others, HEXAPAWN, searched=found)
    assert np.isnan(labels).tolist() == [row.tobytes() not in known for row in others]
    assert found.simulations == 6
    assert found.source == "PUCT, 6 simulations, the network"


def test_a_search_without_a_view_keeps_the_uniform_policy() -> None:
    """The start of 4x4: nothing is proven in four simulations, and all four moves are alike."""
    start = HEXAPAWN.start_row[None]
    facts = search_rows(UniformEvaluator(), HEXAPAWN, start, simulations=4).facts(start)
    assert facts.values[0] == 0
    assert facts.entropies[0] == pytest.approx(np.log(4))
    assert facts.disagreements[0] == pytest.approx(0, abs=1e-6)
    assert facts.changes[0] == 0


def test_a_network_searches_and_progress_is_told() -> None:
    network = lively_network("hexapawn4x4", "geometric")
    told: list[tuple[int, int]] = []
    found = search_with_network(
        network, HEXAPAWN, ROWS, simulations=4, progress=lambda *now: told.append(now)
    )
    assert told == [(40, 40)]
    assert np.isfinite(found.facts(ROWS).values).all()
    with pytest.raises(InputError, match="0 simulations: a search needs at least 1"):
        search_rows(UniformEvaluator(), HEXAPAWN, ROWS, simulations=0)
