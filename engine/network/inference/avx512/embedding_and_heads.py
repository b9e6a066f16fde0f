"""The two ends of a network in native kernels, the same for every trunk: embedding and heads."""

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
"""Boards that go through a part of the trunk together, while its weights are near."""


class Embedding(NamedTuple):
    """What squares begin with."""

    token: Floats
    """[32, D]."""
    place: Floats
    """[S, D]."""
    state: Floats
    """[6, D]."""


class Heads(NamedTuple):
    """The last LayerNorm and the heads; their first layers are one matrix of N outputs, in the
    order query, key (E each), promotion (P), value (V), rounded up."""

    gain: Floats
    """[D], the LayerNorm's weight."""
    shift: Floats
    """[D], its bias."""
    weights: Bytes
    """As `native_weights.pack` leaves them."""
    scales: Floats
    """[N]."""
    biases: Floats
    """[N]."""
    ones: Floats
    """[S rounded up to 16]."""
    zeros: Floats
    """The same."""
    hidden: Floats
    """[V, V], from and to."""
    hidden_bias: Floats
    """[V]."""
    wdl: Floats
    """[V, 3]."""
    wdl_bias: Floats
    """[3]."""


class HeadRooms(NamedTuple):
    """Where the heads work on one board."""

    narrow: Bytes
    """[S, D times the bytes of a number], after the LayerNorm."""
    said: Floats
    """[S rounded up to 16, N], what the first layers say."""
    keys: Floats
    """[E rounded up to 16, S rounded up to 16]."""


@generic_kernel
def embed(
    tokens: Squares, state: Floats, embedding: Embedding, floor: np.float32, wide: Floats
) -> None:
    """Write [S, D] of one board, nothing below `floor`."""
    squares, channels = wide.shape
    shared = np.zeros(channels, np.float32)
    for k in range(state.shape[0]):
        if state[k] != 0:
            for c in range(channels):
                shared[c] += state[k] * embedding.state[k, c]
    for s in range(squares):
        token = tokens[s]
        for c in range(channels):
            value = embedding.token[token, c] + (embedding.place[s, c] + shared[c])
            wide[s, c] = max(value, floor)


@generic_kernel
def judge(
    files: Fixed,
    parts: Fixed,
    ends: Fixed,
    number: Fixed,
    wide: Floats,
    heads: Heads,
    epsilon: np.float32,
    rooms: HeadRooms,
    policy: Floats,
    promotion: Floats,
    wdl: Floats,
) -> None:
    """Judge one board [S, D]: from-to logits [S, S rounded up], promotion [S, P], WDL logits [3].

    The lengths of `parts` and `ends` are the blocks of the first layers and of the from-to table.
    """
    squares, channels = wide.shape
    padded, outputs = rooms.said.shape
    width = rooms.keys.shape[0]
    narrow, said = rooms.narrow.ctypes.data, rooms.said.ctypes.data
    keys, small, ranks = rooms.keys.ctypes.data, channels * len(number), squares // len(files)
    one, none = np.float32(1), np.float32(0)
    normalise(
        number, wide.ctypes.data, narrow, squares, channels,
        heads.gain.ctypes.data, heads.shift.ctypes.data, epsilon,
    )  # fmt: skip
    group = 64 * len(parts)
    groups = small // 4
    convolve(
        files, parts, ONE_TAP, number, PUT,
        narrow, small, heads.weights.ctypes.data, group, group * groups,
        heads.scales.ctypes.data, heads.biases.ctypes.data, 0, said, 4 * outputs, narrow, small,
        ranks, groups, outputs // (LANES * len(parts)), one,
    )  # fmt: skip
    transpose(said + 4 * width, 4 * outputs, keys, 4 * padded, padded // LANES, width // LANES)
    convolve(
        files, ends, ONE_TAP, FP32, PUT,
        said, 4 * outputs, keys, 4 * padded, 64 * len(ends),
        heads.ones.ctypes.data, heads.zeros.ctypes.data, 0, policy.ctypes.data, 4 * padded, said, 0,
        ranks, width, padded // (LANES * len(ends)), one,
    )  # fmt: skip
    types, values = promotion.shape[1], heads.hidden_bias.shape[0]
    for s in range(squares):
        for kind in range(types):
            promotion[s, kind] = rooms.said[s, 2 * width + kind]
    pooled = np.zeros(values, np.float32)
    for s in range(squares):
        for v in range(values):
            pooled[v] += max(rooms.said[s, 2 * width + types + v], none)
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
