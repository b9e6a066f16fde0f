"""Named points: reading tells the truth, replacing changes what comes after and nothing else."""

import copy
import pickle
import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch.nn import functional as F

from engine.network.model import backbone
from engine.network.model.backbone import Backbone, Block
from engine.network.model.hook_points import HookPoints
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.residual_tower import ResidualBlock, ResidualTower
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from tests.support.network_cases import TRUNKS, lively_network, random_rows

every_trunk = pytest.mark.parametrize("trunk", list(TRUNKS))


def positions(count: int = 6) -> torch.Tensor:
    return torch.from_numpy(random_rows(get_variant("gardner"), count))


def test_names_of_the_transformer() -> None:
    network = lively_network("gardner", "geometric")
    assert network.hook_points.names == (
        "embed",
        *(
            f"block.{i}.{name}"
            for i in (0, 1)
            for name in ("attention.pattern", "attention.head", "mlp.hidden", "residual")
        ),
        "final",
        "value.hidden",
    )


def test_names_of_the_residual_tower() -> None:
    network = lively_network("gardner", "residual")
    blocks = [f"block.{i}.{name}" for i in (0, 1) for name in ("hidden", "gate", "residual")]
    assert network.hook_points.names == ("embed", *blocks, "final", "value.hidden")


@every_trunk
def test_points_fire_in_the_order_of_their_names(trunk: str) -> None:
    network = lively_network("gardner", trunk)
    with network.hook_points.read(*network.hook_points.names) as activations:
        network(positions())
    assert tuple(activations) == network.hook_points.names


@every_trunk
def test_reading_changes_nothing(trunk: str) -> None:
    network = lively_network("gardner", trunk)
    plain = network(positions())
    with network.hook_points.read(*network.hook_points.names):
        seen = network(positions())
    for before, after in zip(plain, seen, strict=True):
        assert torch.equal(before, after)


def test_transformer_points_are_what_their_names_say() -> None:
    """Each is recomputed from the one before it with the textbook formula."""
    network = lively_network("gardner", "geometric")
    trunk = network.trunk
    assert isinstance(trunk, Backbone)
    assert trunk.geometry is not None
    with network.hook_points.read(*network.hook_points.names) as seen:
        network(positions())
    tokens = network.encoder(positions())
    assert torch.equal(seen["embed"], network.embedding(tokens))
    x = seen["embed"]
    for i, block in enumerate(trunk.blocks):
        assert isinstance(block, Block)
        assert block.mlp is not None
        assert block.mlp_norm is not None
        normed = block.attention_norm(x)
        query, key, value = block.attention.qkv(normed).view(6, 25, 3, 2, 8).unbind(2)
        scores = torch.einsum("bqhe,bkhe->bhqk", query, key) / 8**0.5 + trunk.geometry()[i]
        pattern = scores.softmax(-1)
        assert torch.allclose(seen[f"block.{i}.attention.pattern"], pattern, atol=1e-5)
        heads = torch.einsum("bhqk,bkhe->bhqe", pattern, value)
        assert torch.allclose(seen[f"block.{i}.attention.head"], heads, atol=1e-5)
        x = x + block.attention.out(heads.transpose(1, 2).flatten(2))
        hidden = F.relu(block.mlp.up(block.mlp_norm(x)))
        assert torch.allclose(seen[f"block.{i}.mlp.hidden"], hidden, atol=1e-4)
        x = x + block.mlp.down(hidden)
        assert torch.allclose(seen[f"block.{i}.residual"], x, atol=1e-4)
    assert torch.allclose(seen["final"], trunk.norm(x), atol=1e-4)


def test_residual_points_are_what_their_names_say() -> None:
    network = lively_network("gardner", "residual")
    trunk = network.trunk
    assert isinstance(trunk, ResidualTower)
    with network.hook_points.read(*network.hook_points.names) as seen:
        network(positions())
    x = seen["embed"]
    for i, block in enumerate(trunk.blocks):
        assert isinstance(block, ResidualBlock)
        assert block.norm is not None
        assert block.excitation is not None
        planes = block.norm(x).transpose(1, 2).reshape(6, 16, 5, 5)
        hidden = F.relu(block.first(planes))
        squares = seen[f"block.{i}.hidden"]
        assert torch.allclose(squares, hidden.flatten(2).transpose(1, 2), atol=1e-4)
        planes = block.second(hidden)
        squeezed = F.relu(block.excitation.down(planes.mean((2, 3))))
        gate, shift = block.excitation.up(squeezed).split(16, dim=1)
        assert torch.allclose(seen[f"block.{i}.gate"], gate.sigmoid(), atol=1e-5)
        added = planes.flatten(2).transpose(1, 2) * gate.sigmoid()[:, None] + shift[:, None]
        x = x + added
        assert torch.allclose(seen[f"block.{i}.residual"], x, atol=1e-4)


@every_trunk
def test_replacing_changes_only_what_comes_after(trunk: str) -> None:
    network = lively_network("gardner", trunk)
    names = network.hook_points.names
    with network.hook_points.read(*names) as plain:
        network(positions())
    for index, name in enumerate(names):
        with (
            network.hook_points.read(*names) as before,
            network.hook_points.replace({name: lambda x: x.flip(-1)}),
            network.hook_points.read(*names) as seen,
        ):
            outputs = network(positions())
        # The outer reader sees what arrived at the point, the inner one what went on from it.
        assert torch.equal(before[name], plain[name])
        assert torch.equal(seen[name], plain[name].flip(-1))
        for earlier in names[:index]:
            assert torch.equal(seen[earlier], plain[earlier]), (name, earlier)
        if name != "value.hidden":
            assert not torch.allclose(seen["value.hidden"], plain["value.hidden"], atol=1e-6), name
        assert not torch.allclose(outputs.wdl, network(positions()).wdl, atol=1e-6), name


@every_trunk
def test_replacing_with_what_is_there_changes_nothing(trunk: str) -> None:
    """Patching every activation from another run of the same network gives the same outputs."""
    network = lively_network("gardner", trunk)
    with network.hook_points.read(*network.hook_points.names) as seen:
        plain = network(positions())
    with network.hook_points.replace(seen):
        patched = network(positions())
    for before, after in zip(plain, patched, strict=True):
        assert torch.allclose(before, after, atol=1e-5)


@every_trunk
def test_a_patched_residual_carries_the_other_positions_value(trunk: str) -> None:
    network = lively_network("gardner", trunk)
    ours, theirs = positions(6), positions(12)[6:]
    with network.hook_points.read("block.1.residual") as seen:
        other = network(theirs)
    with network.hook_points.replace(seen):
        patched = network(ours)
    assert torch.allclose(patched.wdl, other.wdl, atol=1e-5)
    assert torch.allclose(patched.policy, other.policy, atol=1e-5)


def test_nothing_stays_open_after_the_block_not_even_after_an_error() -> None:
    network = lively_network("gardner", "geometric")
    plain = network(positions())

    def fail(activation: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    with network.hook_points.replace({"final": torch.zeros_like}):
        assert not torch.equal(network(positions()).wdl, plain.wdl)
    with (
        pytest.raises(ZeroDivisionError),
        network.hook_points.read("embed"),
        network.hook_points.replace({"embed": torch.neg, "block.0.residual": fail}),
    ):
        network(positions())
    with (
        pytest.raises(InputError),
        network.hook_points.replace({"embed": torch.neg, "nowhere": fail}),
    ):
        pass
    assert torch.equal(network(positions()).wdl, plain.wdl)


def test_gradients_flow_through_what_is_read_and_replaced() -> None:
    network = lively_network("gardner", "geometric")
    direction = torch.zeros(16, requires_grad=True)
    with network.hook_points.replace({"block.0.residual": lambda x: x + direction}):
        win = network(positions()).wdl[:, 0].sum()
    (gradient,) = torch.autograd.grad(win, [direction])
    assert gradient.any()
    with network.hook_points.read("embed", "block.1.attention.pattern") as seen:
        outputs = network(positions())
    (gradient,) = torch.autograd.grad(outputs.wdl[:, 0].sum(), [seen["embed"]], retain_graph=True)
    assert gradient.shape == seen["embed"].shape
    assert gradient.any()
    (gradient,) = torch.autograd.grad(outputs.policy.sum(), [seen["block.1.attention.pattern"]])
    assert gradient.any()


def test_a_pattern_is_read_where_fused_attention_makes_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = lively_network("gardner", "geometric")
    with network.hook_points.read("block.1.attention.pattern") as explicit:
        network(positions())
    for name in ("EXPLICIT_TOKENS", "EXPLICIT_LEARNING"):
        monkeypatch.setattr(backbone, name, 0)
    with network.hook_points.read("block.1.attention.pattern") as fused:
        network(positions())
    for seen in (explicit, fused):
        pattern = seen["block.1.attention.pattern"]
        assert pattern.shape == (6, 2, 25, 25)
        assert torch.allclose(pattern.sum(-1), torch.ones(6, 2, 25))
    assert torch.allclose(
        explicit["block.1.attention.pattern"], fused["block.1.attention.pattern"], atol=1e-6
    )


def test_unknown_points_and_wrong_shapes_are_refused() -> None:
    network = lively_network("gardner", "residual")
    with (
        pytest.raises(InputError, match=r"no hook point 'block\.9\.residual' \(hook points: embed"),
        network.hook_points.read("block.9.residual"),
    ):
        pass
    with (
        network.hook_points.replace({"final": torch.zeros(6, 25, 3)}),
        pytest.raises(ValueError, match=r"final: replacement has shape \[6, 25, 3\]"),
    ):
        network(positions())


@pytest.mark.parametrize("how", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_closed_and_have_points_of_their_own(how: object) -> None:
    network = lively_network("gardner", "geometric")
    plain = network(positions())
    assert callable(how)
    with network.hook_points.replace({"final": torch.zeros_like}):
        twin: PolicyValueNet = how(network)
        assert torch.equal(twin(positions()).wdl, plain.wdl)
    with twin.hook_points.replace({"final": torch.zeros_like}):
        assert torch.equal(network(positions()).wdl, plain.wdl)
        assert not torch.equal(twin(positions()).wdl, plain.wdl)


def last_axis(network: PolicyValueNet, name: str) -> int:
    """D of the activations at a point."""
    with network.hook_points.read(name) as seen:
        network(positions())
    return seen[name].shape[-1]


@every_trunk
def test_adding_adds_at_every_point(trunk: str) -> None:
    """A vector goes to every token, row and head alike; what comes before stays as it was."""
    network = lively_network("gardner", trunk)
    for index, name in enumerate(network.hook_points.names):
        added = torch.randn(last_axis(network, name))
        with (
            network.hook_points.read(*network.hook_points.names) as before,
            network.hook_points.add({name: added}),
            network.hook_points.read(name) as after,
        ):
            network(positions())
        assert torch.equal(after[name], before[name] + added)
        with network.hook_points.read(*network.hook_points.names) as plain:
            network(positions())
        for earlier in network.hook_points.names[: index + 1]:
            assert torch.equal(before[earlier], plain[earlier])


@every_trunk
def test_what_is_projected_out_is_gone_at_every_point(trunk: str) -> None:
    """Of activations [B, T, D], [B, H, q, k], [B, H, T, E] and [B, D] alike, along directions that
    are neither of unit length nor orthogonal; what is orthogonal to them stays."""
    network = lively_network("gardner", trunk)
    for name in network.hook_points.names:
        D = last_axis(network, name)
        directions = torch.randn(2, D) * torch.tensor([[30.0], [0.02]])
        directions[1] += 1e-3 * directions[0]
        exact = directions.double()
        any_vector = torch.randn(D, dtype=torch.float64)
        orthogonal = any_vector - any_vector @ torch.linalg.pinv(exact) @ exact
        with (
            network.hook_points.read(name) as before,
            network.hook_points.project_out({name: directions}),
            network.hook_points.read(name) as after,
            network.hook_points.project_out({name: directions}),
            network.hook_points.read(name) as again,
        ):
            network(positions())
        left, there = after[name], before[name]
        assert left.shape == there.shape
        unit = F.normalize(directions, dim=-1)
        assert (left @ unit.T).abs().max() < 1e-5 * there.norm(dim=-1).max(), name
        stays = left.double() @ orthogonal
        assert torch.allclose(stays, there.double() @ orthogonal, rtol=1e-4, atol=1e-4), name
        assert torch.allclose(again[name], left, atol=1e-5), name


def test_one_direction_is_the_textbooks_formula() -> None:
    network = lively_network("gardner", "residual")
    direction = torch.randn(16)
    with (
        network.hook_points.read("final") as before,
        network.hook_points.project_out({"final": direction}),
        network.hook_points.read("final") as after,
    ):
        network(positions())
    share = before["final"] @ direction / direction.square().sum()
    expected = before["final"] - share[..., None] * direction
    assert torch.allclose(after["final"], expected, atol=1e-5)


@pytest.mark.parametrize(("long", "short"), [(1e6, 1.0), (1e30, 1e-30), (1.0, 1e-38)])
def test_directions_of_any_length_span_the_same(long: float, short: float) -> None:
    points, lengths = HookPoints(), torch.tensor([[long], [short]])
    here, axes, there = points.declare("here"), torch.eye(16)[:2], torch.randn(3, 16)
    with points.project_out({"here": axes * lengths}):
        left = here(there)
    torch.testing.assert_close(left, torch.cat([torch.zeros(3, 2), there[:, 2:]], dim=1))
    alike = points.project_out({"here": axes[:1] * lengths})
    with pytest.raises(ValueError, match="here: the 2 directions depend on each other"), alike:
        pass


def test_the_whole_space_projected_out_leaves_nothing() -> None:
    network = lively_network("gardner", "geometric")
    with (
        network.hook_points.project_out({"embed": torch.randn(16, 16)}),
        network.hook_points.read("embed") as seen,
    ):
        network(positions())
    assert seen["embed"].abs().max() < 1e-4


@pytest.mark.parametrize(
    ("directions", "problem"),
    [
        (torch.ones(2, 16), r"embed: the 2 directions depend on each other"),
        (torch.zeros(16), r"embed: a direction is zero"),
        (torch.randn(17, 16), r"embed: the 17 directions depend on each other"),
        (torch.full((16,), torch.nan), r"embed: a direction is not finite"),
        (torch.tensor(1.0), r"embed: directions of shape \[\], not \[D\] or \[N, D\]"),
        (torch.randn(2, 3, 16), r"embed: directions of shape \[2, 3, 16\]"),
    ],
    ids=["twice", "zero", "too many", "nan", "a number", "a cube"],
)
def test_directions_that_span_nothing_are_refused(directions: torch.Tensor, problem: str) -> None:
    network = lively_network("gardner", "geometric")
    with (
        pytest.raises(ValueError, match=problem),
        network.hook_points.project_out({"embed": directions}),
    ):
        pass


@every_trunk
def test_what_does_not_fit_an_activation_is_refused_by_name(trunk: str) -> None:
    network = lively_network("gardner", trunk)
    for edit, problem in (
        (
            network.hook_points.project_out({"final": torch.randn(15)}),
            "final: directions of width 15",
        ),
        (
            network.hook_points.add({"final": torch.randn(7, 6, 25, 16)}),
            "final: replacement has shape",
        ),
    ):
        with pytest.raises(ValueError, match=problem), edit:
            network(positions())
    for open_ in (network.hook_points.add, network.hook_points.project_out):
        with (
            pytest.raises(InputError, match="no hook point 'nowhere'"),
            open_({"nowhere": torch.ones(16)}),
        ):
            pass


@every_trunk
def test_edits_keep_the_numbers_of_the_network(trunk: str) -> None:
    """A direction found in float32 steers a network in bfloat16."""
    network = lively_network("gardner", trunk).bfloat16()
    direction = torch.randn(16)
    plain = network(positions()).wdl
    for edit in (network.hook_points.add, network.hook_points.project_out):
        with edit({"block.0.residual": direction}):
            steered = network(positions()).wdl
        assert steered.dtype == torch.bfloat16
        assert not torch.equal(steered, plain)


@every_trunk
def test_edits_act_in_the_order_in_which_they_were_opened(trunk: str) -> None:
    network = lively_network("gardner", trunk)
    with network.hook_points.read("final") as plain:
        network(positions())
    with (
        network.hook_points.add({"final": torch.ones(16)}),
        network.hook_points.replace({"final": lambda x: 2 * x}),
        network.hook_points.add({"final": torch.ones(16)}),
        network.hook_points.read("final") as seen,
    ):
        network(positions())
    assert torch.allclose(seen["final"], 2 * (plain["final"] + 1) + 1, atol=1e-5)


def test_what_is_closed_first_is_gone_and_the_rest_stays() -> None:
    """Blocks need not end in the order of their beginning."""
    network = lively_network("gardner", "geometric")
    first = network.hook_points.add({"final": torch.ones(16)})
    second = network.hook_points.add({"final": 10 * torch.ones(16)})
    with network.hook_points.read("final") as plain:
        network(positions())
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with network.hook_points.read("final") as seen:
        network(positions())
    assert torch.allclose(seen["final"], plain["final"] + 10, atol=1e-5)
    second.__exit__(None, None, None)
    with network.hook_points.read("final") as seen:
        network(positions())
    assert torch.equal(seen["final"], plain["final"])


@every_trunk
def test_points_that_were_closed_again_change_no_bit(trunk: str) -> None:
    network = lively_network("gardner", trunk)
    plain = network(positions())
    names = network.hook_points.names
    with (
        network.hook_points.read(*names),
        network.hook_points.replace(dict.fromkeys(names, torch.neg)),
        network.hook_points.add({"embed": torch.ones(16)}),
        network.hook_points.project_out({"final": torch.ones(16)}),
    ):
        assert not torch.equal(network(positions()).wdl, plain.wdl)
    for before, after in zip(plain, network(positions()), strict=True):
        assert torch.equal(before, after)


def test_networks_in_two_threads_do_not_see_each_other() -> None:
    """Both have their points open at the same moment; each sees its own edits alone."""
    networks = [lively_network("gardner", "geometric", seed) for seed in (0, 1)]
    added = [torch.full((16,), float(seed + 1)) for seed in (0, 1)]
    expected = []
    for network, direction in zip(networks, added, strict=True):
        with network.hook_points.read("final") as alone:
            network(positions())
        expected.append(alone["final"] + direction)
    together = threading.Barrier(2, timeout=30)
    seen: dict[int, torch.Tensor] = {}

    def work(which: int) -> None:
        points = networks[which].hook_points
        with points.add({"final": added[which]}), points.read("final") as activations:
            together.wait()
            networks[which](positions())
            together.wait()
        seen[which] = activations["final"]

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for which in (0, 1):
        assert torch.allclose(seen[which], expected[which], atol=1e-6)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """A compiled network of another test counts for the limit of compilations of one function."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("trunk", ["geometric", "residual"])
def test_points_of_a_compiled_network(trunk: str) -> None:
    """Opened after it was compiled, they read and change as ever; closed, it is as before."""
    network = lively_network("gardner", trunk)
    compiled: Callable[[torch.Tensor], tuple[torch.Tensor, ...]] = torch.compile(
        network, backend="aot_eager", fullgraph=True
    )
    direction = torch.randn(16)

    def judge(run: Callable[[torch.Tensor], tuple[torch.Tensor, ...]]) -> list[torch.Tensor]:
        points, found = network.hook_points, [*run(positions())]
        with points.add({"block.0.residual": direction}):
            found += run(positions())
        with points.project_out({"block.0.residual": direction}), points.read("final") as seen:
            found += run(positions())
        return [*found, seen["final"], *run(positions())]

    plain = judge(network)
    for eager, fast in zip(plain, judge(compiled), strict=True):
        assert torch.allclose(eager, fast, atol=1e-5)
    assert not torch.allclose(plain[0], plain[4], atol=1e-3)
