"""The transformer in native kernels, a board at a time through each block.

    wide float32[S, D] -> LayerNorm -> narrow -> queries, keys, values float32[S, 3 D]
        for each head:  queries . keys turned over -> scores [S, S] + bias -> softmax . values
        -> narrow . out + wide -> wide -> LayerNorm -> narrow . up -> ReLU -> narrow . down + wide

Attention itself is computed in float32: it is a tenth of the products.
"""

from typing import NamedTuple

import numpy as np

from engine.network.inference.avx512.attention import softmax, transpose
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
    ADD,
    FP32,
    ONE_TAP,
    PUT,
    RELU,
    Fixed,
    convolve,
    narrow_down,
    normalise,
)
from engine.rules.compilation.decorators import generic_kernel


class TransformerShape(NamedTuple):
    """Lengths that are fixed when the kernel is compiled."""

    files: Fixed
    """W."""
    blocks: Fixed
    """Registers of outputs in a tile: of D and 3 D,"""
    hidden_blocks: Fixed
    """of the MLP's hidden layer,"""
    value_blocks: Fixed
    """of a head's values,"""
    head_blocks: Fixed
    """of the heads' first layers,"""
    end_blocks: Fixed
    """of the scores and the from-to table,"""
    registers: Fixed
    """all registers of a row of scores."""
    number: Fixed
    """Bytes of a number: in the trunk,"""
    head_number: Fixed
    """in the heads."""


class Linear(NamedTuple):
    """A linear layer of each of L blocks."""

    weights: Bytes
    """[L, ...], each block's as `native_weights.pack` leaves them."""
    scales: Floats
    """[L, N], what the sums are multiplied by,"""
    biases: Floats
    """[L, N], and what is added to that."""


class Transformer(NamedTuple):
    """The L blocks."""

    qkv: Linear
    out: Linear
    up: Linear
    down: Linear
    norms: Floats
    """[L, 4, D], weight and bias of the LayerNorms before attention and MLP, in units of narrow
    numbers."""
    bias: Floats
    """[L, H, S, S rounded up to 16] of the scores, `MASKED` where there is no square."""
    units: Floats
    """[L], narrow numbers to a wide 1 of what attention gathers."""
    zero: np.float32
    """The narrow number for 0 there."""


class TransformerRooms(NamedTuple):
    """Where boards are worked on; all but `wide` are one board's."""

    wide: Floats
    """[CHUNK, S, D], the stream."""
    narrow: Bytes
    """[S, D times the bytes of a number]."""
    hidden: Bytes
    """[S, M times the bytes of a number]."""
    qkv: Floats
    """[S rounded up to 16, 3 D]."""
    keys: Floats
    """[D, S rounded up to 16]."""
    scores: Floats
    """[S, S rounded up to 16]."""
    gathered: Floats
    """[S, D]."""


@generic_kernel
def _attend(shape: TransformerShape, heads: Heads, rooms: TransformerRooms, bias: Floats) -> None:
    """Write what each head gathers [S, D]; `bias` [H, S, S rounded up]."""
    channels, padded = rooms.keys.shape
    squares = rooms.scores.shape[0]
    width = channels // bias.shape[0]
    ranks, row = squares // len(shape.files), 12 * channels
    qkv, keys = rooms.qkv.ctypes.data, rooms.keys.ctypes.data
    scores, gathered = rooms.scores.ctypes.data, rooms.gathered.ctypes.data
    ones, zeros, one = heads.ones.ctypes.data, heads.zeros.ctypes.data, np.float32(1)
    transpose(qkv + 4 * channels, row, keys, 4 * padded, padded // LANES, channels // LANES)
    for head in range(bias.shape[0]):
        first = 4 * head * width
        convolve(
            shape.files, shape.end_blocks, ONE_TAP, FP32, PUT,
            qkv + first, row, keys + first * padded, 4 * padded, 64 * len(shape.end_blocks),
            ones, zeros, 0, scores, 4 * padded, scores, 0,
            ranks, width, padded // (LANES * len(shape.end_blocks)), one,
        )  # fmt: skip
        softmax(shape.registers, scores, bias[head].ctypes.data, squares)
        convolve(
            shape.files, shape.value_blocks, ONE_TAP, FP32, PUT,
            scores, 4 * padded, qkv + 8 * channels + first, row, 64 * len(shape.value_blocks),
            ones, zeros, 0, gathered + first, 4 * channels, scores, 0,
            ranks, squares, width // (LANES * len(shape.value_blocks)), one,
        )  # fmt: skip


@generic_kernel
def _block(
    shape: TransformerShape,
    layers: Transformer,
    layer: int,
    heads: Heads,
    epsilon: np.float32,
    rooms: TransformerRooms,
    wide: int,
) -> None:
    """Take the board whose stream is at the address `wide` through a block."""
    channels = rooms.keys.shape[0]
    squares = rooms.scores.shape[0]
    files, blocks, number = shape.files, shape.blocks, shape.number
    small, ranks, one = channels * len(number), squares // len(files), np.float32(1)
    groups, group, parts = small // 4, 64 * len(blocks), channels // (LANES * len(blocks))
    narrow, qkv, hidden = (
        rooms.narrow.ctypes.data,
        rooms.qkv.ctypes.data,
        rooms.hidden.ctypes.data,
    )
    norms = layers.norms[layer]
    normalise(
        number, wide, narrow, squares, channels,
        norms[0].ctypes.data, norms[1].ctypes.data, epsilon,
    )  # fmt: skip
    convolve(
        files, blocks, ONE_TAP, number, PUT,
        narrow, small, layers.qkv.weights[layer].ctypes.data, group, group * groups,
        layers.qkv.scales[layer].ctypes.data, layers.qkv.biases[layer].ctypes.data, 0,
        qkv, 12 * channels, narrow, small, ranks, groups, 3 * parts, one,
    )  # fmt: skip
    _attend(shape, heads, rooms, layers.bias[layer])
    count = squares * channels
    narrow_down(number, rooms.gathered.ctypes.data, narrow, count, layers.units[layer], layers.zero)
    convolve(
        files, blocks, ONE_TAP, number, ADD,
        narrow, small, layers.out.weights[layer].ctypes.data, group, group * groups,
        layers.out.scales[layer].ctypes.data, layers.out.biases[layer].ctypes.data, 0,
        wide, 4 * channels, narrow, small, ranks, groups, parts, one,
    )  # fmt: skip
    inner = rooms.hidden.shape[1]
    if inner == 0:
        return
    normalise(
        number, wide, narrow, squares, channels,
        norms[2].ctypes.data, norms[3].ctypes.data, epsilon,
    )  # fmt: skip
    steps = 64 * len(shape.hidden_blocks)
    convolve(
        files, shape.hidden_blocks, ONE_TAP, number, RELU,
        narrow, small, layers.up.weights[layer].ctypes.data, steps, steps * groups,
        layers.up.scales[layer].ctypes.data, layers.up.biases[layer].ctypes.data, 0,
        wide, 4 * channels, hidden, inner, ranks, groups,
        layers.up.scales.shape[1] // (LANES * len(shape.hidden_blocks)), one,
    )  # fmt: skip
    convolve(
        files, blocks, ONE_TAP, number, ADD,
        hidden, inner, layers.down.weights[layer].ctypes.data, group, group * (inner // 4),
        layers.down.scales[layer].ctypes.data, layers.down.biases[layer].ctypes.data, 0,
        wide, 4 * channels, narrow, small, ranks, inner // 4, parts, one,
    )  # fmt: skip


@generic_kernel
def run_transformer(
    shape: TransformerShape,
    tokens: Squares,
    state: Floats,
    embedding: Embedding,
    layers: Transformer,
    heads: Heads,
    epsilon: float,
    rooms: TransformerRooms,
    head_rooms: HeadRooms,
    policy: Floats,
    promotion: Floats,
    wdl: Floats,
) -> None:
    """Judge tokens [B, S] and state [B, 6]: write [B, S, S rounded up], [B, S, P] and [B, 3]."""
    _, squares, channels = rooms.wide.shape
    small, wide = np.float32(epsilon), rooms.wide.ctypes.data
    for low in range(0, tokens.shape[0], CHUNK):
        count = min(CHUNK, tokens.shape[0] - low)
        for i in range(count):
            embed(tokens[low + i], state[low + i], embedding, np.float32(-np.inf), rooms.wide[i])
        for layer in range(layers.norms.shape[0]):
            for i in range(count):
                stream = wide + 4 * i * squares * channels
                _block(shape, layers, layer, heads, small, rooms, stream)
        for i in range(count):
            judge(
                shape.files, shape.head_blocks, shape.end_blocks, shape.head_number,
                rooms.wide[i], heads, small, head_rooms,
                policy[low + i], promotion[low + i], wdl[low + i],
            )  # fmt: skip
