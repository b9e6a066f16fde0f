"""Splits that keep symmetric positions and games together.

By canonical position: all rows of one canonical position (canonical.py) fall on one side. By game,
where games are known: games are assigned to the two sides first; a test position is one that occurs
in test games *only*, and so do all positions symmetric to it. What a test game shares with a
training game, such as the opening, is training.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.probing.data.canonical import Groups
from engine.probing.data.samples import Sample
from engine.rules.tables import CLOCK, REPETITION, STATE_SIZE

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows of a sample on two sides: no canonical position is on both."""

    # int64 indices into the sample.
    train: Indices
    # Likewise.
    test: Indices

    def without_repeats(self, sample: Sample) -> "Split":
        """Only the first of equal rows; rows that differ in clock and repetition are equal."""
        return Split(
            train=_without_repeats(sample, self.train), test=_without_repeats(sample, self.test)
        )


def split(
    sample: Sample, share: float, rng: np.random.Generator, among: Indices | None = None
) -> Split:
    """Assign about `share` of the games, or of the canonical positions, to the test side.

    `among` restricts the split to some rows: to choose a probe's penalty inside its training side.
    """
    rows = np.arange(len(sample)) if among is None else among
    groups = sample.groups[rows]
    if sample.games is None:
        is_test = np.isin(groups, _draw(groups, share, rng))
    else:
        games = sample.games[rows]
        of_test_game = np.isin(games, _draw(games, share, rng))
        is_test = of_test_game & ~np.isin(groups, groups[~of_test_game])
    return Split(train=rows[~is_test], test=rows[is_test])


def split_whole(sample: Sample, kinds: Groups, share: float, rng: np.random.Generator) -> Split:
    """Hold out whole kinds of position [N] (signatures.py): about `share` of the rows.

    Symmetric positions are of one kind, so none is on both sides.
    """
    drawn = rng.permutation(int(kinds.max()) + 1)
    sizes = np.cumsum(np.bincount(kinds)[drawn])
    # As many as come nearest to the share, but neither none nor all.
    count = int(np.abs(sizes - share * len(sample)).argmin()) + 1
    is_test = np.isin(kinds, drawn[: min(count, len(drawn) - 1)])
    rows = np.arange(len(sample))
    return Split(train=rows[~is_test], test=rows[is_test])


def fold_numbers(
    sample: Sample, rows: Indices, count: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """[M] a fold from 0 to count - 1 for each of M rows; clusters are never divided."""
    members = np.unique(clusters(sample, rows), return_inverse=True)[1].ravel()
    places = rng.permutation(int(members.max(initial=-1)) + 1)
    folds: npt.NDArray[np.int64] = places[members] % count
    return folds


def thin(rows: Indices, most: int, rng: np.random.Generator) -> Indices:
    """At most `most` of the rows, drawn at random, in their order."""
    if len(rows) <= most:
        return rows
    return np.sort(rng.choice(rows, most, replace=False))


def clusters(sample: Sample, rows: Indices) -> npt.NDArray[np.int64]:
    """[M] the unit that each of M rows is resampled with: its game, else its canonical position.

    A canonical position of several games, with all its rows, counts to the first of them.
    """
    groups = sample.groups[rows]
    if sample.games is None:
        return groups
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    return sample.games[rows][first][member.ravel()]


def count_distinct(numbers: npt.NDArray[np.int64]) -> int:
    """How many different numbers there are."""
    return len(np.unique(numbers))


def _draw(
    numbers: npt.NDArray[np.int64], share: float, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """A random `share` of the different numbers, at least one."""
    different = rng.permutation(np.unique(numbers))
    return different[: max(1, round(share * len(different)))]


def _without_repeats(sample: Sample, rows: Indices) -> Indices:
    equal = sample.rows[rows].copy()
    size = equal.shape[1] - STATE_SIZE
    equal[:, size + CLOCK] = equal[:, size + REPETITION] = 0
    whole = equal.view(np.dtype((np.void, equal.shape[1]))).ravel()
    return rows[np.sort(np.unique(whole, return_index=True)[1])]
