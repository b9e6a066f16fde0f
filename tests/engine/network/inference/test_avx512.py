"""The AVX-512 kernels by themselves, if the processor has the instructions."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional as F

from engine.network.inference.avx512.attention import MASKED, softmax, transpose
from engine.network.inference.avx512.backend import available_precisions, computes
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
from engine.rules.compilation.decorators import generic_kernel
from tests.support.network.network_cases import small_config
from tests.support.network.programs import run_python

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@generic_kernel
def _convolved(
    files: Fixed, blocks: Fixed, taps: Fixed, source: Bytes, weights: Bytes, fp32: Floats,
    ones: Floats, zeros: Floats,
) -> None:  # fmt: skip
    squares, channels = source.shape
    outputs = fp32.shape[1]
    group = 64 * len(blocks) * len(taps)
    convolve(
        files, blocks, taps, INT8, PUT,
        source.ctypes.data, channels, weights.ctypes.data, group,
        group * channels // 4 * len(taps), ones.ctypes.data, zeros.ctypes.data, 0,
        fp32.ctypes.data, 4 * outputs, source.ctypes.data, 0,
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
    found = aligned_floats(width * height, outputs)
    ones, zeros = np.ones(outputs, np.float32), np.zeros(outputs, np.float32)
    _convolved((0,) * width, blocks, taps, source, packed, found, ones, zeros)
    planes = torch.from_numpy(source.astype(np.float64)).view(height, width, channels)
    expected = F.conv2d(
        planes.permute(2, 0, 1)[None], torch.from_numpy(weight).double(), padding=size // 2
    )
    np.testing.assert_array_equal(
        found, expected[0].permute(1, 2, 0).reshape(width * height, outputs).numpy()
    )


@generic_kernel
def _transposed(source: Floats, target: Floats) -> None:
    transpose(
        source.ctypes.data, 4 * source.shape[1], target.ctypes.data, 4 * target.shape[1],
        source.shape[0] // 16, source.shape[1] // 16,
    )  # fmt: skip


@generic_kernel
def _softmax(registers: Fixed, scores: Floats, bias: Floats) -> None:
    softmax(registers, scores.ctypes.data, bias.ctypes.data, scores.shape[0])


def test_a_matrix_is_transposed() -> None:
    if not available_numbers():
        return
    source = np.arange(32 * 48, dtype=np.float32).reshape(32, 48)
    target = np.zeros((48, 32), np.float32)
    _transposed(source, target)
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
    _softmax((0, 0), scores, bias)
    np.testing.assert_allclose(scores, powers / powers.sum(1, keepdims=True), atol=1e-6)
    assert not scores[:, 25:].any() or scores[:, 25:].max() < 1e-30


@pytest.mark.parametrize(
    ("trunk", "settings"),
    [
        ("residual", {"channels": 40}),
        ("geometric", {"activation": "gelu"}),
        ("geometric", {"heads": 4}),
        ("geometric", {"hidden": 40}),
        ("geometric", {"policy_channels": 24}),
    ],
)
def test_unsupported_networks_are_left_to_others(trunk: str, settings: dict[str, object]) -> None:
    widths: dict[str, object] = {"channels": 32, "hidden": 48, "policy_channels": 16}
    for variation, supported in ((widths, True), (widths | settings, False)):
        config = small_config("gardner", trunk, **variation)
        assert all(computes(config, name) == supported for name in available_precisions())


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


@pytest.mark.parametrize("variables", [{"NUMBA_CPU_NAME": "generic"}, {"NUMBA_ENABLE_AVX": "0"}])
def test_the_kernels_are_for_numbas_target(variables: dict[str, str]) -> None:
    """LLVM aborts the process if a kernel holds an instruction that its target lacks."""
    program = (
        "from engine.network.inference.avx512.kernels import available_numbers as n; print(n())"
    )
    assert run_python(program, **variables).stdout == "()\n"
