"""Samples of positions, and splits that keep twins and games together.

By canonical position: all rows of one canonical position (canonical.py) fall on one side. By game,
where games are known: games are dealt to the two sides first; a test position is one that occurs in
test games *only*, together with all its twins. What a test game shares with a training game, such
as the opening, is training.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from engine.probing.data.canonical import Boards, Groups, Rows, canonical_boards, canonical_groups
from engine.rules.tables import CLOCK, REPETITION, STATE_SIZE
from engine.rules.variant import Variant

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """N positions to probe on; G canonical positions among them."""

    # uint8[N, R].
    rows: Rows
    # uint8[N, S] canonical boards.
    boards: Boards
    # int64[N] the canonical position of each row, 0 .. G - 1.
    groups: Groups
    # int64[N] the game of each row; None where they are not from games.
    games: npt.NDArray[np.int64] | None

    @classmethod
    def from_rows(
        cls, rows: Rows, variant: Variant, games: npt.NDArray[np.integer] | None = None
    ) -> Self:
        """A sample of rows uint8[N, R], with games [N] where they are known."""
        boards = canonical_boards(rows, variant)
        return cls(
            rows=np.ascontiguousarray(rows),
            boards=boards,
            groups=canonical_groups(boards),
            games=None if games is None else games.astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def distinct(self) -> int:
        """G."""
        return count_distinct(self.groups)


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows of a sample on two sides: no canonical position on both."""

    # int64 indices into the sample.
    train: Indices
    # Likewise.
    test: Indices

    def without_repeats(self, sample: Sample) -> "Split":
        """The first of equal rows alone; clock and repetition count as equal."""
        return Split(
            train=_without_repeats(sample, self.train), test=_without_repeats(sample, self.test)
        )


def split(
    sample: Sample, share: float, rng: np.random.Generator, among: Indices | None = None
) -> Split:
    """Deal about `share` of the games, or of the canonical positions, to the test side.

    `among` restricts the split to some rows: to choose a probe's penalty inside its training side.
    """
    rows = np.arange(len(sample)) if among is None else among
    groups = sample.groups[rows]
    if sample.games is None:
        is_test = np.isin(groups, _deal(groups, share, rng))
    else:
        games = sample.games[rows]
        of_test_game = np.isin(games, _deal(games, share, rng))
        is_test = of_test_game & ~np.isin(groups, groups[~of_test_game])
    return Split(train=rows[~is_test], test=rows[is_test])


def clusters(sample: Sample, rows: Indices) -> npt.NDArray[np.int64]:
    """[M] what each of some rows hangs together with: its game, else its canonical position.

    A canonical position of several games counts to the first of them, with all its twins.
    """
    groups = sample.groups[rows]
    if sample.games is None:
        return groups
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    return sample.games[rows][first][member.ravel()]


def count_distinct(numbers: npt.NDArray[np.int64]) -> int:
    """How many different numbers there are."""
    return len(np.unique(numbers))


def _deal(
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
