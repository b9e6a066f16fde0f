"""The transformer of every model here: embedded tokens in, features of the same shape out.

Axes:

    B  batch          H  attention heads        T  tokens: squares of boards, moves of a game, text
    D  channels       E  channels of a head     q  query token, k  key token
    M  hidden width of the MLP                  (D = H * E)

Blocks are pre-LayerNorm (Radford et al. 2019, section 2.3), without the MLP where M is 0:

    x --+--> LayerNorm -> attention --+--> LayerNorm -> MLP --+--> x
        |                             |                       |
        +-----------------------------+-----------------------+

Hook points (see `hook_points.py`), i from 0:

    embed                      [B, T, D]     embedded tokens with their positions: block 0's input
    block.i.attention.pattern  [B, H, q, k]  softmaxed weights; rows sum to 1
    block.i.attention.head     [B, H, T, E]  weighted values of each head, before the output matrix
    block.i.mlp.hidden         [B, T, M]     after the activation function
    block.i.residual           [B, T, D]     the stream after the block
    final                      [B, T, D]     after the last LayerNorm: the heads' input
"""

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.network.model.config import TransformerConfig
from engine.network.model.hook_points import HookPoints
from engine.rules.tables import LARGEST_SIDE

EXPLICIT_TOKENS: Final = 64
"""Most tokens for which a CPU is faster with plain matrix products than with PyTorch's fused
attention: the whole network by 1.1 in float32 and 1.4 in bfloat16, on 25 squares with 4 heads."""
EXPLICIT_LEARNING: Final = 128
"""The same with gradients: by 1.5 in bfloat16, at 64 tokens with 4 heads of 32 channels. At 256
tokens with 6 heads of 64 both take the same time, and the fused one a third less memory."""
_STEPS: Final = 2 * LARGEST_SIDE - 1
"""Different steps from file to file, or from rank to rank, on the largest board."""


class Cache:
    """Keys and values of the tokens that a causal backbone has read.

    For inference: they have no gradients.
    """

    def __init__(self, config: TransformerConfig, batch: int, like: Tensor) -> None:
        """Space for `config.context` tokens of `batch` sequences; dtype and device as `like`."""
        E = config.channels // config.heads
        shape = (config.blocks, 2, batch, config.heads, config.context, E)
        self.stored = torch.empty(shape, dtype=like.dtype, device=like.device)
        self.length = 0

    def extend(self, block: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store those of the newest tokens, each [B, H, T, E]; returns those of all tokens."""
        end = self.length + keys.shape[2]
        stored = self.stored[block]
        stored[0, :, :, self.length : end] = keys.detach()
        stored[1, :, :, self.length : end] = values.detach()
        return stored[0, :, :, :end], stored[1, :, :, :end]


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, section 3.2), optionally causal."""

    def __init__(self, config: TransformerConfig, hook_points: HookPoints, block: int) -> None:
        super().__init__()
        self.heads, self.causal, self.block = config.heads, config.causal, block
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.channels, 3 * config.channels)
        self.out = nn.Linear(config.channels, config.channels)
        self.pattern_point = hook_points.declare(f"block.{block}.attention.pattern")
        self.head_point = hook_points.declare(f"block.{block}.attention.head")

    def forward(self, x: Tensor, bias: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D]. `bias` [H, q, k] is added to the scores."""
        B, T, D = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.heads, D // self.heads)
        qkv = qkv.permute(2, 0, 3, 1, 4)  # query, key and value, each [B, H, T, E]
        longest = EXPLICIT_LEARNING if torch.is_grad_enabled() else EXPLICIT_TOKENS
        explicit = self.pattern_point.open or (x.device.type == "cpu" and longest >= T)
        query, key, value = qkv.contiguous() if explicit else qkv  # one copy for all products
        if cache is not None:
            key, value = cache.extend(self.block, key, value)
        dropout = self.dropout if self.training else 0.0
        if explicit:
            pattern = self.pattern_point(_pattern(query, key, bias, self.causal))
            # bhqk,bhke->bhqe: weighted sum of values
            heads = F.dropout(pattern, dropout) @ value
        else:
            mask, is_causal = _mask(bias, self.causal, T, key)
            heads = F.scaled_dot_product_attention(query, key, value, mask, dropout, is_causal)
        heads = self.head_point(heads)
        out: Tensor = self.out(heads.transpose(1, 2).reshape(B, T, D))
        return out


def _pattern(query: Tensor, key: Tensor, bias: Tensor | None, causal: bool) -> Tensor:
    """Attention weights [B, H, q, k]; the softmax is in float32 or better."""
    scores = query @ key.transpose(-2, -1)  # bhqe,bhke->bhqk
    scale = query.shape[-1] ** -0.5
    scores = scores * scale if bias is None else torch.add(bias, scores, alpha=scale)
    if causal and query.shape[2] > 1:
        scores = scores + _later(query.shape[2], scores)
    if scores.dtype in (torch.bfloat16, torch.float16):
        return scores.float().softmax(-1).to(scores.dtype)
    return scores.softmax(-1)


def _later(queries: int, like: Tensor) -> Tensor:
    """[q, k]: -inf where k is after q, else 0; the last query and the last key are one token."""
    keys = like.shape[-1]
    return like.new_full((queries, keys), -torch.inf).triu(1 + keys - queries)


def _mask(
    bias: Tensor | None, causal: bool, queries: int, key: Tensor
) -> tuple[Tensor | None, bool]:
    """`attn_mask` and `is_causal` of `scaled_dot_product_attention`, which accepts only one."""
    keys = key.shape[2]
    if not causal or queries == 1:
        return bias, False
    if bias is None and queries == keys:
        return None, True
    later = _later(queries, key.new_empty(keys))
    return later if bias is None else bias + later, False


class MLP(nn.Module):
    """One hidden layer, applied to each token separately."""

    def __init__(self, config: TransformerConfig, hook_points: HookPoints, block: int) -> None:
        super().__init__()
        self.relu = config.activation == "relu"
        self.up = nn.Linear(config.channels, config.hidden)
        self.down = nn.Linear(config.hidden, config.channels)
        self.hidden_point = hook_points.declare(f"block.{block}.mlp.hidden")

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        hidden = self.up(x)
        hidden = F.relu(hidden, inplace=True) if self.relu else F.gelu(hidden, approximate="tanh")
        out: Tensor = self.down(self.hidden_point(hidden))
        return out


class Block(nn.Module):
    """Attention, then the MLP if there is one, each added to the stream."""

    def __init__(self, config: TransformerConfig, hook_points: HookPoints, block: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.attention_norm = nn.LayerNorm(config.channels)
        self.attention = Attention(config, hook_points, block)
        self.mlp_norm = nn.LayerNorm(config.channels) if config.hidden else None
        self.mlp = MLP(config, hook_points, block) if config.hidden else None
        self.residual_point = hook_points.declare(f"block.{block}.residual")

    def forward(self, x: Tensor, bias: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D]; `bias` as in `Attention`."""
        x = x + self._drop(self.attention(self.attention_norm(x), bias, cache))
        if self.mlp is not None and self.mlp_norm is not None:
            x = x + self._drop(self.mlp(self.mlp_norm(x)))
        return self.residual_point(x)

    def _drop(self, added: Tensor) -> Tensor:
        return F.dropout(added, self.dropout) if self.training and self.dropout else added


def board_steps(width: int, height: int) -> Tensor:
    """int64[q, k]: the step from square q to square k of a board.

    Numbered rank by rank over all steps on an 8x8 board, -7 to 7 in either direction.
    """
    square = torch.arange(width * height)
    ranks, files = square // width, square % width
    rank_step = ranks[None, :] - ranks[:, None] + LARGEST_SIDE - 1
    file_step = files[None, :] - files[:, None] + LARGEST_SIDE - 1
    return rank_step * _STEPS + file_step


class GeometricBias(nn.Module):
    """Bias of attention scores by relative file and rank, for every block and head.

    One number for each step from query square to key square, as in the relative position bias of
    Swin (Liu et al. 2021, section 3.2). The table covers an 8x8 board for every board, so that
    weights can be transferred from one board to another.
    """

    index: Tensor | None  # int64[q, k]: the steps of the configuration's board, if it has one

    def __init__(self, blocks: int, heads: int, board: tuple[int, int] | None) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(blocks, heads, _STEPS * _STEPS))
        nn.init.zeros_(self.table)
        self.register_buffer("index", board and board_steps(*board), persistent=False)

    def forward(self, steps: Tensor | None = None) -> Tensor:
        """[blocks, H, q, k]; `steps` are those of another board than the configuration's."""
        steps = self.index if steps is None else steps
        if steps is None:
            raise ValueError("a backbone without a board in its configuration needs `steps`")
        return self.table[:, :, steps]


class Backbone(nn.Module):
    """A position term, blocks and a last LayerNorm, initialised as in GPT-2."""

    def __init__(self, config: TransformerConfig, hook_points: HookPoints) -> None:
        super().__init__()
        self.config = config
        self.place = None
        if config.position == "learned":
            self.place = nn.Parameter(torch.empty(config.context, config.channels))
        self.geometry = None
        if config.position == "geometric":
            if config.board is not None and math.prod(config.board) != config.context:
                raise ValueError(f"a context of {config.context} tokens, a board {config.board}")
            self.geometry = GeometricBias(config.blocks, config.heads, config.board)
        self.embed_point = hook_points.declare("embed")
        self.blocks = nn.ModuleList(Block(config, hook_points, i) for i in range(config.blocks))
        self.norm = nn.LayerNorm(config.channels)
        self.final_point = hook_points.declare("final")
        self._initialise()

    @property
    def spread(self) -> float:
        """Standard deviation of fresh weights: by default GPT-2's 0.02 at its 768 channels, and
        more for fewer."""
        spread = self.config.spread
        return 0.02 * math.sqrt(768 / self.config.channels) if spread is None else spread

    def _initialise(self) -> None:
        """Layers that write to the stream are smaller by the root of their number (Radford et al.
        2019, section 2.3)."""
        if self.place is not None:
            nn.init.normal_(self.place, std=self.spread)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                writer = name.endswith((".out", ".down"))
                share = math.sqrt(2 * self.config.blocks) if writer else 1.0
                nn.init.normal_(module.weight, std=self.spread / share)
                nn.init.zeros_(module.bias)

    def cache(self, batch: int) -> Cache:
        """An empty cache for `batch` sequences; raises ValueError for a backbone that is not causal
        or reads a board."""
        if not self.config.causal or self.geometry is not None:
            raise ValueError("no cache: only a causal sequence can be read in parts")
        return Cache(self.config, batch, self.norm.weight)

    def forward(self, x: Tensor, steps: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Embedded tokens [B, T, D] to features [B, T, D].

        `steps` int64[q, k] are the `board_steps` of another board than the configuration's. With a
        `cache`, the tokens continue the sequence that it stores, and it is extended. Raises
        ValueError for more tokens than `context`.
        """
        begin = 0 if cache is None else cache.length
        end = begin + x.shape[1]
        if end > self.config.context:
            raise ValueError(f"{end} tokens, the context is {self.config.context}")
        if self.place is not None:
            x = x + self.place[begin:end]
        if self.training and self.config.dropout:
            x = F.dropout(x, self.config.dropout)
        x = self.embed_point(x)
        biases = None if self.geometry is None else self.geometry(steps)
        for i, block in enumerate(self.blocks):
            x = block(x, None if biases is None else biases[i], cache)
        if cache is not None:
            cache.length = end
        return self.final_point(self.norm(x))
