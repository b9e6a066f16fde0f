"""Control features: those of a network that has learned nothing, and those of no network at all."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.tokens import TOKENS
from engine.probing.activations.capture import Features
from engine.probing.data.canonical import Rows


def untrained_networks(config: NetworkConfig, seeds: Sequence[int]) -> Iterator[PolicyValueNet]:
    """Freshly initialised networks of this configuration, one for each seed."""
    for seed in seeds:
        # PyTorch initialises from its global generator, whose state is restored afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
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
