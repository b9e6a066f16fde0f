"""Networks from Python: what they say is the module's own, for both colours, one or many."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pawnscope as ps
from engine.network.checkpoint import save_checkpoint
from engine.network.model.universal import UniversalConfig, UniversalNet
from tests.support.network.network_cases import SMALL, lively_network

HEXAPAWN = ps.get_variant("hexapawn")
SHIPPED = Path("engine/weights/gardner.safetensors").resolve()


@pytest.fixture(scope="module")
def network() -> ps.Network:
    return ps.Network(lively_network("hexapawn", "geometric"))


def after(*moves: str, variant: str = "hexapawn") -> ps.Position:
    position = ps.Position(variant)
    for text in moves:
        position.push_text(text)
    return position


def several_file(path: Path) -> Path:
    """A universal network of two variants in a file."""
    torch.manual_seed(1)
    universal = UniversalNet(UniversalConfig.from_dict(UniversalConfig().to_dict() | SMALL))
    names = ("hexapawn", "hexapawn4x4")
    digests = {name: ps.get_variant(name).digest for name in names}
    save_checkpoint(path, universal, metadata={}, trained_on=names, digests=digests)
    return path


def test_an_evaluation_is_the_modules(network: ps.Network) -> None:
    position = ps.Position("hexapawn")
    found = network.evaluate(position)
    assert {move.uci for move in found.moves} == {
        position.uci(move) for move in position.legal_moves
    }
    assert [position.parse_san(text) for text in found.policy] == [m.move for m in found.moves]
    assert list(found.policy.values()) == sorted(found.policy.values(), reverse=True)
    assert sum(found.policy.values()) == pytest.approx(1.0)
    with torch.no_grad():
        wdl = network.module(torch.from_numpy(position.row[None])).wdl.softmax(-1)[0]
    np.testing.assert_allclose(found.wdl, wdl.numpy(), atol=1e-6)
    assert found.value == pytest.approx(found.wdl[0] - found.wdl[2])
    assert type(found.value) is float


@pytest.mark.parametrize("moves", [(), ("a1a2",)], ids=["white", "black"])
def test_each_probability_is_that_of_its_move(network: ps.Network, moves: Sequence[str]) -> None:
    """Of both colours: the network sees the ranks mirrored where Black is to move."""
    position = after(*moves)
    with torch.no_grad():
        logits = network.module(torch.from_numpy(position.row[None])).policy[0]

    def seen(name: str) -> int:
        rank = int(name[1]) - 1
        return 3 * (2 - rank if moves else rank) + "abc".index(name[0])

    found = network.evaluate(position).moves
    own = torch.tensor([float(logits[seen(move.uci[:2]), seen(move.uci[2:])]) for move in found])
    probabilities = [move.probability for move in found]
    np.testing.assert_allclose(probabilities, own.softmax(0).numpy(), atol=1e-5)


def test_several_positions_are_evaluated_as_one_by_one(network: ps.Network) -> None:
    positions = [after(), after("a2"), after("a2", "bxa2")]
    found = network.evaluate(positions)
    assert found.wdl.shape == (3, 3)
    assert found.wdl.dtype == found.values.dtype == found.probabilities.dtype == np.float32
    rows = np.stack([position.row for position in positions])
    for other in (
        network.evaluate(rows),
        network.evaluate(list(rows)),
        network.evaluate(found.rows),
    ):
        np.testing.assert_array_equal(other.wdl, found.wdl)
        np.testing.assert_array_equal(other.probabilities, found.probabilities)
    assert network.evaluate(torch.from_numpy(rows).numpy())[0].policy == found[0].policy
    for position, one, policy in zip(positions, found, found.policies, strict=True):
        alone = network.evaluate(position)
        assert one.position.fen() == position.fen()
        assert list(policy) == list(alone.policy)
        np.testing.assert_allclose(list(policy.values()), list(alone.policy.values()), atol=1e-5)
        np.testing.assert_allclose(one.wdl, alone.wdl, atol=1e-5)
    assert found[-1].best == found[2].best
    assert found[np.int64(1)].policy == found[1].policy  # type: ignore[index]
    with pytest.raises(IndexError, match=r"^no position 3, there are 3$"):
        found[3]
    with pytest.raises(TypeError, match="a position's place is a whole number, not 'b2'"):
        found["b2"]  # type: ignore[index]
    assert repr(network.evaluate(rows[:1])).startswith("hexapawn, 1 position, each")


def test_a_result_does_not_change_when_the_caller_plays_on(network: ps.Network) -> None:
    position = after()
    one, several = network.evaluate(position), network.evaluate([position])
    position.push_text("a2")
    assert one.position.fen() == several[0].position.fen() == ps.Position("hexapawn").fen()


def test_activations_are_those_of_the_forward_pass(network: ps.Network) -> None:
    position, point = after("b2"), "block.1.residual"
    with network.module.hook_points.read(point, "value.hidden") as read, torch.no_grad():
        network.module(torch.from_numpy(position.row[None]))
    one = network.activations(position, point)
    assert one.shape == (9, 16)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, read[point][0].numpy())
    many = network.activations([position] * 300, (point, "value.hidden"))
    assert many[point].shape == (300, 9, 16)
    np.testing.assert_allclose(many["value.hidden"][299], read["value.hidden"][0], atol=1e-5)
    # Of a finished game, too.
    assert network.activations(ps.Position("hexapawn", "P2/1pp/3 b"), point).shape == (9, 16)


def test_open_hook_points_of_the_module_count(network: ps.Network) -> None:
    position = after()
    before = network.evaluate(position).wdl
    with network.module.hook_points.replace({"final": torch.zeros_like}):
        assert network.evaluate(position).wdl != before
        searched = ps.search(network, position, simulations=0).wdl
        assert searched == pytest.approx(network.evaluate(position).wdl)
    assert network.evaluate(position).wdl == before


def test_a_network_says_what_it_is() -> None:
    found = ps.load(SHIPPED)
    for text in ("gardner", "residual 5x64", "402,651 parameters", "comes with Pawnscope", "embed"):
        assert text in str(found) == repr(found)
    assert found.variant is ps.get_variant("gardner")
    assert "block.2.residual" in found.hook_points
    assert found.module.config.trunk == "residual"


def test_a_name_is_a_variant_before_it_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gardner").write_text("not a network")
    assert ps.load("gardner").source == ps.load(ps.get_variant("gardner")).source
    for path in ("./gardner", Path("gardner")):
        with pytest.raises(ps.InputError, match=r"^gardner: .* not a safetensors file"):
            ps.load(path)


def test_names_of_no_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for name, told in [
        ("gardener", r"unknown variant 'gardener' \(did you mean gardner\?\); nor is there a file"),
        ("./gardener", r"^\./gardener: no such file or folder$"),
        (Path("gardener"), "^gardener: no such file or folder$"),
        ("losalamos", r"no network for losalamos: .* \(for gardner only\).* train\('losalamos'\)"),
        (7, "a path is expected, not 7"),
        ("", "a path is expected, not ''"),
        ("runs", "no checkpoints there"),
    ]:
        with pytest.raises(ps.InputError, match=told):
            ps.load(name)  # type: ignore[arg-type]
    assert ps.load("hexapawn").source.startswith("runs")
    with pytest.raises(ps.InputError, match="not for 'hexapawn4x4'"):
        ps.load("runs/hexapawn", variant="hexapawn4x4")


def test_a_network_of_several_variants(tmp_path: Path) -> None:
    path = several_file(tmp_path / "several.safetensors")
    positions = [ps.Position("hexapawn"), ps.Position("hexapawn4x4")]
    universal = ps.load(path)
    assert universal.variant is None
    assert "any variant" in repr(universal)
    for position in positions:
        alone = ps.load(path, variant=position.variant)
        assert alone.variant is position.variant
        np.testing.assert_allclose(
            universal.evaluate(position).wdl, alone.evaluate(position).wdl, atol=1e-5
        )
        assert universal.evaluate([position]).rows.shape == (1, position.variant.row_size)
        assert ps.search(universal, position, simulations=4).simulations == 4
    with pytest.raises(ps.InputError, match=r"positions\[1\] is of hexapawn4x4, positions"):
        universal.evaluate(positions)
    with pytest.raises(ps.InputError, match="rows do not say their variant"):
        universal.evaluate(positions[0].row[None])


ASKED: list[Callable[[ps.Network, ps.Position], object]] = [
    lambda network, position: network.evaluate(position),
    lambda network, position: network.activations(position, "final"),
    lambda network, position: ps.search(network, position, simulations=8),
    lambda network, position: network.evaluate([position]),
]


@pytest.mark.parametrize("ask", ASKED)
def test_another_variants_position_is_refused(
    network: ps.Network, ask: Callable[[ps.Network, ps.Position], object]
) -> None:
    with pytest.raises(ps.InputError, match="is of hexapawn4x4, the network of hexapawn"):
        ask(network, ps.Position("hexapawn4x4"))


def test_an_unknown_hook_point_gets_a_suggestion(network: ps.Network) -> None:
    with pytest.raises(
        ps.InputError, match=r"'block\.1\.residul' \(did you mean block\.1\.residual"
    ):
        network.activations(ps.Position("hexapawn"), "block.1.residul")


def test_what_is_no_network_is_not_wrapped() -> None:
    for wrong in ("gardner", ps.load("gardner"), torch.nn.Linear(2, 2)):
        with pytest.raises(ps.InputError, match="a UniversalNet is wrapped, not ") as raised:
            ps.Network(wrong)  # type: ignore[arg-type]
        assert "\n" not in str(raised.value)
    with pytest.raises(ps.InputError, match="width = 5 does not play hexapawn, which has 3"):
        ps.Network(ps.load("gardner").module, variant="hexapawn")


@pytest.mark.parametrize("point", [5, None, [], ()])
def test_what_names_no_hook_point(network: ps.Network, point: Any) -> None:
    with pytest.raises(ps.InputError, match="the name of a hook point, or several, are expected"):
        network.activations(ps.Position("hexapawn"), point)


def test_a_network_that_computes_nan_is_refused() -> None:
    module = lively_network("hexapawn", "residual")
    with torch.no_grad():
        next(module.parameters()).fill_(float("nan"))
    net, position = ps.Network(module), ps.Position("hexapawn")
    for ask in (net.evaluate, lambda p: ps.search(net, p, simulations=4)):
        with pytest.raises(ps.InputError, match="is nan"):
            ask(position)


def test_few_positions_take_one_thread_and_many_the_callers(network: ps.Network) -> None:
    before, seen = torch.get_num_threads(), []
    hook = network.module.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        position = ps.Position("hexapawn")
        network.evaluate(position)
        network.activations([position] * 200, "final")
        ps.search(network, position, simulations=1)
        assert torch.get_num_threads() == 2
    finally:
        hook.remove()
        torch.set_num_threads(before)
    assert (seen[0], seen[1], seen[-1]) == (1, 2, 1)


def test_the_shipped_network_finds_a_mate() -> None:
    """White mates in one by Qb5: the network's verdict and the search agree on who wins."""
    net = ps.load("gardner")
    position = ps.Position("gardner", "k4/5/K4/1Q3/5 w")
    found = net.evaluate(position)
    assert found.value > 0
    position.push_text(ps.search(net, position, simulations=200).best)
    assert position.outcome() is not None or net.evaluate(position).value < 0
