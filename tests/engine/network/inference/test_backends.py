"""The contract of all backends: each evaluates as the network does, in any batch, after updates."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engine.network.inference import network_evaluator
from engine.network.inference.avx512.backend import available_precisions, computes
from engine.network.inference.backend_evaluator import BackendEvaluator
from engine.network.inference.backends.protocol import (
    BackendName,
    FixedSizes,
    PrecisionName,
    empty_batch,
)
from engine.network.inference.evaluator import make_evaluator
from engine.network.inference.network_evaluator import NetworkEvaluation, NetworkEvaluator
from engine.network.inference.parity import TOLERANCES, disagreement
from engine.network.model.compiled_encoder import CompiledEncoder
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.errors import InputError, NotFiniteError
from engine.rules.kernels import generate_batch
from engine.rules.moves import make_move
from engine.rules.variant import get_variant, variant_names
from search.evaluator import Evaluator
from tests.support.network.network_cases import (
    lively_network,
    random_moves,
    random_rows,
    small_config,
)
from tests.support.rules.random_games import random_games, replayed

MAX_BATCH = 16
WIDTHS: dict[str, object] = {"channels": 32, "hidden": 48, "policy_channels": 16}
"""Multiples of 16, as the AVX-512 kernels need them."""
NETWORKS: dict[str, tuple[str, str, dict[str, object]]] = {
    "tower 3x3": ("hexapawn", "plain", {"channels": 16}),
    "tower 8x8": ("chess", "plain", {}),
    "tower without blocks": ("chess", "plain", {"blocks": 0}),
    "norms and gates": ("hexapawn4x3", "residual", {"channels": 16}),
    "gates without norms": ("gardner", "plain", {"excitation": True}),
    "norms without gates": ("gardner", "residual", {"excitation": False}),
    "transformer": ("losalamos", "geometric", {"heads": 2}),
    "one head": ("gardner", "geometric", {"heads": 1}),
    "four heads": ("gardner", "geometric", {"heads": 4, "channels": 64}),
    "learned places and gelu": ("gardner", "learned", {}),
    "attention only": ("losalamos", "attention only", {"heads": 2}),
    "transformer without blocks": ("gardner", "geometric", {"blocks": 0}),
}
ON_AVX512 = (
    "tower 3x3", "tower 8x8", "tower without blocks", "norms and gates", "transformer",
    "attention only",
)  # fmt: skip
"""Each shape takes these kernels seconds to compile."""
PAIRS: list[tuple[BackendName, PrecisionName]] = [
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    *(("native", precision) for precision in available_precisions()),
]
every_pair = pytest.mark.parametrize(("backend", "precision"), PAIRS, ids=" ".join)
CASES = [
    (trunk, *pair)
    for pair in PAIRS
    for trunk in ("geometric", "residual", "plain")
    if pair[0] != "native" or trunk == "plain" or (trunk, pair[1]) in {
        ("geometric", "int8"), ("geometric", "bf16"), ("residual", "int8"),
    }
]  # fmt: skip


class Question(NamedTuple):
    """Positions with their legal moves, as an evaluator is asked."""

    rows: npt.NDArray[np.uint8]
    moves: npt.NDArray[np.uint16]
    offsets: npt.NDArray[np.int64]

    def part(self, start: int, stop: int) -> "Question":
        """Positions `start` to `stop`."""
        offsets = self.offsets[start : stop + 1]
        moves = self.moves[offsets[0] : offsets[-1]]
        return Question(self.rows[start:stop], moves, offsets - offsets[0])


def played(name: str) -> Question:
    """Positions of random games, more than three batches of them."""
    games = random_games(get_variant(name), 6, 12)
    positions = (position for game in games for position in replayed(game))
    rows = np.stack([position.row for position in positions if position.legal_moves])
    assert len(rows) > 3 * MAX_BATCH
    return Question(rows, *generate_batch(get_variant(name).tables, rows))


GARDNER = played("gardner")


def network_of(trunk: str, seed: int = 0) -> PolicyValueNet:
    return lively_network("gardner", trunk, seed, **WIDTHS)


def made(
    network: PolicyValueNet, backend: BackendName, precision: PrecisionName
) -> BackendEvaluator:
    return make_evaluator(
        network,
        backend=backend,
        precision=precision,
        max_batch=MAX_BATCH,
        calibration=GARDNER.rows,
    )


def agrees(found: NetworkEvaluation, network: PolicyValueNet, precision: PrecisionName) -> bool:
    exact = NetworkEvaluator(network).evaluate(*GARDNER)
    return disagreement(exact, found, GARDNER.offsets).within(TOLERANCES[precision])


@pytest.mark.parametrize(("trunk", "backend", "precision"), CASES)
def test_the_contract_of_an_evaluator(
    trunk: str, backend: BackendName, precision: PrecisionName
) -> None:
    network = network_of(trunk)
    evaluator: BackendEvaluator = made(network, backend, precision)
    assert (evaluator.backend, evaluator.precision, evaluator.notes) == (backend, precision, ())
    # Near the network, in more than one batch, and not in float32 unless it says so.
    found = evaluator.evaluate(*GARDNER)
    assert found.logits.dtype == found.wdl.dtype == np.float32
    assert agrees(found, network, precision)
    np.testing.assert_allclose(found.wdl.sum(1), 1, atol=1e-6)
    exact = NetworkEvaluator(network).evaluate(*GARDNER)
    assert (precision == "fp32") == np.allclose(found.logits, exact.logits, atol=1e-4)
    # The same in any batch, also in one that is compiled only now.
    tolerance = 1e-5 if precision == "fp32" else 0.02
    for i in (0, MAX_BATCH - 1, MAX_BATCH, len(GARDNER.rows) - 1):
        alone = evaluator.evaluate(*GARDNER.part(i, i + 1))
        together = found.logits[GARDNER.offsets[i] : GARDNER.offsets[i + 1]]
        np.testing.assert_allclose(alone.logits, together, atol=tolerance)
        np.testing.assert_allclose(alone.wdl[0], found.wdl[i], atol=tolerance)
    # Nothing of nothing.
    empty = evaluator.evaluate(*GARDNER.part(0, 0))
    assert (empty.logits.shape, empty.wdl.shape) == ((0,), (0, 3))
    # Later training does not change it.
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(evaluator.evaluate(*GARDNER).logits, found.logits)
    # An update does: it is then the evaluator of the new weights, bit for bit.
    new = network_of(trunk, seed=1)
    evaluator.update(new)
    updated, fresh = (e.evaluate(*GARDNER) for e in (evaluator, made(new, backend, precision)))
    assert not np.allclose(updated.wdl, found.wdl, atol=0.01)
    np.testing.assert_array_equal(updated.wdl, fresh.wdl)
    np.testing.assert_array_equal(updated.logits, fresh.logits)


@every_pair
def test_weights_that_are_not_finite_are_refused(
    backend: BackendName, precision: PrecisionName
) -> None:
    good, bad = network_of("plain"), network_of("plain")
    with torch.no_grad():
        next(bad.value.parameters()).fill_(torch.nan)
    with pytest.raises(NotFiniteError, match="network of gardner: WDL is nan"):
        made(bad, backend, precision)
    with pytest.raises(NotFiniteError):
        made(good, backend, precision).update(bad)


@every_pair
def test_other_networks_and_moves_are_refused(
    backend: BackendName, precision: PrecisionName
) -> None:
    evaluator = made(network_of("plain"), backend, precision)
    with pytest.raises(InputError, match="another configuration"):
        evaluator.update(network_of("residual"))
    to_amazon = np.array([make_move(15, 20, 7)], np.uint16)
    with pytest.raises(IndexError):
        evaluator.evaluate(GARDNER.rows[:1], to_amazon, np.array([0, 1]))


@every_pair
def test_a_batch_is_no_larger_than_allowed(backend: BackendName, precision: PrecisionName) -> None:
    batches = made(network_of("plain"), backend, precision)._backend
    for count in (1, 3, MAX_BATCH, MAX_BATCH + 1, 1000):
        size = len(batches.batch(count).wdl)
        assert min(count, 1) <= size <= MAX_BATCH
        assert size == MAX_BATCH or count < MAX_BATCH


@pytest.mark.parametrize(
    ("name", "backend"),
    [*((name, "openvino") for name in NETWORKS), *((name, "native") for name in ON_AVX512)],
)
def test_every_network_is_computed_exactly_in_float32(name: str, backend: str) -> None:
    """On boards with any pieces anywhere."""
    variant, trunk, settings = NETWORKS[name]
    network = lively_network(variant, trunk, 0, **WIDTHS | settings)
    if backend == "native" and not computes(network.config, "fp32"):
        assert not available_precisions()
        return
    rows = random_rows(get_variant(variant), 21)
    asked = rows, *random_moves(get_variant(variant), 21)
    evaluator: Evaluator = make_evaluator(network, backend=backend, precision="fp32", max_batch=9)
    exact, found = NetworkEvaluator(network).evaluate(*asked), evaluator.evaluate(*asked)
    tolerance = 1e-5 * float(np.abs(exact.logits).max())
    np.testing.assert_allclose(found.logits, exact.logits, atol=tolerance, rtol=1e-4)
    np.testing.assert_allclose(found.wdl, exact.wdl, atol=2e-5)


@pytest.mark.parametrize("name", variant_names())
def test_the_compiled_encoder_is_the_networks_own(name: str) -> None:
    variant = get_variant(name)
    encoder = lively_network(name, "geometric").encoder
    walked = [position.row for position in random_games(variant, 20, 30)]
    rows = np.concatenate([np.stack(walked), random_rows(variant, 300)])
    rows[-256:, variant.squares + 3] = rows[-256:, variant.squares + 4] = np.arange(256)
    squares = np.empty((len(rows), variant.squares), np.int32)
    state = np.empty((len(rows), 6), np.float32)
    CompiledEncoder(encoder).encode(rows, squares, state)
    expected = encoder(torch.from_numpy(rows))
    np.testing.assert_array_equal(squares, expected.squares.numpy())
    np.testing.assert_array_equal(state, expected.state.numpy())


def test_fixed_sizes_waste_little_and_take_few_batches() -> None:
    config = small_config("hexapawn", "plain")
    sizes = FixedSizes((1, 4, 16, 64), 1 / 8, lambda size: empty_batch(config, size))
    for count in range(1, 300):
        left, computed, batches = count, 0, 0
        while left > 0:
            size = len(sizes.batch(left).wdl)
            left, computed, batches = left - size, computed + size, batches + 1
        assert count <= computed <= count + 8
        assert batches <= 2 + count // 16 + 3


@pytest.mark.parametrize("size", [1, 7, network_evaluator.BATCH])
@pytest.mark.parametrize("trunk", ["geometric", "residual"])
def test_the_reference_computes_what_the_network_says(
    trunk: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the caller's arrays have changed, and after training."""
    network = network_of(trunk)
    evaluator = NetworkEvaluator(network)
    monkeypatch.setattr(network_evaluator, "BATCH", size)
    rows, moves, offsets = GARDNER.rows.copy(), GARDNER.moves, GARDNER.offsets
    found = evaluator.evaluate(rows, moves, offsets)
    positions = torch.from_numpy(rows)
    indices = torch.from_numpy(np.repeat(np.arange(len(rows)), np.diff(offsets)))
    outputs = network(positions)
    played_moves = torch.from_numpy(moves.astype(np.int64))
    logits = network.move_logits(outputs, positions, played_moves, indices).detach().numpy()
    np.testing.assert_allclose(found.logits, logits, atol=1e-4)
    wdl = outputs.wdl.softmax(-1).detach().numpy()
    np.testing.assert_allclose(found.wdl, wdl, atol=1e-5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    kept = found.wdl.copy()
    rows[:] = rows[::-1].copy()
    assert not np.array_equal(evaluator.evaluate(rows, moves, offsets).wdl, kept)
    np.testing.assert_array_equal(found.wdl, kept)
    rows[:] = GARDNER.rows
    np.testing.assert_array_equal(evaluator.evaluate(rows, moves, offsets).wdl, kept)
