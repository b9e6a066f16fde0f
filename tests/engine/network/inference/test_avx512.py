"""The AVX-512 kernels, if the processor has the instructions: exact products, and networks of every
shape that they support."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional as F

from engine.network.inference.avx512.attention import MASKED, softmax, transpose
from engine.network.inference.avx512.backend import Avx512Backend, available_precisions, computes
from engine.network.inference.avx512.kernels import (
    INT8,
    ONE_TAP,
    PUT,
    THREE_TAPS,
    Fixed,
    available_numbers,
    blocks_for,
    convolve,
)
from engine.network.inference.avx512.weights import aligned, aligned_floats, pack
from engine.network.inference.evaluator import make_evaluator
from engine.network.inference.network_evaluator import NetworkEvaluator
from engine.network.inference.parity import TOLERANCES, disagreement
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.compilation.decorators import generic_kernel
from engine.rules.kernels import generate_batch
from engine.rules.variant import get_variant
from tests.support.network_cases import lively_network, random_moves, random_rows, small_config
from tests.support.random_games import random_games, replayed

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

WIDE: dict[str, object] = {"channels": 32, "hidden": 48, "policy_channels": 16}
NETWORKS: dict[str, tuple[str, str, dict[str, object]]] = {
    "tower 3x3": ("hexapawn", "plain", {"channels": 16}),
    "tower 8x8": ("chess", "plain", {}),
    "no blocks": ("chess", "plain", {"blocks": 0}),
    "norms and gates": ("hexapawn4x3", "residual", {"channels": 16}),
    "transformer": ("losalamos", "geometric", {"heads": 2}),
    "attention only": ("losalamos", "attention only", {"heads": 2}),
}
AS_PLAYED: dict[str, object] = {"channels": 64, "hidden": 128, "policy_channels": 32}


def network_of(name: str) -> PolicyValueNet:
    variant, trunk, settings = NETWORKS[name]
    return lively_network(variant, trunk, 0, **WIDE | settings)


@generic_kernel
def _convolved(
    files: Fixed, blocks: Fixed, taps: Fixed, source: Bytes, weights: Bytes, wide: Floats,
    ones: Floats, zeros: Floats,
) -> None:  # fmt: skip
    squares, channels = source.shape
    outputs = wide.shape[1]
    group = 64 * len(blocks) * len(taps)
    convolve(
        files, blocks, taps, INT8, PUT,
        source.ctypes.data, channels, weights.ctypes.data, group,
        group * channels // 4 * len(taps), ones.ctypes.data, zeros.ctypes.data, 0,
        wide.ctypes.data, 4 * outputs, source.ctypes.data, 0,
        squares // len(files), channels // 4, outputs // (16 * len(blocks)), np.float32(1),
    )  # fmt: skip


@pytest.mark.parametrize("taps", [ONE_TAP, THREE_TAPS])
@pytest.mark.parametrize(("width", "height"), [(5, 5), (3, 1), (6, 4)])
def test_products_of_bytes_are_exact(width: int, height: int, taps: Fixed) -> None:
    """Whole numbers, up to the largest that a sum can be."""
    if INT8 not in available_numbers():
        return
    rng = np.random.default_rng(0)
    channels, outputs, size = 20, 48, len(taps)
    source = aligned(width * height, channels)
    source[:] = rng.choice([0, 1, 127, 128, 255], source.shape)
    weight = rng.integers(-127, 128, (outputs, channels, size, size)).astype(np.float32)
    weight[:, 0, 0, 0] = 127  # the largest of each output, so that a step is 1
    blocks = blocks_for(width, outputs)
    packed, steps, _ = pack(weight, blocks, INT8)
    np.testing.assert_array_equal(steps, 1)
    said = aligned_floats(width * height, outputs)
    ones, zeros = np.ones(outputs, np.float32), np.zeros(outputs, np.float32)
    _convolved((0,) * width, blocks, taps, source, packed, said, ones, zeros)
    planes = torch.from_numpy(source.astype(np.float64)).view(height, width, channels)
    expected = F.conv2d(
        planes.permute(2, 0, 1)[None], torch.from_numpy(weight).double(), padding=size // 2
    )
    np.testing.assert_array_equal(
        said, expected[0].permute(1, 2, 0).reshape(width * height, outputs).numpy()
    )


@generic_kernel
def _turned(source: Floats, target: Floats) -> None:
    transpose(
        source.ctypes.data, 4 * source.shape[1], target.ctypes.data, 4 * target.shape[1],
        source.shape[0] // 16, source.shape[1] // 16,
    )  # fmt: skip


@generic_kernel
def _shared(registers: Fixed, scores: Floats, bias: Floats) -> None:
    softmax(registers, scores.ctypes.data, bias.ctypes.data, scores.shape[0])


def test_a_matrix_is_turned_over() -> None:
    if not available_numbers():
        return
    source = np.arange(32 * 48, dtype=np.float32).reshape(32, 48)
    target = np.zeros((48, 32), np.float32)
    _turned(source, target)
    np.testing.assert_array_equal(target, source.T)


@pytest.mark.parametrize("spread", [0.1, 10.0, 1000.0])
def test_softmax_of_any_scores(spread: float) -> None:
    if not available_numbers():
        return
    rng = np.random.default_rng(0)
    scores = (rng.standard_normal((7, 32)) * spread).astype(np.float32)
    bias = rng.standard_normal((7, 32)).astype(np.float32)
    bias[:, 25:] = MASKED
    given = scores.astype(np.float64) + bias
    powers = np.exp(given - given.max(1, keepdims=True))
    _shared((0, 0), scores, bias)
    np.testing.assert_allclose(scores, powers / powers.sum(1, keepdims=True), atol=1e-6)
    assert not scores[:, 25:].any() or scores[:, 25:].max() < 1e-30


@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_shape_agrees_with_torch(name: str) -> None:
    network = network_of(name)
    variant = get_variant(network.config.variant)
    if not computes(network.config, "fp32"):
        assert not available_numbers()
        return
    asked = random_rows(variant, 11), *random_moves(variant, 11)
    evaluator = make_evaluator(network, backend="native", precision="fp32", max_batch=9)
    exact, said = NetworkEvaluator(network).evaluate(*asked), evaluator.evaluate(*asked)
    room = 1e-5 * float(np.abs(exact.logits).max())
    np.testing.assert_allclose(said.logits, exact.logits, atol=room, rtol=1e-4)
    np.testing.assert_allclose(said.wdl, exact.wdl, atol=2e-5)


@pytest.mark.parametrize(
    ("trunk", "precision"),
    [("plain", "int8"), ("residual", "int8"), ("geometric", "int8"), ("geometric", "bf16")],
)
def test_few_bits_are_near_alike_in_any_batch_and_updated(trunk: str, precision: str) -> None:
    variant = get_variant("gardner")
    network = lively_network("gardner", trunk, 0, **AS_PLAYED)
    if not computes(network.config, precision):  # type: ignore[arg-type]
        assert precision not in available_precisions()
        return
    games = random_games(variant, 4, 12)
    positions = [position for game in games for position in replayed(game)]
    rows = np.stack([position.row for position in positions if position.legal_moves])
    moves, offsets = generate_batch(variant.tables, rows)
    evaluator = make_evaluator(network, backend="native", precision=precision, calibration=rows)
    assert (evaluator.backend, evaluator.precision) == ("native", precision)
    exact = NetworkEvaluator(network).evaluate(rows, moves, offsets)
    said = evaluator.evaluate(rows, moves, offsets)
    found = disagreement(exact, said, offsets)
    assert found.within(TOLERANCES[evaluator.precision])
    assert found.policy > 1e-9, "computed in fp32 after all"
    alone = evaluator.evaluate(rows[3:4], moves[offsets[3] : offsets[4]], offsets[3:5] - offsets[3])
    np.testing.assert_array_equal(alone.wdl[0], said.wdl[3])
    np.testing.assert_array_equal(alone.logits, said.logits[offsets[3] : offsets[4]])
    other = lively_network("gardner", trunk, 1, **AS_PLAYED)
    evaluator.update(other)
    exact = NetworkEvaluator(other).evaluate(rows, moves, offsets)
    updated = evaluator.evaluate(rows, moves, offsets)
    assert disagreement(exact, updated, offsets).within(TOLERANCES[evaluator.precision])
    assert not np.allclose(updated.wdl, said.wdl, atol=0.01)


def test_what_it_does_not_know_it_leaves_to_others() -> None:
    for trunk, settings in (
        ("residual", {"channels": 40}),
        ("geometric", {"activation": "gelu"}),
        ("geometric", {"heads": 4}),
        ("geometric", {"hidden": 40}),
        ("geometric", {"policy_channels": 24}),
    ):
        config = small_config("gardner", trunk, **WIDE | settings)
        assert not any(computes(config, precision) for precision in available_precisions())


@pytest.mark.parametrize("files", range(1, 9))
def test_a_tile_leaves_room_for_what_it_reads(files: int) -> None:
    for outputs in range(16, 257, 16):
        blocks = len(blocks_for(files, outputs))
        assert outputs % (16 * blocks) == 0
        assert files * blocks + files + 1 <= 32


def test_memory_begins_where_registers_do() -> None:
    for _ in range(20):
        assert aligned(3, 5, 7).ctypes.data % 64 == 0
        assert aligned_floats(3, 5).ctypes.data % 64 == 0


def test_the_backend_keeps_within_its_batch() -> None:
    network = network_of("no blocks")
    if not computes(network.config, "fp32"):
        return
    backend = Avx512Backend(network, precision="fp32", max_batch=5)
    assert [len(backend.batch(count).wdl) for count in (1, 4, 5, 6, 100)] == [1, 4, 5, 5, 5]
