"""The network of a run: one game's own, or one for several games."""

from engine.network.config import NetworkConfig
from engine.network.policy_value import PolicyValueNet
from engine.rules.variant import Variant

Network = PolicyValueNet
Settings = NetworkConfig


def build_network(settings: Settings) -> Network:
    """A fresh network."""
    return PolicyValueNet(settings)


def network_on(network: Network, variant: Variant) -> PolicyValueNet:
    """The network as it plays one game; its gradients go to the network's own parameters."""
    return network


def network_for(network: Network, variant: Variant) -> PolicyValueNet:
    """The network of one game, to judge with: it need not follow the other's weights."""
    return network
