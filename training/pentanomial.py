"""Pairs of games: one opening, colours swapped, five possible scores (0, ½, 1, 1½ and 2 points).

The two games of a pair depend on each other through their opening, so that pairs and not games are
the independent units of a match (the pentanomial model of Fishtest). Two players without chance who
meet again in an opening play the same pair again: it says nothing new, and is told apart here.
"""

from collections.abc import Sequence
from typing import Final

PairCounts = tuple[int, int, int, int, int]
"""Pairs in which A took 0, ½, 1, 1½ and 2 points."""
PAIR_SCORES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Share of the points that a pair of games can give."""

_Half = tuple[float, tuple[int, ...]]


class PairTally:
    """Counts the pairs of a match while its games come in, in any order."""

    def __init__(self) -> None:
        self._halves: dict[int, _Half] = {}
        self._counts, self._ordered = [0] * 5, [0] * 5
        self._seen: set[tuple[tuple[int, ...], ...]] = set()
        self._met: set[tuple[tuple[int, ...], ...]] = set()
        self._next = 0

    def add(self, number: int, points: float, moves: Sequence[int]) -> None:
        """Take in a game: 2i and 2i + 1 are a pair; `points` are A's."""
        self._halves[number] = points, tuple(moves)
        if number ^ 1 not in self._halves:
            return
        place, played = self._pair(number // 2)
        self._counts[place] += 1
        self._seen.add(played)
        while 2 * self._next in self._halves and 2 * self._next + 1 in self._halves:
            place, played = self._pair(self._next)
            self._ordered[place] += played not in self._met
            self._met.add(played)
            self._next += 1

    def _pair(self, pair: int) -> tuple[int, tuple[tuple[int, ...], ...]]:
        first, second = self._halves[2 * pair], self._halves[2 * pair + 1]
        return round(2 * (first[0] + second[0])), (first[1], second[1])

    @property
    def counts(self) -> PairCounts:
        """All complete pairs."""
        zero, half, one, more, two = self._counts
        return zero, half, one, more, two

    @property
    def distinct(self) -> int:
        """Complete pairs of which none repeats another, move by move."""
        return len(self._seen)

    @property
    def ordered(self) -> PairCounts:
        """The distinct pairs up to the first that is not complete.

        Of games played side by side the short ones end first. Whoever stops a match by its score
        must not look at them before the long ones.
        """
        zero, half, one, more, two = self._ordered
        return zero, half, one, more, two
