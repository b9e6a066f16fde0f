"""Hook points: reading gives the true activation, an edit changes what follows and nothing else."""

import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.network.model import backbone
from engine.network.model.backbone import Backbone, Block
from engine.network.model.hook_points import HookPoints
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.residual_tower import ResidualBlock, ResidualTower
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from tests.support.network.network_cases import TRUNKS, lively_network, random_rows

every_trunk = pytest.mark.parametrize("trunk", list(TRUNKS))
Opened = AbstractContextManager[object]


def positions(count: int = 6) -> Tensor:
    return torch.from_numpy(random_rows(get_variant("gardner"), count))


def activations(network: PolicyValueNet) -> dict[str, Tensor]:
    """All activations of a forward pass, by name."""
    with network.hook_points.read(*network.hook_points.names) as found:
        network(positions())
    return found


@pytest.mark.parametrize(
    ("trunk", "in_block"),
    [
        ("geometric", ("attention.pattern", "attention.head", "mlp.hidden", "residual")),
        ("residual", ("hidden", "gate", "residual")),
    ],
)
def test_names(trunk: str, in_block: tuple[str, ...]) -> None:
    blocks = [f"block.{i}.{name}" for i in (0, 1) for name in in_block]
    names = lively_network("gardner", trunk).hook_points.names
    assert names == ("embed", *blocks, "final", "value.hidden")


@every_trunk
def test_reading_changes_no_bit_and_follows_the_order_of_the_names(trunk: str) -> None:
    network = lively_network("gardner", trunk)
    plain = network(positions())
    with network.hook_points.read(*network.hook_points.names) as found:
        read = network(positions())
    assert tuple(found) == network.hook_points.names
    for before, after in zip(plain, read, strict=True):
        assert torch.equal(before, after)


def test_points_of_the_transformer_are_the_textbooks() -> None:
    """Each is computed from the one before it."""
    network = lively_network("gardner", "geometric")
    trunk = network.trunk
    assert isinstance(trunk, Backbone)
    assert trunk.geometry is not None
    found = activations(network)
    x = found["embed"]
    assert torch.equal(x, network.embedding(network.encoder(positions())))
    for i, block in enumerate(trunk.blocks):
        assert isinstance(block, Block)
        assert block.mlp is not None
        assert block.mlp_norm is not None
        normed = block.attention_norm(x)
        query, key, value = block.attention.qkv(normed).view(6, 25, 3, 2, 8).unbind(2)
        scores = torch.einsum("bqhe,bkhe->bhqk", query, key) / 8**0.5 + trunk.geometry()[i]
        pattern = scores.softmax(-1)
        assert torch.allclose(found[f"block.{i}.attention.pattern"], pattern, atol=1e-5)
        heads = torch.einsum("bhqk,bkhe->bhqe", pattern, value)
        assert torch.allclose(found[f"block.{i}.attention.head"], heads, atol=1e-5)
        x = x + block.attention.out(heads.transpose(1, 2).flatten(2))
        hidden = F.relu(block.mlp.up(block.mlp_norm(x)))
        assert torch.allclose(found[f"block.{i}.mlp.hidden"], hidden, atol=1e-4)
        x = x + block.mlp.down(hidden)
        assert torch.allclose(found[f"block.{i}.residual"], x, atol=1e-4)
    assert torch.allclose(found["final"], trunk.norm(x), atol=1e-4)


def test_points_of_the_tower_are_the_textbooks() -> None:
    network = lively_network("gardner", "residual")
    trunk = network.trunk
    assert isinstance(trunk, ResidualTower)
    found = activations(network)
    x = found["embed"]
    for i, block in enumerate(trunk.blocks):
        assert isinstance(block, ResidualBlock)
        assert block.norm is not None
        assert block.excitation is not None
        hidden = F.relu(block.first(block.norm(x).transpose(1, 2).reshape(6, 16, 5, 5)))
        squares = found[f"block.{i}.hidden"]
        assert torch.allclose(squares, hidden.flatten(2).transpose(1, 2), atol=1e-4)
        planes = block.second(hidden)
        squeezed = F.relu(block.excitation.down(planes.mean((2, 3))))
        gate, shift = block.excitation.up(squeezed).split(16, dim=1)
        assert torch.allclose(found[f"block.{i}.gate"], gate.sigmoid(), atol=1e-5)
        x = x + planes.flatten(2).transpose(1, 2) * gate.sigmoid()[:, None] + shift[:, None]
        assert torch.allclose(found[f"block.{i}.residual"], x, atol=1e-4)


@every_trunk
def test_an_edit_changes_only_what_follows(trunk: str) -> None:
    """Of every point: a replacement, and a vector added to every token, row and head alike."""
    network = lively_network("gardner", trunk)
    points, names = network.hook_points, network.hook_points.names
    plain, outputs = activations(network), network(positions())
    for index, name in enumerate(names):
        added = torch.randn(plain[name].shape[-1])
        for edit, expected in (
            (points.replace({name: lambda x: x.flip(-1)}), plain[name].flip(-1)),
            (points.add({name: added}), plain[name] + added),
        ):
            # The outer reader sees what arrives at the point, the inner one what leaves it.
            with points.read(*names) as before, edit, points.read(*names) as after:
                edited = network(positions())
            assert torch.equal(before[name], plain[name])
            assert torch.equal(after[name], expected)
            for earlier in names[:index]:
                assert torch.equal(after[earlier], plain[earlier]), (name, earlier)
            changed = [(edited.wdl, outputs.wdl), (after["value.hidden"], plain["value.hidden"])]
            for one, other in changed:
                assert not torch.allclose(one, other, atol=1e-6), name


@every_trunk
def test_activations_patched_from_other_positions_carry_their_outputs(trunk: str) -> None:
    network = lively_network("gardner", trunk)
    ours, theirs = positions(6), positions(12)[6:]
    for names in (network.hook_points.names, ("block.1.residual",)):
        with network.hook_points.read(*names) as found:
            other = network(theirs)
        with network.hook_points.replace(found):
            patched = network(ours)
        for before, after in zip(other, patched, strict=True):
            assert torch.allclose(before, after, atol=1e-5)


@every_trunk
def test_a_closed_point_changes_no_bit(trunk: str) -> None:
    """Not even after an error in the forward pass or at the opening of a block."""
    network = lively_network("gardner", trunk)
    points, plain = network.hook_points, network(positions())

    def fail(activation: Tensor) -> Tensor:
        raise ZeroDivisionError

    with (
        points.read(*points.names),
        points.replace(dict.fromkeys(points.names, torch.neg)),
        points.add({"embed": torch.ones(16)}),
        points.project_out({"final": torch.ones(16)}),
    ):
        assert not torch.equal(network(positions()).wdl, plain.wdl)
    failing = points.replace({"embed": torch.neg, "block.0.residual": fail})
    with pytest.raises(ZeroDivisionError), points.read("embed"), failing:
        network(positions())
    with pytest.raises(InputError), points.replace({"embed": torch.neg, "nowhere": fail}):
        pass
    for before, after in zip(plain, network(positions()), strict=True):
        assert torch.equal(before, after)


def test_gradients_flow_through_what_is_read_and_replaced() -> None:
    network = lively_network("gardner", "geometric")
    direction = torch.zeros(16, requires_grad=True)
    with network.hook_points.replace({"block.0.residual": lambda x: x + direction}):
        win = network(positions()).wdl[:, 0].sum()
    (gradient,) = torch.autograd.grad(win, [direction])
    assert gradient.any()
    with network.hook_points.read("embed", "block.1.attention.pattern") as found:
        outputs = network(positions())
    (gradient,) = torch.autograd.grad(outputs.wdl[:, 0].sum(), [found["embed"]], retain_graph=True)
    assert gradient.shape == found["embed"].shape
    assert gradient.any()
    (gradient,) = torch.autograd.grad(outputs.policy.sum(), [found["block.1.attention.pattern"]])
    assert gradient.any()


def test_a_pattern_is_read_where_fused_attention_makes_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = lively_network("gardner", "geometric")
    name = "block.1.attention.pattern"
    explicit = activations(network)[name]
    for limit in ("EXPLICIT_TOKENS", "EXPLICIT_LEARNING"):
        monkeypatch.setattr(backbone, limit, 0)
    with network.hook_points.read(name) as fused:
        network(positions())
    assert explicit.shape == (6, 2, 25, 25)
    assert torch.allclose(explicit.sum(-1), torch.ones(6, 2, 25))
    assert torch.allclose(fused[name], explicit, atol=1e-6)


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


@every_trunk
def test_what_is_projected_out_is_gone_at_every_point(trunk: str) -> None:
    """Of activations [B, T, D], [B, H, q, k], [B, H, T, E] and [B, D] alike, along directions of
    any length and angle; what is orthogonal to them stays."""
    network = lively_network("gardner", trunk)
    points, plain = network.hook_points, activations(network)
    for name, there in plain.items():
        D = there.shape[-1]
        directions = torch.randn(2, D) * torch.tensor([[30.0], [0.02]])
        directions[1] += 1e-3 * directions[0]
        exact = directions.double()
        any_vector = torch.randn(D, dtype=torch.float64)
        orthogonal = any_vector - any_vector @ torch.linalg.pinv(exact) @ exact
        with (
            points.project_out({name: directions}),
            points.read(name) as once,
            points.project_out({name: directions}),
            points.read(name) as twice,
        ):
            network(positions())
        left = once[name]
        assert left.shape == there.shape
        unit = F.normalize(directions, dim=-1)
        assert (left @ unit.T).abs().max() < 1e-5 * there.norm(dim=-1).max(), name
        stays = left.double() @ orthogonal
        assert torch.allclose(stays, there.double() @ orthogonal, rtol=1e-4, atol=1e-4), name
        assert torch.allclose(twice[name], left, atol=1e-5), name


def test_one_direction_is_the_textbooks_formula() -> None:
    network = lively_network("gardner", "residual")
    direction, before = torch.randn(16), activations(network)["final"]
    with network.hook_points.project_out({"final": direction}):
        after = activations(network)["final"]
    share = before @ direction / direction.square().sum()
    assert torch.allclose(after, before - share[..., None] * direction, atol=1e-5)
    with network.hook_points.project_out({"final": torch.randn(16, 16)}):
        assert activations(network)["final"].abs().max() < 1e-4


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


REFUSED: dict[str, tuple[Callable[[HookPoints], Opened], str]] = {
    "unknown read": (
        lambda points: points.read("block.9.residual"),
        r"no hook point 'block\.9\.residual' \(did you mean block\.1\.residual or .*: embed, ",
    ),
    "unknown addition": (lambda points: points.add({"nowhere": torch.ones(16)}), "no hook point"),
    "unknown direction": (
        lambda points: points.project_out({"nowhere": torch.ones(16)}),
        "no hook point 'nowhere'",
    ),
    "replacement": (
        lambda points: points.replace({"final": torch.zeros(6, 25, 3)}),
        r"final: replacement has shape \[6, 25, 3\]",
    ),
    "addition": (
        lambda points: points.add({"final": torch.randn(7, 6, 25, 16)}),
        "final: replacement has shape",
    ),
} | {
    f"{name} directions": (
        lambda points, directions=directions: points.project_out({"final": directions}),
        f"final: {problem}",
    )
    for name, directions, problem in (
        ("narrow", torch.randn(15), "directions of width 15"),
        ("equal", torch.ones(2, 16), "the 2 directions depend on each other"),
        ("zero", torch.zeros(16), "a direction is zero"),
        ("too many", torch.randn(17, 16), "the 17 directions depend on each other"),
        ("NaN", torch.full((16,), torch.nan), "a direction is not finite"),
        ("scalar", torch.tensor(1.0), r"directions of shape \[\], not \[D\] or \[N, D\]"),
        ("cubic", torch.randn(2, 3, 16), r"directions of shape \[2, 3, 16\]"),
    )
}


@pytest.mark.parametrize(("edit", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_by_name(
    edit: Callable[[HookPoints], Opened], problem: str
) -> None:
    network = lively_network("gardner", "residual")
    with pytest.raises(ValueError, match=problem), edit(network.hook_points):
        network(positions())


@every_trunk
def test_edits_keep_the_dtype_of_the_network(trunk: str) -> None:
    """A direction found in float32 steers a network in bfloat16."""
    network = lively_network("gardner", trunk).bfloat16()
    direction = torch.randn(16)
    plain = network(positions()).wdl
    for edit in (network.hook_points.add, network.hook_points.project_out):
        with edit({"block.0.residual": direction}):
            steered = network(positions()).wdl
        assert steered.dtype == torch.bfloat16
        assert not torch.equal(steered, plain)


def test_edits_act_in_the_order_in_which_they_were_opened() -> None:
    """And blocks may end in any order."""
    network = lively_network("gardner", "geometric")
    points, plain = network.hook_points, activations(network)["final"]
    first, second = points.add({"final": torch.ones(16)}), points.add({"final": torch.ones(16)})
    with first, points.replace({"final": lambda x: 2 * x}), second:
        found = activations(network)["final"]
    assert torch.allclose(found, 2 * (plain + 1) + 1, atol=1e-5)
    first, second = points.add({"final": torch.ones(16)}), points.add({"final": -torch.ones(16)})
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.allclose(activations(network)["final"], plain - 1, atol=1e-5)
    second.__exit__(None, None, None)
    assert torch.equal(activations(network)["final"], plain)


def test_networks_in_two_threads_do_not_see_each_other() -> None:
    """Both have their points open at the same moment; each sees its own edits alone."""
    networks = [lively_network("gardner", "geometric", seed) for seed in (0, 1)]
    added = [torch.full((16,), float(seed + 1)) for seed in (0, 1)]
    plain = [activations(network)["final"] for network in networks]
    together = threading.Barrier(2, timeout=30)
    found: dict[int, Tensor] = {}

    def work(which: int) -> None:
        points = networks[which].hook_points
        with points.add({"final": added[which]}), points.read("final") as read:
            together.wait()
            networks[which](positions())
            together.wait()
        found[which] = read["final"]

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for which in (0, 1):
        assert torch.allclose(found[which], plain[which] + added[which], atol=1e-6)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """A compiled network of another test counts for the limit of compilations of one function."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("trunk", ["geometric", "residual"])
def test_points_of_a_compiled_network(trunk: str) -> None:
    """Opened after the compilation they work as before it; closed, they change nothing."""
    network = lively_network("gardner", trunk)
    compiled: Callable[[Tensor], tuple[Tensor, ...]] = torch.compile(
        network, backend="aot_eager", fullgraph=True
    )
    direction = torch.randn(16)

    def outputs(run: Callable[[Tensor], tuple[Tensor, ...]]) -> list[Tensor]:
        points, found = network.hook_points, [*run(positions())]
        with points.add({"block.0.residual": direction}):
            found += run(positions())
        with points.project_out({"block.0.residual": direction}), points.read("final") as read:
            found += run(positions())
        return [*found, read["final"], *run(positions())]

    plain = outputs(network)
    for eager, fast in zip(plain, outputs(compiled), strict=True):
        assert torch.allclose(eager, fast, atol=1e-5)
    assert not torch.allclose(plain[0], plain[4], atol=1e-3)
