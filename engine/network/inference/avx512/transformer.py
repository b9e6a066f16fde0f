"""The transformer in AVX-512 kernels, one board at a time through each block.

    stream fp32[S, D] -> LayerNorm -> quantised -> queries, keys, values fp32[S, 3 D]
        for each head:  queries . keys transposed -> scores [S, S] + bias -> softmax . values
        -> quantised . out + stream -> stream
        -> LayerNorm -> quantised . up -> ReLU -> quantised . down + stream -> stream

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
    Heads,
    HeadWorkspace,
    Squares,
    embed,
    evaluate_heads,
)
from engine.network.inference.avx512.kernels import (
    ADD,
    FP32,
    ONE_TAP,
    PUT,
    RELU,
    Fixed,
    convolve,
    normalise,
    quantise,
)
from engine.rules.compilation.decorators import generic_kernel


class TransformerShape(NamedTuple):
    """Tuples whose lengths are fixed when the kernel is compiled."""

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
    table_blocks: Fixed
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
    """[L, ...], each block's as `weights.pack` writes them."""
    scales: Floats
    """[L, N], factors of the sums."""
    biases: Floats
    """[L, N], added after that."""


class Transformer(NamedTuple):
    """The L blocks."""

    qkv: Linear
    out: Linear
    up: Linear
    down: Linear
    norms: Floats
    """[L, 4, D], weight and bias of the LayerNorms before attention and MLP, in units of quantised
    numbers."""
    bias: Floats
    """[L, H, S, S rounded up to 16], added to the scores; `MASKED` in the padding."""
    units: Floats
    """[L], the quantised number that stands for 1.0 in the output of attention."""
    zero: np.float32
    """The quantised number that stands for 0 there."""


class TransformerWorkspace(NamedTuple):
    """Buffers; all but `fp32` are for one board."""

    fp32: Floats
    """[CHUNK, S, D], the stream."""
    quantised: Bytes
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
def _attend(
    shape: TransformerShape, heads: Heads, workspace: TransformerWorkspace, bias: Floats
) -> None:
    """Write the heads' outputs to `workspace.gathered`; `bias` [H, S, S rounded up]."""
    channels, padded = workspace.keys.shape
    squares = workspace.scores.shape[0]
    width = channels // bias.shape[0]
    ranks, row = squares // len(shape.files), 12 * channels
    qkv, keys = workspace.qkv.ctypes.data, workspace.keys.ctypes.data
    scores, gathered = workspace.scores.ctypes.data, workspace.gathered.ctypes.data
    ones, zeros, one = heads.ones.ctypes.data, heads.zeros.ctypes.data, np.float32(1)
    transpose(qkv + 4 * channels, row, keys, 4 * padded, padded // LANES, channels // LANES)
    for head in range(bias.shape[0]):
        first = 4 * head * width
        convolve(
            shape.files, shape.table_blocks, ONE_TAP, FP32, PUT,
            qkv + first, row, keys + first * padded, 4 * padded, 64 * len(shape.table_blocks),
            ones, zeros, 0, scores, 4 * padded, scores, 0,
            ranks, width, padded // (LANES * len(shape.table_blocks)), one,
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
    workspace: TransformerWorkspace,
    fp32: int,
) -> None:
    """Apply a block to the board whose stream is at the address `fp32`."""
    channels = workspace.keys.shape[0]
    squares = workspace.scores.shape[0]
    files, blocks, number = shape.files, shape.blocks, shape.number
    stride, ranks, one = channels * len(number), squares // len(files), np.float32(1)
    groups, group, parts = stride // 4, 64 * len(blocks), channels // (LANES * len(blocks))
    quantised, qkv, hidden = (
        workspace.quantised.ctypes.data,
        workspace.qkv.ctypes.data,
        workspace.hidden.ctypes.data,
    )
    norms = layers.norms[layer]
    normalise(
        number, fp32, quantised, squares, channels,
        norms[0].ctypes.data, norms[1].ctypes.data, epsilon,
    )  # fmt: skip
    convolve(
        files, blocks, ONE_TAP, number, PUT,
        quantised, stride, layers.qkv.weights[layer].ctypes.data, group, group * groups,
        layers.qkv.scales[layer].ctypes.data, layers.qkv.biases[layer].ctypes.data, 0,
        qkv, 12 * channels, quantised, stride, ranks, groups, 3 * parts, one,
    )  # fmt: skip
    _attend(shape, heads, workspace, layers.bias[layer])
    count = squares * channels
    quantise(
        number, workspace.gathered.ctypes.data, quantised, count, layers.units[layer], layers.zero
    )
    convolve(
        files, blocks, ONE_TAP, number, ADD,
        quantised, stride, layers.out.weights[layer].ctypes.data, group, group * groups,
        layers.out.scales[layer].ctypes.data, layers.out.biases[layer].ctypes.data, 0,
        fp32, 4 * channels, quantised, stride, ranks, groups, parts, one,
    )  # fmt: skip
    inner = workspace.hidden.shape[1]
    if inner == 0:
        return
    normalise(
        number, fp32, quantised, squares, channels,
        norms[2].ctypes.data, norms[3].ctypes.data, epsilon,
    )  # fmt: skip
    steps = 64 * len(shape.hidden_blocks)
    convolve(
        files, shape.hidden_blocks, ONE_TAP, number, RELU,
        quantised, stride, layers.up.weights[layer].ctypes.data, steps, steps * groups,
        layers.up.scales[layer].ctypes.data, layers.up.biases[layer].ctypes.data, 0,
        fp32, 4 * channels, hidden, inner, ranks, groups,
        layers.up.scales.shape[1] // (LANES * len(shape.hidden_blocks)), one,
    )  # fmt: skip
    convolve(
        files, blocks, ONE_TAP, number, ADD,
        hidden, inner, layers.down.weights[layer].ctypes.data, group, group * (inner // 4),
        layers.down.scales[layer].ctypes.data, layers.down.biases[layer].ctypes.data, 0,
        fp32, 4 * channels, quantised, stride, ranks, inner // 4, parts, one,
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
    workspace: TransformerWorkspace,
    head_workspace: HeadWorkspace,
    policy: Floats,
    promotion: Floats,
    wdl: Floats,
) -> None:
    """Compute the logits [B, S, S rounded up], [B, S, P] and [B, 3] of `tokens` [B, S] and `state`
    [B, 6]."""
    _, squares, channels = workspace.fp32.shape
    epsilon_, fp32 = np.float32(epsilon), workspace.fp32.ctypes.data
    for low in range(0, tokens.shape[0], CHUNK):
        count = min(CHUNK, tokens.shape[0] - low)
        for i in range(count):
            embed(
                tokens[low + i], state[low + i], embedding, np.float32(-np.inf), workspace.fp32[i]
            )
        for layer in range(layers.norms.shape[0]):
            for i in range(count):
                stream = fp32 + 4 * i * squares * channels
                _block(shape, layers, layer, heads, epsilon_, workspace, stream)
        for i in range(count):
            evaluate_heads(
                shape.files, shape.head_blocks, shape.table_blocks, shape.head_number,
                workspace.fp32[i], heads, epsilon_, head_workspace,
                policy[low + i], promotion[low + i], wdl[low + i],
            )  # fmt: skip
