"""Pairs of games: one opening, colours swapped, five possible scores (0, ½, 1, 1½ and 2 points).

The two games of a pair depend on each other through their opening, so pairs and not games are the
independent units of a match (the pentanomial model of Fishtest). Two deterministic players repeat a
game when they reach a position of an earlier game with the same colours. Such games are no new
evidence and are counted apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

PairCounts = tuple[int, ...]
"""int[5]: pairs in which A took 0, ½, 1, 1½ and 2 points."""
PAIR_SCORES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Share of the points that a pair of games can give."""

_Moves = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Score:
    """What player A scored against player B."""

    wins: int
    draws: int
    losses: int
    # Complete pairs in which A took 0, ½, 1, 1½ and 2 points.
    pairs: PairCounts
    # Pairs of which none repeats another, move by move.
    distinct_pairs: int
    # Pairs that are independent samples: of deterministic players those of new games, else all.
    independent_pairs: int

    @property
    def games(self) -> int:
        """Games played."""
        return self.wins + self.draws + self.losses


class _Game(NamedTuple):
    points: float
    moves: _Moves
    # See `PairTally.add`.
    continuations: tuple[int, ...]


_Seen = tuple[set[int], set[int]]
"""Continuations that the first and the second games of pairs have had."""


def _is_new(pair: tuple[_Game, _Game], seen: _Seen) -> bool:
    """Whether neither game repeats an earlier one with the same colours; adds both to `seen`.

    A longer opening can lead into a game that was played before, with one of the two colours.
    """
    repeats = [game.continuations[0] in met for game, met in zip(pair, seen, strict=True)]
    for game, met in zip(pair, seen, strict=True):
        met.update(game.continuations)
    return not any(repeats)


class PairTally:
    """Counts the pairs of a match as its games arrive, in any order."""

    def __init__(self, *, games_repeat: bool) -> None:
        """`games_repeat`: whether both players are deterministic."""
        self._games_repeat = games_repeat
        self._halves: dict[int, _Game] = {}
        self._counts, self._ordered = [0] * 5, [0] * 5
        self._seen: _Seen = set(), set()
        self._next = 0

    def add(
        self,
        number: int,
        points: float,
        moves: Sequence[int],
        continuations: Sequence[int] = (),
    ) -> None:
        """Add a game; games 2i and 2i + 1 are a pair, and `points` are A's.

        `continuations`: one number for each position from the end of the opening on, with all later
        moves (`arena.PlayedGame.continuations`). Without them, only games that are equal from the
        first move on count as repeated.
        """
        whole = tuple(moves)
        self._halves[number] = _Game(points, whole, tuple(continuations) or (hash(whole),))
        if number ^ 1 not in self._halves:
            return
        self._counts[self._place(number // 2)] += 1
        while 2 * self._next in self._halves and 2 * self._next + 1 in self._halves:
            is_new = _is_new(self._games(self._next), self._seen)
            self._ordered[self._place(self._next)] += is_new or not self._games_repeat
            self._next += 1

    def _place(self, pair: int) -> int:
        return round(2 * sum(game.points for game in self._games(pair)))

    def _games(self, pair: int) -> tuple[_Game, _Game]:
        return self._halves[2 * pair], self._halves[2 * pair + 1]

    def score(self) -> dict[str, Any]:
        """The fields of `Score` for the games so far."""
        points = [game.points for game in self._halves.values()]
        return {
            "wins": points.count(1.0),
            "draws": points.count(0.5),
            "losses": points.count(0.0),
            "pairs": self.counts,
            "distinct_pairs": self.distinct,
            "independent_pairs": self.independent,
        }

    @property
    def counts(self) -> PairCounts:
        """All complete pairs."""
        return tuple(self._counts)

    @property
    def distinct(self) -> int:
        """Complete pairs of which none repeats another, move by move."""
        games = (self._games(pair) for pair in self._complete())
        return len({(first.moves, second.moves) for first, second in games})

    @property
    def independent(self) -> int:
        """Complete pairs that are independent samples.

        For deterministic players: pairs of which neither game was played before.
        """
        if not self._games_repeat:
            return sum(self._counts)
        seen: _Seen = set(), set()
        return sum(_is_new(self._games(pair), seen) for pair in self._complete())

    def _complete(self) -> list[int]:
        return [n // 2 for n in sorted(self._halves) if n % 2 == 0 and n + 1 in self._halves]

    @property
    def ordered(self) -> PairCounts:
        """The independent pairs before the first incomplete one.

        Of games played in parallel short ones end first. A match that is stopped by its score must
        not count them before the long ones.
        """
        return tuple(self._ordered)
