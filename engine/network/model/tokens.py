"""Rows of bytes to tokens, and moves to from-to pairs, both relative to the side to move.

The side to move always moves up the board: for Black the ranks are mirrored (not the files) and the
colours swapped. A 3x3 board with Black to move, squares numbered as in a row:

         in the row                          relative to Black

    3 |  p  .  p     6 7 8              3 |  P' .  .     0 1 2
    2 |  .  p  .     3 4 5     ---->    2 |  .  p  .     3 4 5     p  mine, type 7
    1 |  P  .  .     0 1 2              1 |  p  .  p     6 7 8     P' theirs, type 7 | 16
         a  b  c                             a  b  c

Token of a square (32 in all, the piece codes of a row with "black" read as "theirs"):

     0        1 .. 15        16                                17 .. 31
     empty    my pieces      empty, I may take en passant      their pieces

State features, float[B, 6], for what the squares do not show:

     0, 1  I may castle on the king's, queen's side     4  half-move clock / move rule
     2, 3  they may                                     5  1 - 2^-n for n earlier occurrences
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from engine.network.model.config import NetworkConfig
from engine.rules import tables
from engine.rules.moves import PROMOTION_SHIFT, SQUARE_BITS, SQUARE_MASK

TOKENS: Final = tables.PIECE_CODES
EN_PASSANT_TOKEN: Final = tables.BLACK_BIT
STATE_FEATURES: Final = 6


class Tokens(NamedTuple):
    """B positions, relative to the side to move."""

    squares: Tensor
    """int32[B, S] in 0 .. 31: the token of each square."""
    state: Tensor
    """float32[B, 6]: the state features above."""


class Encoder(nn.Module):
    """Positions and moves relative to the side to move, on one variant's board (S squares)."""

    squares: Tensor  # int64[2, S]: the row's square at each place, by side to move
    codes: Tensor  # int32[2, 32]: the token of a piece code, by side to move
    rights: Tensor  # float32[2, 16, 4]: castling features, by side to move and rights
    pairs: Tensor  # int64[2, 4096]: relative from * S + to, by side to move and low bits of a move
    promotions: Tensor  # int64[16]: 1 + index among the promotion types, 0 for no promotion

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.size = config.squares
        self.clock_unit = 1.0 / config.clock_rule if config.clock_rule else 0.0
        places = torch.arange(self.size)
        mirrored = places.view(config.height, config.width).flip(0).flatten()
        codes = torch.arange(tables.PIECE_CODES, dtype=torch.int32)
        swapped = torch.where(codes % tables.BLACK_BIT == 0, codes, codes ^ tables.BLACK_BIT)
        bits = (torch.arange(16)[:, None] >> torch.arange(4) & 1).float()
        promotions = torch.full((tables.PIECE_TYPES,), _UNKNOWN)
        promotions[[0, *config.promotion_types]] = torch.arange(1 + len(config.promotion_types))
        buffers = {
            "squares": torch.stack([places, mirrored]),
            "codes": torch.stack([codes, swapped]),
            "rights": torch.stack([bits, bits.roll(2, dims=1)]),
            "pairs": _pairs(torch.stack([places, mirrored])),
            "promotions": promotions,
        }
        for name, table in buffers.items():
            self.register_buffer(name, table, persistent=False)

    def forward(self, positions: Tensor) -> Tokens:
        """Tokens of positions uint8[B, S + 5]."""
        size = self.size
        # ONNX has only 64-bit indices.
        state = positions[:, size:].long()
        side = state[:, tables.SIDE]
        marked = self.squares[0] == state[:, tables.EN_PASSANT, None]
        codes = positions[:, :size] | marked.to(torch.uint8) * EN_PASSANT_TOKEN
        seen = codes.int().gather(1, self.squares[side])
        features = torch.cat(
            [
                self.rights[side, state[:, tables.CASTLING]],
                state[:, tables.CLOCK, None] * self.clock_unit,
                1.0 - torch.exp2(-state[:, tables.REPETITION, None]),
            ],
            dim=1,
        )
        return Tokens(self.codes.flatten()[seen + side[:, None] * tables.PIECE_CODES], features)

    def from_to(self, positions: Tensor, moves: Tensor, rows: Tensor) -> Tensor:
        """Flat indices int64[M] of `moves` int64[M] in a from-to table [B, S, S].

        `rows` int64[M] is each move's position; castling is the king taking its own rook.
        """
        side = positions[rows, self.size + tables.SIDE].long()
        pair = self.pairs[side, moves & (1 << PROMOTION_SHIFT) - 1]
        return rows * (self.size * self.size) + pair

    def promotion(self, moves: Tensor) -> Tensor:
        """1 + index of each move's promotion among the promotion types, 0 for none: int64[M].

        A type that the network does not have gives an index out of range.
        """
        return self.promotions[moves >> PROMOTION_SHIFT]


_UNKNOWN: Final = 1 << 30
"""Index of a promotion type that the network does not have."""


def _pairs(seen: Tensor) -> Tensor:
    """int64[2, 4096] from `seen` int64[2, S]; squares off the board give 0."""
    size = seen.shape[1]
    move = torch.arange(1 << PROMOTION_SHIFT)
    start, end = move & SQUARE_MASK, move >> SQUARE_BITS
    inside = (start < size) & (end < size)
    pair = seen[:, start.clamp(max=size - 1)] * size + seen[:, end.clamp(max=size - 1)]
    return torch.where(inside, pair, 0)
