"""Exact results of a deterministic player against uniformly random moves.

Nothing is sampled. From the start position all positions that the two can reach are followed, ply
by ply, with their probabilities: the player's move takes all of it, random moves take equal shares.
Equal positions are merged, so that the work grows with the number of reachable positions and not of
games.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.errors import InputError
from engine.rules.kernels import generate_batch
from engine.rules.tables import BLACK, SIDE, WHITE
from engine.rules.variant import Variant
from search.evaluator import Evaluator, evaluate
from training.selfplay.games import UNFINISHED, play_moves

Rows = npt.NDArray[np.uint8]
Moves = npt.NDArray[np.uint16]
Offsets = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

Choose = Callable[[Rows, Moves, Offsets], Places]
"""The player: for positions [B, R] the index of its move [B] among all their moves [M]."""


class Chances(NamedTuple):
    """Probabilities of the results, from the player's side; they sum to 1."""

    win: float
    draw: float
    loss: float


class RandomOpposition(NamedTuple):
    """A player's results against uniformly random moves."""

    first: Chances
    """As the side that moves first."""
    second: Chances
    """As the other side."""

    @property
    def win(self) -> float:
        """The probability of a win, the mean of both sides."""
        return 0.5 * (self.first.win + self.second.win)


def chances_against_random(variant: Variant, choose: Choose) -> RandomOpposition:
    """The player's probabilities in a variant that cannot repeat; raises InputError for others."""
    if not variant.irreversible:
        raise InputError(f"{variant.name}: chances are counted only where no position comes back")
    white, black = (_chances(variant, choose, side) for side in (WHITE, BLACK))
    side = int(variant.start_row[variant.squares + SIDE])
    return RandomOpposition(white, black) if side == WHITE else RandomOpposition(black, white)


def _chances(variant: Variant, choose: Choose, own: int) -> Chances:
    """The player's probabilities with the colour `own`."""
    rows, weights = variant.start_row[None].copy(), np.ones(1)
    chances = np.zeros(3)
    while len(rows):
        moves, offsets = generate_batch(variant.tables, rows)
        # All positions of a ply have the same side to move.
        chooses = rows[0, variant.squares + SIDE] == own
        if chooses:
            places = choose(rows, moves, offsets)
        else:
            counts = np.diff(offsets)
            places = np.arange(len(moves))
            rows, weights = np.repeat(rows, counts, axis=0), np.repeat(weights / counts, counts)
        # No position comes back, so the earlier ones do not count.
        history, lengths = np.zeros((len(rows), 1), np.uint64), np.zeros(len(rows), np.int64)
        results = play_moves(variant.tables, rows, history, lengths, moves[places])
        over = results != UNFINISHED
        # Results are those of the side then to move.
        values = (-results if chooses else results)[over].astype(np.int64)
        np.add.at(chances, 1 - values, weights[over])
        rows, weights = _merged(variant, rows[~over], weights[~over])
    win, draw, loss = chances.tolist()
    return Chances(win, draw, loss)


def _merged(variant: Variant, rows: Rows, weights: Weights) -> tuple[Rows, Weights]:
    """Equal positions merged, with the sum of their weights."""
    keys = np.ascontiguousarray(rows).view(np.dtype((np.void, variant.row_size)))[:, 0]
    _, first, places = np.unique(keys, return_index=True, return_inverse=True)
    return rows[first], np.bincount(places, weights, len(first)).astype(np.float64)


def raw_chooser(evaluator: Evaluator) -> Choose:
    """The evaluator's most likely move; the first of equals."""

    def choose(rows: Rows, moves: Moves, offsets: Offsets) -> Places:
        logits = evaluate(evaluator, rows, moves, offsets).logits
        return _first_best(np.asarray(logits, np.float64), offsets)

    return choose


def _first_best(scores: Weights, offsets: Offsets) -> Places:
    """The index [B] of each position's highest score among all [M]."""
    highest = np.maximum.reduceat(scores, offsets[:-1])
    best = np.flatnonzero(scores == np.repeat(highest, np.diff(offsets)))
    found = np.append(best, len(scores))[np.searchsorted(best, offsets[:-1])]
    # A position without a maximum (NaN equals nothing) keeps to its own moves.
    places: Places = np.minimum(found, offsets[1:] - 1)
    return places
