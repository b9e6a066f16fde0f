"""Weights of a trained network transferred to another variant, as a start for training.

Weights of squares, places, steps and features mean the same in every variant and are copied. The
vectors of pieces go by how pieces move: a type that both variants have and that moves alike keeps
its own, a custom piece takes that of an old piece that moves alike, under any number. The same
holds for promotions; a piece that no pawn could become before begins at zero.

The clock's feature is the share of the variant's own limit: 1 is the draw in both.
"""

import torch
from torch import Tensor

from engine.network.model.config import (
    AUXILIARY_HEADS,
    VARIANT_FIELDS,
    NetworkConfig,
    difference,
)
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.universal import UniversalNet
from engine.network.model.variant_features import movement_features
from engine.rules.errors import InputError
from engine.rules.tables import BLACK_BIT, FIRST_CUSTOM
from engine.rules.variant import Variant, get_variant

_TOKEN = "embedding.token.weight"
_PROMOTION = ("policy.promotion.weight", "policy.promotion.bias")
"""Tensors whose rows belong to piece types."""


def transfer_weights(
    network: PolicyValueNet | UniversalNet,
    variant: Variant,
    config: NetworkConfig | None = None,
) -> PolicyValueNet:
    """A network for `variant` that begins with the weights of one for another variant.

    `config` may differ from the old one in what the variant decides and in the auxiliary heads,
    which are fresh where the old network has none; None for the old build. A universal network is
    specialised. Fresh weights come from torch's generator.

    Raises InputError, naming the field, for another build, for places learned on another board, and
    for a configuration of another variant; UnknownVariantError where the old variant is not loaded.
    """
    if isinstance(network, UniversalNet):
        network = network.specialise(variant)
        if config is None or config == network.config:
            return network
    old = network.config
    build = {name: value for name, value in old.to_dict().items() if name not in VARIANT_FIELDS}
    config = config or NetworkConfig.for_variant(variant, build)
    _check(old, config, variant)
    transferred = PolicyValueNet(config)
    weights, fresh = network.state_dict(), transferred.state_dict()
    by_type = _by_type(old, config, _sources(get_variant(old.variant), variant), weights, fresh)
    transferred.load_state_dict(
        {name: by_type.get(name, weights.get(name, tensor)) for name, tensor in fresh.items()}
    )
    return transferred


def _check(old: NetworkConfig, new: NetworkConfig, variant: Variant) -> None:
    wanted = NetworkConfig.for_variant(variant)
    if any(getattr(new, name) != getattr(wanted, name) for name in VARIANT_FIELDS):
        raise InputError(f"network configuration: variant = '{new.variant}' is not {variant.name}")
    different = difference(new, old, but=(*VARIANT_FIELDS, *AUXILIARY_HEADS))
    if different:
        raise InputError(f"network configuration: {different} as in the network of {old.variant}")
    if new.position == "learned" and (old.width, old.height) != (new.width, new.height):
        raise InputError(
            f"network configuration: position = 'learned' belongs to the {old.width}x{old.height}"
            f" board of {old.variant}; {new.variant} has {new.width}x{new.height}"
        )


def _sources(old: Variant, new: Variant) -> dict[int, int]:
    """For types of the new variant, the type of the old one whose vector they take."""
    sources: dict[int, int] = {}
    for piece_type, movement in new.movements.items():
        moves = movement_features(movement)
        alike = [t for t, m in old.movements.items() if (movement_features(m) == moves).all()]
        # Chess's types keep their own vectors even where the old variant did not use them.
        if piece_type in alike or (not alike and piece_type < FIRST_CUSTOM):
            sources[piece_type] = piece_type
        elif alike:
            sources[piece_type] = alike[0]
    return sources


def _by_type(
    old: NetworkConfig,
    new: NetworkConfig,
    sources: dict[int, int],
    weights: dict[str, Tensor],
    fresh: dict[str, Tensor],
) -> dict[str, Tensor]:
    """The new network's tensors whose rows belong to piece types."""
    result = {_TOKEN: fresh[_TOKEN].clone()}
    for code in (0, BLACK_BIT):
        result[_TOKEN][code] = weights[_TOKEN][code]
        for piece_type, source in sources.items():
            result[_TOKEN][piece_type | code] = weights[_TOKEN][source | code]
    for name in _PROMOTION if new.promotion_types else ():
        result[name] = torch.zeros_like(fresh[name])
        for row, piece_type in enumerate(new.promotion_types):
            became = sources.get(piece_type)
            if became in old.promotion_types:
                result[name][row] = weights[name][old.promotion_types.index(became)]
    return result
