"""Klein, Neural Networks for Chess, chapter 2: a convolution by loops, and its gradient.

A filter of 3 x 3 weights slides over the board; at each square it sums what it covers, each number
times the weight above it. Beyond the edge there are zeros, so that the board keeps its size:

    0  0  0  0  0
    0 [.  .  .] 0        out[row, file] = sum of  weight[i, j] * board[row + i - 1, file + j - 1]
    0 [.  x  .] 0                      i, j
    0 [.  .  .] 0
    0  0  0  0  0
"""

import itertools

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

Array = npt.NDArray[np.float64]


def convolution(boards: Array, weight: Array) -> Array:
    """[C, ranks, files] and [K, C, 3, 3] -> [K, ranks, files], one multiplication at a time."""
    _, ranks, files = boards.shape
    out = np.zeros((len(weight), ranks, files))
    for k, c, i, j in np.ndindex(weight.shape):
        for rank, file in np.ndindex(ranks, files):
            row, column = rank + i - 1, file + j - 1
            if 0 <= row < ranks and 0 <= column < files:
                out[k, rank, file] += weight[k, c, i, j] * boards[c, row, column]
    return out


def gradients(boards: Array, weight: Array, slope: Array) -> tuple[Array, Array]:
    """Slopes of a loss along boards and weight, given those along the output [K, ranks, files].

    Every multiplication of the forward pass hands the slope of its sum to both of its factors.
    """
    _, ranks, files = boards.shape
    d_boards, d_weight = np.zeros_like(boards), np.zeros_like(weight)
    for k, c, i, j in np.ndindex(weight.shape):
        for rank, file in np.ndindex(ranks, files):
            row, column = rank + i - 1, file + j - 1
            if 0 <= row < ranks and 0 <= column < files:
                d_boards[c, row, column] += weight[k, c, i, j] * slope[k, rank, file]
                d_weight[k, c, i, j] += boards[c, row, column] * slope[k, rank, file]
    return d_boards, d_weight


def test_a_kings_filter_counts_neighbours() -> None:
    """Where a king on a 3 x 4 board could go, counted by one filter of ones with a hole."""
    kings_steps = np.ones((1, 1, 3, 3))
    kings_steps[0, 0, 1, 1] = 0
    moves = convolution(np.ones((1, 3, 4)), kings_steps)[0]
    assert moves.tolist() == [[3, 5, 5, 3], [5, 8, 8, 5], [3, 5, 5, 3]]


def test_loops_as_torch() -> None:
    rng = np.random.default_rng(1)
    for channels, filters, ranks, files in itertools.product((1, 2), (1, 3), (1, 4), (3, 5)):
        boards = rng.normal(size=(channels, ranks, files))
        weight = rng.normal(size=(filters, channels, 3, 3))
        slope = rng.normal(size=(filters, ranks, files))
        x, w = (torch.tensor(array, requires_grad=True) for array in (boards, weight))
        expected = F.conv2d(x, w, padding=1)
        d_x, d_w = torch.autograd.grad(expected, [x, w], torch.tensor(slope))
        np.testing.assert_allclose(convolution(boards, weight), expected.detach(), atol=1e-12)
        d_boards, d_weight = gradients(boards, weight, slope)
        np.testing.assert_allclose(d_boards, d_x, atol=1e-12)
        np.testing.assert_allclose(d_weight, d_w, atol=1e-12)


def test_it_sees_the_same_wherever_it_stands() -> None:
    """A pattern moved by a file gives an answer moved by a file: why boards are judged this way."""
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(2, 1, 3, 3))
    board = np.zeros((1, 5, 6))
    board[0, 1:4, 1:4] = rng.normal(size=(3, 3))
    moved = np.roll(board, 1, axis=2)
    answer = convolution(board, weight)
    np.testing.assert_allclose(convolution(moved, weight), np.roll(answer, 1, axis=2), atol=1e-12)
