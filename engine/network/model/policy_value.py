"""The policy/value network: embedded board, trunk, heads.

    positions uint8[B, R] -> tokens [B, S] -> embedding [B, S, D] -> trunk [B, S, D] -> Outputs

Inputs and outputs are relative to the side to move (see `tokens.py`).
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.network.model.backbone import Backbone
from engine.network.model.config import NetworkConfig
from engine.network.model.heads import FromToPolicy, ValueHead
from engine.network.model.network import Network
from engine.network.model.residual_tower import ResidualTower
from engine.network.model.tokens import STATE_FEATURES, TOKENS, Encoder, Tokens
from engine.rules.tables import LARGEST_SIDE


class Outputs(NamedTuple):
    """Outputs for B positions, relative to the side to move."""

    policy: Tensor
    """[B, S, S] logits of moving from a square to a square."""
    promotion: Tensor
    """[B, S, P] logits that are added where a pawn arrives on a square and becomes each of P
    types."""
    wdl: Tensor
    """[B, 3] logits of win, draw and loss for the side to move."""
    moves_left: Tensor
    """[B] plies until the game ends, never negative."""


class AuxiliaryOutputs(NamedTuple):
    """Outputs that only training computes (Wu 2019, sections 3.4 and 4.1); None for no such
    head."""

    reply: Tensor | None
    """[B, S, S] logits of the opponent's next move, on the board as the side to move sees it."""
    ownership: Tensor | None
    """[B, S, 3] logits of whose piece is on each square when the game is over (`heads.py`)."""


class BoardEmbedding(nn.Module):
    """Each square's vector: its token, its rank and file, and the state of the game.

    Ranks and files are counted from both edges, up to eight, so that the weights fit any board.
    """

    places: Tensor  # float32[S, 32], one-hot four times

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.token = nn.Embedding(TOKENS, config.channels)
        self.place = nn.Linear(4 * LARGEST_SIDE, config.channels, bias=False)
        self.state = nn.Linear(STATE_FEATURES, config.channels, bias=False)
        # A square's four place vectors together weigh as much as its token.
        nn.init.normal_(self.token.weight, std=0.5)
        nn.init.normal_(self.place.weight, std=0.25)
        nn.init.normal_(self.state.weight, std=0.5)
        places = board_places(config.width, config.height)
        self.register_buffer("places", places, persistent=False)

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, S, D]."""
        state = self.state(tokens.state.to(self.state.weight.dtype))
        x: Tensor = self.token(tokens.squares) + (self.place(self.places) + state[:, None])
        return x


def board_places(width: int, height: int) -> Tensor:
    """float32[S, 32]: rank from below and above, file from left and right, each one-hot in 8."""
    square = torch.arange(width * height)
    file, rank = square % width, square // width
    counts = torch.stack([rank, height - 1 - rank, file, width - 1 - file], dim=1)
    return F.one_hot(counts, LARGEST_SIDE).flatten(1).float()


class VariantNetwork(Network, ABC):
    """A network for one variant, with weights of its own or shared ones."""

    config: NetworkConfig
    encoder: Encoder
    reply: FromToPolicy | None
    ownership: nn.Linear | None

    @abstractmethod
    def features(self, positions: Tensor) -> Tensor:
        """Square features [B, S, D] of positions uint8[B, S + 5]."""

    @abstractmethod
    def outputs(self, squares: Tensor) -> Outputs:
        """Outputs of the heads for square features [B, S, D]."""

    def forward(self, positions: Tensor) -> Outputs:
        """Outputs for positions uint8[B, S + 5]."""
        return self.outputs(self.features(positions))

    def forward_with_auxiliary(self, positions: Tensor) -> tuple[Outputs, AuxiliaryOutputs]:
        """`forward`, and the outputs of the auxiliary heads."""
        squares = self.features(positions)
        auxiliary = AuxiliaryOutputs(
            None if self.reply is None else self.reply(squares)[0],
            None if self.ownership is None else self.ownership(squares),
        )
        return self.outputs(squares), auxiliary

    def move_logits(
        self, outputs: Outputs, positions: Tensor, moves: Tensor, rows: Tensor
    ) -> Tensor:
        """Logits [M] of `moves` int64[M] (packed as in `engine.rules.moves`).

        `rows` int64[M] is each move's position. A promotion to a type that the network does not
        have raises IndexError.
        """
        pairs = self.encoder.from_to(positions, moves, rows)
        logits = outputs.policy.flatten()[pairs]
        if not self.config.promotion_types:
            return logits
        # A first column of zeros is for moves that do not promote.
        bonus = F.pad(outputs.promotion, (1, 0))
        to_square = pairs % self.config.squares
        return logits + bonus[rows, to_square, self.encoder.promotion(moves)]

    @torch.no_grad()
    def wdl(self, positions: Tensor) -> Tensor:
        """Probabilities float32[B, 3] of win, draw and loss for the side to move."""
        outputs: Outputs = self(positions)
        return outputs.wdl.float().softmax(-1)


class PolicyValueNet(VariantNetwork):
    """A network of one configuration, freshly initialised: all its outputs are near uniform."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config)
        self.embedding = BoardEmbedding(config)
        D, E, width, height = config.channels, config.policy_channels, config.width, config.height
        self.trunk = (
            Backbone(config.transformer(config.squares, (width, height)), self.hook_points)
            if config.trunk == "transformer"
            else ResidualTower(config, self.hook_points, (height, width))
        )
        self.policy = FromToPolicy(D, E, len(config.promotion_types))
        self.value = ValueHead(
            D, config.value_channels, self.hook_points, scalar=config.value == "scalar"
        )
        # Last, so that the other weights of a fresh network do not depend on them.
        self.reply = FromToPolicy(D, E, 0) if config.reply else None
        self.ownership = nn.Linear(D, 3) if config.ownership else None

    def features(self, positions: Tensor) -> Tensor:
        """See `VariantNetwork`."""
        squares: Tensor = self.trunk(self.embedding(self.encoder(positions)))
        return squares

    def outputs(self, squares: Tensor) -> Outputs:
        """See `VariantNetwork`."""
        return Outputs(*self.policy(squares), *self.value(squares))
