"""The features of a network's layers, few layers at a time.

A concept of the whole board is read from a layer's features of the board [N, W] (capture.py says
how squares are read), a per-square concept from the vector of one square a position [N, D].
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.activations.capture import BATCH, Features, Readout, read_out
from engine.probing.data.canonical import Rows
from engine.rules.errors import require_finite

Squares = npt.NDArray[np.int64]
"""[N] one square a position, as its side to move sees the board."""


@dataclass(frozen=True, kw_only=True)
class LayerFeatures:
    """What probes see of N positions at a point."""

    # The point.
    layer: str
    # float32[N, W], of the whole board.
    board: Features
    # float32[N, D], of each position's square; None at a point without squares.
    square: Features | None


def layer_features(
    network: PolicyValueNet,
    rows: Rows,
    layers: Sequence[str],
    squares: Squares,
    *,
    readout: Readout = "mean+max",
    memory: int = 1 << 29,
    batch: int = BATCH,
) -> Iterator[LayerFeatures]:
    """The features of each layer, in the order of `layers`, of rows uint8[N, R].

    As many layers are read in one pass over the rows as `memory` bytes hold, at least one. The
    network must be in evaluation mode. Raises InputError for an unknown point, and NotFiniteError,
    naming the point, for activations that are not finite.
    """
    first = _read(network, rows[:1], layers, squares[:1], readout)
    waiting = list(layers)
    while waiting:
        group: list[str] = []
        size = 0
        while waiting and (not group or size + _bytes(first[waiting[0]], len(rows)) <= memory):
            size += _bytes(first[waiting[0]], len(rows))
            group.append(waiting.pop(0))
        found = {name: _Buffers(first[name], len(rows)) for name in group}
        for start in range(0, len(rows), batch):
            part = slice(start, start + batch)
            for name, arrays in _read(network, rows[part], group, squares[part], readout).items():
                found[name].board[part] = arrays.board
                if arrays.square is not None:
                    found[name].square[part] = arrays.square
        for name in group:
            buffers = found.pop(name)
            has_squares = first[name].square is not None
            yield LayerFeatures(
                layer=name, board=buffers.board, square=buffers.square if has_squares else None
            )


def layer_pools(
    network: PolicyValueNet, rows: Rows, layers: Sequence[str]
) -> npt.NDArray[np.int64]:
    """int64[L] the kind of each layer: 0 with a vector a square, 1 with one a position."""
    with torch.inference_mode(), network.hook_points.read(*layers) as activations:
        network(torch.from_numpy(np.ascontiguousarray(rows[:1])))
    return np.array([int(activations[name].dim() < 3) for name in layers])


class _Buffers:
    def __init__(self, like: LayerFeatures, count: int) -> None:
        self.board = np.empty((count, like.board.shape[1]), np.float32)
        width = 0 if like.square is None else like.square.shape[1]
        self.square = np.empty((count, width), np.float32)


def _bytes(like: LayerFeatures, count: int) -> int:
    square = 0 if like.square is None else like.square.shape[1]
    return 4 * count * int(like.board.shape[1] + square)


@torch.inference_mode()
def _read(
    network: PolicyValueNet, rows: Rows, layers: Sequence[str], squares: Squares, readout: Readout
) -> dict[str, LayerFeatures]:
    """Features by layer of one batch."""
    with network.hook_points.read(*layers) as activations:
        network(torch.from_numpy(np.ascontiguousarray(rows)))
    found = {}
    for name in layers:
        activation: Tensor = activations[name]
        board = read_out(activation, readout)
        require_finite(board, f"the activation at '{name}'")
        square = None
        if activation.dim() == 3:
            chosen = activation[torch.arange(len(rows)), torch.from_numpy(squares)]
            square = chosen.float().cpu().numpy()
        found[name] = LayerFeatures(layer=name, board=board, square=square)
    return found
