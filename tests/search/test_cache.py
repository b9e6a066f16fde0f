"""The evaluation cache: the same answers, fewer questions, and never the answer to another one."""

import numpy as np
import pytest

from engine.rules.errors import InputError
from engine.rules.kernels import generate_batch
from engine.rules.position import Position
from engine.rules.tables import CLOCK, REPETITION
from engine.rules.variant import Variant, get_variant
from search.cache import CachedEvaluator
from search.evaluator import Evaluation
from search.mcts.gumbel import GumbelConfig
from search.mcts.puct import PuctConfig
from search.mcts.search import tree_search
from tests.support.search.search_cases import (
    Moves,
    Offsets,
    Rows,
    ScatteredEvaluator,
    children,
    roots_of,
)
from tests.support.search.tree_cases import assert_same, generator, openings


class Asked:
    """Counts the positions that it is asked about."""

    def __init__(self, variant: Variant) -> None:
        self._evaluator = ScatteredEvaluator(variant)
        self.batches: list[int] = []
        self.shift = 0.0

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See Evaluator."""
        assert len(moves) == offsets[-1]
        self.batches.append(len(positions))
        found = self._evaluator.evaluate(positions, moves, offsets)
        return Evaluation(found.logits + np.float32(self.shift), found.wdl)


def batch_of(positions: list[Position]) -> tuple[Rows, Moves, Offsets]:
    rows = np.stack([position.row for position in positions])
    moves, offsets = generate_batch(positions[0].variant.tables, rows)
    return rows, moves, offsets


def counts(cache: CachedEvaluator) -> tuple[int, int, int]:
    return cache.hits, cache.duplicates, cache.misses


def assert_same_answer(one: Evaluation, other: Evaluation) -> None:
    np.testing.assert_array_equal(one.logits, other.logits)
    np.testing.assert_array_equal(one.wdl, other.wdl)


@pytest.mark.nojit
def test_each_position_is_judged_once() -> None:
    variant = get_variant("gardner")
    asked, plain = Asked(variant), ScatteredEvaluator(variant)
    cache = CachedEvaluator(asked, variant, size=1 << 20)
    a, b, c, d = openings("gardner", 4)
    for positions, expected in [
        ([a, b, a, a, c], (0, 2, 3)),
        ([d, a, d, c], (2, 3, 4)),
        ([b, a], (4, 3, 4)),
    ]:
        batch = batch_of(positions)
        assert_same_answer(cache.evaluate(*batch), plain.evaluate(*batch))
        assert counts(cache) == expected
    # What is all remembered asks nobody.
    assert asked.batches == [3, 1]


@pytest.mark.nojit
def test_clock_and_repetitions_belong_to_the_position() -> None:
    variant = get_variant("gardner")
    cache = CachedEvaluator(Asked(variant), variant, size=1 << 20)
    positions = []
    for place, value in ((CLOCK, 0), (CLOCK, 1), (CLOCK, 200), (REPETITION, 1), (REPETITION, 2)):
        position = Position(variant)
        position.row[variant.squares + place] = value
        positions.append(position)
    batch = batch_of(positions)
    plain = ScatteredEvaluator(variant).evaluate(*batch)
    assert_same_answer(cache.evaluate(*batch), plain)
    assert_same_answer(cache.evaluate(*batch), plain)
    assert counts(cache) == (5, 0, 5)
    assert len({row.tobytes() for row in plain.wdl}) == 5


def test_a_key_alone_is_not_believed() -> None:
    """Where another position stands under the same key, as if two hashes were equal."""
    variant = get_variant("gardner")
    cache = CachedEvaluator(Asked(variant), variant, size=1 << 20)
    batch = batch_of(openings("gardner", 4))
    first = cache.evaluate(*batch)
    cache._store.rows[:, 0] ^= 1
    assert_same_answer(cache.evaluate(*batch), first)
    assert counts(cache) == (0, 0, 8)


@pytest.mark.nojit
@pytest.mark.parametrize("size", [1000, 3000, 20_000])
def test_a_small_memory_forgets_and_never_errs(size: int) -> None:
    """Random batches from 60 positions: the ring wraps around many times."""
    variant = get_variant("gardner")
    plain = ScatteredEvaluator(variant)
    cache = CachedEvaluator(Asked(variant), variant, size=size)
    positions = [after for position in openings("gardner", 6) for after in children(position)]
    assert len(positions) > 40
    rng = generator()
    asked = 0
    for _ in range(30):
        chosen = [positions[place] for place in rng.integers(len(positions), size=7)]
        batch = batch_of(chosen)
        assert_same_answer(cache.evaluate(*batch), plain.evaluate(*batch))
        asked += 7
    assert cache.hits > 0
    assert sum(counts(cache)) == asked
    assert cache.size <= size + 8


def test_the_oldest_go_first() -> None:
    variant = get_variant("gardner")
    cache = CachedEvaluator(Asked(variant), variant, size=1000)
    known = len(cache._store.slots)
    assert known == 4
    positions = openings("gardner", known + 1)
    for position in positions:
        cache.evaluate(*batch_of([position]))
    assert cache.misses == known + 1
    cache.evaluate(*batch_of(positions[-2:]))
    assert cache.hits == 2
    cache.evaluate(*batch_of(positions[:1]))
    assert cache.misses == known + 2


def test_new_weights_make_all_forgotten() -> None:
    variant = get_variant("gardner")
    asked = Asked(variant)
    cache = CachedEvaluator(asked, variant, size=1 << 20)
    batch = batch_of(openings("gardner", 3))
    before = cache.evaluate(*batch)
    asked.shift = 1.0
    cache.clear()
    np.testing.assert_allclose(cache.evaluate(*batch).logits, before.logits + 1, rtol=1e-5)
    assert cache.hits == 0


@pytest.mark.parametrize("size", [1 << 20, 4000])
def test_searches_are_the_same_with_and_without(size: int) -> None:
    variant = get_variant("gardner")
    roots = roots_of(*openings("gardner", 3), *openings("gardner", 3))
    plain, cache = ScatteredEvaluator(variant), CachedEvaluator(Asked(variant), variant, size=size)
    puct = PuctConfig(simulations=50, noise_fraction=0.25)
    gumbel = GumbelConfig(simulations=50)
    for _ in range(2):
        assert_same(
            tree_search(variant, roots, cache, puct, generator()),
            tree_search(variant, roots, plain, puct, generator()),
        )
        assert_same(
            tree_search(variant, roots, cache, gumbel, generator()),
            tree_search(variant, roots, plain, gumbel, generator()),
        )
    assert cache.duplicates > 0
    assert (cache.hits > 0) == (size > 0)


def test_a_position_with_more_moves_than_the_ring_holds_is_not_remembered() -> None:
    variant = get_variant("chess")
    position = Position(variant, "R6R/3Q4/1Q4Q1/4Q3/2Q4Q/Q4Q2/pp1Q4/kBNN1KB1 w - - 0 1")
    cache = CachedEvaluator(_Zeros(), variant, size=2000)
    batch = batch_of([position])
    assert len(cache._store.logits) < len(batch[1]) == 218
    for _ in range(2):
        assert (cache.evaluate(*batch).logits == 0).all()
    assert counts(cache) == (0, 0, 2)


class _Zeros:
    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See Evaluator."""
        return Evaluation(
            np.zeros(len(moves), np.float32), np.zeros((len(positions), 3), np.float32)
        )


@pytest.mark.parametrize("size", [-1, 0, 100])
def test_a_size_that_holds_nothing_is_refused(size: int) -> None:
    variant = get_variant("gardner")
    with pytest.raises(InputError, match=f"cache of {size} bytes"):
        CachedEvaluator(_Zeros(), variant, size=size)
