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
    net([(variant, rows), …])     rows of several variants in one batch, padded to the largest board

A piece's vector depends on how it moves, not on its number or letter, so a new variant is a new
mixture of known parts. Parts that training never showed add nothing: rules, regions and steps
between squares begin at zero.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.network.model.backbone import Backbone, Boards, board_steps
from engine.network.model.config import BuildConfig, NetworkConfig
from engine.network.model.heads import FromToPolicy, ValueHead
from engine.network.model.hook_points import HookPoints
from engine.network.model.policy_value import (
    AuxiliaryOutputs,
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

Groups = Sequence[tuple[Variant, Tensor]]
"""Rows of several variants: each variant with positions uint8[b, S + 5] of it."""


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

    def largest(self) -> NetworkConfig:
        """The same build on the largest board, from which the trunk is made."""
        board = {"width": LARGEST_SIDE, "height": LARGEST_SIDE}
        rules = {"variant": "any", "promotion_types": (), "clock_rule": 0}
        return NetworkConfig.from_dict(board | rules | self.to_dict())


class Folded(NamedTuple):
    """The embedding of one variant, as `BoardEmbedding` has it."""

    token: Tensor
    """[32, D]."""
    place: Tensor
    """[D, 32]."""


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
            self.kind.weight[[EMPTY, KINDS // 2]] *= 2**0.5
            self.pieces.weight.view(channels, 2, -1)[..., MOVEMENT:] = 0.0
        nn.init.zeros_(self.regions.weight)
        nn.init.zeros_(self.rules.weight)

    def fold(self, view: "VariantView") -> Folded:
        """The vectors of tokens and places in one variant."""
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
            return Folded(token, torch.cat(place, dim=1))


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
    """int64[1, S, S], see `board_steps`."""

    def __init__(self, universal: "UniversalNet", variant: Variant) -> None:
        super().__init__()
        self.universal = universal
        self.hook_points = universal.hook_points
        self.config = config = universal.config.for_variant(variant)
        self.encoder = Encoder(config)
        features = VariantFeatures.of(variant)
        for field in dataclasses.fields(features):
            value = torch.from_numpy(getattr(features, field.name))
            self.register_buffer(field.name, value, persistent=False)
        square = torch.arange(config.squares)
        steps = board_steps(square % config.width, square // config.width)
        self.register_buffer("steps", steps[None], persistent=False)
        places = board_places(config.width, config.height)
        self.register_buffer("places", places, persistent=False)

    def embed(self, positions: Tensor) -> Tensor:
        """Embedded squares [B, S, D] of positions uint8[B, S + 5]."""
        folded = self.universal.embedding.fold(self)
        tokens: Tokens = self.encoder(positions)
        place = self.places.to(folded.place) @ folded.place.T
        state = self.universal.embedding.state(tokens.state.to(folded.place.dtype))
        x: Tensor = F.embedding(tokens.squares, folded.token) + (place + state[:, None])
        return x

    def features(self, positions: Tensor) -> Tensor:
        """Square features [B, S, D] of positions uint8[B, S + 5]."""
        trunk, x = self.universal.trunk, self.embed(positions)
        if isinstance(trunk, ResidualTower):
            squares: Tensor = trunk(x, (self.config.height, self.config.width))
        else:
            squares = trunk(x, self._boards())
        return squares

    def _boards(self) -> Boards:
        """The variant's board, for all rows."""
        first = torch.zeros(1, dtype=torch.int64, device=self.steps.device)
        present = torch.ones(1, self.config.squares, dtype=torch.bool, device=self.steps.device)
        return Boards(first, self.steps, present)

    def promotion(self) -> tuple[Tensor, Tensor]:
        """Weight [P, D] and bias [P] of the promotion logits: see `UniversalNet.becoming`."""
        pieces = self.universal.embedding.fold(self).token[list(self.config.promotion_types)]
        with torch.autocast(pieces.device.type, enabled=False):
            rows: Tensor = self.universal.becoming(pieces)
        return rows[:, :-1], rows[:, -1]

    def outputs(self, squares: Tensor) -> Outputs:
        """Outputs of the heads for square features [B, S, D]."""
        policy = self.universal.policy(squares)[0]
        promotion = F.linear(squares, *self.promotion())
        return Outputs(policy, promotion, *self.universal.value(squares))

    def auxiliary_outputs(self, squares: Tensor) -> AuxiliaryOutputs:
        """Outputs of the auxiliary heads for square features [B, S, D]."""
        return AuxiliaryOutputs.of(squares, self.universal.reply, self.universal.ownership)


class UniversalNet(nn.Module):
    """A network for every variant, freshly initialised: all its outputs are near uniform."""

    def __init__(self, config: UniversalConfig) -> None:
        super().__init__()
        self.config = config
        self.hook_points = HookPoints()
        D = config.channels
        self.embedding = UniversalEmbedding(D)
        largest = config.largest()
        self.trunk = (
            Backbone(dataclasses.replace(largest.transformer(), board=None), self.hook_points)
            if config.trunk == "transformer"
            else ResidualTower(largest, self.hook_points)
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

    @property
    def parameter_count(self) -> int:
        """Number of trained weights."""
        return sum(parameter.numel() for parameter in self.parameters())

    def for_variant(self, variant: Variant) -> VariantView:
        """This network for one variant: the same weights, to which gradients flow.

        The same object for the same variant while the network stays on its device.
        """
        device = self.embedding.kind.weight.device
        key = variant.name, variant.digest
        view = self._views.get(key)
        if view is None or view.places.device != device:
            view = self._views[key] = VariantView(self, variant)
            # Only the tables move: the weights are already there.
            for tables in (view.encoder, view):
                for name, table in tables.named_buffers(recurse=False):
                    setattr(tables, name, table.to(device))
        return view

    @torch.no_grad()
    def specialise(self, variant: Variant) -> PolicyValueNet:
        """An ordinary network for one variant with the same outputs and weights of its own."""
        view = self.for_variant(variant)
        folded = self.embedding.fold(view)
        weights = {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not name.startswith(("embedding.", "becoming."))
        }
        weights["embedding.token.weight"] = folded.token
        weights["embedding.place.weight"] = folded.place
        weights["embedding.state.weight"] = self.embedding.state.weight
        if view.config.promotion_types:
            weights["policy.promotion.weight"], weights["policy.promotion.bias"] = view.promotion()
        # The fresh weights are overwritten; the caller's random numbers must not depend on them.
        with torch.random.fork_rng(devices=[]):
            network = PolicyValueNet(view.config)
        # The dtype first: loading would round to that of the fresh weights.
        network.to(folded.token).load_state_dict(weights)
        return network.train(self.training)

    def forward(self, groups: Groups) -> Outputs:
        """Outputs for rows of several variants, B in all, in their order.

        Padded to S, the squares of the largest board, and P, the most promotion types: a row's own
        squares, and its variant's promotion types, come first. For padding the policy is -inf and
        the promotion logit 0.

        On a CPU `for_variant` for one variant after the other is faster, since it computes no
        padding: forward and backward of 512 rows, a fifth each of 3x3, 4x4, 3x5, 5x4 and 5x5
        squares, take 1.6 times as long padded (transformer 4x64 and tower 5x64, float32, one core).
        """
        views = [self.for_variant(variant) for variant, _ in groups]
        sizes = [len(positions) for _, positions in groups]
        padding = _Padding.of(views, sizes)
        S = padding.present.shape[1]
        embedded = [view.embed(rows) for view, (_, rows) in zip(views, groups, strict=True)]
        x = torch.cat([F.pad(part, (0, 0, 0, S - part.shape[1])) for part in embedded])
        squares = self._padded_trunk(x, padding)
        promotions = [
            F.linear(part, *view.promotion())
            for view, part in zip(views, torch.split(squares, sizes), strict=True)
        ]
        P = max(part.shape[2] for part in promotions)
        promotion = torch.cat([F.pad(part, (0, P - part.shape[2])) for part in promotions])
        present = padding.present
        both = present[:, :, None] & present[:, None, :]
        return Outputs(
            self.policy(squares)[0].masked_fill(~both, -torch.inf),
            promotion.masked_fill(~present[..., None], 0.0),
            *self.value(squares, present),
        )

    def _padded_trunk(self, x: Tensor, padding: "_Padding") -> Tensor:
        """[B, S, D] -> [B, S, D]."""
        if isinstance(self.trunk, ResidualTower):
            # Convolutions need true neighbours: from packed squares to a rectangle, and back.
            cells = padding.cells[..., None].expand_as(x)
            height, width = padding.board
            rectangle = x.new_zeros(len(x), height * width + 1, x.shape[2]).scatter(1, cells, x)
            on_board = padding.present.new_zeros(len(x), height * width + 1)
            on_board = on_board.scatter(1, padding.cells, padding.present)[:, :-1]
            out = self.trunk(rectangle[:, :-1], padding.board, on_board)
            return F.pad(out, (0, 0, 0, 1)).gather(1, cells)
        squares: Tensor = self.trunk(x, padding.boards)
        return squares


class _Padding(NamedTuple):
    """Where the squares of B rows of several variants are in a batch padded to S squares."""

    boards: Boards
    """The transformer's input."""
    present: Tensor
    """bool[B, S]; False for padding."""
    board: tuple[int, int]
    """(height, width) of the smallest board that holds all of them."""
    cells: Tensor
    """int64[B, S]: the square's index on that board; height * width for padding."""

    @classmethod
    def of(cls, views: Sequence[VariantView], sizes: Sequence[int]) -> "_Padding":
        """Of `sizes[i]` rows of each variant i."""
        device = views[0].steps.device
        S = max(view.config.squares for view in views)
        height = max(view.config.height for view in views)
        width = max(view.config.width for view in views)
        square = torch.arange(S, device=device)
        steps, present, cells = [], [], []
        for view in views:
            spare = S - view.config.squares
            steps.append(F.pad(view.steps[0], (0, spare, 0, spare)))
            own = square < view.config.squares
            cell = square // view.config.width * width + square % view.config.width
            present.append(own)
            cells.append(torch.where(own, cell, height * width))
        board = torch.repeat_interleave(
            torch.arange(len(views), device=device), torch.tensor(sizes, device=device)
        )
        boards = Boards(board, torch.stack(steps), torch.stack(present))
        return cls(boards, boards.present[board], (height, width), torch.stack(cells)[board])
