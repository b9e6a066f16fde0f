"""Estimates how many positions a game has, without visiting them all.

The positions are visited in levels, from the start. A move gains ranks or captures a piece, so with

    level = sum over the pieces on the board of (ranks gained - board height)

every move leads to a higher level. A position has one level, after those of all positions that lead
to it. Where a level holds more than `sample` positions, only a random sample of them is expanded,
each with a weight: the number of positions that it represents. Let d positions lead to a position,
and W be the sum of the weights of those among them that were sampled. W is an unbiased estimate of
d, and W / d would be the weight of the position. But d is unknown: most of the d were not sampled.

So three independent sweeps run side by side. The products of their weights estimate the means of d,
d**2 and d**3 over a level, and from them the mean and the spread of d. A negative binomial is
fitted to these. A position that k sampled ones lead to, with Z more that were not sampled, counts
W * E[1 / (k + Z)], which is exact where all were sampled.

Two assumptions: d varies as a negative binomial, and the number of a position's moves does not
depend on d. Neither holds exactly, and the errors of the levels multiply: on games of 3e5 to 4e7
positions the estimate was 0.65 to 1.1 of the truth. Beyond 1e9, where the sweeps seldom find the
same position, it is an order of magnitude at best.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.kernels import apply, generate_batch
from engine.rules.tables import BLACK_BIT, CLOCK, EMPTY, SQUARES, WIDTH, Tables
from engine.rules.variant import Variant
from search.exact.position_table import KeyLayout, Keys, key_layout, pack, unpack

Weights = npt.NDArray[np.float64]
Levels = npt.NDArray[np.int64]

SWEEPS: Final = 3
"""Independent samples; the third moment of d takes three."""
SAMPLE: Final = 4000
"""Positions of a level that each sweep expands."""
MOST_POSITIONS: Final = 10**12
"""The largest estimate: it stands for this many or more."""
_ENOUGH_MEETINGS: Final = 30
"""Positions found by several sweeps from which d is measured; with fewer, the last level counts."""
_MOST_SPREAD: Final = 5.0
_INTERVALS: Final = 1000
"""Of the numerical integral."""


@kernel
def _level(tables: Tables, row: npt.NDArray[np.uint8]) -> int:
    squares, width = tables[SQUARES], tables[WIDTH]
    height = squares // width
    level = 0
    for square in range(squares):
        code = row[square]
        if code != EMPTY:
            rank = square // width
            level += (height - 1 - rank if code & BLACK_BIT else rank) - height
    return level


@kernel
def _unpack_all(layout: KeyLayout, keys: Array2D[np.uint32], rows: Array2D[np.uint8]) -> None:
    for index in range(keys.shape[0]):
        unpack(layout, keys[index], rows[index])


@kernel
def _pack_children(
    tables: Tables,
    layout: KeyLayout,
    rows: Array2D[np.uint8],
    moves: npt.NDArray[np.uint16],
    offsets: npt.NDArray[np.int64],
    keys: Array2D[np.uint32],
    levels: Levels,
) -> None:
    """Keys [M, K] and levels [M] of the positions after the moves of `rows`."""
    after = np.empty(rows.shape[1], np.uint8)
    for index in range(rows.shape[0]):
        for move in range(offsets[index], offsets[index + 1]):
            apply(tables, rows[index], moves[move], after)
            after[tables[SQUARES] + CLOCK] = 0
            pack(layout, after, keys[move])
            levels[move] = _level(tables, after)


def _shares(found: Weights, missed: float, spread: float) -> Weights:
    """E[1 / (k + Z)] of each k in `found`, for Z of mean `missed` and variance missed + spread *
    missed**2: the integral of s**(k - 1) times the generating function of Z at s."""
    if missed == 0.0:
        return 1 / found
    s = (np.arange(_INTERVALS) + 0.5) / _INTERVALS
    generating = (1 + spread * missed * (1 - s)) ** (-1 / spread)
    k = np.arange(1, int(found.max()) + 1)[:, None]
    table: Weights = (s ** (k - 1) * generating).mean(axis=1)
    return table[found.astype(np.int64) - 1]


class _Sweeps:
    """The levels ahead: for each the (sweep, keys, weights) of the moves that lead there."""

    def __init__(self, variant: Variant) -> None:
        self.tables = variant.tables
        self.row_size = variant.row_size
        self.layout = key_layout(variant.squares, variant.piece_types)
        self.further_ways = 0.0
        """Mean of d - 1 over the moves into the level's positions."""
        self.spread = 1e-6
        """1 / r of the negative binomial: 0 for a Poisson number."""
        start = np.empty((1, self.layout.halves), np.uint32)
        pack(self.layout, variant.start_row, start[0])
        level = int(_level(self.tables, variant.start_row))
        self.pending: dict[int, list[tuple[int, Keys, Weights]]] = {
            level: [(sweep, start, np.ones(1)) for sweep in range(SWEEPS)]
        }

    def next_level(self) -> list[tuple[Keys, Weights]]:
        """For each sweep the distinct positions of the lowest level, and their weights."""
        parts = self.pending.pop(min(self.pending))
        keys = np.concatenate([part[1] for part in parts])
        weights = np.concatenate([part[2] for part in parts])
        sweeps = np.concatenate([np.full(len(part[2]), part[0]) for part in parts])
        # Word 0 mixes all words: good enough to tell the positions of a sample apart.
        words = keys[:, 0].astype(np.uint64) << np.uint64(32) | keys[:, 1]
        _, first, inverse = np.unique(words, return_index=True, return_inverse=True)
        cells = inverse * SWEEPS + sweeps
        size = len(first) * SWEEPS
        found = np.bincount(cells, minlength=size).astype(np.float64).reshape(-1, SWEEPS)
        totals = np.bincount(cells, weights, size).astype(np.float64).reshape(-1, SWEEPS)
        self._measure_ways(totals)
        return [
            self._weigh(keys[first], found[:, sweep], totals[:, sweep]) for sweep in range(SWEEPS)
        ]

    def _measure_ways(self, totals: Weights) -> None:
        """Fit mean and spread of d to the weights [N, SWEEPS] that lead into each position."""
        a, b, c = totals.T
        ways = totals.mean(axis=1).sum()
        met = np.count_nonzero(totals, axis=1)
        if np.count_nonzero(met >= 2) >= _ENOUGH_MEETINGS:
            mean = ((a * b + b * c + c * a) / 3).sum() / ways
            self.further_ways = max(0.0, float(mean - 1))
            if np.count_nonzero(met == SWEEPS) >= _ENOUGH_MEETINGS and self.further_ways > 0.05:
                second = (a * b * c).sum() / ways
                pairs = second - 3 * mean + 2
                spread = float(pairs / self.further_ways**2 - 1)
                self.spread = min(max(spread, 1e-6), _MOST_SPREAD)

    def _weigh(self, keys: Keys, found: Weights, totals: Weights) -> tuple[Keys, Weights]:
        seen = found > 0
        keys, found, totals = keys[seen], found[seen], totals[seen]
        if not len(keys):
            return keys, totals
        known_ways = float((found * (found - 1)).sum() / found.sum())
        missed = max(0.0, self.further_ways - known_ways)
        if totals.sum() == found.sum():
            missed = 0.0
        return keys, totals * _shares(found, missed, self.spread)

    def expand(self, sweep: int, keys: Keys, weights: Weights) -> None:
        """Add the positions' weights to those of the positions after them."""
        rows = np.empty((len(keys), self.row_size), np.uint8)
        _unpack_all(self.layout, keys, rows)
        moves, offsets = generate_batch(self.tables, rows)
        children = np.empty((len(moves), self.layout.halves), np.uint32)
        levels = np.empty(len(moves), np.int64)
        _pack_children(self.tables, self.layout, rows, moves, offsets, children, levels)
        added = np.repeat(weights, np.diff(offsets))
        for level in np.unique(levels):
            chosen = levels == level
            part = (sweep, children[chosen], added[chosen])
            self.pending.setdefault(int(level), []).append(part)


def sampled_count(variant: Variant, rng: np.random.Generator, sample: int = SAMPLE) -> int:
    """Estimate the reachable positions, finished ones included; at most MOST_POSITIONS.

    Exact where no level holds more than `sample`.
    """
    sweeps = _Sweeps(variant)
    positions = 0.0
    while sweeps.pending and positions < MOST_POSITIONS:
        for sweep, (keys, weights) in enumerate(sweeps.next_level()):
            positions += float(weights.sum()) / SWEEPS
            if len(keys) > sample:
                chance = np.minimum(1.0, weights * (sample / weights.sum()))
                kept = rng.random(len(keys)) < chance
                keys, weights = keys[kept], weights[kept] / chance[kept]
            if len(keys):
                sweeps.expand(sweep, keys, weights)
    return min(round(positions), MOST_POSITIONS)
