"""The backend of the AVX-512 kernels, and the only module of this folder that others import.

The kernels compute every residual tower, and the transformer with ReLU, in widths that are
multiples of 16.
"""

import dataclasses
from collections.abc import Callable
from typing import Final

from engine.network.inference.avx512 import weights
from engine.network.inference.avx512.code import LANES
from engine.network.inference.avx512.embedding_and_heads import CHUNK, Heads, HeadWorkspace
from engine.network.inference.avx512.kernels import (
    ADD,
    BF16,
    FP32,
    INT8,
    PUT,
    STREAM,
    Fixed,
    available_numbers,
    blocks_for,
)
from engine.network.inference.avx512.residual_tower import TowerShape, TowerWorkspace, run_tower
from engine.network.inference.avx512.transformer import (
    TransformerShape,
    TransformerWorkspace,
    run_transformer,
)
from engine.network.inference.backends.protocol import (
    BackendName,
    Batch,
    PrecisionName,
    empty_batch,
)
from engine.network.model.compiled_encoder import Rows
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.residual_tower import ResidualTower

_NUMBERS: Final[dict[PrecisionName, Fixed]] = {"fp32": FP32, "bf16": BF16, "int8": INT8}


def available_precisions() -> tuple[PrecisionName, ...]:
    """The precisions for which this processor has the instructions."""
    available = available_numbers()
    return tuple(name for name, number in _NUMBERS.items() if number in available)


def computes(config: NetworkConfig, precision: PrecisionName) -> bool:
    """Whether this backend supports the network on this processor."""
    if precision not in available_precisions():
        return False
    widths = [config.channels, config.policy_channels]
    supported = True
    if config.trunk == "transformer":
        supported = config.activation == "relu" or not config.hidden
        widths += [config.channels // config.heads, config.hidden]
    return supported and all(width % LANES == 0 for width in widths)


class Avx512Backend:
    """Computes with the AVX-512 kernels any network for which `computes` is true."""

    name: BackendName = "native"

    def __init__(
        self,
        network: PolicyValueNet,
        *,
        precision: PrecisionName,
        max_batch: int,
        calibration: Rows | None = None,
    ) -> None:
        """int8 needs `calibration` uint8[N, R], the positions on which its ranges are found."""
        config = network.config
        self.precision: PrecisionName = precision
        self._calibration = calibration
        squares = config.squares
        # [B, S, S rounded up to 16]: the kernels write whole registers.
        self._policy = weights.aligned_floats(max_batch, squares, weights.rounded_up(squares))
        batch = empty_batch(config, max_batch)
        self._batch = dataclasses.replace(batch, policy=self._policy[:, :, :squares])
        self.update(network)

    def batch(self, count: int) -> Batch:
        """See `Backend`."""
        return self._batch.first(count, self._run)

    def update(self, network: PolicyValueNet) -> None:
        """See `Backend`."""
        number, config = _NUMBERS[self.precision], network.config
        # Rounding in the heads would show in every logit, and they are a tenth of the work.
        head_number = BF16 if number != FP32 and BF16 in available_numbers() else FP32
        head_blocks = blocks_for(config.width, 4 * LANES)
        table_blocks = blocks_for(config.width, weights.rounded_up(config.squares))
        maxima = {}
        if number == INT8:
            assert self._calibration is not None
            maxima = weights.find_activation_maxima(network, self._calibration)
        files, blocks = (0,) * config.width, blocks_for(config.width, config.channels)
        heads = weights.heads_of(network, head_blocks, head_number)
        embedding = weights.embedding_of(network)
        if isinstance(network.trunk, ResidualTower):
            self._kernel: Callable[..., None] = run_tower
            role = PUT if config.excitation else STREAM if config.norm == "none" else ADD
            self._shape: object = TowerShape(
                files, blocks, head_blocks, table_blocks, number, head_number, role
            )
            layers: object = weights.tower_of(network, blocks, number, maxima)
            workspace: object = _tower_workspace(config, len(number))
        else:
            hidden = blocks_for(config.width, config.hidden or LANES)
            values = blocks_for(config.width, config.channels // config.heads)
            registers = (0,) * (weights.rounded_up(config.squares) // LANES)
            self._kernel = run_transformer
            self._shape = TransformerShape(
                files, blocks, hidden, values, head_blocks, table_blocks, registers,
                number, head_number,
            )  # fmt: skip
            layers = weights.transformer_of(network, blocks, hidden, number, maxima)
            workspace = _transformer_workspace(config, len(number))
        epsilon = network.trunk.norm.eps
        head_workspace = _head_workspace(config, heads, len(head_number))
        self._tables = embedding, layers, heads, epsilon, workspace, head_workspace

    def _run(self, size: int) -> None:
        batch = self._batch
        self._kernel(
            self._shape, batch.squares[:size], batch.state[:size], *self._tables,
            self._policy[:size], batch.promotion[:size], batch.wdl[:size],
        )  # fmt: skip


def _tower_workspace(config: NetworkConfig, bytes_: int) -> TowerWorkspace:
    squares, channels = config.squares, config.channels
    return TowerWorkspace(
        fp32=weights.aligned_floats(CHUNK, squares, channels),
        quantised=weights.aligned(CHUNK, squares, bytes_ * channels),
        hidden=weights.aligned(CHUNK, squares, bytes_ * channels),
        branch=weights.aligned_floats(squares, channels),
    )


def _transformer_workspace(config: NetworkConfig, bytes_: int) -> TransformerWorkspace:
    squares, channels = config.squares, config.channels
    padded = weights.rounded_up(squares)
    return TransformerWorkspace(
        fp32=weights.aligned_floats(CHUNK, squares, channels),
        quantised=weights.aligned(squares, bytes_ * channels),
        hidden=weights.aligned(squares, bytes_ * config.hidden),
        qkv=weights.aligned_floats(padded, 3 * channels),
        keys=weights.aligned_floats(channels, padded),
        scores=weights.aligned_floats(squares, padded),
        gathered=weights.aligned_floats(squares, channels),
    )


def _head_workspace(config: NetworkConfig, heads: Heads, bytes_: int) -> HeadWorkspace:
    padded = weights.rounded_up(config.squares)
    return HeadWorkspace(
        quantised=weights.aligned(config.squares, bytes_ * config.channels),
        outputs=weights.aligned_floats(padded, len(heads.scales)),
        keys=weights.aligned_floats(config.policy_channels, padded),
    )
