"""The transformer that everything stands on: embedded tokens in, features of the same shape out.

Axes, wherever they are named:

    B  batch          H  attention heads        T  tokens: squares of a board, or moves of a game
    D  channels       E  channels of a head     q  the token that looks, k  the token looked at
    M  hidden width of the MLP                  (D = H * E)

Blocks are pre-LayerNorm (Radford et al. 2019, section 2.3):

    x --+--> LayerNorm -> attention --+--> LayerNorm -> MLP --+--> x
        |                             |                       |
        +-----------------------------+-----------------------+

Points (see `points.py`), i from 0:

    embed                      [B, T, D]     tokens with their positions, as block 0 receives them
    block.i.attention.pattern  [B, H, q, k]  softmaxed weights; rows sum to 1
    block.i.attention.head     [B, H, T, E]  what each head gathered, before the output matrix
    block.i.mlp.hidden         [B, T, M]     after the activation function
    block.i.residual           [B, T, D]     the stream as it leaves the block
    final                      [B, T, D]     after the last LayerNorm, as heads receive it
"""

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.network.config import TransformerConfig
from engine.network.points import Points
from engine.rules.tables import LARGEST_SIDE

EXPLICIT_TOKENS: Final = 64
"""Up to here a CPU is faster with plain matrix products than with PyTorch's fused attention (on 25
squares with 4 heads the whole network by 1.1 in float32 and 1.4 in bfloat16)."""


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, section 3.2), optionally causal."""

    def __init__(self, config: TransformerConfig, points: Points, name: str) -> None:
        super().__init__()
        self.heads, self.causal = config.heads, config.causal
        self.qkv = nn.Linear(config.channels, 3 * config.channels)
        self.out = nn.Linear(config.channels, config.channels)
        self.pattern_point = points.declare(f"{name}.attention.pattern")
        self.head_point = points.declare(f"{name}.attention.head")

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """[B, T, D] -> [B, T, D]. `bias` [H or 1, q, k] or [B, H or 1, q, k] adds to the scores."""
        B, T, D = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.heads, D // self.heads)
        qkv = qkv.permute(2, 0, 3, 1, 4)  # query, key and value, each [B, H, T, E]
        on_cpu = x.device.type == "cpu" and T <= EXPLICIT_TOKENS
        if on_cpu or self.pattern_point.open:
            query, key, value = qkv.contiguous()  # one copy instead of one for each product
            pattern = self.pattern_point(_pattern(query, key, bias, self.causal))
            gathered = pattern @ value  # bhqk,bhke->bhqe: weighted sum of values
        else:
            query, key, value = qkv
            mask, is_causal = _mask(bias, self.causal)
            gathered = F.scaled_dot_product_attention(query, key, value, mask, 0.0, is_causal)
        gathered = self.head_point(gathered)
        out: Tensor = self.out(gathered.transpose(1, 2).reshape(B, T, D))
        return out


def _pattern(query: Tensor, key: Tensor, bias: Tensor | None, causal: bool) -> Tensor:
    """Attention weights [B, H, q, k]; the softmax is taken in float32 or better."""
    scores = query @ key.transpose(-2, -1)  # bhqe,bhke->bhqk: likeness of query and key
    scale = query.shape[-1] ** -0.5
    scores = scores * scale if bias is None else torch.add(bias, scores, alpha=scale)
    if causal:
        scores = scores + _later(scores)
    if scores.dtype in (torch.bfloat16, torch.float16):
        return scores.float().softmax(-1).to(scores.dtype)
    return scores.softmax(-1)


def _later(like: Tensor) -> Tensor:
    """[T, T]: -inf where k comes after q, else 0."""
    T = like.shape[-1]
    return like.new_full((T, T), -torch.inf).triu(1)


def _mask(bias: Tensor | None, causal: bool) -> tuple[Tensor | None, bool]:
    """`attn_mask` and `is_causal` for `scaled_dot_product_attention`, which takes only one."""
    if bias is None:
        return None, causal
    return bias + _later(bias) if causal else bias, False


class MLP(nn.Module):
    """One hidden layer, applied to every token by itself."""

    def __init__(self, config: TransformerConfig, points: Points, name: str) -> None:
        super().__init__()
        self.relu = config.activation == "relu"
        self.up = nn.Linear(config.channels, config.hidden)
        self.down = nn.Linear(config.hidden, config.channels)
        self.hidden_point = points.declare(f"{name}.mlp.hidden")

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        hidden = self.up(x)
        hidden = F.relu(hidden, inplace=True) if self.relu else F.gelu(hidden, approximate="tanh")
        out: Tensor = self.down(self.hidden_point(hidden))
        return out


class Block(nn.Module):
    """Attention, then the MLP where there is one, each added to the stream."""

    def __init__(self, config: TransformerConfig, points: Points, name: str) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.channels)
        self.attention = Attention(config, points, name)
        self.mlp_norm = nn.LayerNorm(config.channels) if config.hidden else None
        self.mlp = MLP(config, points, name) if config.hidden else None
        self.residual_point = points.declare(f"{name}.residual")

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """[B, T, D] -> [B, T, D]; `bias` as in `Attention`."""
        x = x + self.attention(self.attention_norm(x), bias)
        if self.mlp is not None and self.mlp_norm is not None:
            x = x + self.mlp(self.mlp_norm(x))
        return self.residual_point(x)


class GeometricBias(nn.Module):
    """Attention scores by relative file and rank, for every block and head.

    One number for each step from the looking square to the square looked at, as in the relative
    position bias of Swin (Liu et al. 2021, section 3.2). The table spans an 8x8 board whatever the
    board is, so that a network can be carried from one board to another.
    """

    index: Tensor  # int64[T, T]: place of each pair's step in the table

    def __init__(self, blocks: int, heads: int, board: tuple[int, int]) -> None:
        super().__init__()
        steps = 2 * LARGEST_SIDE - 1
        self.table = nn.Parameter(torch.zeros(blocks, heads, steps * steps))
        width, height = board
        square = torch.arange(width * height)
        file, rank = square % width, square // width
        file_step = file[None, :] - file[:, None] + LARGEST_SIDE - 1
        rank_step = rank[None, :] - rank[:, None] + LARGEST_SIDE - 1
        self.register_buffer("index", rank_step * steps + file_step, persistent=False)

    def forward(self) -> Tensor:
        """[blocks, H, q, k]."""
        return self.table[:, :, self.index]


class Backbone(nn.Module):
    """Blocks between a position term and a last LayerNorm, initialised as in GPT-2."""

    def __init__(self, config: TransformerConfig, points: Points) -> None:
        super().__init__()
        self.config = config
        self.place = None
        if config.position == "learned":
            self.place = nn.Parameter(torch.zeros(config.context, config.channels))
        self.geometry = None
        if config.position == "geometric":
            if config.board is None or math.prod(config.board) != config.context:
                raise ValueError(f"geometric positions need a board, not {config.board}")
            self.geometry = GeometricBias(config.blocks, config.heads, config.board)
        self.embed_point = points.declare("embed")
        blocks = [Block(config, points, f"block.{i}") for i in range(config.blocks)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.channels)
        self.final_point = points.declare("final")
        self._initialise()

    def _initialise(self) -> None:
        """GPT-2's 0.02 at its 768 channels, wider for fewer; what writes to the stream is smaller
        by the root of the number of writers (Radford et al. 2019, section 2.3)."""
        spread = 0.02 * math.sqrt(768 / self.config.channels)
        if self.place is not None:
            nn.init.normal_(self.place, std=spread)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                writer = name.endswith((".out", ".down"))
                share = math.sqrt(2 * self.config.blocks) if writer else 1.0
                nn.init.normal_(module.weight, std=spread / share)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Embedded tokens [B, T, D], T <= context, to features [B, T, D]."""
        if self.place is not None:
            x = x + self.place[: x.shape[1]]
        x = self.embed_point(x)
        biases = None if self.geometry is None else self.geometry()
        for i, block in enumerate(self.blocks):
            x = block(x, None if biases is None else biases[i])
        return self.final_point(self.norm(x))
