"""Activations at named points for many positions, read out to one vector a position.

A point [B, S, D] shows every square. How a probe reads it (S squares, D channels):

    "mean+max"  [N, 2 D]  mean over the squares, then the largest: what can be said of a board is
                          mostly a sum over its squares (material, mobility) or that there is a
                          square such that (a pawn that breaks through). The default.
    "mean"      [N, D]    linear in the activation: a direction found here is one direction in the
                          stream, the same on every square.
    "squares"   [N, S D]  every square by itself: linear too and sees the most, but is S times as
                          wide, knows each square apart, and needs as many more positions.

The first two have a width that does not depend on the board. A point without squares [B, V] is read
as it is. Controls are read in the same way, so that the maximum favours nobody.
"""

from collections.abc import Sequence
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.tokens import TOKENS, Encoder
from engine.probing.data.canonical import Rows
from engine.rules.errors import require_finite

Readout = Literal["mean+max", "mean", "squares"]
Features = npt.NDArray[np.float32]
"""[N, W]: one vector of width W a position."""

READOUTS: Final[tuple[Readout, ...]] = get_args(Readout)
BATCH: Final = 256


def stream_points(network: PolicyValueNet) -> tuple[str, ...]:
    """The points between the parts of a network: the stream after each block, and the pooled board.

    Leaves out what lies inside a block (attention patterns, hidden layers, gates).
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
                    features = _read_out(activations[name], readout)
                    require_finite(features, f"the activation at '{name}'")
                    parts[name].append(features)
    finally:
        network.train(was_training)
    return {name: np.concatenate(part) for name, part in parts.items()}


def _read_out(activation: Tensor, readout: Readout) -> Features:
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


def raw_input(network: PolicyValueNet, rows: Rows) -> Features:
    """What a network is shown, as numbers: one-hot tokens of every square, and the state features.

    [N, W] with the columns that vary; no network has worked on them.
    """
    encoder: Encoder = network.encoder
    tokens = encoder(torch.from_numpy(np.ascontiguousarray(rows)))
    squares, state = tokens.squares.numpy(), tokens.state.numpy()
    shown = (squares[:, :, None] == np.arange(TOKENS)).reshape(len(rows), -1)
    features = np.concatenate([shown, state], axis=1, dtype=np.float32)
    return features[:, np.ptp(features, axis=0) > 0]
