"""Embedding and heads in AVX-512 kernels, the same for every trunk."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.network.inference.avx512.attention import transpose
from engine.network.inference.avx512.code import LANES
from engine.network.inference.avx512.kernels import FP32, ONE_TAP, PUT, Fixed, convolve, normalise
from engine.rules.compilation.decorators import generic_kernel

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Squares = npt.NDArray[np.int32]

CHUNK: Final = 8
"""Boards that pass through a block together, while its weights are in the cache."""


class Embedding(NamedTuple):
    """Tables of the embedding."""

    token: Floats
    """[32, D]."""
    place: Floats
    """[S, D]."""
    state: Floats
    """[6, D]."""


class Heads(NamedTuple):
    """The last LayerNorm and the heads. Their first layers are one matrix of N outputs, in the
    order query, key (E each), promotion (P), value (V), padded to whole tiles."""

    gain: Floats
    """[D], the LayerNorm's weight."""
    shift: Floats
    """[D], its bias."""
    weights: Bytes
    """As `weights.pack` writes them."""
    scales: Floats
    """[N]."""
    biases: Floats
    """[N]."""
    ones: Floats
    """[S rounded up to 16]."""
    zeros: Floats
    """[S rounded up to 16]."""
    hidden: Floats
    """[V, V], from input to output."""
    hidden_bias: Floats
    """[V]."""
    wdl: Floats
    """[V, 3]."""
    wdl_bias: Floats
    """[3]."""


class HeadWorkspace(NamedTuple):
    """Buffers of the heads, for one board."""

    quantised: Bytes
    """[S, D times the bytes of a number], the normalised stream."""
    outputs: Floats
    """[S rounded up to 16, N] of the first layers."""
    keys: Floats
    """[E rounded up to 16, S rounded up to 16]."""


@generic_kernel
def embed(
    tokens: Squares, state: Floats, embedding: Embedding, floor: np.float32, fp32: Floats
) -> None:
    """Write the embedding [S, D] of one board to `fp32`, no value below `floor`."""
    squares, channels = fp32.shape
    shared = np.zeros(channels, np.float32)
    for k in range(state.shape[0]):
        if state[k] != 0:
            for c in range(channels):
                shared[c] += state[k] * embedding.state[k, c]
    for s in range(squares):
        token = tokens[s]
        for c in range(channels):
            value = embedding.token[token, c] + (embedding.place[s, c] + shared[c])
            fp32[s, c] = max(value, floor)


@generic_kernel
def evaluate_heads(
    files: Fixed,
    first_blocks: Fixed,
    table_blocks: Fixed,
    number: Fixed,
    fp32: Floats,
    heads: Heads,
    epsilon: np.float32,
    workspace: HeadWorkspace,
    policy: Floats,
    promotion: Floats,
    wdl: Floats,
) -> None:
    """Compute the logits of one board from its stream `fp32` [S, D]: from-to [S, S rounded up],
    promotion [S, P], WDL [3].

    The lengths of `first_blocks` and `table_blocks` are the blocks of the first layers and of the
    from-to table.
    """
    squares, channels = fp32.shape
    padded, count = workspace.outputs.shape
    width = workspace.keys.shape[0]
    quantised, outputs = workspace.quantised.ctypes.data, workspace.outputs.ctypes.data
    keys, stride, ranks = workspace.keys.ctypes.data, channels * len(number), squares // len(files)
    one, none = np.float32(1), np.float32(0)
    normalise(
        number, fp32.ctypes.data, quantised, squares, channels,
        heads.gain.ctypes.data, heads.shift.ctypes.data, epsilon,
    )  # fmt: skip
    group = 64 * len(first_blocks)
    groups = stride // 4
    convolve(
        files, first_blocks, ONE_TAP, number, PUT,
        quantised, stride, heads.weights.ctypes.data, group, group * groups,
        heads.scales.ctypes.data, heads.biases.ctypes.data, 0, outputs, 4 * count,
        quantised, stride, ranks, groups, count // (LANES * len(first_blocks)), one,
    )  # fmt: skip
    transpose(outputs + 4 * width, 4 * count, keys, 4 * padded, padded // LANES, width // LANES)
    convolve(
        files, table_blocks, ONE_TAP, FP32, PUT,
        outputs, 4 * count, keys, 4 * padded, 64 * len(table_blocks),
        heads.ones.ctypes.data, heads.zeros.ctypes.data, 0, policy.ctypes.data, 4 * padded,
        outputs, 0,
        ranks, width, padded // (LANES * len(table_blocks)), one,
    )  # fmt: skip
    types, values = promotion.shape[1], heads.hidden_bias.shape[0]
    for s in range(squares):
        for kind in range(types):
            promotion[s, kind] = workspace.outputs[s, 2 * width + kind]
    pooled = np.zeros(values, np.float32)
    for s in range(squares):
        for v in range(values):
            pooled[v] += max(workspace.outputs[s, 2 * width + types + v], none)
    hidden = heads.hidden_bias.copy()
    for v in range(values):
        for w in range(values):
            hidden[w] += pooled[v] / np.float32(squares) * heads.hidden[v, w]
    # Numba's slice assignment, with its message of shapes, takes two seconds to compile.
    for k in range(3):
        wdl[k] = heads.wdl_bias[k]
    for v in range(values):
        for k in range(3):
            wdl[k] += max(hidden[v], none) * heads.wdl[v, k]
