"""A residual tower over the board: convolutions with squeeze-and-excitation.

Axes: B batch, S squares = height * width, D channels, C squeezed channels.

    x --+--> LayerNorm -> 3x3 -> ReLU -> 3x3 -> squeeze-and-excitation --+--> x
        |                                                                |
        +----------------------------------------------------------------+

Each square is normalised separately, as in the transformer. There are no statistics over the batch:
a position's evaluation does not depend on the others, and training and play agree.

With `norm = "none"` there is no normalisation before the last one; a ReLU follows the embedding and
each sum, as in He et al. 2016, and each block begins as the identity, as in Fixup (Zhang et al.
2019, section 3). The stream is then never negative, which suits 8-bit numbers, and a CPU runs the
two convolutions of a block without a step in between:

    x --+--> 3x3 -> ReLU -> 3x3 -> squeeze-and-excitation --+--> ReLU --> x
        |                                                   |
        +---------------------------------------------------+

Hook points (see `hook_points.py`), i from 0, with squares, not planes:

    embed             [B, S, D]   block 0's input
    block.i.hidden    [B, S, D]   between the convolutions, after the ReLU
    block.i.gate      [B, D]      squeeze-and-excitation's factor of each channel, 0 to 1
    block.i.residual  [B, S, D]   the stream after the block
    final             [B, S, D]   after the last LayerNorm: the heads' input
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.network.model.config import BuildConfig
from engine.network.model.hook_points import HookPoint, HookPoints


class SqueezeExcitation(nn.Module):
    """Scales and shifts each channel, depending on the mean over the board.

    Hu et al. 2018, section 3; the shift is Leela Chess Zero's addition.
    """

    def __init__(self, channels: int, squeeze: int, gate_point: HookPoint) -> None:
        super().__init__()
        self.down = nn.Linear(channels, squeeze)
        self.up = nn.Linear(squeeze, 2 * channels)
        self.gate_point = gate_point

    def forward(self, planes: Tensor) -> Tensor:
        """[B, D, height, width] -> the same."""
        squeezed = F.relu(self.down(planes.mean((2, 3))))  # [B, C]
        gate, shift = self.up(squeezed).chunk(2, dim=1)  # 2 × [B, D]
        gate = self.gate_point(gate.sigmoid())
        return torch.addcmul(shift[:, :, None, None], planes, gate[:, :, None, None])


class ResidualBlock(nn.Module):
    """Two convolutions and squeeze-and-excitation, added to the stream."""

    def __init__(self, config: BuildConfig, hook_points: HookPoints, name: str) -> None:
        super().__init__()
        channels = config.channels
        self.norm = nn.LayerNorm(channels) if config.norm == "layer" else None
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.hidden_point = hook_points.declare(f"{name}.hidden")
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.excitation = (
            SqueezeExcitation(channels, config.squeeze, hook_points.declare(f"{name}.gate"))
            if config.excitation
            else None
        )
        self.residual_point = hook_points.declare(f"{name}.residual")

    def forward(self, x: Tensor, board: tuple[int, int]) -> Tensor:
        """[B, S, D] -> [B, S, D]; `board` is (height, width)."""
        planes = to_planes(x if self.norm is None else self.norm(x), board)
        hidden = F.relu(self.first(planes), inplace=True)
        if self.hidden_point.open:
            hidden = to_planes(self.hidden_point(to_squares(hidden)), board)
        planes = self.second(hidden)
        if self.excitation is not None:
            planes = self.excitation(planes)
        x = x + to_squares(planes)
        return self.residual_point(x if self.norm is not None else F.relu(x))


class ResidualTower(nn.Module):
    """The trunk: blocks, then a last LayerNorm."""

    def __init__(
        self, config: BuildConfig, hook_points: HookPoints, board: tuple[int, int]
    ) -> None:
        """`board` is (height, width)."""
        super().__init__()
        self.normed = config.norm == "layer"
        self.board = board
        self.embed_point = hook_points.declare("embed")
        blocks = [ResidualBlock(config, hook_points, f"block.{i}") for i in range(config.blocks)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.channels)
        self.final_point = hook_points.declare("final")
        for block in blocks:
            _initialise(block, config)

    def forward(self, x: Tensor, board: tuple[int, int] | None = None) -> Tensor:
        """Embedded squares [B, S, D] to square features [B, S, D].

        `board` is (height, width), by default the tower's own: no weight depends on it.
        """
        x = self.embed_point(x if self.normed else F.relu(x))
        for block in self.blocks:
            x = block(x, board or self.board)
        return self.final_point(self.norm(x))


def to_planes(squares: Tensor, board: tuple[int, int]) -> Tensor:
    """[B, S, D] -> [B, D, height, width]: a view, channels last in memory."""
    B, _, D = squares.shape
    return squares.view(B, *board, D).permute(0, 3, 1, 2)


def to_squares(planes: Tensor) -> Tensor:
    """[B, D, height, width] -> [B, S, D]: a view where channels are last in memory."""
    return planes.permute(0, 2, 3, 1).flatten(1, 2)


def _initialise(block: ResidualBlock, config: BuildConfig) -> None:
    """The first convolution as in He et al. 2015; the second smaller by the root of the depth; a
    fresh gate is one half everywhere. Without LayerNorm the first is smaller and the second zero:
    Fixup's rules 1 and 2 for two layers a block. Its scalars are left out, since Adam's steps do
    not depend on a gradient's scale and every channel has a bias."""
    nn.init.kaiming_normal_(block.first.weight, nonlinearity="relu")
    nn.init.kaiming_normal_(block.second.weight, nonlinearity="relu")
    share = 1 / math.sqrt(config.blocks)
    with torch.no_grad():
        if block.norm is None:
            block.first.weight *= share
            block.second.weight.zero_()
        else:
            block.second.weight *= share
    for convolution in (block.first, block.second):
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    if block.excitation is not None:
        nn.init.zeros_(block.excitation.up.bias)
        nn.init.zeros_(block.excitation.up.weight)
