"""One policy/value network for every variant, on boards of any size up to 8x8.

Within one variant, everything that distinguishes it from others is constant: how its pieces move,
where they must go, which rules hold (`variant_features.py`). So for one variant the network is an
ordinary `PolicyValueNet`: what it knows of the rules folds into the vectors of tokens and places.

    vector of a token  =  kind  +  pieces . how the piece moves in this variant
    vector of a place  =  rank and file from both edges  +  regions . what they are in this variant
                          +  rules . the variant's other rules
    promotion logit    =  square . W . vector of the piece that the pawn becomes  +  w . that vector

    net = UniversalNet(UniversalConfig())
    net.for_variant(variant)      a view: shares the weights, gradients flow to them
    net.specialise(variant)       an ordinary network with weights of its own, for any backend

A piece's vector depends on how it moves, not on its number or letter, so a new variant is a new
mixture of known parts. Parts that training never showed add nothing: rules, regions and steps
between squares begin at zero.
"""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.network.model.backbone import Backbone, board_steps
from engine.network.model.config import BuildConfig, NetworkConfig
from engine.network.model.heads import FromToPolicy, ValueHead
from engine.network.model.network import Network
from engine.network.model.policy_value import (
    Outputs,
    PolicyValueNet,
    VariantNetwork,
    board_places,
)
from engine.network.model.residual_tower import ResidualTower
from engine.network.model.tokens import STATE_FEATURES, Encoder, Tokens
from engine.network.model.variant_features import (
    KINDS,
    MOVEMENT,
    PIECE_FEATURES,
    REGIONS,
    RULES,
    VariantFeatures,
)
from engine.rules.tables import EMPTY, LARGEST_SIDE
from engine.rules.variant import Variant


@dataclass(frozen=True, kw_only=True)
class UniversalConfig(BuildConfig):
    """A universal network: the fields of NetworkConfig that no variant decides."""

    def __post_init__(self) -> None:
        """Raises SettingError as BuildConfig does, and for places learned on one board."""
        super().__post_init__()
        problem = "belongs to one board; a universal network takes geometric or none"
        self._require(self.position != "learned", "position", problem)

    def for_variant(self, variant: Variant) -> NetworkConfig:
        """The configuration of the ordinary network that it is for one variant."""
        return NetworkConfig.for_variant(variant, self.to_dict())


class UniversalEmbedding(nn.Module):
    """The parts of a square's vector, for any variant."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kind = nn.Embedding(KINDS, channels)
        self.pieces = nn.Linear(PIECE_FEATURES, channels, bias=False)
        self.place = nn.Linear(4 * LARGEST_SIDE, channels, bias=False)
        self.state = nn.Linear(STATE_FEATURES, channels, bias=False)
        self.regions = nn.Linear(2 * REGIONS, channels, bias=False)
        self.rules = nn.Linear(RULES, channels, bias=False)
        # As in `BoardEmbedding`: kind and moves together weigh 0.5, as an empty square does alone.
        half = 0.5 * 2**-0.5
        nn.init.normal_(self.kind.weight, std=half)
        nn.init.normal_(self.pieces.weight, std=half)
        nn.init.normal_(self.place.weight, std=0.25)
        nn.init.normal_(self.state.weight, std=0.5)
        with torch.no_grad():
            for empty in (EMPTY, KINDS // 2):
                self.kind.weight[empty] *= 2**0.5
            self.pieces.weight.view(channels, 2, -1)[..., MOVEMENT:] = 0.0
        nn.init.zeros_(self.regions.weight)
        nn.init.zeros_(self.rules.weight)

    def fold(self, view: "VariantView") -> tuple[Tensor, Tensor]:
        """The weights of one variant's `BoardEmbedding`: of tokens [32, D], of places [D, 32]."""
        weight = self.pieces.weight
        # Only a few vectors for the whole batch: they are not rounded.
        with torch.autocast(weight.device.type, enabled=False):
            token: Tensor = self.kind(view.kinds) + self.pieces(view.pieces.to(weight))
            of_rank, of_file = self.regions.weight.chunk(2, dim=1)
            of_rank = of_rank @ view.ranks.T.to(weight) + self.rules(view.rules.to(weight))[:, None]
            of_file = of_file @ view.files.T.to(weight)
            # Ranks from below and above, files from left and right: as `board_places` counts.
            from_below, from_above, from_left, from_right = self.place.weight.chunk(4, dim=1)
            place = [from_below + of_rank, from_above, from_left + of_file, from_right]
            return token, torch.cat(place, dim=1)


class VariantView(VariantNetwork):
    """A universal network for one variant, with the interface of an ordinary network.

    It has no weights of its own; its parameters are the universal network's.
    """

    kinds: Tensor
    pieces: Tensor
    ranks: Tensor
    files: Tensor
    rules: Tensor
    """See `VariantFeatures`."""
    places: Tensor
    """float32[S, 32], see `board_places`."""
    steps: Tensor
    """int64[S, S], see `board_steps`."""

    def __init__(self, universal: "UniversalNet", variant: Variant) -> None:
        config: NetworkConfig = universal.config.for_variant(variant)
        super().__init__(config)
        self.universal = universal
        self.hook_points = universal.hook_points
        self.reply, self.ownership = universal.reply, universal.ownership
        self.encoder = Encoder(config)
        features = VariantFeatures.of(variant)
        tables = {
            field.name: torch.from_numpy(getattr(features, field.name))
            for field in dataclasses.fields(features)
        }
        tables["steps"] = board_steps(config.width, config.height)
        tables["places"] = board_places(config.width, config.height)
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def embed(self, positions: Tensor) -> Tensor:
        """Embedded squares [B, S, D] of positions uint8[B, S + 5]."""
        token, place = self.universal.embedding.fold(self)
        tokens: Tokens = self.encoder(positions)
        state = self.universal.embedding.state(tokens.state.to(place.dtype))
        places = self.places.to(place) @ place.T
        x: Tensor = F.embedding(tokens.squares, token) + (places + state[:, None])
        return x

    def features(self, positions: Tensor) -> Tensor:
        """See `VariantNetwork`."""
        trunk, x = self.universal.trunk, self.embed(positions)
        if isinstance(trunk, ResidualTower):
            squares: Tensor = trunk(x, (self.config.height, self.config.width))
        else:
            squares = trunk(x, self.steps)
        return squares

    def promotion(self) -> tuple[Tensor, Tensor]:
        """Weight [P, D] and bias [P] of the promotion logits: see `UniversalNet.becoming`."""
        pieces = self.universal.embedding.fold(self)[0][list(self.config.promotion_types)]
        with torch.autocast(pieces.device.type, enabled=False):
            rows: Tensor = self.universal.becoming(pieces)
        return rows[:, :-1], rows[:, -1]

    def outputs(self, squares: Tensor) -> Outputs:
        """See `VariantNetwork`."""
        policy = self.universal.policy(squares)[0]
        promotion = F.linear(squares, *self.promotion())
        return Outputs(policy, promotion, *self.universal.value(squares))


class UniversalNet(Network):
    """A network for every variant, freshly initialised: all its outputs are near uniform."""

    config: UniversalConfig

    def __init__(self, config: UniversalConfig) -> None:
        super().__init__(config)
        D = config.channels
        self.embedding = UniversalEmbedding(D)
        self.trunk = (
            Backbone(config.transformer(LARGEST_SIDE**2), self.hook_points)
            if config.trunk == "transformer"
            else ResidualTower(config, self.hook_points, (LARGEST_SIDE, LARGEST_SIDE))
        )
        self.policy = FromToPolicy(D, config.policy_channels, 0)
        # From a piece's vector to the weight and bias of the logit of becoming that piece.
        self.becoming = nn.Linear(D, D + 1)
        nn.init.zeros_(self.becoming.weight)
        nn.init.zeros_(self.becoming.bias)
        self.value = ValueHead(
            D, config.value_channels, self.hook_points, scalar=config.value == "scalar"
        )
        self.reply = FromToPolicy(D, config.policy_channels, 0) if config.reply else None
        self.ownership = nn.Linear(D, 3) if config.ownership else None
        self._views: dict[tuple[str, str], VariantView] = {}

    def for_variant(self, variant: Variant) -> VariantView:
        """This network for one variant: the same weights, to which gradients flow.

        The same object for the same variant while the network stays on its device.
        """
        device = self.embedding.kind.weight.device
        key = variant.name, variant.digest
        view = self._views.get(key)
        if view is None or view.places.device != device:
            # Only the view's tables move: the weights are already there.
            view = self._views[key] = VariantView(self, variant).to(device)
        return view

    @torch.no_grad()
    def specialise(self, variant: Variant) -> PolicyValueNet:
        """An ordinary network for one variant with the same outputs and weights of its own."""
        view = self.for_variant(variant)
        token, place = self.embedding.fold(view)
        weights = {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not name.startswith(("embedding.", "becoming."))
        }
        weights["embedding.token.weight"] = token
        weights["embedding.place.weight"] = place
        weights["embedding.state.weight"] = self.embedding.state.weight
        if view.config.promotion_types:
            weights["policy.promotion.weight"], weights["policy.promotion.bias"] = view.promotion()
        # The fresh weights are overwritten; the caller's random numbers must not depend on them.
        with torch.random.fork_rng(devices=[]):
            network = PolicyValueNet(view.config)
        # The dtype first: loading would round to that of the fresh weights.
        network.to(token).load_state_dict(weights)
        return network.train(self.training)
