"""Activations at named points for many positions, read out to one vector a position.

A point [B, S, D] has a vector for every square. How a probe reads it (S squares, D channels):

    "mean+max"  [N, 2 D]  mean over the squares, then the largest: most properties of a board are a
                          sum over its squares (material, mobility) or say that some square has a
                          property (a pawn that breaks through). The default.
    "mean"      [N, D]    linear in the activation: a direction found here is one direction in the
                          stream, the same on every square.
    "squares"   [N, S D]  every square by itself: also linear and sees the most, but is S times as
                          wide, treats each square separately, and needs as many more positions.

The width of the first two does not depend on the board. A point without squares [B, V] is read as
it is. Untrained networks are read in the same way, so that the maximum favours none.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.data.canonical import Rows
from engine.rules.errors import require_finite

Readout = Literal["mean+max", "mean", "squares"]
Features = npt.NDArray[np.float32]
"""[N, W]: one vector of width W a position."""

BATCH: Final = 256


def stream_points(network: PolicyValueNet) -> tuple[str, ...]:
    """The points between the parts of a network: the stream after each block, and the pooled board.

    Points inside a block (attention patterns, hidden layers, gates) are left out.
    """
    return tuple(
        name
        for name in network.hook_points.names
        if name in ("embed", "final", "value.hidden") or name.endswith(".residual")
    )


@torch.inference_mode()
def capture(
    network: PolicyValueNet,
    rows: Rows,
    points: Sequence[str],
    *,
    readout: Readout = "mean+max",
    batch: int = BATCH,
) -> dict[str, Features]:
    """Each point's features [N, W] of rows uint8[N, R], N >= 1; the network stays as it was.

    Raises InputError for an unknown point, and NotFiniteError, naming the point, for activations
    that are not finite.
    """
    parts: dict[str, list[Features]] = {name: [] for name in points}
    was_training = network.training
    network.eval()
    try:
        with network.hook_points.read(*points) as activations:
            for start in range(0, len(rows), batch):
                network(torch.from_numpy(np.ascontiguousarray(rows[start : start + batch])))
                for name in points:
                    features = read_out(activations[name], readout)
                    require_finite(features, f"the activation at '{name}'")
                    parts[name].append(features)
    finally:
        network.train(was_training)
    return {name: np.concatenate(part) for name, part in parts.items()}


def read_out(activation: Tensor, readout: Readout) -> Features:
    """[B, S, D] or [B, V] to [B, W]; a copy, since later layers may work in place."""
    vectors = activation.float()
    if vectors.dim() == 3:
        if readout == "squares":
            vectors = vectors.flatten(1)
        elif readout == "mean":
            vectors = vectors.mean(1)
        else:
            vectors = torch.cat([vectors.mean(1), vectors.amax(1)], dim=1)
    features: Features = vectors.cpu().numpy().copy()
    return features
