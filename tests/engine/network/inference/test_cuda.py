"""The parts of the GPU's backend that run on a CPU: arithmetic, sizes, settings, parity check.

On a GPU, `bench --only gpu` compares its evaluations with the network's.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from engine.network.inference.backends import cuda as cuda_backend
from engine.network.inference.backends.cuda import batch_sizes, exact_arithmetic
from engine.network.inference.backends.protocol import (
    TORCH_TYPES,
    Batch,
    PrecisionName,
)
from engine.network.inference.backends.torch_cpu import TorchBackend
from engine.network.inference.parity import random_positions
from engine.network.model.compiled_encoder import CompiledEncoder
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from scripts.benchmarks import gpu
from scripts.commands.bench import main as bench
from tests.support.network.network_cases import TRUNKS, SpoiltBackend, lively_network


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize(("game", "precision"), [("gardner", "fp32"), ("hexapawn", "bf16")])
def test_a_graph_s_step_is_what_torch_computes(
    trunk: str, game: str, precision: PrecisionName
) -> None:
    """The same kernels in the same order, with channels last and without; 0 promotion types too."""
    network = lively_network(game, trunk)
    rows = random_positions(get_variant(game), 9)
    backend = TorchBackend(network, precision=precision, max_batch=9)
    encoder, expected = CompiledEncoder(network.encoder), backend.batch(9)
    encoder.encode(rows, expected.squares, expected.state)
    expected.run()
    inputs = torch.from_numpy(expected.squares.copy()), torch.from_numpy(expected.state.copy())
    wanted = expected.policy.copy(), expected.promotion.copy(), expected.wdl.copy()
    outputs = tuple(torch.full(array.shape, torch.nan) for array in wanted)
    network.to(TORCH_TYPES[precision])
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.inference_mode():
        cuda_backend._step(network, inputs, outputs)
    for output, array in zip(outputs, wanted, strict=True):
        atol = 1e-5 if precision == "fp32" else 0.05
        np.testing.assert_allclose(output.numpy(), array, atol=atol)


def test_batches_of_a_gpu_are_one_step_and_at_most_half_empty() -> None:
    for largest in (1, 7, 8, 100, 128, 500, 4096):
        sizes = batch_sizes(largest)
        assert sizes[0] == 1
        assert sizes[-1] == largest
        assert list(sizes) == sorted(set(sizes))
        for count in range(1, largest + 1):
            size = min(size for size in sizes if size >= count)
            assert size <= max(8, 2 * count)
            assert count <= 128 or size < 1.5 * count


def test_exact_arithmetic_is_exact_and_leaves_settings_as_they_were() -> None:
    def settings() -> tuple[bool, str, bool]:
        return (
            torch.backends.cudnn.allow_tf32,
            torch.get_float32_matmul_precision(),
            torch.backends.cudnn.deterministic,
        )

    before = settings()
    assert before[0], "torch's own default, for which this is there"
    with exact_arithmetic():
        assert settings() == (False, "highest", True)
    assert settings() == before
    torch.set_float32_matmul_precision("high")
    try:
        with exact_arithmetic():
            assert settings() == (False, "highest", True)
        assert settings() == (before[0], "high", before[2])
    finally:
        torch.set_float32_matmul_precision("highest")


def leave(_: Batch) -> None:
    """As it is."""


def round_to_tf32(batch: Batch) -> None:
    batch.policy[:] = (batch.policy.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def forget_one(batch: Batch) -> None:
    batch.wdl[-1] = np.nan


def shift(batch: Batch) -> None:
    batch.policy[:] = np.roll(batch.policy, 1, axis=0)


@pytest.mark.parametrize(
    ("spoil", "passes"),
    [(leave, True), (round_to_tf32, False), (forget_one, False), (shift, False)],
)
def test_the_check_finds_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Batch], None], passes: bool
) -> None:
    monkeypatch.setitem(gpu.LARGER, "small", {"trunk": "residual", "blocks": 1, "channels": 16})
    monkeypatch.setattr(gpu, "DISTINCT", 21)
    gpu.exact_logits.cache_clear()
    network = gpu.lively("gardner", "small")
    rows = random_positions(get_variant("gardner"), 21)
    found_logits = gpu.logits(SpoiltBackend(network, spoil), CompiledEncoder(network.encoder), rows)
    found = gpu.error(found_logits, gpu.exact_logits("gardner", "small", 0))
    gpu.exact_logits.cache_clear()
    assert (found <= gpu.LARGEST_ERROR["fp32"]) == passes


def test_without_a_gpu_one_line_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not gpu.available()
    with pytest.raises(InputError, match="torch finds no CUDA device here"):
        bench(["--only", "gpu"])
