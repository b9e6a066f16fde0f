"""Estimates how many positions a game has, without visiting them all.

The positions are swept in levels, from the start on. A move gains ground or takes a man, so with

    level = sum over the men on the board of (ranks gained - board height)

every move leads to a higher level: all positions that lead to a position are treated before it, and
no position is met in two levels. Of a level with more than `sample` positions a random sample goes
on, each with a weight w, the number of positions that it stands for.

A position is found through the sampled ones that lead to it, so what is met once may have many more
ways to it that were not sampled. If k of them were, and lambda more are expected to have been missed,
it counts for

    W * E[1 / (k + Z)],   Z ~ Poisson(lambda),   W = sum of the k weights,

which is a Horvitz-Thompson estimate over the moves (each of d ways into a position counts 1/d of
it), exact where nothing was left out (lambda = 0). The mean number of further ways, mu, is measured in
each level on the moves that meet: sum of k(k - 1) / sum of k = p * mu for the share p of moves that
was sampled, and lambda = mu * (1 - p).

Assumed: the ways into a position vary as a Poisson number does, and a position's number of moves does
not depend on how many ways lead to it. Neither holds exactly; the errors of the levels multiply. On
games of up to some million positions the estimate is within a fifth of the truth (see the tests).
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.compilation import kernel
from engine.rules.kernels import apply, generate_batch
from engine.rules.tables import BLACK_BIT, CLOCK, EMPTY, SQUARES, WIDTH, Tables
from engine.rules.variant import Variant
from search.position_table import KeyLayout, Keys, key_layout, pack, unpack

Weights = npt.NDArray[np.float64]
Levels = npt.NDArray[np.int64]

SAMPLE: Final = 50_000
"""Positions that go on from a level."""


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
def _unpack_all(layout: KeyLayout, keys: Keys, rows: npt.NDArray[np.uint8]) -> None:
    for index in range(keys.shape[0]):
        unpack(layout, keys[index], rows[index])


@kernel
def _pack_children(
    tables: Tables,
    layout: KeyLayout,
    rows: npt.NDArray[np.uint8],
    moves: npt.NDArray[np.uint16],
    offsets: npt.NDArray[np.int64],
    keys: Keys,
    levels: Levels,
) -> None:
    """Keys [M, W] and levels [M] of the positions after the moves of `rows`."""
    after = np.empty(rows.shape[1], np.uint8)
    for index in range(rows.shape[0]):
        for move in range(offsets[index], offsets[index + 1]):
            apply(tables, rows[index], moves[move], after)
            after[tables[SQUARES] + CLOCK] = 0
            pack(layout, after, keys[move])
            levels[move] = _level(tables, after)


def _expected_share(found: Weights, missed: float) -> Weights:
    """E[1 / (k + Z)] for Z ~ Poisson(missed), as the integral of s**(k - 1) e**(-missed (1 - s))."""
    most = int(found.max())
    nodes, node_weights = np.polynomial.legendre.leggauss(128)
    s = (nodes + 1) / 2
    k = np.arange(1, most + 1)[:, None]
    shares = (s ** (k - 1) * np.exp(-missed * (1 - s)) * node_weights / 2).sum(axis=1)
    result: Weights = shares[found.astype(np.int64) - 1]
    return result


class _Sweep:
    """The levels that are still to come: for each the keys and weights that lead there."""

    def __init__(self, variant: Variant) -> None:
        self.tables = variant.tables
        self.row_size = variant.row_size
        self.layout = key_layout(variant.squares, variant.piece_types)
        self.pending: dict[int, list[tuple[Keys, Weights]]] = {}
        self.further_ways = 0.0
        start = np.empty((1, self.layout.words), np.uint64)
        pack(self.layout, variant.start_row, start[0])
        self.pending[int(_level(self.tables, variant.start_row))] = [(start, np.ones(1))]

    def next_level(self) -> tuple[Keys, Weights]:
        """The distinct positions found in the lowest level, and what each counts for."""
        parts = self.pending.pop(min(self.pending))
        keys = np.concatenate([part[0] for part in parts])
        weights = np.concatenate([part[1] for part in parts])
        # Word 0 mixes all words, which is good enough to tell a sample's positions apart.
        _, first, inverse = np.unique(keys[:, 0], return_index=True, return_inverse=True)
        found = np.bincount(inverse).astype(np.float64)
        total = np.bincount(inverse, weights)
        sampled = min(1.0, len(weights) / weights.sum())
        meetings = float((found * (found - 1)).sum() / found.sum())
        if sampled < 1.0 and meetings:
            self.further_ways = meetings / sampled
        missed = self.further_ways * (1.0 - sampled)
        return keys[first], total * _expected_share(found, missed)

    def expand(self, keys: Keys, weights: Weights) -> None:
        """Hand the positions' weights on to the positions after them."""
        rows = np.empty((len(keys), self.row_size), np.uint8)
        _unpack_all(self.layout, keys, rows)
        moves, offsets = generate_batch(self.tables, rows)
        children = np.empty((len(moves), self.layout.words), np.uint64)
        levels = np.empty(len(moves), np.int64)
        _pack_children(self.tables, self.layout, rows, moves, offsets, children, levels)
        handed_on = np.repeat(weights, np.diff(offsets))
        for level in np.unique(levels):
            chosen = levels == level
            self.pending.setdefault(int(level), []).append((children[chosen], handed_on[chosen]))


def sampled_count(variant: Variant, rng: np.random.Generator, sample: int = SAMPLE) -> int:
    """Estimate the reachable positions, finished ones included; exact up to `sample` a level."""
    sweep = _Sweep(variant)
    positions = 0.0
    while sweep.pending:
        keys, weights = sweep.next_level()
        positions += float(weights.sum())
        if len(keys) > sample:
            chance = np.minimum(1.0, weights * (sample / weights.sum()))
            kept = rng.random(len(keys)) < chance
            keys, weights = keys[kept], weights[kept] / chance[kept]
        if len(keys):
            sweep.expand(keys, weights)
    return round(positions)
