"""Concepts that are read off exact results: of a solved game, or of endgame tables.

`label` is handed a `Truth` for them. What it does not cover has no label.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.facts.forced_lines import best_squares
from engine.probing.concepts.facts.outcomes import (
    move_outcomes,
    null_move_outcomes,
    outcomes,
    require_truth,
)
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Labels, concept
from engine.probing.concepts.truth import NO_DISTANCE, UNKNOWN

_EXACT = "exact results"
_VALUES = ((1, "win"), (0, "draw"), (-1, "loss"))


def _where(known: npt.NDArray[np.bool_], labels: npt.NDArray[np.generic]) -> Labels:
    return np.where(known, labels.astype(np.float64), np.nan)


@concept("game value", kind="categorical", source=_EXACT, class_names=_VALUES, needs="truth")
def game_value(positions: Positions) -> Labels:
    """The result with best play of both sides, for the side to move: win, draw or loss, as an exact
    solution of the game has it.
    """
    values = positions.shared(outcomes).values
    return _where(values != UNKNOWN, values)


@concept("distance to the end", kind="count", source=_EXACT, needs="truth")
def distance(positions: Positions) -> Labels:
    """Plies to the end of the game with best play: the winner hurries, the loser delays."""
    distances = positions.shared(outcomes).distances
    return _where(distances != NO_DISTANCE, distances)


@concept("moves to the win", kind="count", source=_EXACT, needs="truth")
def moves_to_win(positions: Positions) -> Labels:
    """In a position that the side to move wins: its moves to the end with best play of both sides,
    as a problem's "mate in n" counts them.
    """
    values, distances = positions.shared(outcomes)
    return _where((values == 1) & (distances != NO_DISTANCE), (distances + 1) // 2)


class _MoveCounts(NamedTuple):
    """Legal moves by result; [N] each."""

    # False where the result of some move is not known.
    known: npt.NDArray[np.bool_]
    legal: npt.NDArray[np.int64]
    winning: npt.NDArray[np.int64]
    # That keep the value of the position.
    keeping: npt.NDArray[np.int64]


def _move_counts(positions: Positions) -> _MoveCounts:
    values = positions.shared(move_outcomes).values
    starts, legal = positions.legal.offsets[:-1], positions.legal.counts
    best = np.maximum.reduceat(values, starts)
    return _MoveCounts(
        known=np.minimum.reduceat(values, starts) != UNKNOWN,
        legal=legal,
        winning=np.add.reduceat((values == 1).astype(np.int64), starts),
        keeping=np.add.reduceat((values == np.repeat(best, legal)).astype(np.int64), starts),
    )


@concept("winning moves", kind="count", source=_EXACT, needs="truth")
def winning_moves(positions: Positions) -> Labels:
    """The number of legal moves that win with best play."""
    counts = positions.shared(_move_counts)
    return _where(counts.known, counts.winning)


@concept("moves that keep the value", kind="count", source=_EXACT, needs="truth")
def keeping_moves(positions: Positions) -> Labels:
    """The number of legal moves that keep the game value, however long they take."""
    counts = positions.shared(_move_counts)
    return _where(counts.known, counts.keeping)


@concept("difficulty", kind="real", source=_EXACT, needs="truth")
def difficulty(positions: Positions) -> Labels:
    """The share of the legal moves that lose value."""
    counts = positions.shared(_move_counts)
    return _where(counts.known, 1 - counts.keeping / counts.legal)


@concept("only move", kind="binary", source=_EXACT, needs="truth")
def only_move(positions: Positions) -> Labels:
    """Of several legal moves exactly one keeps the game value."""
    counts = positions.shared(_move_counts)
    return _where(counts.known, (counts.keeping == 1) & (counts.legal > 1))


def _gain_by_passing(positions: Positions) -> Labels:
    """[N] value after a null move less the value; NaN where one of them is not known."""
    values = positions.shared(outcomes).values
    passed = positions.shared(null_move_outcomes).values
    return _where((values != UNKNOWN) & (passed != UNKNOWN), passed - values)


@concept("zugzwang", kind="binary", source=f"{_EXACT}; Wikipedia, Zugzwang", needs="truth")
def zugzwang(positions: Positions) -> Labels:
    """A null move would raise the game value: the side to move would do better to pass
    (undefined in check).
    """
    gain = positions.shared(_gain_by_passing)
    return _where(~np.isnan(gain), gain > 0)


@concept("threat", kind="binary", source=f"{_EXACT}; null-move search", needs="truth")
def threat(positions: Positions) -> Labels:
    """A null move would lower the game value: the opponent threatens something (undefined
    in check).
    """
    gain = positions.shared(_gain_by_passing)
    return _where(~np.isnan(gain), gain < 0)


def _one_hot(squares: npt.NDArray[np.int64], known: npt.NDArray[np.bool_], count: int) -> Labels:
    """[N, S] 1 on the square of each position; NaN where it is not known."""
    labels: Labels = (np.arange(count) == squares[:, None]).astype(np.float64)
    labels[~known] = np.nan
    return labels


def _target_squares(positions: Positions, ply: int) -> Labels:
    require_truth(positions)
    return _one_hot(*best_squares(positions, ply), positions.variant.squares)


@concept("square of the best move", kind="binary", source=_EXACT, per_square=True, needs="truth")
def best_target(positions: Positions) -> Labels:
    """The square that the best move reaches, where exactly one legal move keeps the game value."""
    return _target_squares(positions, 0)


@concept(
    "square the best move leaves", kind="binary", source=_EXACT, per_square=True, needs="truth"
)
def best_source(positions: Positions) -> Labels:
    """The square of the piece to move, where exactly one legal move keeps the game value."""
    require_truth(positions)
    return _one_hot(*best_squares(positions, 0, part="from"), positions.variant.squares)


_LOOK_AHEAD = "Jenner et al. 2024, with exact results"


@concept(
    "square of the best move in two plies",
    kind="binary",
    source=_LOOK_AHEAD,
    per_square=True,
    needs="truth",
)
def target_in_two(positions: Positions) -> Labels:
    """The square that the best move two plies later reaches, in forced lines: exactly one move of
    the side to move keeps the game value each time, and exactly one reply is best.
    """
    return _target_squares(positions, 2)


@concept(
    "square of the best move in four plies",
    kind="binary",
    source=_LOOK_AHEAD,
    per_square=True,
    needs="truth",
)
def target_in_four(positions: Positions) -> Labels:
    """The square that the best move four plies later reaches, in forced lines: exactly one move of
    the side to move keeps the game value each time, and exactly one reply is best.
    """
    return _target_squares(positions, 4)
