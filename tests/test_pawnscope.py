"""The library's face: what `import pawnscope` gives is right, and costs no torch."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pawnscope
from engine.network.model.policy_value import PolicyValueNet
from search.exact.solver import solve
from tests.support.network.network_cases import lively_network

HEXAPAWN = pawnscope.get_variant("hexapawn")


@pytest.fixture(scope="module")
def network() -> PolicyValueNet:
    return lively_network("hexapawn", "geometric")


def test_every_name_is_there_and_none_loads_torch() -> None:
    code = (
        "import sys, pawnscope\n"
        "assert all(hasattr(pawnscope, name) for name in pawnscope.__all__)\n"
        "position = pawnscope.Position(pawnscope.get_variant('hexapawn'))\n"
        "assert pawnscope.search(position, simulations=8).best in position_moves\n"
    )
    code = code.replace("position_moves", "[position.uci(m) for m in position.legal_moves]")
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_evaluation_is_the_networks(network: PolicyValueNet) -> None:
    position = pawnscope.Position(HEXAPAWN)
    found = pawnscope.evaluate(network, position)
    assert set(found.policy) == {position.uci(move) for move in position.legal_moves}
    assert list(found.policy.values()) == sorted(found.policy.values(), reverse=True)
    assert sum(found.policy.values()) == pytest.approx(1.0)
    assert sum(found.wdl) == pytest.approx(1.0)
    # The network is asked about the same row.
    import torch

    with torch.no_grad():
        wdl = network(torch.from_numpy(position.row[None])).wdl.softmax(-1)[0]
    np.testing.assert_allclose(found.wdl, wdl.numpy(), atol=1e-6)
    assert found.value == pytest.approx(found.wdl[0] - found.wdl[2])


def test_a_search_proves_what_the_solver_knows(network: PolicyValueNet) -> None:
    """3x3 Hexapawn is lost for the side that moves first, with any network and with none."""
    position = pawnscope.Position(HEXAPAWN)
    exact = solve(HEXAPAWN).value(position.row)
    assert exact == -1
    for found in (
        pawnscope.search(position, simulations=2000),
        pawnscope.search(position, network, simulations=2000),
    ):
        assert found.value == exact
        assert set(found.q_values.values()) == {-1.0}
        walk = position.copy()
        for move in found.principal_variation:
            walk.push_uci(move)
        assert found.best == found.principal_variation[0]
        assert list(found.visit_counts) == list(found.q_values)


@pytest.mark.parametrize("moves", [(), ("a1a2",)], ids=["white", "black"])
def test_each_probability_is_that_of_its_move(
    network: PolicyValueNet, moves: Sequence[str]
) -> None:
    """Of both colours: the network sees the ranks mirrored where Black is to move."""
    import torch

    position = pawnscope.Position(HEXAPAWN)
    for text in moves:
        position.push_uci(text)
    with torch.no_grad():
        logits = network(torch.from_numpy(position.row[None])).policy[0]

    def seen(name: str) -> int:
        rank = int(name[1]) - 1
        return 3 * (2 - rank if moves else rank) + "abc".index(name[0])

    policy = pawnscope.evaluate(network, position).policy
    own = torch.tensor([float(logits[seen(text[:2]), seen(text[2:])]) for text in policy])
    np.testing.assert_allclose(list(policy.values()), own.softmax(0).numpy(), atol=1e-5)


def test_each_value_is_that_of_its_move() -> None:
    position, solution = pawnscope.Position(HEXAPAWN), solve(HEXAPAWN)
    position.push_uci("a1a2")
    found = pawnscope.search(position, simulations=2000)
    exact = {}
    for move in position.legal_moves:
        after = position.copy()
        after.push(move)
        exact[position.uci(move)] = -solution.value(after.row)
    assert set(exact.values()) == {-1, 1}
    assert all(exact[move] == value for move, value in found.q_values.items() if abs(value) == 1)
    assert exact[found.best] == found.value == 1


def test_a_finished_game_is_refused(network: PolicyValueNet) -> None:
    over = pawnscope.Position(HEXAPAWN, "P2/1pp/3 b - - 0 1")
    for ask in (pawnscope.search, lambda p: pawnscope.evaluate(network, p)):
        with pytest.raises(pawnscope.InputError, match="P2/1pp/3"):
            ask(over)


def test_a_network_for_another_variant_is_refused(network: PolicyValueNet) -> None:
    position = pawnscope.Position(pawnscope.get_variant("hexapawn4x4"))
    for ask in (
        lambda: pawnscope.evaluate(network, position),
        lambda: pawnscope.search(position, network, simulations=8),
    ):
        with pytest.raises(pawnscope.InputError, match=r"for hexapawn does not .* of hexapawn4x4"):
            ask()


def test_training_resumes_where_it_was(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "minutes": 1e-6,
        "network": {"blocks": 1, "channels": 16},
        "seed": 3,
    }
    settings |= {"self_play": {"positions": 64, "games": 8, "simulations": 2}}
    first = pawnscope.train(HEXAPAWN, tmp_path / "run", **settings)
    again = pawnscope.train(HEXAPAWN, tmp_path / "run", **settings)
    assert first.checkpoint == again.checkpoint
    network = pawnscope.load_network(HEXAPAWN, tmp_path / "run")
    assert pawnscope.evaluate(network, pawnscope.Position(HEXAPAWN)).policy
    report = pawnscope.probe(tmp_path / "run", positions=60)
    assert report.variant == "hexapawn"
    assert report.cells
    with pytest.raises(pawnscope.InputError, match="seed"):
        pawnscope.train(HEXAPAWN, tmp_path / "run", **(settings | {"seed": 4}))


def test_the_shipped_network_loads() -> None:
    variant = pawnscope.get_variant("gardner")
    found = pawnscope.evaluate(
        pawnscope.load_network(variant, "engine/weights/gardner.safetensors"),
        pawnscope.Position(variant),
    )
    assert 0.0 < found.value + 1.0 < 2.0
