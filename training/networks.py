"""The network of a run: one game's own, or one for several games."""

from collections.abc import Sequence

from engine.network.config import NetworkConfig
from engine.network.policy_value import GameNetwork, PolicyValueNet
from engine.network.universal import UniversalConfig, UniversalNet
from engine.rules.variant import Variant
from training.config import TrainingConfig

Network = PolicyValueNet | UniversalNet
Settings = NetworkConfig | UniversalConfig


def fresh_network(variants: Sequence[Variant], config: TrainingConfig) -> Network:
    """The network of a run of these games; its weights are drawn from torch's random numbers."""
    if len(variants) == 1:
        return PolicyValueNet(config.network_config(variants[0]))
    return UniversalNet(config.universal_config())


def build_network(settings: Settings) -> Network:
    """A network whose weights do not matter yet."""
    return (
        PolicyValueNet(settings) if isinstance(settings, NetworkConfig) else UniversalNet(settings)
    )


def network_on(network: Network, variant: Variant) -> GameNetwork:
    """The network as it plays one game; gradients flow to the network's own parameters."""
    return network.on(variant) if isinstance(network, UniversalNet) else network


def network_for(network: Network, variant: Variant) -> PolicyValueNet:
    """The network of one game, to judge with: it need not follow the other's weights."""
    return network.specialise(variant) if isinstance(network, UniversalNet) else network


def settings_of_checkpoint(path):
    raise NotImplementedError


def load_initial(network, path, variants):
    raise NotImplementedError
