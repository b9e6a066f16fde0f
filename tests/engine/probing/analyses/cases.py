"""Positions and truths whose answers are known."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from engine.network.model.policy_value import PolicyValueNet
from engine.probing.analyses.positions.move_table import Moves, Offsets
from engine.probing.concepts.truth import UNKNOWN, Outcomes
from engine.probing.data.canonical import Rows
from engine.rules.kernels import generate_batch
from engine.rules.variant import get_variant
from search.exact.solution import Solution
from search.exact.solver import solve

HEXAPAWN = get_variant("hexapawn")
solved = functools.cache(solve)


class Solved:
    """The exact solution of a game, with some positions left out."""

    def __init__(self, name: str, unknown: Callable[[Rows], npt.NDArray[np.bool_]] | None = None):
        self.solution: Solution = solved(get_variant(name))
        self._unknown = unknown

    @property
    def rows(self) -> Rows:
        """All unfinished positions."""
        return self.solution.unfinished_positions()

    def moves(self, rows: Rows, moves: Moves, offsets: Offsets) -> Outcomes:
        """See `MoveTruth`."""
        values, distances = self.solution.score_moves(rows, moves, offsets)
        if self._unknown is not None:
            values = np.where(np.repeat(self._unknown(rows), np.diff(offsets)), UNKNOWN, values)
        return Outcomes(values.astype(np.int8), distances)


class Planted:
    """Says that one move of each position wins and all others lose: a network's best."""

    def __init__(self, network: PolicyValueNet) -> None:
        self.network = network

    def moves(self, rows: Rows, moves: Moves, offsets: Offsets) -> Outcomes:
        """See `MoveTruth`."""
        values = np.full(len(moves), -1, np.int8)
        for row, start in enumerate(offsets[:-1]):
            values[start + slow_choice(self.network, rows[row])] = 1
        return Outcomes(values, np.ones(len(moves), np.int16))


def weight(network: PolicyValueNet, name: str) -> torch.Tensor:
    """A weight by its name, to be written to."""
    return dict(network.named_parameters())[name].data


def slow_logits(network: PolicyValueNet, row: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Log-probabilities of the legal moves of one position, computed alone."""
    variant = get_variant(network.config.variant)
    moves, _ = generate_batch(variant.tables, row[None])
    board = torch.from_numpy(row[None])
    with torch.no_grad():
        logits = network.move_logits(
            network(board),
            board,
            torch.from_numpy(moves.astype(np.int64)),
            torch.zeros(len(moves), dtype=torch.int64),
        )
    return logits.double().log_softmax(0).numpy()


def slow_choice(network: PolicyValueNet, row: npt.NDArray[np.uint8]) -> int:
    """The place of the best legal move of one position."""
    return int(slow_logits(network, row).argmax())


def shorter(network: PolicyValueNet, blocks: int) -> PolicyValueNet:
    """The network without its blocks from `blocks` on, with the same last norm and heads."""
    short = PolicyValueNet(dataclasses.replace(network.config, blocks=blocks))
    weights = network.state_dict()
    table = "trunk.geometry.table"
    if table in weights:
        weights[table] = weights[table][:blocks]
    short.load_state_dict({name: weights[name] for name in short.state_dict()})
    return short.eval()
