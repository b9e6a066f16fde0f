"""The network of a run: for one variant or several, fresh or with the weights of a checkpoint."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from engine.network.checkpoint import (
    CheckpointError,
    Description,
    load_checkpoint,
    load_universal,
    read_description,
)
from engine.network.model.config import AUXILIARY_HEADS, BuildConfig, NetworkConfig, difference
from engine.network.model.policy_value import PolicyValueNet, VariantNetwork
from engine.network.model.transfer import transfer_weights
from engine.network.model.universal import UniversalConfig, UniversalNet
from engine.rules.errors import UnknownVariantError
from engine.rules.variant import Variant, define_variants, get_variant
from training.config import TrainingConfig

Network = PolicyValueNet | UniversalNet
Settings = NetworkConfig | UniversalConfig


def build_network(settings: Settings) -> Network:
    """A network with fresh weights, drawn from torch's random numbers."""
    if isinstance(settings, UniversalConfig):
        return UniversalNet(settings)
    return PolicyValueNet(settings)


def settings_of(variants: Sequence[Variant], config: TrainingConfig) -> Settings:
    """The configuration of the network of a run of these variants."""
    if len(variants) == 1:
        return config.network_config(variants[0])
    return config.universal_config()


def check_settings(path: Path, found: dict[str, Any], wanted: Settings) -> None:
    """Raises InputError for a file whose network has other settings, `found` (a `to_dict`), than
    wanted."""
    different = difference(type(wanted).from_dict(found), wanted)
    if different:
        raise CheckpointError(f"{path}: {different} as the run's configuration says")


def variants_learned(path: Path) -> dict[str, str]:
    """The variants that the universal network of a checkpoint has been trained on: digests by name,
    "" where the file has none. Empty for a network of one variant. Raises as `read_description`."""
    description = read_description(path)
    if isinstance(description, Description):
        return {}
    return {name: description.digests.get(name, "") for name in description.trained_on}


def network_for_variant(network: Network, variant: Variant) -> VariantNetwork:
    """The network for one variant; gradients flow to the network's own parameters."""
    return network.for_variant(variant) if isinstance(network, UniversalNet) else network


def specialised_network(network: Network, variant: Variant) -> PolicyValueNet:
    """The network for one variant, to evaluate with; it may be a copy of the weights."""
    return network.specialise(variant) if isinstance(network, UniversalNet) else network


def checkpoint_settings(path: Path) -> dict[str, Any]:
    """The fields of `[network]` that a run takes over from a checkpoint; raises as
    `read_description`."""
    config = read_description(path).config
    names = [field.name for field in fields(BuildConfig) if field.name not in AUXILIARY_HEADS]
    return {name: getattr(config, name) for name in names}


def get_or_define(name: str, text: str, source: str) -> Variant:
    """As `get_variant`; the rules of a variant that this process does not know are in the text."""
    try:
        return get_variant(name)
    except UnknownVariantError:
        define_variants(text, source)
        return get_variant(name)


def begun_network(path: Path, variants: Sequence[Variant], settings: Settings) -> Network:
    """A network of these settings with the weights of a checkpoint.

    The weights of another variant's network are transferred; a universal network is specialised for
    a run of one variant and kept for several. Heads that the checkpoint lacks have fresh weights,
    from torch's random numbers. Raises CheckpointError, InputError for a checkpoint that does not
    fit, and OSError.
    """
    description = read_description(path)
    if isinstance(settings, NetworkConfig):
        if isinstance(description, Description):
            name = description.variant_name
            # Its rules are in the file.
            if not description.is_for(get_or_define(name, description.variant_ini, str(path))):
                raise CheckpointError(f"{path}: the rules of {name} have changed since")
            network: Network = load_checkpoint(path).network
        else:
            network = load_universal(path).network
        return transfer_weights(network, variants[0], settings)
    universal = load_universal(path).network
    different = difference(universal.config, settings, but=AUXILIARY_HEADS)
    if different:
        raise CheckpointError(f"{path}: {different} as the run's network")
    begun = UniversalNet(settings)
    fresh, old = begun.state_dict(), universal.state_dict()
    begun.load_state_dict({name: old.get(name, tensor) for name, tensor in fresh.items()})
    return begun
