"""The residual tower in native kernels.

    tokens -> wide float32[S, D]
        -> narrow -> 3x3 -> ReLU, narrow -> 3x3 (-> squeeze-and-excitation) + wide -> wide
        for each block                                                             -> heads

`wide` is the stream, narrow numbers (8 bits, bfloat16, float32) are what products are made of. The
stream becomes narrow by a LayerNorm, or as it leaves a block by a ReLU (`residual_tower.py`).
"""

from typing import NamedTuple

import numpy as np

from engine.network.inference.avx512.code import LANES
from engine.network.inference.avx512.embedding_and_heads import (
    CHUNK,
    Bytes,
    Embedding,
    Floats,
    HeadRooms,
    Heads,
    Squares,
    embed,
    judge,
)
from engine.network.inference.avx512.kernels import (
    RELU,
    THREE_TAPS,
    Fixed,
    convolve,
    narrow_down,
    normalise,
)
from engine.rules.compilation.decorators import generic_kernel


class TowerShape(NamedTuple):
    """Lengths that are fixed when the kernel is compiled."""

    files: Fixed
    """W."""
    blocks: Fixed
    """Registers of outputs in a tile: of the convolutions,"""
    head_blocks: Fixed
    """of the heads' first layers,"""
    end_blocks: Fixed
    """of the from-to table."""
    number: Fixed
    """Bytes of a number: in the trunk,"""
    head_number: Fixed
    """in the heads."""
    role: Fixed
    """What a block's second convolution writes: STREAM or, where the stream has LayerNorms, ADD;
    PUT where squeeze-and-excitation goes on from there."""


class Tower(NamedTuple):
    """The L blocks."""

    first: Bytes
    """[L, ...], each convolution's weights as `native_weights.pack` leaves them."""
    first_scales: Floats
    """[L, D], what the sums are multiplied by,"""
    first_biases: Floats
    """[L, S, D], and what is added to that: others at the edge where 0 is not written as 0."""
    second: Bytes
    """[L, ...]."""
    second_scales: Floats
    """[L, D]."""
    second_biases: Floats
    """[L, D]."""
    units: Floats
    """[L + 1], narrow numbers to a wide 1, at the start and after each block."""
    gain: Floats
    """[L, D], the LayerNorms' weights, in units of narrow numbers, or [0, D]."""
    shift: Floats
    """[L, D], their biases."""
    down: Floats
    """[L, D, C], squeeze-and-excitation, from and to; C is 0 where there is none."""
    down_bias: Floats
    """[L, C]."""
    up: Floats
    """[L, C, 2 D]."""
    up_bias: Floats
    """[L, 2 D]."""


class TowerRooms(NamedTuple):
    """Where a chunk of boards is worked on."""

    wide: Floats
    """[CHUNK, S, D], the stream."""
    narrow: Bytes
    """[CHUNK, S, D times the bytes of a number], the stream."""
    between: Bytes
    """The same, between the convolutions of a block."""
    branch: Floats
    """[S, D], what a block adds, before squeeze-and-excitation."""


@generic_kernel
def _excite(tower: Tower, layer: int, branch: Floats, wide: Floats) -> None:
    """Add the branch [S, D] to the stream, each channel scaled and shifted by what all squares
    hold; without LayerNorms a ReLU follows."""
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
            sum_ = wide[s, c] + (branch[s, c] * gates[c] + gates[channels + c])
            wide[s, c] = max(sum_, lowest)


@generic_kernel
def _block(
    shape: TowerShape, tower: Tower, epsilon: float, rooms: TowerRooms, layer: int, board: int
) -> None:
    """Take one board of the chunk through a block."""
    _, squares, channels = rooms.wide.shape
    files, blocks, number = shape.files, shape.blocks, shape.number
    small, normed = channels * len(number), tower.gain.shape[0] > 0
    groups, group = small // 4, 64 * len(blocks) * len(THREE_TAPS)
    ranks, parts = squares // len(files), channels // (LANES * len(blocks))
    wide = rooms.wide[board].ctypes.data
    narrow, between = rooms.narrow[board].ctypes.data, rooms.between[board].ctypes.data
    unit, one = tower.units[layer + 1], np.float32(1)
    if normed:
        normalise(
            number, wide, narrow, squares, channels, tower.gain[layer].ctypes.data,
            tower.shift[layer].ctypes.data, np.float32(epsilon),
        )  # fmt: skip
    convolve(
        files, blocks, THREE_TAPS, number, RELU,
        narrow, small, tower.first[layer].ctypes.data, group, group * groups * len(THREE_TAPS),
        tower.first_scales[layer].ctypes.data, tower.first_biases[layer].ctypes.data,
        4 * channels, wide, 4 * channels, between, small, ranks, groups, parts, one,
    )  # fmt: skip
    excited = tower.down.shape[2] > 0
    target = rooms.branch.ctypes.data if excited else wide
    convolve(
        files, blocks, THREE_TAPS, number, shape.role,
        between, small, tower.second[layer].ctypes.data, group, group * groups * len(THREE_TAPS),
        tower.second_scales[layer].ctypes.data, tower.second_biases[layer].ctypes.data,
        0, target, 4 * channels, narrow, small, ranks, groups, parts, unit,
    )  # fmt: skip
    if excited:
        _excite(tower, layer, rooms.branch, rooms.wide[board])
        if not normed:
            narrow_down(number, wide, narrow, squares * channels, unit, np.float32(0))


@generic_kernel
def run_tower(
    shape: TowerShape,
    tokens: Squares,
    state: Floats,
    embedding: Embedding,
    tower: Tower,
    heads: Heads,
    epsilon: float,
    rooms: TowerRooms,
    head_rooms: HeadRooms,
    policy: Floats,
    promotion: Floats,
    wdl: Floats,
) -> None:
    """Judge tokens [B, S] and state [B, 6]: write [B, S, S rounded up], [B, S, P] and [B, 3]."""
    _, squares, channels = rooms.wide.shape
    none = np.float32(0)
    lowest = np.float32(-np.inf) if tower.gain.shape[0] else none
    for low in range(0, tokens.shape[0], CHUNK):
        count = min(CHUNK, tokens.shape[0] - low)
        for i in range(count):
            embed(tokens[low + i], state[low + i], embedding, lowest, rooms.wide[i])
        if tower.gain.shape[0] == 0:
            narrow_down(
                shape.number, rooms.wide.ctypes.data, rooms.narrow.ctypes.data,
                count * squares * channels, tower.units[0], none,
            )  # fmt: skip
        for layer in range(tower.first.shape[0]):
            for i in range(count):
                _block(shape, tower, epsilon, rooms, layer, i)
        for i in range(count):
            judge(
                shape.files, shape.head_blocks, shape.end_blocks, shape.head_number,
                rooms.wide[i], heads, np.float32(epsilon), head_rooms,
                policy[low + i], promotion[low + i], wdl[low + i],
            )  # fmt: skip
