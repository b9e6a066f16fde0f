"""Games between two players: paired openings with colours swapped, forfeits, and the score.

Several games are in progress at once where that is faster. A `BatchPlayer` chooses moves in all of
them in one batch. An external engine runs in several processes, each with one game at a time.
"""

import itertools
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.player import BatchPlayer, Player, games_repeat
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from engine.system.processes import usable_cores
from training.evaluation.elo import EloDifference, elo_difference
from training.evaluation.games.game import (
    LONGEST_GAME,
    Ending,
    GameInProgress,
    PlayedGame,
    continuations,
)
from training.evaluation.games.sides import MakeCopy, Side
from training.evaluation.openings import (
    Opening,
    default_opening_plies,
    listed_openings,
    random_openings,
)
from training.evaluation.pentanomial import PairTally, Score

__all__ = [
    "GAMES_AT_ONCE",
    "LONGEST_GAME",
    "Ending",
    "MakeCopy",
    "MatchResult",
    "PlayedGame",
    "continuations",
    "match_games",
    "play_match",
    "summarise",
]

GAMES_AT_ONCE: Final = 64
"""Games in progress at once where a player chooses in batches."""


@dataclass(frozen=True, kw_only=True)
class MatchResult(Score):
    """The score of a match from A's side."""

    # Games of which none repeats another, move by move.
    distinct: int
    # Games of either player lost by an illegal move or a crash.
    illegal: int
    # Games of either player lost on time.
    time_losses: int

    @property
    def score(self) -> float:
        """A's share of the points; ½ before the first game."""
        return (self.wins + 0.5 * self.draws) / self.games if self.games else 0.5

    @property
    def elo(self) -> EloDifference:
        """How much stronger A is. Pairs count as units where there are complete ones."""
        return elo_difference(
            self.wins, self.draws, self.losses, self.pairs, self.independent_pairs
        )


_Start = Callable[[int, int, Opening], GameInProgress]
"""Begins a game by its number, its place and its opening."""


class _Match:
    """The games of a match that are in progress, each at one of so many places."""

    def __init__(
        self,
        sides: tuple[Side, Side],
        places: int,
        numbers: Iterator[int],
        openings: Iterator[Opening],
        start: _Start,
    ) -> None:
        self._sides, self._places = sides, places
        self._numbers, self._openings, self._start = numbers, openings, start
        # Those of the first pairs, in order.
        self._drawn: list[Opening] = []
        self._running: dict[int, GameInProgress] = {}
        # What went wrong at the places where an engine does not start again.
        self._failed: dict[int, InputError | OSError] = {}

    def begin_games(self) -> bool:
        """Begin games at all free places; whether any game is in progress.

        Raises what went wrong where games are missing and no place is left.
        """
        for place in range(self._places):
            if place in self._running or place in self._failed:
                continue
            number = next(self._numbers, None)
            opening = None if number is None else self._opening(number)
            if number is not None and opening is not None:
                self._begin(place, number, opening)
        if self._running:
            return True
        if len(self._failed) == self._places and next(self._numbers, None) is not None:
            raise self._failed[0]
        return False

    def _opening(self, number: int) -> Opening | None:
        """That of a game's pair; None where there are no more."""
        pair = number // 2
        missing = max(0, pair + 1 - len(self._drawn))
        self._drawn += itertools.islice(self._openings, missing)
        return self._drawn[pair] if pair < len(self._drawn) else None

    def _begin(self, place: int, number: int, opening: Opening) -> None:
        try:
            for side in self._sides:
                side.begin_game(place)
        except (InputError, OSError) as problem:
            self._failed[place] = problem
            self._numbers = itertools.chain([number], self._numbers)
        else:
            self._running[place] = self._start(number, place, opening)

    def play_moves(self, pool: ThreadPoolExecutor | None) -> list[PlayedGame]:
        """Ask each player once, where it is to move; the games that are over then."""
        for which, side in enumerate(self._sides):
            games = self._running.values()
            to_move = [game for game in games if not game.over and game.mover == which]
            if to_move:
                side.ask(to_move, pool if side.is_engine else None)
        finished = [game for game in self._running.values() if game.over]
        self._running = {place: game for place, game in self._running.items() if not game.over}
        return [game.finished() for game in finished]


def _places(sides: tuple[Side, Side], players: tuple[Player, Player], concurrency: int) -> int:
    """How many games are in progress at once."""
    if any(side.is_engine for side in sides):
        return concurrency
    return GAMES_AT_ONCE if any(isinstance(player, BatchPlayer) for player in players) else 1


def match_games(
    a: Player,
    b: Player,
    variant: Variant,
    *,
    games: int,
    rng: np.random.Generator,
    opening_plies: int = 0,
    openings: Sequence[Opening] | None = None,
    longest_game: int = LONGEST_GAME,
    make_copy: MakeCopy | None = None,
    concurrency: int = 1,
    done: Container[int] = (),
    repeat_openings: bool = True,
) -> Generator[PlayedGame, None, None]:
    """Play a match and yield each game as it ends.

    Each opening is played twice: A has White in games 0, 2, 4, … and Black in the others. Openings
    are `openings`, which leave the game open, in random order, else those of `opening_plies` plies.
    Games numbered in `done` are left out. When all openings are used they repeat; without
    `repeat_openings` longer ones follow those of so many plies (`openings.random_openings`), and
    the match ends early when none are left.

    With an external engine up to `concurrency` games are in progress, each with a process that
    `make_copy` makes; without `make_copy` there is one. An engine that plays an illegal move, dies
    or does not answer loses the game, and `make_copy` replaces a dead one. If that fails, the other
    processes continue; when none is left and games are missing, the error is raised.
    Raises InputError where there are no such openings, and what other players raise.
    """
    sides = Side(0, a, make_copy), Side(1, b, make_copy)
    places = _places(sides, (a, b), concurrency if make_copy else 1)
    numbers = (number for number in range(games) if number not in done)
    if openings is not None:
        drawn = listed_openings(openings, rng, repeat=repeat_openings)
    else:
        moves = random_openings(variant, opening_plies, rng, repeat=repeat_openings)
        drawn = map(Opening, moves)

    def start(number: int, place: int, opening: Opening) -> GameInProgress:
        return GameInProgress(number, place, (a.name, b.name), variant, opening, longest_game)

    match = _Match(sides, places, numbers, drawn, start)
    # Threads wait for engines: at most one for each core.
    waits = places > 1 and any(side.is_engine for side in sides)
    pool = ThreadPoolExecutor(min(places, len(usable_cores()))) if waits else None
    try:
        while match.begin_games():
            yield from match.play_moves(pool)
    finally:
        if pool is not None:
            # An interrupt does not wait for an engine that is thinking.
            pool.shutdown(wait=False, cancel_futures=True)


def summarise(games: Sequence[PlayedGame], *, games_repeat: bool) -> MatchResult:
    """The score of games in any order. Only complete pairs count as pairs.

    `games_repeat`: whether both players are deterministic (`games_repeat` of the players).
    """
    tally = PairTally(games_repeat=games_repeat)
    for game in games:
        later = game.continuations() if games_repeat else ()
        tally.add(game.number, game.points, game.identity, later)
    return MatchResult(
        **tally.score(),
        distinct=len({game.identity for game in games}),
        illegal=sum(game.ending == Ending.ILLEGAL for game in games),
        time_losses=sum(game.ending == Ending.TIME for game in games),
    )


def play_match(
    a: Player,
    b: Player,
    variant: Variant,
    *,
    games: int,
    rng: np.random.Generator,
    opening_plies: int | None = None,
    longest_game: int = LONGEST_GAME,
) -> MatchResult:
    """Play a whole match as `match_games` does; `opening_plies` is `default_opening_plies` unless
    given."""
    plies = default_opening_plies(variant) if opening_plies is None else opening_plies
    played = list(
        match_games(
            a, b, variant, games=games, opening_plies=plies, rng=rng, longest_game=longest_game
        )
    )
    return summarise(played, games_repeat=games_repeat(a, b))
