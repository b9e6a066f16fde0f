"""What a network says of many positions: logits of legal moves, and of win, draw and loss."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from engine.network.model.policy_value import Outputs, VariantNetwork
from engine.probing.analyses.positions.move_table import MoveTable
from engine.rules.errors import InputError, require_finite
from engine.rules.variant import Variant, get_variant

Array = npt.NDArray[np.float64]
BATCH: Final = 256
"""Positions that are computed at a time."""


@dataclass(frozen=True, kw_only=True)
class Evaluations:
    """Of N positions with M legal moves in all."""

    # [M] log-probabilities of the moves.
    policy: Array
    # [N, 3] log-probabilities of win, draw and loss for the side to move.
    wdl: Array

    @property
    def expected_score(self) -> Array:
        """[N] chance of a win minus that of a loss, -1 to 1."""
        chances = np.exp(self.wdl)
        score: Array = chances[:, 0] - chances[:, 2]
        return score

    @property
    def score_logit(self) -> Array:
        """[N] log-odds of the expected score, a draw being half a win: log((1 + v) / (1 - v)) for
        an expected score v, exact also near 1."""
        half = self.wdl[:, 1] - np.log(2.0)
        logit: Array = np.logaddexp(self.wdl[:, 0], half) - np.logaddexp(self.wdl[:, 2], half)
        return logit


class Batch:
    """Consecutive positions of a `MoveTable`, as a network takes them."""

    def __init__(self, legal: MoveTable, start: int) -> None:
        self.start, self.end = start, min(start + BATCH, len(legal))
        self.part = slice(int(legal.offsets[start]), int(legal.offsets[self.end]))
        self.boards = torch.from_numpy(legal.rows[self.start : self.end])
        self.moves = torch.from_numpy(legal.moves[self.part].astype(np.int64))
        self.owners = torch.from_numpy(legal.owners[self.part] - start)

    def logits(self, network: VariantNetwork, outputs: Outputs) -> Tensor:
        """Of the legal moves [M']."""
        return network.move_logits(outputs, self.boards, self.moves, self.owners)


def batches(legal: MoveTable) -> Iterator[Batch]:
    """All positions."""
    return (Batch(legal, start) for start in range(0, len(legal), BATCH))


class Collected:
    """Evaluations that are written batch by batch."""

    def __init__(self, legal: MoveTable, name: str = "the output") -> None:
        self._legal, self._name = legal, name
        self._logits = np.empty(len(legal.moves))
        self._wdl = np.empty((len(legal), 3))

    def add(self, batch: Batch, network: VariantNetwork, outputs: Outputs) -> None:
        """Write the outputs for a batch."""
        self._logits[batch.part] = batch.logits(network, outputs).float().cpu().numpy()
        self._wdl[batch.start : batch.end] = outputs.wdl.float().cpu().numpy()

    def evaluations(self) -> Evaluations:
        """Of all positions, once all batches are written; raises NotFiniteError."""
        require_finite(self._logits, f"the policy of {self._name}")
        require_finite(self._wdl, f"the WDL of {self._name}")
        legal = self._legal
        shifted = self._logits - legal.largest(self._logits)[legal.owners]
        policy = shifted - np.log(legal.sums(np.exp(shifted)))[legal.owners]
        wdl = self._wdl - np.logaddexp.reduce(self._wdl, axis=1, keepdims=True)
        return Evaluations(policy=policy, wdl=wdl)


def evaluate(network: VariantNetwork, legal: MoveTable) -> Evaluations:
    """The network's own outputs. Raises NotFiniteError."""
    collected = Collected(legal)
    with evaluating(network):
        for batch in batches(legal):
            collected.add(batch, network, network(batch.boards))
    return collected.evaluations()


@contextmanager
def evaluating(network: VariantNetwork) -> Iterator[None]:
    """Without gradients, dropout or threads; the network stays as it was."""
    was_training = network.training
    network.eval()
    try:
        with single_thread(), torch.inference_mode():
            yield
    finally:
        network.train(was_training)


@contextmanager
def single_thread() -> Iterator[None]:
    """Sums do not depend on the number of cores; matrices this small gain nothing from threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


def variant_of(network: VariantNetwork, variant: Variant | None) -> Variant:
    """`variant`, by default the one whose name is in the network's configuration.

    Raises InputError where the network's board is another, and for what is no network of one
    variant.
    """
    if not isinstance(network, VariantNetwork):
        raise InputError(
            f"{type(network).__name__} is no network of one variant (of one for several variants,"
            " take network.for_variant(variant); of a pawnscope.Network its module)"
        )
    config = network.config
    variant = variant or get_variant(config.variant)
    if (variant.width, variant.height) != (config.width, config.height):
        raise InputError(
            f"a network for {config.variant} on {config.width}x{config.height} does not play "
            f"{variant.name} on {variant.width}x{variant.height}"
        )
    return variant
