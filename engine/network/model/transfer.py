"""A trained network carried to another game, to go on from there.

What weighs squares, places, steps and features means the same in every game and goes as it is. The
men's vectors go by how they move: a type that both games have and that moves alike keeps its own, a
custom piece takes that of the old game's piece that moves as it does, whatever its number. The same
holds for what a pawn may become; what it could not become before begins alike for all, at zero.

The clock's feature is the share of the game's own limit: 1 is where it draws, here as there.
"""

import dataclasses

import torch
from torch import Tensor

from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.universal import UniversalNet
from engine.network.model.variant_features import movement_features
from engine.rules.errors import InputError
from engine.rules.tables import BLACK_BIT, FIRST_CUSTOM
from engine.rules.variant import Variant, get_variant

_OF_A_GAME = ("variant", "width", "height", "promotion_types", "clock_rule")
_OPTIONAL = ("reply", "ownership")
"""Heads that come along where both networks have them."""
_OF_TYPES = ("embedding.token.weight", "policy.promotion.weight", "policy.promotion.bias")
"""Tensors whose rows belong to piece types."""


def transfer_weights(
    network: PolicyValueNet | UniversalNet,
    variant: Variant,
    config: NetworkConfig | None = None,
) -> PolicyValueNet:
    """A network for `variant` that begins with the weights of one for another game.

    `config` may differ from the old one in what the game decides and in the heads that only
    training asks, which are fresh where the old network has none; None for the old one's build. A
    universal network is specialised. Fresh vectors come from torch's generator.

    Raises InputError, naming the field, for another build, for places learned on another board, and
    for a configuration of another game; UnknownVariantError where the old game is not loaded.
    """
    if isinstance(network, UniversalNet):
        specialised = network.specialise(variant)
        if config is None or config == specialised.config:
            return specialised
        network = specialised
    old = network.config
    build = {k: v for k, v in old.to_dict().items() if k not in _OF_A_GAME}
    config = config or NetworkConfig.for_variant(variant, build)
    _check(old, config, variant)
    transferred = PolicyValueNet(config)
    weights = network.state_dict()
    fresh = transferred.state_dict()
    kept = {name: weights[name] for name in fresh if name in weights and name not in _OF_TYPES}
    sources = _sources(get_variant(old.variant), variant)
    transferred.load_state_dict(fresh | kept | _by_type(old, config, sources, weights, fresh))
    return transferred


def _check(old: NetworkConfig, new: NetworkConfig, variant: Variant) -> None:
    if new != NetworkConfig.for_variant(
        variant, {k: v for k, v in new.to_dict().items() if k not in _OF_A_GAME}
    ):
        raise InputError(f"network configuration: variant = '{new.variant}' is not {variant.name}")
    for field in dataclasses.fields(NetworkConfig):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if field.name not in (*_OF_A_GAME, *_OPTIONAL) and before != after:
            raise InputError(
                f"network configuration: {field.name} = {after!r}, the network to carry over has"
                f" {before!r}"
            )
    if new.position == "learned" and (old.width, old.height) != (new.width, new.height):
        raise InputError(
            f"network configuration: position = 'learned' belongs to the {old.width}x{old.height}"
            f" board of {old.variant}; {new.variant} has {new.width}x{new.height}"
        )


def _sources(old: Variant, new: Variant) -> dict[int, int]:
    """For the types of the new game, the type of the old one whose vector is meant."""
    sources: dict[int, int] = {}
    for piece_type, movement in new.movements.items():
        moves = movement_features(movement)
        alike = [t for t, m in old.movements.items() if (movement_features(m) == moves).all()]
        if piece_type in alike:
            sources[piece_type] = piece_type
        elif alike:
            sources[piece_type] = alike[0]
        elif piece_type < FIRST_CUSTOM:
            # Chess's types are themselves even where the old game had no use for them.
            sources[piece_type] = piece_type
    return sources


def _by_type(
    old: NetworkConfig,
    new: NetworkConfig,
    sources: dict[int, int],
    weights: dict[str, Tensor],
    fresh: dict[str, Tensor],
) -> dict[str, Tensor]:
    """The new network's tensors whose rows belong to piece types."""
    token, promotion, bias = _OF_TYPES
    result = {token: fresh[token].clone()}
    for code in (0, BLACK_BIT):
        result[token][code] = weights[token][code]
        for piece_type, source in sources.items():
            result[token][piece_type | code] = weights[token][source | code]
    if not new.promotion_types:
        return result
    for name in (promotion, bias):
        result[name] = torch.zeros_like(fresh[name])
        for row, piece_type in enumerate(new.promotion_types):
            became = sources.get(piece_type)
            if became in old.promotion_types:
                result[name][row] = weights[name][old.promotion_types.index(became)]
    return result
