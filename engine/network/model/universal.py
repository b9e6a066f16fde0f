"""One policy/value network for every game, on boards of any size up to 8x8.

Within one variant, everything that distinguishes it from others is constant: how its pieces move,
where they must go, which rules hold (`variant_features.py`). So for one variant the network is an
ordinary `PolicyValueNet`: what it knows of the rules folds into the vectors of tokens and places.

    vector of a token  =  kind  +  men . what the man of this game can do
    vector of a place  =  rank and file from both edges  +  regions . what they are in this game
                          +  rules . what holds in this game
    promotion logit    =  square . W . vector of the man that the pawn becomes  +  w . that vector

    net = UniversalNet(UniversalConfig())
    net.for_variant(variant)      one game of it: shares the weights, gradients flow to them
    net.specialise(variant)       an ordinary network with weights of its own, for any backend
    net([(variant, rows), …])     rows of several games in one batch, padded to the largest board

A man's vector depends on how he moves, not on his number or letter, so a game that the network has
never met is a new mixture of things it knows. What it has not met adds nothing: rules, regions and
steps between squares begin at zero.
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
from engine.rules.errors import InputError
from engine.rules.tables import EMPTY, LARGEST_SIDE
from engine.rules.variant import Variant

Groups = Sequence[tuple[Variant, Tensor]]
"""Rows of several games: each game with positions uint8[b, S + 5] of it."""


@dataclass(frozen=True, kw_only=True)
class UniversalConfig(BuildConfig):
    """A universal network: the fields of NetworkConfig that no game decides."""

    def __post_init__(self) -> None:
        """Raises InputError as BuildConfig does, and for places learned on one board."""
        super().__post_init__()
        if self.position == "learned":
            raise InputError(
                "network configuration: position = 'learned' belongs to one board; a universal"
                " network takes geometric or none"
            )

    def for_variant(self, variant: Variant) -> NetworkConfig:
        """The configuration of the ordinary network that it is on one game."""
        return NetworkConfig.for_variant(variant, self.to_dict())

    def largest(self) -> NetworkConfig:
        """The same build on the largest board, for trunks to be made of."""
        side = LARGEST_SIDE
        game = {"variant": "any", "width": side, "height": side, "clock_rule": 0}
        return NetworkConfig.from_dict(game | {"promotion_types": ()} | self.to_dict())


class Folded(NamedTuple):
    """The embedding of one game, as `BoardEmbedding` holds it."""

    token: Tensor
    """[32, D]."""
    place: Tensor
    """[D, 32]."""


class UniversalEmbedding(nn.Module):
    """What a square's vector is made of in any game."""

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

    def fold(self, game: "VariantView") -> Folded:
        """The vectors of tokens and places in one game."""
        weight = self.pieces.weight
        # A few vectors for the whole batch: no reason to round them.
        with torch.autocast(weight.device.type, enabled=False):
            token: Tensor = self.kind(game.kinds) + self.pieces(game.pieces.to(weight))
            of_rank, of_file = self.regions.weight.chunk(2, dim=1)
            of_rank = of_rank @ game.ranks.T.to(weight) + self.rules(game.rules.to(weight))[:, None]
            of_file = of_file @ game.files.T.to(weight)
            # Ranks from below and above, files from left and right: as `board_places` counts.
            from_below, from_above, from_left, from_right = self.place.weight.chunk(4, dim=1)
            place = [from_below + of_rank, from_above, from_left + of_file, from_right]
            return Folded(token, torch.cat(place, dim=1))


class VariantView(VariantNetwork):
    """A universal network on one game: an ordinary network to all that use one.

    It has no weights of its own; its parameters are the universal network's.
    """

    kinds: Tensor
    pieces: Tensor
    ranks: Tensor
    files: Tensor
    rules: Tensor
    """See `VariantFeatures`."""
    places: Tensor
    """float32[S, 32], one-hot four times."""
    steps: Tensor
    """int64[1, S, S], see `board_steps`."""

    def __init__(self, universal: "UniversalNet", variant: Variant) -> None:
        super().__init__()
        self.universal = universal
        self.hook_points = universal.hook_points
        self.config = config = universal.config.for_variant(variant)
        self.encoder = Encoder(
            config.width, config.height, config.promotion_types, config.clock_rule
        )
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
            squares = trunk(x, self.boards)
        return squares

    @property
    def boards(self) -> Boards:
        """This one, for all rows alike."""
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
        """What the heads say of square features [B, S, D]."""
        policy = self.universal.policy(squares)[0]
        promotion = F.linear(squares, *self.promotion())
        return Outputs(policy, promotion, *self.universal.value(squares))

    def auxiliary_outputs(self, squares: Tensor) -> AuxiliaryOutputs:
        """What the auxiliary heads say of them."""
        return self.universal.auxiliary_outputs(squares)


class UniversalNet(nn.Module):
    """The network of every game, freshly initialised: near uniform in all it says."""

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
        # From a man's vector to the weight and bias of the logit of becoming him.
        self.becoming = nn.Linear(D, D + 1)
        nn.init.zeros_(self.becoming.weight)
        nn.init.zeros_(self.becoming.bias)
        self.value = ValueHead(
            D, config.value_channels, self.hook_points, scalar=config.value == "scalar"
        )
        self.reply = FromToPolicy(D, config.policy_channels, 0) if config.reply else None
        self.ownership = nn.Linear(D, 3) if config.ownership else None
        self._games: dict[tuple[str, str], VariantView] = {}

    @property
    def parameter_count(self) -> int:
        """Numbers to be learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def for_variant(self, variant: Variant) -> VariantView:
        """This network on one game: its own weights, to which gradients flow.

        The same object for the same game, as long as the network stays on its device.
        """
        device = self.embedding.kind.weight.device
        key = variant.name, variant.digest
        game = self._games.get(key)
        if game is None or game.places.device != device:
            game = self._games[key] = VariantView(self, variant)
            # Only the tables: the weights are there already.
            for tables in (game.encoder, game):
                for name, table in tables.named_buffers(recurse=False):
                    setattr(tables, name, table.to(device))
        return game

    @torch.no_grad()
    def specialise(self, variant: Variant) -> PolicyValueNet:
        """An ordinary network of one game that says the same, with weights of its own."""
        game = self.for_variant(variant)
        folded = self.embedding.fold(game)
        weights = {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not name.startswith(("embedding.", "becoming."))
        }
        weights["embedding.token.weight"] = folded.token
        weights["embedding.place.weight"] = folded.place
        weights["embedding.state.weight"] = self.embedding.state.weight
        if game.config.promotion_types:
            weights["policy.promotion.weight"], weights["policy.promotion.bias"] = game.promotion()
        # The fresh weights are thrown away; nobody else's random numbers depend on them.
        with torch.random.fork_rng(devices=[]):
            network = PolicyValueNet(game.config)
        # First the numbers' kind: loading would round them to that of the fresh weights.
        network.to(folded.token).load_state_dict(weights)
        return network.train(self.training)

    def auxiliary_outputs(self, squares: Tensor) -> AuxiliaryOutputs:
        """What the auxiliary heads say of square features [B, S, D]."""
        return AuxiliaryOutputs(
            None if self.reply is None else self.reply(squares)[0],
            None if self.ownership is None else self.ownership(squares),
        )

    def forward(self, groups: Groups) -> Outputs:
        """Judge rows of several games at once, B in all, in the order in which they stand.

        Padded to S, the squares of the largest board, and P, the most promotion types: a row's own
        squares, and its game's promotion types, come first. Where a square is padding the policy is
        -inf and the promotion logit 0.

        On a CPU `on` for one game after the other is faster, since nothing is computed that is not
        there: forward and backward of 512 rows, a fifth each of 3x3, 4x4, 3x5, 5x4 and 5x5 squares,
        take 1.6 times as long padded (transformer 4x64 and tower 5x64, float32, one core).
        """
        games = [self.for_variant(variant) for variant, _ in groups]
        sizes = [len(positions) for _, positions in groups]
        padding = _Padding.of(games, sizes)
        S = padding.present.shape[1]
        embedded = [game.embed(rows) for game, (_, rows) in zip(games, groups, strict=True)]
        x = torch.cat([F.pad(part, (0, 0, 0, S - part.shape[1])) for part in embedded])
        squares = self._padded_trunk(x, padding)
        promotions = [
            F.linear(part, *game.promotion())
            for game, part in zip(games, torch.split(squares, sizes), strict=True)
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
            seen = self.trunk(rectangle[:, :-1], padding.board, on_board)
            return F.pad(seen, (0, 0, 0, 1)).gather(1, cells)
        squares: Tensor = self.trunk(x, padding.boards)
        return squares


class _Padding(NamedTuple):
    """Where the squares of B rows of several games stand in a batch that is padded to S squares."""

    boards: Boards
    """As the transformer is told."""
    present: Tensor
    """bool[B, S]."""
    board: tuple[int, int]
    """(height, width) of the smallest board that holds them all."""
    cells: Tensor
    """int64[B, S]: the square's place on that board; behind its end for padding."""

    @classmethod
    def of(cls, games: Sequence[VariantView], sizes: Sequence[int]) -> "_Padding":
        """Of so many rows of each game."""
        device = games[0].steps.device
        S = max(game.config.squares for game in games)
        height = max(game.config.height for game in games)
        width = max(game.config.width for game in games)
        square = torch.arange(S, device=device)
        steps, present, cells = [], [], []
        for game in games:
            spare = S - game.config.squares
            steps.append(F.pad(game.steps[0], (0, spare, 0, spare)))
            own = square < game.config.squares
            place = square // game.config.width * width + square % game.config.width
            present.append(own)
            cells.append(torch.where(own, place, height * width))
        board = torch.repeat_interleave(
            torch.arange(len(games), device=device), torch.tensor(sizes, device=device)
        )
        boards = Boards(board, torch.stack(steps), torch.stack(present))
        return cls(boards, boards.present[board], (height, width), torch.stack(cells)[board])
