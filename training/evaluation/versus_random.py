"""Exact results of a deterministic player against uniformly random moves.

Nothing is sampled. From the start position all positions that the two can reach are followed, ply
by ply, with their probabilities: the player's move takes all of it, random moves take equal shares.
Equal positions are merged, so that the work grows with the number of reachable positions and not of
games.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.errors import InputError
from engine.rules.kernels import apply, generate_batch
from engine.rules.outcome import terminal_value, termination
from engine.rules.tables import BLACK, SIDE, SQUARES, WHITE, Tables
from engine.rules.variant import Variant
from search.evaluator import Evaluator, evaluate
from training.evaluation.simulations import search_positions

Rows = Array2D[np.uint8]
Moves = npt.NDArray[np.uint16]
Offsets = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

_UNFINISHED: Final = 2
"""In the place of a result where the game is not over."""

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


@kernel
def _evaluate_all(
    tables: Tables, rows: Rows, offsets: Offsets, results: npt.NDArray[np.int8]
) -> None:
    """The result of each row [B, R] for White, or that it is not over."""
    for index in range(rows.shape[0]):
        reason = termination(tables, rows[index], offsets[index + 1] - offsets[index])
        results[index] = _UNFINISHED
        if reason:
            value = terminal_value(tables, reason, rows[index])
            white = rows[index, tables[SQUARES] + SIDE] == WHITE
            results[index] = value if white else -value


@kernel
def _follow(tables: Tables, rows: Rows, origins: Places, moves: Moves, out: Rows) -> None:
    """The position [K, R] after each move [K], made in row origins[K]."""
    for index in range(moves.shape[0]):
        apply(tables, rows[origins[index]], moves[index], out[index])


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
    outcomes = np.zeros(3)
    while len(rows):
        moves, offsets = generate_batch(variant.tables, rows)
        results = np.empty(len(rows), np.int8)
        _evaluate_all(variant.tables, rows, offsets, results)
        over = results != _UNFINISHED
        np.add.at(outcomes, 1 - results[over].astype(np.int64), weights[over])
        # All positions of a ply have the same side to move; finished ones are dropped.
        rows, weights = rows[~over], weights[~over]
        if not len(rows):
            break
        moves, offsets = generate_batch(variant.tables, rows)
        if rows[0, variant.squares + SIDE] == own:
            places = choose(rows, moves, offsets)
            origins, shares = np.arange(len(rows)), np.ones(len(rows))
        else:
            places = np.arange(len(moves))
            counts = np.diff(offsets)
            origins = np.repeat(np.arange(len(rows)), counts)
            shares = np.repeat(1.0 / counts, counts)
        after = np.empty((len(places), variant.row_size), np.uint8)
        _follow(variant.tables, rows, origins, moves[places], after)
        rows, weights = _merged(variant, after, weights[origins] * shares)
    win, draw, loss = outcomes if own == WHITE else outcomes[::-1]
    return Chances(float(win), float(draw), float(loss))


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


def search_chooser(variant: Variant, evaluator: Evaluator, search: str, simulations: int) -> Choose:
    """The move that a search of `simulations.SEARCHES` plays."""

    def choose(rows: Rows, moves: Moves, offsets: Offsets) -> Places:
        return search_positions(variant, rows, evaluator, search, simulations).places

    return choose


def _first_best(scores: Weights, offsets: Offsets) -> Places:
    """The index [B] of each position's highest score among all [M]."""
    highest = np.maximum.reduceat(scores, offsets[:-1])
    best = np.flatnonzero(scores == np.repeat(highest, np.diff(offsets)))
    found = np.append(best, len(scores))[np.searchsorted(best, offsets[:-1])]
    # A position without a maximum (NaN equals nothing) keeps to its own moves.
    places: Places = np.minimum(found, offsets[1:] - 1)
    return places
