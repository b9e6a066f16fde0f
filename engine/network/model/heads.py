"""Heads over square features [B, S, D], the same for every trunk.

E  channels of a policy query     P  promotion types     V  channels of the pooled board
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.network.model.hook_points import HookPoints

MOVES_LEFT_UNIT: Final = 20.0
"""Plies; typical on a small board, so that the layer before it is near 1."""

EMPTY_SQUARE: Final = 0
MY_SQUARE: Final = 1
THEIR_SQUARE: Final = 2
"""Classes of the ownership head: whose piece is on a square when the game is over."""

_NO_DRAW: Final = -30.0
"""Logit of a draw for a head without draws."""


class FromToPolicy(nn.Module):
    """A move's logit: the query of its from-square times the key of its to-square.

    A fresh head is uniform over moves: keys and promotion logits begin at zero.
    """

    def __init__(self, channels: int, policy_channels: int, promotions: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, policy_channels)
        self.key = nn.Linear(channels, policy_channels)
        self.promotion = nn.Linear(channels, promotions) if promotions else None
        nn.init.zeros_(self.key.weight)
        nn.init.zeros_(self.key.bias)
        if self.promotion is not None:
            nn.init.zeros_(self.promotion.weight)
            nn.init.zeros_(self.promotion.bias)

    def forward(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """From-to logits [B, from S, to S] and promotion logits [B, to S, P]."""
        query, key = self.query(squares), self.key(squares)
        scale = query.shape[-1] ** -0.5
        policy = (query * scale) @ key.transpose(1, 2)  # bfe,bte->bft
        if self.promotion is None:
            return policy, squares.new_zeros(*squares.shape[:2], 0)
        return policy, self.promotion(squares)


class ScalarValue(nn.Module):
    """One number v in [-1, 1] as WDL logits: win (1 + v) / 2, loss the rest, no draws.

    As one layer of three outputs: logits (x, -30, -x), so that v = tanh(x).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.value = nn.Linear(channels, 1)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    @property
    def weight(self) -> Tensor:
        """[3, V]."""
        return torch.cat([self.value.weight, 0 * self.value.weight, -self.value.weight])

    @property
    def bias(self) -> Tensor:
        """[3]."""
        return torch.cat([self.value.bias, 0 * self.value.bias + _NO_DRAW, -self.value.bias])

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, V] -> [B, 3]."""
        return F.linear(hidden, self.weight, self.bias)


class ValueHead(nn.Module):
    """WDL and moves left from the mean over the board.

    A fresh head is uniform over win, draw and loss (a scalar one: over win and loss). Hook point:
    `value.hidden` [B, V].
    """

    def __init__(
        self, channels: int, value_channels: int, hook_points: HookPoints, *, scalar: bool = False
    ) -> None:
        super().__init__()
        self.square = nn.Linear(channels, value_channels)
        self.hidden = nn.Linear(value_channels, value_channels)
        self.hidden_point = hook_points.declare("value.hidden")
        self.wdl = ScalarValue(value_channels) if scalar else nn.Linear(value_channels, 3)
        self.moves_left = nn.Linear(value_channels, 1)
        for layer in (self.wdl, self.moves_left):
            if isinstance(layer, nn.Linear):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """WDL logits [B, 3] of the side to move and plies left [B], never negative."""
        pooled = F.relu(self.square(squares), inplace=True).mean(1)
        hidden = self.hidden_point(F.relu(self.hidden(pooled)))
        moves_left = F.softplus(self.moves_left(hidden)) * MOVES_LEFT_UNIT
        return self.wdl(hidden), moves_left.squeeze(1)
