"""Exact values of positions at every clock, by brute force on the rules; no endgame table is read.

`python -m tests.support.search.clock_cases` counts how many wins of king and pawn perfect play
keeps: all positions of Gardner, clocks 80 to 99, in some minutes. The tests ask for a part of them.

All positions that some first positions lead to become a graph of moves. The values at clock c
follow from those at clock c + 1 and, after captures and pawn moves, from those at clock 0, from
the last clock down to the first, again and again until the values at clock 0 stay as they are.
"""

import sys
from functools import cache
from itertools import permutations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.attacks import is_check
from engine.rules.history import hash_row
from engine.rules.kernels import generate_batch
from engine.rules.position import Position
from engine.rules.tables import BLACK_BIT, CLOCK, EN_PASSANT, KING, NO_SQUARE, PAWN, SIDE
from engine.rules.variant import Variant, get_variant
from search.exact.tablebase.tables import solve_endgames
from search.players.tablebase import PerfectEndgamePlayer
from training.selfplay.games import UNFINISHED, play_moves

Rows = npt.NDArray[np.uint8]


class ClockTruth(NamedTuple):
    """N positions in which the game goes on, at clock 0."""

    rows: Rows
    """[N, R]"""
    moves: npt.NDArray[np.uint16]
    """[M] legal moves of all of them."""
    offsets: npt.NDArray[np.int64]
    """[N + 1] where each position's moves begin and end."""
    values: npt.NDArray[np.int8]
    """[C + 1, N] the value for the side to move at clock c; all 0 at the rule's number C."""
    gains: npt.NDArray[np.int8]
    """[C, M] the value of each move, for the side that makes it, made at clock c."""

    def gain(self, index: int, clock: int, move: int) -> int:
        """The value of a move of position `index`, for the side that makes it at a clock."""
        part = slice(self.offsets[index], self.offsets[index + 1])
        return int(self.gains[clock, part][self.moves[part] == move][0])

    def selected(self, *codes: int) -> npt.NDArray[np.int64]:
        """The positions with just these men on the board."""
        boards = self.rows[:, :-5]
        return np.flatnonzero((np.sort(boards)[:, -len(codes) :] == np.sort(codes)).all(1))


def _after(variant: Variant, rows: Rows) -> tuple[Rows, npt.NDArray[np.int8], list[npt.NDArray]]:  # type: ignore[type-arg]
    """Positions and results after all moves of positions [N, R], the moves and their offsets."""
    moves, offsets = generate_batch(variant.tables, rows)
    after = np.repeat(rows, np.diff(offsets), axis=0)
    none, lengths = np.zeros((len(after), 1), np.uint64), np.zeros(len(after), np.int64)
    results = play_moves(variant.tables, after, none, lengths, moves)
    return after, results, [moves, offsets]


def _keys(rows: Rows) -> npt.NDArray[np.void]:
    """One key a row, without clock and repetitions."""
    board = np.ascontiguousarray(rows[:, :-2])
    return board.view(np.dtype((np.void, board.shape[1]))).reshape(-1)


def clock_truth(
    variant: Variant, first: Rows, drawn: frozenset[int] = frozenset(), least: int = 0
) -> ClockTruth:
    """The values of these unfinished positions [K, R] and of all that they lead to.

    A move to a position whose hash is among the `drawn` draws, unless it resets the clock. Values
    are found down to clock `least`, which must be 0 where something is to be reset.
    """
    rows, fresh = first[:0], first
    while len(fresh):
        rows = np.concatenate([rows, fresh])
        after, results, _ = _after(variant, fresh)
        fresh = after[results == UNFINISHED]
        fresh[:, -2:] = 0
        _, places = np.unique(_keys(fresh), return_index=True)
        fresh = fresh[places]
        fresh = fresh[~np.isin(_keys(fresh), _keys(rows))]
    rows = rows[np.argsort(_keys(rows))]
    after, results, (moves, offsets) = _after(variant, rows)
    going_on, resets = results == UNFINISHED, after[:, variant.squares + CLOCK] == 0
    children = np.where(going_on, np.searchsorted(_keys(rows), _keys(after)), 0)
    spoilt = np.zeros(len(after), np.bool_)
    if drawn:
        hashes = [int(hash_row(variant.tables, row)) for row in after]
        spoilt = np.array([hash_ in drawn for hash_ in hashes]) & ~resets
    rule = variant.clock_rule
    values = np.zeros((rule + 1, len(rows)), np.int8)
    gains = np.zeros((rule, len(moves)), np.int8)
    before = None
    while before is None or (before != values[0]).any():
        before = values[0].copy()
        for clock in range(rule - 1, least - 1, -1):
            later = np.where(resets, before[children], values[clock + 1][children])
            gains[clock] = np.where(going_on, np.where(spoilt, 0, -later), -results)
            values[clock] = np.maximum.reduceat(gains[clock], offsets[:-1])
    return ClockTruth(rows, moves, offsets, values, gains)


def placed(variant: Variant, *codes: int) -> Rows:
    """Every unfinished position of just these men, at clock 0 and without en passant."""
    squares = np.array(list(permutations(range(variant.squares), len(codes))))
    rows = np.zeros((len(squares), variant.row_size), np.uint8)
    for place, code in enumerate(codes):
        rows[np.arange(len(rows)), squares[:, place]] = code
    pawns = rows[:, : variant.squares] & 15 == PAWN
    far = [variant.promotion_region[0] | variant.promotion_region[1]]
    barred = np.array([far[0] >> square & 1 for square in range(variant.squares)], np.bool_)
    rows = rows[~(pawns & barred).any(1)]
    rows[:, variant.squares + EN_PASSANT] = NO_SQUARE
    both = np.concatenate([rows, rows])
    both[len(rows) :, variant.squares + SIDE] = 1
    turned = both.copy()
    turned[:, variant.squares + SIDE] ^= 1
    both = both[[not is_check(variant.tables, row) for row in turned]]
    _, offsets = generate_batch(variant.tables, both)
    return both[np.diff(offsets) > 0]


@cache
def king_and(variant: Variant, piece_type: int) -> ClockTruth:
    """A king and a man against a king, and what that leads to."""
    first = placed(variant, KING, KING | BLACK_BIT, piece_type)
    return clock_truth(variant, first)


def at_clock(row: npt.NDArray[np.uint8], clock: int) -> npt.NDArray[np.uint8]:
    """The row with that clock."""
    worn = row.copy()
    worn[-2] = clock
    return worn


def count_kept(clock: int) -> tuple[int, int, int, int]:
    """Wins of king and pawn against king on Gardner at a clock, those that the perfect player
    keeps, draws, and those that it keeps and calls drawn."""
    variant = get_variant("gardner")
    truth, player = king_and(variant, PAWN), PerfectEndgamePlayer(solve_endgames(variant, 3)[0])
    counts = np.zeros(4, np.int64)
    for index in truth.selected(KING, KING | BLACK_BIT, PAWN):
        value = int(truth.values[clock, index])
        if value < 0:
            continue
        row = at_clock(truth.rows[index], clock)
        choice = player.choose(Position.from_row(row, variant))
        kept = truth.gain(int(index), clock, choice.move) == choice.value == value
        counts[0 if value else 2] += 1
        counts[1 if value else 3] += kept
    wins, kept_wins, draws, kept_draws = counts.tolist()
    return wins, kept_wins, draws, kept_draws


if __name__ == "__main__":
    for number in range(80, 100):
        wins, won, draws, drawn = count_kept(number)
        sys.stdout.write(f"clock {number}: {won} of {wins} wins kept, {drawn} of {draws} draws\n")
        sys.stdout.flush()
