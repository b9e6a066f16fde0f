"""Search from Python: exact where it can be proven, for both colours, one or many."""

import numpy as np
import pytest

import pawnscope as ps
from search.exact.solver import solve
from tests.support.network.network_cases import lively_network

HEXAPAWN = ps.get_variant("hexapawn")


@pytest.fixture(scope="module")
def network() -> ps.Network:
    return ps.Network(lively_network("hexapawn", "geometric"))


def test_a_search_proves_what_the_solver_knows(network: ps.Network) -> None:
    """3x3 Hexapawn is lost for the side that moves first, with any network and with none."""
    position = ps.Position(HEXAPAWN)
    exact = solve(HEXAPAWN).value(position.row)
    assert exact == -1
    for found in (
        ps.search(None, position, simulations=2000),
        ps.search(network, position, simulations=2000),
    ):
        assert found.value == exact
        assert found.proven == "loss"
        assert set(found.q_values.values()) == {-1.0}
        assert found.simulations < 2000
        walk = position.copy()
        for move in found.principal_variation:
            walk.push_san(move)
        assert found.best == found.principal_variation[0]
        assert list(found.visits) == list(found.q_values)
        assert found.distance == max(move.distance or 0 for move in found.moves)
        assert "proven loss in" in str(found)


def test_each_value_is_that_of_its_move_for_both_colours() -> None:
    solution = solve(HEXAPAWN)
    white, black = ps.Position(HEXAPAWN), ps.Position(HEXAPAWN)
    black.push_text("a2")
    searched = ps.search(None, [white, black], simulations=2000)
    for position, found in zip((white, black), searched, strict=True):
        exact = {}
        for move in position.legal_moves:
            after = position.copy()
            after.push(move)
            exact[position.san(move)] = -solution.value(after.row)
        proven = {"win": 1, "draw": 0, "loss": -1}
        known = [move for move in found.moves if move.proven is not None]
        assert known
        assert all(proven[str(move.proven)] == exact[move.san] == move.q for move in known)
        assert exact[found.best] == found.value == solution.value(position.row)
    assert set(searched.values.tolist()) == {-1.0, 1.0}


def test_several_searches_are_those_of_each(
    network: ps.Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ps.Position(HEXAPAWN), ps.Position(HEXAPAWN)
    second.push_text("b2")
    positions = [first, second, first]
    together = ps.search(network, positions, simulations=20)
    assert together.values.shape == (3,)
    assert together.wdl.shape == (3, 3)
    assert len(together) == 3
    by_rows = ps.search(network, together.rows, simulations=20)
    np.testing.assert_array_equal(by_rows.trees.visit_counts, together.trees.visit_counts)
    # In parts, where all trees at once would take too much memory.
    monkeypatch.setattr("search.players.network.MOST_SIMULATIONS", 30)
    parts = ps.search(network, positions, simulations=20)
    np.testing.assert_array_equal(parts.trees.offsets, together.trees.offsets)
    for position, one, part in zip(positions, together, parts, strict=True):
        alone = ps.search(network, position, simulations=20)
        assert one.visits == part.visits == alone.visits
        assert one.principal_variation == part.principal_variation == alone.principal_variation
        assert one.value == pytest.approx(alone.value, abs=1e-5)
    assert together.best == tuple(found.best for found in together)


def test_one_batch_of_trees_and_not_one_after_another(network: ps.Network) -> None:
    sizes = []
    module = network.module
    hook = module.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    ps.search(network, [ps.Position(HEXAPAWN)] * 5, simulations=6)
    hook.remove()
    assert sizes[0] == 5
    assert len(sizes) <= 7


def test_the_game_so_far_counts_for_repetitions() -> None:
    """After two repetitions of the start, a return to it is a draw."""
    position = ps.Position("gardner", "k3r/5/5/5/K3R w")
    for text in ("Kb1", "Kb5", "Ka1", "Ka5", "Kb1", "Kb5", "Ka1"):
        position.push_text(text)
    found = ps.search(None, position, simulations=30)
    assert {move.san: move.proven for move in found.moves}["Ka5"] == "draw"
    without = ps.Position.from_row(position.row, position.variant)
    alone = ps.search(None, without, simulations=30)
    assert {move.san: move.proven for move in alone.moves}["Ka5"] is None


def test_a_finished_game_is_refused(network: ps.Network) -> None:
    over = ps.Position(HEXAPAWN, "P2/1pp/3 b - - 0 1")
    for ask in (lambda p: ps.search(None, p), network.evaluate, lambda p: ps.search(network, p)):
        told = "the game is over in 'P2/1pp/3 b"
        with pytest.raises(ps.InputError, match=rf"^{told}"):
            ask(over)
        with pytest.raises(ps.InputError, match=rf"^positions\[1\]: {told}"):
            ask([ps.Position(HEXAPAWN), over])


def test_a_drawn_game_is_over(network: ps.Network) -> None:
    """A rook's move draws by the move rule although the side to move has moves."""
    drawn = ps.Position("gardner", "k4/5/5/5/K3R w - - 100 90")
    with pytest.raises(ps.InputError, match="the game is over"):
        ps.search(None, drawn)


@pytest.mark.parametrize("simulations", [-1, 1.5, "40", None, 10**9, True])
def test_numbers_of_simulations_that_make_no_sense(simulations: object) -> None:
    with pytest.raises(ps.InputError, match=rf"simulations = '?{simulations}'? is"):
        ps.search(None, ps.Position(HEXAPAWN), simulations=simulations)  # type: ignore[call-overload]


def test_numpys_numbers_are_numbers() -> None:
    found = ps.search(None, ps.Position("gardner"), simulations=np.int64(5))  # type: ignore[call-overload]
    assert found.simulations == 5
    assert {type(move.q) for move in found.moves} == {float}
    assert {type(move.visits) for move in found.moves} == {int}


def test_arguments_in_the_wrong_order(network: ps.Network) -> None:
    position = ps.Position(HEXAPAWN)
    for wrong, told in [
        (position, "the network comes first, not Position"),
        (network.module, "a Network or None is expected, not PolicyValueNet"),
        ("gardner", r"a Network or None is expected, not 'gardner' \(str\)"),
    ]:
        with pytest.raises(ps.InputError, match=told):
            ps.search(wrong, position)  # type: ignore[call-overload]
