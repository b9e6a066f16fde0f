"""The residual tower in AVX-512 kernels.

    tokens -> stream, fp32[S, D]
        -> quantised -> 3x3 -> ReLU, quantised -> 3x3 (-> squeeze-and-excitation) + stream -> stream
        for each block                                                                     -> heads

The stream is quantised by a LayerNorm, or by the ReLU at the end of a block (`residual_tower.py` of
engine/network/model).
"""

from typing import NamedTuple

import numpy as np

from engine.network.inference.avx512.code import LANES
from engine.network.inference.avx512.embedding_and_heads import (
    CHUNK,
    Bytes,
    Embedding,
    Floats,
    Heads,
    HeadWorkspace,
    Squares,
    embed,
    evaluate_heads,
)
from engine.network.inference.avx512.kernels import (
    RELU,
    THREE_TAPS,
    Fixed,
    convolve,
    normalise,
    quantise,
)
from engine.rules.compilation.decorators import generic_kernel


class TowerShape(NamedTuple):
    """Tuples whose lengths are fixed when the kernel is compiled."""

    files: Fixed
    """W."""
    blocks: Fixed
    """Registers of outputs in a tile: of the convolutions,"""
    head_blocks: Fixed
    """of the heads' first layers,"""
    table_blocks: Fixed
    """of the from-to table."""
    number: Fixed
    """Bytes of a number: in the trunk,"""
    head_number: Fixed
    """in the heads."""
    role: Fixed
    """What a block's second convolution writes: PUT if squeeze-and-excitation follows, else ADD if
    the stream has LayerNorms, else STREAM."""


class Tower(NamedTuple):
    """The L blocks."""

    first: Bytes
    """[L, ...], each convolution's weights as `weights.pack` writes them."""
    first_scales: Floats
    """[L, D], factors of the sums."""
    first_biases: Floats
    """[L, S, D], added after that. They differ at the edge if 0 is not quantised as 0."""
    second: Bytes
    """[L, ...]."""
    second_scales: Floats
    """[L, D]."""
    second_biases: Floats
    """[L, D]."""
    units: Floats
    """[L + 1], the quantised number that stands for 1.0, at the start and after each block."""
    gain: Floats
    """[L, D], the LayerNorms' weights, in units of quantised numbers; [0, D] without LayerNorms."""
    shift: Floats
    """[L, D], their biases, likewise."""
    down: Floats
    """[L, D, C], squeeze-and-excitation, from input to output; C is 0 if there is none."""
    down_bias: Floats
    """[L, C]."""
    up: Floats
    """[L, C, 2 D]."""
    up_bias: Floats
    """[L, 2 D]."""


class TowerWorkspace(NamedTuple):
    """Buffers for a chunk of boards."""

    fp32: Floats
    """[CHUNK, S, D], the stream."""
    quantised: Bytes
    """[CHUNK, S, D times the bytes of a number], the stream."""
    hidden: Bytes
    """The same, between the convolutions of a block."""
    branch: Floats
    """[S, D], a block's branch before squeeze-and-excitation, of one board."""


@generic_kernel
def _excite(tower: Tower, layer: int, branch: Floats, fp32: Floats) -> None:
    """Add the branch [S, D] to the stream, its channels scaled and shifted by
    squeeze-and-excitation; without LayerNorms a ReLU follows."""
    squares, channels = branch.shape
    pooled = np.zeros(channels, np.float32)
    for s in range(squares):
        for c in range(channels):
            pooled[c] += branch[s, c]
    squeezed = tower.down_bias[layer].copy()
    for c in range(channels):
        mean = pooled[c] / np.float32(squares)
        for k in range(squeezed.shape[0]):
            squeezed[k] += mean * tower.down[layer, c, k]
    gates = tower.up_bias[layer].copy()
    for k in range(squeezed.shape[0]):
        value = max(squeezed[k], np.float32(0))
        for c in range(2 * channels):
            gates[c] += value * tower.up[layer, k, c]
    for c in range(channels):
        gates[c] = np.float32(1) / (np.float32(1) + np.exp(-gates[c]))
    lowest = np.float32(0 if tower.gain.shape[0] == 0 else -np.inf)
    for s in range(squares):
        for c in range(channels):
            sum_ = fp32[s, c] + (branch[s, c] * gates[c] + gates[channels + c])
            fp32[s, c] = max(sum_, lowest)


@generic_kernel
def _block(
    shape: TowerShape,
    tower: Tower,
    epsilon: float,
    workspace: TowerWorkspace,
    layer: int,
    board: int,
) -> None:
    """Apply a block to one board of the chunk."""
    _, squares, channels = workspace.fp32.shape
    files, blocks, number = shape.files, shape.blocks, shape.number
    stride, normed = channels * len(number), tower.gain.shape[0] > 0
    groups, group = stride // 4, 64 * len(blocks) * len(THREE_TAPS)
    ranks, parts = squares // len(files), channels // (LANES * len(blocks))
    fp32 = workspace.fp32[board].ctypes.data
    quantised, hidden = workspace.quantised[board].ctypes.data, workspace.hidden[board].ctypes.data
    unit, one = tower.units[layer + 1], np.float32(1)
    if normed:
        normalise(
            number, fp32, quantised, squares, channels, tower.gain[layer].ctypes.data,
            tower.shift[layer].ctypes.data, np.float32(epsilon),
        )  # fmt: skip
    convolve(
        files, blocks, THREE_TAPS, number, RELU,
        quantised, stride, tower.first[layer].ctypes.data, group, group * groups * len(THREE_TAPS),
        tower.first_scales[layer].ctypes.data, tower.first_biases[layer].ctypes.data,
        4 * channels, fp32, 4 * channels, hidden, stride, ranks, groups, parts, one,
    )  # fmt: skip
    excited = tower.down.shape[2] > 0
    target = workspace.branch.ctypes.data if excited else fp32
    convolve(
        files, blocks, THREE_TAPS, number, shape.role,
        hidden, stride, tower.second[layer].ctypes.data, group, group * groups * len(THREE_TAPS),
        tower.second_scales[layer].ctypes.data, tower.second_biases[layer].ctypes.data,
        0, target, 4 * channels, quantised, stride, ranks, groups, parts, unit,
    )  # fmt: skip
    if excited:
        _excite(tower, layer, workspace.branch, workspace.fp32[board])
        if not normed:
            quantise(number, fp32, quantised, squares * channels, unit, np.float32(0))


@generic_kernel
def run_tower(
    shape: TowerShape,
    tokens: Squares,
    state: Floats,
    embedding: Embedding,
    tower: Tower,
    heads: Heads,
    epsilon: float,
    workspace: TowerWorkspace,
    head_workspace: HeadWorkspace,
    policy: Floats,
    promotion: Floats,
    wdl: Floats,
) -> None:
    """Compute the logits [B, S, S rounded up], [B, S, P] and [B, 3] of `tokens` [B, S] and `state`
    [B, 6]."""
    _, squares, channels = workspace.fp32.shape
    none = np.float32(0)
    lowest = np.float32(-np.inf) if tower.gain.shape[0] else none
    for low in range(0, tokens.shape[0], CHUNK):
        count = min(CHUNK, tokens.shape[0] - low)
        for i in range(count):
            embed(tokens[low + i], state[low + i], embedding, lowest, workspace.fp32[i])
        if tower.gain.shape[0] == 0:
            quantise(
                shape.number, workspace.fp32.ctypes.data, workspace.quantised.ctypes.data,
                count * squares * channels, tower.units[0], none,
            )  # fmt: skip
        for layer in range(tower.first.shape[0]):
            for i in range(count):
                _block(shape, tower, epsilon, workspace, layer, i)
        for i in range(count):
            evaluate_heads(
                shape.files, shape.head_blocks, shape.table_blocks, shape.head_number,
                workspace.fp32[i], heads, np.float32(epsilon), head_workspace,
                policy[low + i], promotion[low + i], wdl[low + i],
            )  # fmt: skip
