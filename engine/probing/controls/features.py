"""Control features: those of a network that has learned nothing, and those of no network at all."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.tokens import TOKENS
from engine.probing.activations.capture import Features
from engine.probing.data.canonical import Rows

_STREAM: Final = 0x756E7472
"""Combined with seeds. Training draws its first weights from the seed itself: a network that began
with the same ones would be no independent control."""


def untrained_networks(config: NetworkConfig, seeds: Sequence[int]) -> Iterator[PolicyValueNet]:
    """Freshly initialised networks of this configuration, one for each seed.

    None has the first weights of a training run whose seed is a small number. Not for several
    threads at once: they share the generator that weights are drawn from.
    """
    for seed in seeds:
        # PyTorch initialises from its global generator, whose state is restored afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed ^ _STREAM)
            network = PolicyValueNet(config)
        yield network.eval()


def raw_input(network: PolicyValueNet, rows: Rows) -> Features:
    """The network's input as numbers: one-hot tokens of every square, and the state features.

    [N, W] of rows uint8[N, R]: the columns that vary.
    """
    tokens = network.encoder(torch.from_numpy(np.ascontiguousarray(rows)))
    squares, state = tokens.squares.numpy(), tokens.state.numpy()
    one_hot = (squares[:, :, None] == np.arange(TOKENS)).reshape(len(rows), -1)
    features = np.concatenate([one_hot, state], axis=1, dtype=np.float32)
    return features[:, np.ptp(features, axis=0) > 0]


def raw_square_input(
    network: PolicyValueNet, rows: Rows, squares: npt.NDArray[np.int64]
) -> Features:
    """The board around one square of each position as numbers: what a per-square probe is
    compared with.

    One-hot tokens of the squares at each distance in files and ranks from the square, off the board
    included, the square's own place and the state features; [N, W] of rows uint8[N, R] and squares
    int64[N]: the columns that vary.
    """
    width, height = network.config.width, network.config.height
    tokens = network.encoder(torch.from_numpy(np.ascontiguousarray(rows)))
    boards = tokens.squares.numpy().reshape(-1, height, width)
    # A margin of one board on each side holds a token of its own.
    margins = ((0, 0), (height - 1, height - 1), (width - 1, width - 1))
    wide = np.pad(boards, margins, constant_values=TOKENS)
    ranks, files = np.divmod(squares, width)
    sights = np.lib.stride_tricks.sliding_window_view(wide, (2 * height - 1, 2 * width - 1), (1, 2))
    seen = sights[np.arange(len(rows)), ranks, files].reshape(len(rows), -1)
    columns = [
        (seen[:, place] == token)
        for place in range(seen.shape[1])
        for token in np.unique(seen[:, place])
    ]
    place = squares[:, None] == np.arange(width * height)
    parts = [np.stack(columns, axis=1), place, tokens.state.numpy()]
    features = np.concatenate(parts, axis=1, dtype=np.float32)
    return features[:, np.ptp(features, axis=0) > 0]
