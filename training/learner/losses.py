"""The losses of a batch and their gradient, over all parameters of a network as one vector."""

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from engine.network.model.policy_value import Outputs, VariantNetwork
from engine.rules.compilation.compile_time import working_time
from engine.rules.kernels import generate_batch
from engine.rules.variant import Variant
from search.scores import UNPROVEN
from training.config import LearningConfig, Precision
from training.data.replay import share_out
from training.data.shards import NO_REPLY, UNKNOWN_END, GameRows
from training.data.targets import UNKNOWN_OWNER, Batch, make_batch
from training.learner.networks import Network, network_for_variant

_RUNS: Final = 3
_DELTA: Final = 10.0
"""Plies beyond which an error in moves left counts linearly (Huber)."""


class LossTerms(NamedTuple):
    """Sums over a batch divided by the size of the whole batch; in nats unless noted.

    0 for a head that the network lacks.
    """

    policy: Tensor
    policy_gap: Tensor
    """Policy loss minus the targets' entropy: 0 where the policy equals its target. No gradient."""
    wdl: Tensor
    """Cross-entropy; of a scalar head the squared error of win minus loss."""
    moves_left: Tensor
    """Plies (Huber loss)."""
    reply: Tensor
    ownership: Tensor
    """Mean over the squares."""


class Draw(NamedTuple):
    """The rows of one variant in a batch, or a part of them."""

    rows: GameRows
    mirror: bool
    """Whether their mirror images are learned instead."""


def log_policy(logits: Tensor, rows: Tensor, positions: int) -> Tensor:
    """Log-probabilities [M] of ragged logits [M]: a softmax over the moves of each position."""
    highest = torch.full((positions,), -torch.inf).scatter_reduce(
        0, rows, logits.detach(), "amax", include_self=False
    )
    shifted = logits - highest[rows]
    total = torch.zeros(positions).index_add(0, rows, shifted.exp())
    return shifted - total.log()[rows]


def losses(
    network: VariantNetwork, batch: Batch, size: int | None = None, *, bf16: bool = False
) -> LossTerms:
    """The losses of a batch, or of the part of a batch of `size` positions."""
    own = batch.positions.shape[0]
    size = size or own
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        outputs, auxiliary = network.forward_with_auxiliary(batch.positions)
        logits = network.move_logits(outputs, batch.positions, batch.moves, batch.rows)
    policy = -(batch.policy * log_policy(logits.float(), batch.rows, own)).sum() / size
    entropy = -torch.xlogy(batch.policy, batch.policy).sum() / size
    return LossTerms(
        policy=policy,
        policy_gap=policy.detach() - entropy,
        wdl=_value_loss(network, outputs, batch) / size,
        moves_left=_moves_left_loss(outputs, batch) / size,
        reply=_reply_loss(network, auxiliary.reply, batch) / size,
        ownership=_ownership_loss(auxiliary.ownership, batch) / size,
    )


def _value_loss(network: VariantNetwork, outputs: Outputs, batch: Batch) -> Tensor:
    if network.config.value == "scalar":
        shares = outputs.wdl.float().softmax(-1)
        value, target = shares[:, 0] - shares[:, 2], batch.wdl[:, 0] - batch.wdl[:, 2]
        return (value - target).square().sum()
    return -(batch.wdl * outputs.wdl.float().log_softmax(-1)).sum()


def _moves_left_loss(outputs: Outputs, batch: Batch) -> Tensor:
    """Huber loss, of the positions whose end is known."""
    known = batch.moves_left != UNKNOWN_END
    errors = F.huber_loss(
        outputs.moves_left.float(), batch.moves_left, delta=_DELTA, reduction="none"
    )
    return (errors * known).sum()


def _reply_loss(network: VariantNetwork, reply: Tensor | None, batch: Batch) -> Tensor:
    """Cross-entropy over all pairs of squares; a promotion counts as its pair."""
    if reply is None:
        return torch.zeros(())
    shares = reply.float().flatten(1).log_softmax(-1)
    pairs = network.encoder.from_to(batch.positions, batch.replies, batch.replied)
    return -shares.flatten()[pairs].sum()


def _ownership_loss(ownership: Tensor | None, batch: Batch) -> Tensor:
    if ownership is None:
        return torch.zeros(())
    logits, targets = ownership.float().flatten(0, 1), batch.ownership.flatten()
    loss = F.cross_entropy(logits, targets, ignore_index=UNKNOWN_OWNER, reduction="sum")
    return loss / batch.ownership.shape[1]


@torch.no_grad()
def flatten(
    network: Network, weights: Tensor, gradient: Tensor | None = None, *, keep: bool = False
) -> None:
    """Make all parameters of a network views of one vector [P], and their gradients of another.

    An optimiser's step, an EMA and a copy to another process are then one operation each. The
    network's values are copied into `weights`; with `keep` those of `weights` stay.
    """
    parameters = list(network.parameters())
    if not keep:
        weights.copy_(parameters_to_vector(parameters))
    vector_to_parameters(weights, parameters)
    if gradient is not None:
        parts = torch.split(gradient, [parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)


class Gradients(Protocol):
    """Computes the gradient of batches."""

    vectors: tuple[Tensor, Tensor]
    """Weights and gradient of the network, float32[P]; see `flatten`."""

    def compute(self, draws: Sequence[Draw]) -> npt.NDArray[np.float64]:
        """Leave the gradient of a batch's loss in its vector; returns its LossTerms [6].

        A batch is a draw for each variant of the run, in their order.
        """


def add_gradient(
    network: VariantNetwork, batch: Batch, size: int, config: LearningConfig
) -> npt.NDArray[np.float64]:
    """Add the gradient of a part of a batch of `size` positions; returns its LossTerms [6]."""
    terms = losses(network, batch, size, bf16=config.precision == "bf16")
    total = (
        terms.policy
        + terms.wdl
        + config.moves_left_weight * terms.moves_left
        + config.reply_weight * terms.reply
        + config.ownership_weight * terms.ownership
    )
    torch.autograd.backward(total)
    return np.array([float(term.detach()) for term in terms])


def add_gradients(
    network: Network,
    variants: Sequence[Variant],
    draws: Sequence[Draw],
    size: int,
    config: LearningConfig,
) -> npt.NDArray[np.float64]:
    """`add_gradient` of each variant's rows; returns the sum of their LossTerms [6]."""
    total: npt.NDArray[np.float64] = np.zeros(len(LossTerms._fields))
    for variant, (rows, mirror) in zip(variants, draws, strict=True):
        if len(rows):
            batch = make_batch(variant, rows, config, mirror)
            total += add_gradient(network_for_variant(network, variant), batch, size, config)
    return total


class LocalGradients:
    """Computes in this process."""

    def __init__(
        self, network: Network, variants: Sequence[Variant], config: LearningConfig
    ) -> None:
        """The parameters of `network` become views of `vectors`."""
        self._network, self._variants, self._config = network, variants, config
        size = network.parameter_count
        self.vectors = torch.empty(size), torch.zeros(size)
        flatten(network, *self.vectors)

    def compute(self, draws: Sequence[Draw]) -> npt.NDArray[np.float64]:
        """See `Gradients`."""
        self.vectors[1].zero_()
        size = sum(len(draw.rows) for draw in draws)
        return add_gradients(self._network, self._variants, draws, size, self._config)


def faster_precision(network: Network, variant: Variant, size: int) -> Literal["fp32", "bf16"]:
    """The precision that computes the gradient of `size` positions faster on this machine."""
    batch = make_batch(variant, _start_rows(variant, size), LearningConfig(), mirror=False)
    shared = network_for_variant(network, variant)

    def seconds(precision: Precision) -> float:
        config = LearningConfig(precision=precision)
        return min(
            _seconds(lambda: add_gradient(shared, batch, size, config)) for _ in range(_RUNS)
        )

    exact, rounded = seconds("fp32"), seconds("bf16")
    for parameter in network.parameters():
        parameter.grad = None
    return "bf16" if rounded < exact else "fp32"


def _seconds(compute: Callable[[], object]) -> float:
    begun = working_time()
    compute()
    return working_time() - begun


def seconds_a_batch(gradients: Gradients, variants: Sequence[Variant], size: int) -> float:
    """Seconds for the gradient of a batch of `size` positions, the best of a few."""
    draws = [
        Draw(_start_rows(variant, share), mirror=False)
        for variant, share in zip(variants, share_out(size, len(variants)), strict=True)
    ]
    gradients.compute(draws)
    return min(_seconds(lambda: gradients.compute(draws)) for _ in range(_RUNS))


def _start_rows(variant: Variant, size: int) -> GameRows:
    """`size` copies of the start position, to measure with."""
    positions = np.repeat(variant.start_row[None], size, axis=0)
    moves, offsets = generate_batch(variant.tables, positions)
    counts = np.diff(offsets)
    return GameRows(
        positions=positions,
        offsets=offsets,
        moves=moves,
        policy=np.repeat(1.0 / counts, counts).astype(np.float32),
        search_wdl=np.full((size, 3), 1 / 3, np.float32),
        proven=np.full(size, UNPROVEN, np.int8),
        outcomes=np.zeros(size, np.int8),
        moves_left=np.ones(size, np.int16),
        replies=np.full(size, NO_REPLY, np.uint16),
        surprise=np.zeros(size, np.float32),
        endings=positions[:, : variant.squares],
        games=np.zeros(size, np.int32),
    )
