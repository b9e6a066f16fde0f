"""What computes a network: backends behind one small interface, and the one that is torch alone.

A backend hands out batches: arrays in which the caller writes tokens, `run`, and arrays in which
the answer stands. They are the backend's own, the same ones every time, so that nothing is copied
or allocated in between.
"""

import bisect
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from engine.network.inference.allocator import keep_freed_memory
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.tokens import STATE_FEATURES, Tokens

BackendName = Literal["torch", "openvino", "native"]
PrecisionName = Literal["fp32", "bf16", "int8"]

Floats = npt.NDArray[np.float32]

LARGEST_PADDING: Final = 1 / 8
"""Share of a batch that may stay empty; else a smaller one is filled and the rest comes next."""

TORCH_TYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A place for B positions; what follows is overwritten by the next `run`."""

    squares: npt.NDArray[np.int32]
    """[B, S] tokens, to be written."""
    state: Floats
    """[B, 6] state features, to be written."""
    policy: Floats
    """[B, S, S] from-to logits."""
    promotion: Floats
    """[B, S, P] promotion logits."""
    wdl: Floats
    """[B, 3] logits of win, draw and loss for the side to move."""
    run: Callable[[], None]
    """Compute the last three from the first two."""


class Backend(Protocol):
    """Computes one network, single-threaded where it computes on a CPU."""

    @property
    def name(self) -> BackendName:
        """What it is computed with."""

    @property
    def precision(self) -> PrecisionName:
        """In what numbers."""

    def batch(self, count: int) -> Batch:
        """A place for `count` positions, or for fewer where the caller has to come again."""

    def update(self, network: PolicyValueNet) -> None:
        """Go on with the weights of another network of the same configuration."""


def empty_batch(config: NetworkConfig, size: int, run: Callable[[], None] = lambda: None) -> Batch:
    """A place for `size` positions of a network, all tokens 0."""
    squares = config.squares
    return Batch(
        squares=np.zeros((size, squares), np.int32),
        state=np.zeros((size, STATE_FEATURES), np.float32),
        policy=np.zeros((size, squares, squares), np.float32),
        promotion=np.zeros((size, squares, len(config.promotion_types)), np.float32),
        wdl=np.zeros((size, 3), np.float32),
        run=run,
    )


def fitting_size(sizes: Sequence[int], count: int) -> int:
    """The size of the next batch for `count` positions that wait; `sizes` ascend."""
    place = bisect.bisect_left(sizes, count)
    if place == len(sizes):
        return sizes[-1]
    enough = sizes[place]
    if place == 0 or enough - count <= enough * LARGEST_PADDING:
        return enough
    return sizes[place - 1]


class TorchBackend:
    """Torch on the CPU; there it works with as many threads as the process has told torch."""

    name: BackendName = "torch"

    def __init__(
        self, network: PolicyValueNet, *, precision: PrecisionName, max_batch: int
    ) -> None:
        self.precision: PrecisionName = precision
        self._network = copy.deepcopy(network).to(TORCH_TYPES[precision])
        self._network.eval().requires_grad_(False)
        self._room = empty_batch(network.config, max_batch)
        keep_freed_memory()

    def batch(self, count: int) -> Batch:
        """See `Backend`."""
        room = self._room
        size = min(count, len(room.wdl))

        @torch.inference_mode()
        def run() -> None:
            tokens = Tokens(
                torch.from_numpy(room.squares[:size]), torch.from_numpy(room.state[:size])
            )
            features = self._network.trunk(self._network.embedding(tokens))
            policy, promotion = self._network.policy(features)
            wdl, *_ = self._network.value(features)
            room.policy[:size] = policy.float().numpy()
            room.promotion[:size] = promotion.float().numpy()
            room.wdl[:size] = wdl.float().numpy()

        return Batch(
            squares=room.squares[:size],
            state=room.state[:size],
            policy=room.policy[:size],
            promotion=room.promotion[:size],
            wdl=room.wdl[:size],
            run=run,
        )

    def update(self, network: PolicyValueNet) -> None:
        """See `Backend`."""
        self._network.load_state_dict(network.state_dict())
