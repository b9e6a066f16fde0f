"""The network in kernels of our own (`kernels.py`), for the trunks that they know.

They know every residual tower and the transformer with ReLU, in widths that are multiples of 16,
and processors with AVX-512's dot products. There they beat the best library, because on so small a
board what a step leaves is still in the nearest cache when the next one asks for it; and one
position alone is computed nearly as fast as one of many.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from engine.network.inference.avx512.code import LANES
from engine.network.inference.avx512.embedding_and_heads import CHUNK, HeadRooms, Heads
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
from engine.network.inference.avx512.residual_tower import TowerRooms, TowerShape, run_tower
from engine.network.inference.avx512.transformer import (
    TransformerRooms,
    TransformerShape,
    run_transformer,
)
from engine.network.inference.avx512.weights import (
    aligned,
    aligned_floats,
    embedding_of,
    find_peaks,
    heads_of,
    rounded_up,
    tower_of,
    transformer_of,
)
from engine.network.inference.backends import BackendName, Batch, PrecisionName
from engine.network.model.compiled_encoder import Rows
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.residual_tower import ResidualTower
from engine.network.model.tokens import STATE_FEATURES

NUMBERS: Final[dict[PrecisionName, Fixed]] = {"fp32": FP32, "bf16": BF16, "int8": INT8}


def computes(config: NetworkConfig, precision: PrecisionName) -> bool:
    """Whether this backend knows the network, and this processor the instructions."""
    if NUMBERS[precision] not in available_numbers():
        return False
    widths = [config.channels, config.policy_channels]
    known = True
    if config.trunk == "transformer":
        known = config.activation == "relu" or not config.hidden
        widths += [config.channels // config.heads, config.hidden]
    return known and all(width % LANES == 0 for width in widths)


class NativeBackend:
    """Computes with native kernels; see `computes`."""

    name: BackendName = "native"

    def __init__(
        self,
        network: PolicyValueNet,
        *,
        precision: PrecisionName,
        max_batch: int,
        calibration: Rows | None = None,
    ) -> None:
        """`calibration` uint8[N, R] is needed for int8: its ranges are found on these positions."""
        config = network.config
        self.precision: PrecisionName = precision
        self._calibration = calibration
        squares, padded = config.squares, rounded_up(config.squares)
        self._squares = np.zeros((max_batch, squares), np.int32)
        self._state = np.zeros((max_batch, STATE_FEATURES), np.float32)
        self._policy = aligned_floats(max_batch, squares, padded)
        self._promotion = np.zeros((max_batch, squares, len(config.promotion_types)), np.float32)
        self._wdl = np.zeros((max_batch, 3), np.float32)
        self.update(network)

    def batch(self, count: int) -> Batch:
        """See `Backend`."""
        size = min(count, len(self._wdl))
        squares, state = self._squares[:size], self._state[:size]
        policy, promotion, wdl = self._policy[:size], self._promotion[:size], self._wdl[:size]
        return Batch(
            squares=squares,
            state=state,
            policy=policy[:, :, : squares.shape[1]],
            promotion=promotion,
            wdl=wdl,
            run=lambda: self._run(squares, state, policy, promotion, wdl),
        )

    def update(self, network: PolicyValueNet) -> None:
        """See `Backend`."""
        number, config = NUMBERS[self.precision], network.config
        # The heads' rounding would be seen in every logit, and they are a tenth of the work.
        head_number = BF16 if number != FP32 and BF16 in available_numbers() else FP32
        head_blocks = blocks_for(config.width, 4 * LANES)
        ends = blocks_for(config.width, rounded_up(config.squares))
        peaks = {}
        if number == INT8:
            assert self._calibration is not None
            peaks = find_peaks(network, self._calibration)
        files, blocks = (0,) * config.width, blocks_for(config.width, config.channels)
        heads = heads_of(network, head_blocks, head_number)
        tables: tuple[object, ...]
        if isinstance(network.trunk, ResidualTower):
            self._kernel: Callable[..., None] = run_tower
            role = PUT if config.excitation else STREAM if config.norm == "none" else ADD
            self._shape: object = TowerShape(
                files, blocks, head_blocks, ends, number, head_number, role
            )
            tables = embedding_of(network), tower_of(network, blocks, number, peaks), heads
            rooms: object = _tower_rooms(config, len(number))
        else:
            hidden = blocks_for(config.width, config.hidden or LANES)
            values = blocks_for(config.width, config.channels // config.heads)
            registers = (0,) * (rounded_up(config.squares) // LANES)
            self._kernel = run_transformer
            self._shape = TransformerShape(
                files, blocks, hidden, values, head_blocks, ends, registers, number, head_number
            )
            layers = transformer_of(network, blocks, hidden, number, peaks)
            tables = embedding_of(network), layers, heads
            rooms = _transformer_rooms(config, len(number))
        epsilon = network.trunk.norm.eps
        self._tables = *tables, epsilon, rooms, _head_rooms(config, heads, len(head_number))

    def _run(self, squares: object, state: object, *outputs: object) -> None:
        self._kernel(self._shape, squares, state, *self._tables, *outputs)


def _tower_rooms(config: NetworkConfig, bytes_: int) -> TowerRooms:
    squares, channels = config.squares, config.channels
    return TowerRooms(
        wide=aligned_floats(CHUNK, squares, channels),
        narrow=aligned(CHUNK, squares, bytes_ * channels),
        between=aligned(CHUNK, squares, bytes_ * channels),
        branch=aligned_floats(squares, channels),
    )


def _transformer_rooms(config: NetworkConfig, bytes_: int) -> TransformerRooms:
    squares, channels = config.squares, config.channels
    padded = rounded_up(squares)
    return TransformerRooms(
        wide=aligned_floats(CHUNK, squares, channels),
        narrow=aligned(squares, bytes_ * channels),
        hidden=aligned(squares, bytes_ * config.hidden),
        qkv=aligned_floats(padded, 3 * channels),
        keys=aligned_floats(channels, padded),
        scores=aligned_floats(squares, padded),
        gathered=aligned_floats(squares, channels),
    )


def _head_rooms(config: NetworkConfig, heads: Heads, bytes_: int) -> HeadRooms:
    padded = rounded_up(config.squares)
    return HeadRooms(
        narrow=aligned(config.squares, bytes_ * config.channels),
        said=aligned_floats(padded, len(heads.scales)),
        keys=aligned_floats(config.policy_channels, padded),
    )
