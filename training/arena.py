"""Games between two players: paired openings with colours swapped, forfeits, and the score.

Players who can think about many games in one batch (`BatchPlayer`) play them side by side, move by
move; otherwise one game follows the other.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, runtime_checkable

import numpy as np

from engine.rules.errors import IllegalMoveError, InputError
from engine.rules.pgn import GameRecord
from engine.rules.position import Position
from engine.rules.tables import BLACK, WHITE
from engine.rules.variant import Variant
from search.external import EngineError, EngineTimeoutError
from search.player import Choice, Player
from training.elo import EloDifference, elo_difference, elo_of_score, expected_score

__all__ = [
    "BatchPlayer",
    "EloDifference",
    "Ending",
    "MatchResult",
    "PlayedGame",
    "default_opening_plies",
    "elo_difference",
    "elo_of_score",
    "expected_score",
    "match_games",
    "play_game",
    "play_match",
    "random_openings",
    "summarise",
]

LONGEST_GAME: Final = 512
"""Plies, the opening included; what is not over by then is a draw."""
SIDE_BY_SIDE: Final = 64
"""Games that batch players have in progress at once."""
_SMALLEST_BOARD: Final = 16
"""Squares; on smaller boards two random plies decide many games."""
_OPENING_PLIES: Final = 2
_TRIES: Final = 200

Opening = tuple[int, ...]
"""Moves from the start position that are played before the players are asked."""


@runtime_checkable
class BatchPlayer(Protocol):
    """A player for whom many positions at once are cheaper than one after the other."""

    def choose_batch(self, positions: Sequence[Position]) -> list[Choice]:
        """As `Player.choose`, for positions of one variant from different games."""
        ...


class Ending(StrEnum):
    """Why a game ended; the values are those of the PGN tag Termination (PGN standard, 9.8.1)."""

    NORMAL = "normal"
    """By the rules of the game."""
    PLY_LIMIT = "adjudication"
    """A draw after so many plies."""
    ILLEGAL = "rules infraction"
    """Lost by a move against the rules, or by an engine that died."""
    TIME = "time forfeit"
    """Lost by an engine that did not answer."""


@dataclass(frozen=True, kw_only=True)
class PlayedGame:
    """One finished game between players A and B."""

    # Counted from 0; games 2i and 2i + 1 share an opening.
    number: int
    # The colour of A.
    colour: int
    # WHITE, BLACK or None for a draw.
    winner: int | None
    ending: Ending
    # In words: the rule that ended the game, or what went wrong.
    reason: str
    # The moves, opening included.
    record: GameRecord

    @property
    def points(self) -> float:
        """What A got: 0, ½ or 1."""
        return 0.5 if self.winner is None else float(self.winner == self.colour)


@dataclass(frozen=True, kw_only=True)
class MatchResult:
    """The score of a match from A's side."""

    wins: int
    draws: int
    losses: int
    # Complete pairs in which A got 0, ½, 1, 1½ and 2 points.
    pairs: tuple[int, int, int, int, int]
    # Games of either player that an illegal move or a crash ended.
    illegal: int
    # Games of either player lost by silence.
    time_losses: int

    @property
    def games(self) -> int:
        """Games played."""
        return self.wins + self.draws + self.losses

    @property
    def score(self) -> float:
        """A's share of the points, ½ where nothing was played."""
        return (self.wins + 0.5 * self.draws) / self.games if self.games else 0.5

    @property
    def elo(self) -> EloDifference:
        """How much stronger A is, from pairs where there are some."""
        return elo_difference(self.wins, self.draws, self.losses, self.pairs)


def default_opening_plies(variant: Variant) -> int:
    """Random plies before a game: 2, and none on boards so small that they would decide it."""
    return _OPENING_PLIES if variant.squares >= _SMALLEST_BOARD else 0


def random_openings(variant: Variant, plies: int, rng: np.random.Generator) -> Iterator[Opening]:
    """Sequences of random legal moves from the start, none of which ends the game, without end.

    They lead to different positions until no new one turns up; then they begin to repeat. Raises
    InputError where every sequence of so many plies that was tried ends the game.
    """
    seen: set[bytes] = set()
    while True:
        tried = (_random_position(variant, plies, rng) for _ in range(_TRIES))
        open_ones = (position for position in tried if position is not None)
        found = next(open_ones, None)
        if found is None:
            raise InputError(f"no opening of {plies} plies leaves a game of {variant.name} open")
        either = itertools.chain([found], open_ones)
        fresh = (position for position in either if position.row.tobytes() not in seen)
        chosen = next(fresh, None)
        if chosen is None:
            seen.clear()
            chosen = found
        seen.add(chosen.row.tobytes())
        yield tuple(chosen.move_stack)


def _random_position(variant: Variant, plies: int, rng: np.random.Generator) -> Position | None:
    """After so many random plies; None where the game is over by then."""
    position = Position(variant)
    for _ in range(plies):
        moves = position.legal_moves
        if not moves:
            return None
        position.push(moves[int(rng.integers(len(moves)))])
    return position if position.legal_moves else None


class _Game:
    """A game in progress."""

    def __init__(
        self,
        number: int,
        players: tuple[Player, Player],
        colour: int,
        start: tuple[Variant, Opening],
        longest: int,
    ) -> None:
        self.number, self.colour = number, colour
        self.names = players[colour].name, players[1 - colour].name
        self.opening = start[1]
        self.position = Position(start[0])
        self._longest = longest
        self._end: tuple[int | None, Ending, str] | None = None
        for move in self.opening:
            self.position.push(move)
        self._look()

    @property
    def over(self) -> bool:
        return self._end is not None

    @property
    def mover(self) -> int:
        """0 where A is to move, 1 where B is."""
        return int(self.position.turn != self.colour)

    def play(self, move: int) -> None:
        """Make the move of the side to move, which loses the game where it is not legal."""
        if move not in self.position.legal_moves:
            self.forfeit(Ending.ILLEGAL, f"an illegal move ({self.position.uci(move)})")
            return
        self.position.push(move)
        self._look()

    def forfeit(self, ending: Ending, reason: str) -> None:
        self._end = 1 - self.position.turn, ending, reason

    def _look(self) -> None:
        outcome = self.position.outcome()
        if outcome is not None:
            words = outcome.termination.name.lower().replace("_", " ")
            self._end = outcome.winner, Ending.NORMAL, words
        elif len(self.position.move_stack) >= self._longest:
            self._end = None, Ending.PLY_LIMIT, f"unfinished after {self._longest} plies"

    def finished(self) -> PlayedGame:
        assert self._end is not None
        winner, ending, reason = self._end
        moves = tuple(self.position.move_stack)
        comments = {len(self.opening): "end of the opening"} if self.opening else {}
        last = comments.get(len(moves))
        comments[len(moves)] = f"{last}; {reason}" if last else reason
        record = GameRecord(
            variant=self.position.variant,
            start_fen=self.position.variant.start_fen,
            moves=moves,
            result=_result(winner),
            tags={
                "Event": "Pawnscope match",
                "Round": str(self.number + 1),
                "White": self.names[WHITE],
                "Black": self.names[BLACK],
                "Termination": ending.value,
            },
            comments=comments,
        )
        return PlayedGame(
            number=self.number,
            colour=self.colour,
            winner=winner,
            ending=ending,
            reason=reason,
            record=record,
        )


def _result(winner: int | None) -> str:
    return {WHITE: "1-0", BLACK: "0-1", None: "1/2-1/2"}[winner]


Revive = Callable[[int], Player]
"""A fresh player in place of A (0) or B (1), whose engine has failed."""


def _ask(players: list[Player], which: int, games: Sequence[_Game], revive: Revive | None) -> None:
    """Let one player move in all of these games, in which it is to move."""
    player = players[which]
    if isinstance(player, BatchPlayer):
        choices = player.choose_batch([game.position for game in games])
        for game, choice in zip(games, choices, strict=True):
            game.play(choice.move)
        return
    for game in games:
        try:
            game.play(players[which].choose(game.position).move)
        except IllegalMoveError as problem:
            game.forfeit(Ending.ILLEGAL, str(problem))
        except EngineError as problem:
            late = isinstance(problem, EngineTimeoutError)
            game.forfeit(Ending.TIME if late else Ending.ILLEGAL, str(problem))
            if revive is not None:
                players[which].close()
                players[which] = revive(which)


def match_games(
    a: Player,
    b: Player,
    variant: Variant,
    *,
    games: int,
    opening_plies: int,
    rng: np.random.Generator,
    longest_game: int = LONGEST_GAME,
    revive: Revive | None = None,
) -> Iterator[PlayedGame]:
    """Play a match, handing out each game as it ends.

    Each opening of `opening_plies` random plies is played twice: A has White in games 0, 2, 4, …
    and Black in the others. An external engine that moves against the rules, dies or keeps silent
    loses the game; `revive` then replaces the dead one. Raises InputError where there are no such
    openings, and what players of our own raise.
    """
    openings = random_openings(variant, opening_plies, rng)
    opening: Opening = ()
    players = [a, b]
    batch = isinstance(a, BatchPlayer) or isinstance(b, BatchPlayer)
    width = SIDE_BY_SIDE if batch else 1
    running: list[_Game] = []
    begun = 0
    while running or begun < games:
        while begun < games and len(running) < width:
            if begun % 2 == 0:
                opening = next(openings)
            colour = BLACK if begun % 2 else WHITE
            running.append(_Game(begun, (a, b), colour, (variant, opening), longest_game))
            begun += 1
        for which in (0, 1):
            to_move = [game for game in running if not game.over and game.mover == which]
            if to_move:
                _ask(players, which, to_move, revive)
        yield from (game.finished() for game in running if game.over)
        running = [game for game in running if not game.over]


def summarise(games: Sequence[PlayedGame]) -> MatchResult:
    """The score of games in any order; a pair counts as one where both of its games are there."""
    points = {game.number: game.points for game in games}
    pairs = [0] * 5
    for number, first in points.items():
        if number % 2 == 0 and number + 1 in points:
            pairs[round(2 * (first + points[number + 1]))] += 1
    return MatchResult(
        wins=sum(game.points == 1.0 for game in games),
        draws=sum(game.points == 0.5 for game in games),
        losses=sum(game.points == 0.0 for game in games),
        pairs=(pairs[0], pairs[1], pairs[2], pairs[3], pairs[4]),
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
    finished: Callable[[PlayedGame], None] = lambda _: None,
) -> MatchResult:
    """Play a whole match as `match_games` does; `finished` is called after every game.

    `opening_plies` is that of `default_opening_plies` where absent.
    """
    plies = default_opening_plies(variant) if opening_plies is None else opening_plies
    played = []
    for game in match_games(
        a, b, variant, games=games, opening_plies=plies, rng=rng, longest_game=longest_game
    ):
        finished(game)
        played.append(game)
    return summarise(played)


def play_game(
    white: Player,
    black: Player,
    variant: Variant,
    opening: Opening = (),
    longest_game: int = LONGEST_GAME,
) -> PlayedGame:
    """One game, White being A; forfeits as in `match_games`."""
    game = _Game(0, (white, black), WHITE, (variant, opening), longest_game)
    players = [white, black]
    while not game.over:
        _ask(players, game.mover, [game], None)
    return game.finished()
