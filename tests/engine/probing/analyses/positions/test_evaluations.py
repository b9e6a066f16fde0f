"""What a network says of positions: the same in one batch or many, and scores with draws."""

import numpy as np
import pytest
import torch

from engine.probing.analyses.positions import evaluations
from engine.probing.analyses.positions.evaluations import Evaluations, evaluate
from engine.probing.analyses.positions.move_table import move_table
from engine.rules.variant import get_variant
from tests.engine.probing.analyses.cases import Solved, slow_logits
from tests.support.network.network_cases import lively_network


def test_a_draw_is_half_a_win() -> None:
    chances = np.array([[0.2, 0.6, 0.2], [0.5, 0.3, 0.2], [1.0 - 2e-9, 1e-9, 1e-9]])
    found = Evaluations(policy=np.empty(0), wdl=np.log(chances))
    assert found.expected_score == pytest.approx([0.0, 0.3, 1.0])
    odds = [0.0, np.log(1.3 / 0.7), np.log((2.0 - 3e-9) / 3e-9)]
    assert found.score_logit == pytest.approx(odds, abs=1e-9)


def test_batches_do_not_matter_and_threads_are_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    solved = Solved("hexapawn")
    network = lively_network("hexapawn", "geometric").train()
    table = move_table(solved.rows, get_variant("hexapawn"))
    threads = torch.get_num_threads()
    whole = evaluate(network, table)
    monkeypatch.setattr(evaluations, "BATCH", 7)
    parts = evaluate(network, table)
    np.testing.assert_allclose(whole.policy, parts.policy, atol=1e-6)
    np.testing.assert_allclose(whole.wdl, parts.wdl, atol=1e-6)
    assert torch.get_num_threads() == threads
    assert network.training
    network.eval()
    slow = np.concatenate([slow_logits(network, row) for row in solved.rows])
    np.testing.assert_allclose(parts.policy, slow, atol=1e-5)
