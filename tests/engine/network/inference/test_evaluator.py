"""The evaluator says what the network says."""

import numpy as np
import pytest
import torch

from engine.network.inference.backends.allocator import keep_freed_memory
from engine.network.inference.network_evaluator import NetworkEvaluator, fastest_precision
from engine.rules.moves import make_move
from engine.rules.variant import get_variant
from search.evaluator import Evaluator
from tests.support.network_cases import TRUNKS, lively_network, random_moves, random_rows

BFLOAT16_WDL = 0.05
BFLOAT16_LOGIT = 0.1
"""Bounds on bfloat16's errors, for logits as a share of their standard deviation: eight bits of
mantissa through two blocks of a network with random weights."""


@pytest.mark.parametrize("trunk", list(TRUNKS))
@pytest.mark.parametrize("max_batch", [1, 7, 256])
def test_agrees_with_the_network(trunk: str, max_batch: int) -> None:
    variant = get_variant("gardner")
    network = lively_network("gardner", trunk)
    rows = random_rows(variant, 20)
    moves, offsets = random_moves(variant, 20)
    evaluator: Evaluator = NetworkEvaluator(network, max_batch=max_batch)
    evaluation = evaluator.evaluate(rows, moves, offsets)
    assert evaluation.logits.dtype == evaluation.wdl.dtype == np.float32
    positions = torch.from_numpy(rows)
    outputs = network(positions)
    indices = torch.from_numpy(np.repeat(np.arange(20), np.diff(offsets)))
    logits = network.move_logits(
        outputs, positions, torch.from_numpy(moves.astype(np.int64)), indices
    )
    np.testing.assert_allclose(evaluation.logits, logits.detach().numpy(), atol=1e-4, rtol=1e-5)
    np.testing.assert_allclose(evaluation.wdl, outputs.wdl.softmax(-1).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("trunk", ["geometric", "residual"])
def test_bfloat16_is_near(trunk: str) -> None:
    variant = get_variant("gardner")
    network = lively_network("gardner", trunk)
    rows = random_rows(variant, 64)
    moves, offsets = random_moves(variant, 64)
    exact = NetworkEvaluator(network).evaluate(rows, moves, offsets)
    near = NetworkEvaluator(network, precision="bfloat16").evaluate(rows, moves, offsets)
    assert near.logits.dtype == near.wdl.dtype == np.float32
    assert not np.array_equal(near.logits, exact.logits)
    assert np.abs(near.wdl - exact.wdl).max() < BFLOAT16_WDL
    error = np.abs(near.logits - exact.logits).max()
    assert error < BFLOAT16_LOGIT * exact.logits.std()
    np.testing.assert_allclose(near.wdl.sum(1), 1, atol=1e-6)


def test_training_on_does_not_change_an_evaluator() -> None:
    variant = get_variant("hexapawn")
    network = lively_network("hexapawn", "geometric")
    question = random_rows(variant, 4), *random_moves(variant, 4)
    evaluator = NetworkEvaluator(network)
    before = evaluator.evaluate(*question)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    after = evaluator.evaluate(*question)
    np.testing.assert_array_equal(before.logits, after.logits)
    np.testing.assert_array_equal(before.wdl, after.wdl)


def test_borrowed_arrays_may_change_after_the_call() -> None:
    variant = get_variant("gardner")
    evaluator = NetworkEvaluator(lively_network("gardner", "geometric"))
    rows, (moves, offsets) = random_rows(variant, 4), random_moves(variant, 4)
    first = evaluator.evaluate(rows, moves, offsets)
    copies = first.logits.copy(), first.wdl.copy()
    rows[:] = rows[::-1].copy()
    second = evaluator.evaluate(rows, moves, offsets)
    assert not np.array_equal(second.wdl, first.wdl)
    np.testing.assert_array_equal(first.logits, copies[0])
    np.testing.assert_array_equal(first.wdl, copies[1])


def test_a_move_of_another_game_is_refused() -> None:
    evaluator = NetworkEvaluator(lively_network("losalamos", "geometric"))
    to_bishop = np.array([make_move(24, 30, 3)], np.uint16)
    with pytest.raises(IndexError):
        evaluator.evaluate(random_rows(get_variant("losalamos"), 1), to_bishop, np.array([0, 1]))


def test_the_fastest_precision_works() -> None:
    network = lively_network("hexapawn", "geometric")
    evaluator = NetworkEvaluator(network, precision=fastest_precision())
    rows = random_rows(get_variant("hexapawn"), 3)
    wdl = evaluator.evaluate(rows, *random_moves(get_variant("hexapawn"), 3)).wdl
    np.testing.assert_allclose(wdl.sum(1), 1, atol=1e-6)


def test_the_allocator_can_be_told_twice() -> None:
    assert keep_freed_memory() == keep_freed_memory()
