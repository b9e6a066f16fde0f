"""What every backend offers: batches of fixed arrays, and new weights.

A backend hands out a `Batch`: the caller writes tokens into its arrays, calls `run`, and reads the
logits from its arrays. The arrays belong to the backend and are the same each time, so nothing is
copied or allocated in between.
"""

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.tokens import STATE_FEATURES
from engine.rules.errors import InputError

BackendName = Literal["torch", "openvino", "native"]
"""On the command line and in files; "native" are the AVX-512 kernels."""
PrecisionName = Literal["fp32", "bf16", "int8"]

Floats = npt.NDArray[np.float32]

TORCH_TYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}


class BackendError(InputError):
    """A backend that is unknown, not installed, or refused because it disagrees with torch."""


class RefusedError(BackendError):
    """Every backend that was asked for failed or disagrees with torch in float32."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Arrays for B positions; `run` overwrites the outputs."""

    squares: npt.NDArray[np.int32]
    """[B, S] tokens, an input."""
    state: Floats
    """[B, 6] state features, an input."""
    policy: Floats
    """[B, S, S] from-to logits, an output."""
    promotion: Floats
    """[B, S, P] promotion logits, an output."""
    wdl: Floats
    """[B, 3] logits of win, draw and loss for the side to move, an output."""
    run: Callable[[], None]
    """Computes the outputs from the inputs."""

    def first(self, count: int, run: Callable[[int], None]) -> "Batch":
        """The first `count` positions, or all B if that is fewer; `run` takes their number."""
        size = min(count, len(self.wdl))
        return Batch(
            squares=self.squares[:size],
            state=self.state[:size],
            policy=self.policy[:size],
            promotion=self.promotion[:size],
            wdl=self.wdl[:size],
            run=partial(run, size),
        )


class Backend(Protocol):
    """Computes one network; single-threaded unless noted."""

    @property
    def name(self) -> BackendName:
        """What computes."""

    @property
    def precision(self) -> PrecisionName:
        """The type of its numbers."""

    def batch(self, count: int) -> Batch:
        """A batch for `count` positions, or a smaller one if the backend prefers several runs.

        A larger one has unused positions at its end.
        """

    def update(self, network: PolicyValueNet) -> None:
        """Replace the weights by those of another network of the same configuration."""


def empty_batch(config: NetworkConfig, size: int, run: Callable[[], None] = lambda: None) -> Batch:
    """A batch of `size` positions for a network, all zeros."""
    squares = config.squares
    return Batch(
        squares=np.zeros((size, squares), np.int32),
        state=np.zeros((size, STATE_FEATURES), np.float32),
        policy=np.zeros((size, squares, squares), np.float32),
        promotion=np.zeros((size, squares, len(config.promotion_types)), np.float32),
        wdl=np.zeros((size, 3), np.float32),
        run=run,
    )


class FixedSizes:
    """Batches of a few sizes, each compiled when it is first needed."""

    def __init__(
        self, sizes: tuple[int, ...], largest_padding: float, compile_size: Callable[[int], Batch]
    ) -> None:
        """`sizes` ascend. At most `largest_padding` of a batch, a share in [0, 1], stays unused if
        a smaller size can avoid it."""
        self._sizes, self._largest_padding = sizes, largest_padding
        self._compile = compile_size
        self._batches: dict[int, Batch] = {}

    def batch(self, count: int) -> Batch:
        """The batch that computes the next of `count` waiting positions."""
        size = self._fitting_size(count)
        if size not in self._batches:
            self._batches[size] = self._compile(size)
        return self._batches[size]

    def compile_again(self) -> None:
        """Compile the sizes in use once more, for new weights."""
        self._batches = {size: self._compile(size) for size in self._batches}

    def _fitting_size(self, count: int) -> int:
        place = bisect.bisect_left(self._sizes, count)
        if place == len(self._sizes):
            return self._sizes[-1]
        enough = self._sizes[place]
        if place == 0 or enough - count <= enough * self._largest_padding:
            return enough
        return self._sizes[place - 1]
