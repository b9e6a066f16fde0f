"""Learning: batches from the replay window, three losses, one optimiser step at a time."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.network.policy_value import PolicyValueNet
from engine.rules.variant import Variant
from training.config import LearningConfig
from training.games import GameRows
from training.replay import ReplayWindow
from training.selfplay import value_targets
from training.symmetry import mirror_moves, mirror_positions


class Batch(NamedTuple):
    """Targets for B positions with M legal moves in all, as tensors."""

    positions: Tensor
    """uint8[B, R]."""
    moves: Tensor
    """int64[M] legal moves."""
    rows: Tensor
    """int64[M] the position of each move."""
    policy: Tensor
    """float32[M], sums to 1 over a position."""
    wdl: Tensor
    """float32[B, 3] for the side to move."""
    moves_left: Tensor
    """float32[B] plies."""


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Means over the batches of a round, in nats but for moves left (plies, smoothed)."""

    policy: float
    # Policy loss less the targets' own entropy: 0 is a perfect imitation.
    policy_gap: float
    wdl: float
    moves_left: float


def make_batch(variant: Variant, rows: GameRows, outcome_share: float, mirror: bool) -> Batch:
    """The training targets of rows; with `mirror` those of their mirror images."""
    positions, moves = rows.positions, rows.moves
    if mirror:
        positions, moves = mirror_positions(variant, positions), mirror_moves(variant, moves)
    indices = np.repeat(np.arange(len(rows)), np.diff(rows.offsets))
    return Batch(
        positions=torch.from_numpy(positions),
        moves=torch.from_numpy(moves.astype(np.int64)),
        rows=torch.from_numpy(indices),
        policy=torch.from_numpy(rows.policy),
        wdl=torch.from_numpy(value_targets(rows, outcome_share)),
        moves_left=torch.from_numpy(rows.moves_left.astype(np.float32)),
    )


def log_policy(logits: Tensor, rows: Tensor, positions: int) -> Tensor:
    """Log-probabilities [M] of ragged logits [M], each position's by itself."""
    highest = torch.full((positions,), -torch.inf).scatter_reduce(
        0, rows, logits.detach(), "amax", include_self=False
    )
    shifted = logits - highest[rows]
    total = torch.zeros(positions).index_add(0, rows, shifted.exp())
    return shifted - total.log()[rows]


def losses(network: PolicyValueNet, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Policy cross-entropy, its excess over the targets' entropy, WDL cross-entropy, moves left."""
    size = batch.positions.shape[0]
    outputs = network(batch.positions)
    logits = network.move_logits(outputs, batch.positions, batch.moves, batch.rows)
    policy = -(batch.policy * log_policy(logits, batch.rows, size)).sum() / size
    entropy = -torch.xlogy(batch.policy, batch.policy).sum() / size
    wdl = -(batch.wdl * outputs.wdl.log_softmax(-1)).sum() / size
    moves_left = F.huber_loss(outputs.moves_left, batch.moves_left, delta=10.0)
    return policy, policy.detach() - entropy, wdl, moves_left


class Learner:
    """The network that learns, its running mean that plays, and the optimiser."""

    def __init__(self, variant: Variant, network: PolicyValueNet, config: LearningConfig) -> None:
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.steps = 0
        self._variant = variant
        self._config = config
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def learn(
        self,
        window: ReplayWindow,
        steps: int,
        rng: np.random.Generator,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Losses:
        """Take so many steps on batches from the window; the means of their losses."""
        config = self._config
        self.network.train()
        sums: npt.NDArray[np.float64] = np.zeros(4)
        for _ in range(steps):
            rows = window.sample(config.batch, rng)
            mirror = self._variant.mirrorable and bool(rng.random() < 0.5)
            batch = make_batch(self._variant, rows, config.outcome_share, mirror)
            sums += self._step(batch)
            progress(1)
        means = (sums / max(1, steps)).tolist()
        return Losses(policy=means[0], policy_gap=means[1], wdl=means[2], moves_left=means[3])

    def _step(self, batch: Batch) -> list[float]:
        config = self._config
        for group in self._optimiser.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (self.steps + 1) / (config.warm_up + 1))
        policy, gap, wdl, moves_left = losses(self.network, batch)
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(policy + wdl + config.moves_left_weight * moves_left)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimiser.step()
        self.steps += 1
        self._follow()
        return [float(loss) for loss in (policy.detach(), gap, wdl.detach(), moves_left.detach())]

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the running mean; early on its memory is no longer than the history."""
        memory = min(self._config.average_steps, (self.steps + 9) / 10)
        share = 1.0 / max(1.0, memory)
        ours: list[Tensor] = list(self.network.parameters())
        averages: list[Tensor] = list(self.average.parameters())
        torch._foreach_lerp_(averages, ours, share)

    def state(self) -> dict[str, Tensor]:
        """Everything that goes on after a restart, as named tensors."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, entry in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": v for name, v in entry.items()}
        return tensors

    def restore(self, tensors: dict[str, Tensor], steps: int) -> None:
        """The inverse of `state`; raises RuntimeError or KeyError for another network's tensors."""

        def part(prefix: str) -> dict[str, Any]:
            start = prefix + "."
            return {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}

        self.network.load_state_dict(part("network"))
        self.average.load_state_dict(part("average"))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in part("optimiser").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = tensor
        self._optimiser.load_state_dict(self._optimiser.state_dict() | {"state": state})
        self.steps = steps
