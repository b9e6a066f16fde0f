"""Games between two players: paired openings with colours swapped, forfeits, and the score.

Several games are in progress at once where that is faster. A `BatchPlayer` chooses moves in all of
them in one batch. An external engine runs in several processes, each with one game at a time.
"""

import itertools
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from engine.player import BatchPlayer, Choice, Player, games_repeat
from engine.rules.errors import IllegalMoveError, InputError
from engine.rules.pgn import GameRecord
from engine.rules.position import Position
from engine.rules.tables import BLACK, CLOCK, REPETITION, WHITE
from engine.rules.variant import Variant
from engine.system.processes import usable_cores
from search.players.external import EngineError, EngineTimeoutError, ExternalPlayer
from training.evaluation.elo import EloDifference, elo_difference
from training.evaluation.openings import Opening, default_opening_plies, random_openings
from training.evaluation.pentanomial import PairTally, Score

LONGEST_GAME: Final = 512
"""Plies, including the opening. A longer game is a draw."""
GAMES_AT_ONCE: Final = 64
"""Games in progress at once where a player chooses in batches."""


class Ending(StrEnum):
    """Why a game ended; the values are those of the PGN tag Termination (PGN standard, 9.8.1)."""

    NORMAL = "normal"
    """By the rules of the game."""
    PLY_LIMIT = "adjudication"
    """A draw after so many plies."""
    ILLEGAL = "rules infraction"
    """Lost by an illegal move, or by an engine that died."""
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
    # Moves of the opening.
    opening_plies: int = 0

    @property
    def points(self) -> float:
        """A's points: 0, ½ or 1."""
        return 0.5 if self.winner is None else float(self.winner == self.colour)

    def continuations(self) -> list[int]:
        """See `continuations` of this module."""
        return continuations(self.record.variant, self.record.moves, self.opening_plies)


def continuations(variant: Variant, moves: Sequence[int], opening_plies: int) -> list[int]:
    """One number for each position from the end of the opening on, which stands for the position
    and all later moves.

    Positions that differ only in clock and repetitions count as equal. The numbers hold for this
    process only, because Python's hashes do.
    """
    position, rows = Position(variant), []
    place = variant.squares
    for move in (*moves, None):
        row = position.row.copy()
        row[[place + CLOCK, place + REPETITION]] = 0
        rows.append(row.tobytes())
        if move is not None:
            position.push(move)
    # Backwards: each hash contains that of the following position.
    found, rest = [], 0
    for ply in range(len(rows) - 1, opening_plies - 1, -1):
        rest = hash((rest, *moves[ply : ply + 1]))
        found.append(hash((rows[ply], rest)))
    return found[::-1]


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


class _Game:
    """A game in progress."""

    def __init__(
        self,
        number: int,
        place: int,
        names: tuple[str, str],
        variant: Variant,
        opening: Opening,
        longest: int,
    ) -> None:
        # A has White in the first game of a pair.
        self.number, self.place, self.colour = number, place, BLACK if number % 2 else WHITE
        self.names = names[self.colour], names[1 - self.colour]
        self.opening = opening
        self.position = Position(variant)
        self._longest = longest
        self._end: tuple[int | None, Ending, str] | None = None
        for move in self.opening:
            self.position.push(move)
        self._check_end()

    @property
    def over(self) -> bool:
        return self._end is not None

    @property
    def mover(self) -> int:
        """0 where A is to move, 1 where B is."""
        return int(self.position.turn != self.colour)

    def play(self, move: int) -> None:
        """Play the move of the side to move; an illegal one loses the game."""
        if move not in self.position.legal_moves:
            self.forfeit(Ending.ILLEGAL, f"an illegal move ({self.position.uci(move)})")
            return
        self.position.push(move)
        self._check_end()

    def forfeit(self, ending: Ending, reason: str) -> None:
        self._end = 1 - self.position.turn, ending, reason

    def _check_end(self) -> None:
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
            result={WHITE: "1-0", BLACK: "0-1", None: "1/2-1/2"}[winner],
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
            opening_plies=len(self.opening),
        )


MakeCopy = Callable[[int], Player]
"""Make another player like A (0) or B (1): to replace one whose engine failed, or for another
process."""


class _Side:
    """One player of a match, with as many copies as play at once.

    An external engine follows one game at a time, so each of the parallel games has its own
    process. Other players keep nothing from game to game, and one serves all games.
    """

    def __init__(self, which: int, player: Player, make_copy: MakeCopy | None) -> None:
        self._which, self._make_copy = which, make_copy
        self.is_engine = isinstance(player, ExternalPlayer)
        self._copies: dict[int, Player] = {0: player}
        # Processes to be replaced before their next game, not at once: if the replacement does not
        # start, games that ended are still counted.
        self._failed: set[int] = set()

    def begin_game(self, place: int) -> None:
        """Prepare for a new game; raises what starting an engine raises."""
        copy = self._copy_of(place)
        if copy not in self._copies:
            assert self._make_copy is not None
            self._copies[copy] = self._make_copy(self._which)
        elif copy in self._failed:
            self._replace(copy)
        elif isinstance(player := self._copies[copy], ExternalPlayer):
            try:
                player.new_game()
            except EngineError:
                self._replace(copy)

    def _copy_of(self, place: int) -> int:
        """Players that are no engines serve all games."""
        return place if self.is_engine else 0

    def _replace(self, copy: int) -> None:
        if self._make_copy is not None:
            self._copies[copy].close()
            self._copies[copy] = self._make_copy(self._which)
        self._failed.discard(copy)

    def ask(self, games: Sequence[_Game], pool: ThreadPoolExecutor | None) -> None:
        """Choose a move in each of these games, in which it is to move."""
        if isinstance(self._copies[0], BatchPlayer):
            choices = self._copies[0].choose_batch([game.position for game in games])
            for game, choice in zip(games, choices, strict=True):
                game.play(choice.move)
            return
        # Engines think at the same time; other players choose one by one.
        answers = pool.map(self._answer, games) if pool else map(self._answer, games)
        for game, answer in zip(games, answers, strict=True):
            if isinstance(answer, Choice):
                game.play(answer.move)
            elif isinstance(answer, IllegalMoveError):
                game.forfeit(Ending.ILLEGAL, str(answer))
            else:
                late = isinstance(answer, EngineTimeoutError)
                game.forfeit(Ending.TIME if late else Ending.ILLEGAL, str(answer))
                self._failed.add(self._copy_of(game.place))

    def _answer(self, game: _Game) -> Choice | IllegalMoveError | EngineError:
        player = self._copies[self._copy_of(game.place)]
        try:
            return player.choose(game.position)
        except (IllegalMoveError, EngineError) as problem:
            return problem


def _places(sides: tuple[_Side, _Side], players: tuple[Player, Player], concurrency: int) -> int:
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
    opening_plies: int,
    rng: np.random.Generator,
    longest_game: int = LONGEST_GAME,
    make_copy: MakeCopy | None = None,
    concurrency: int = 1,
    done: Container[int] = (),
    repeat_openings: bool = True,
) -> Generator[PlayedGame, None, None]:
    """Play a match and yield each game as it ends.

    Each opening of `opening_plies` plies is played twice: A has White in games 0, 2, 4, … and Black
    in the others. Games numbered in `done` are left out. When all openings are used they repeat;
    without `repeat_openings` longer ones follow, and the match ends early when none are left
    (`openings.random_openings`).

    With an external engine up to `concurrency` games are in progress, each with a process that
    `make_copy` makes; without `make_copy` there is one. An engine that plays an illegal move, dies
    or does not answer loses the game, and `make_copy` replaces a dead one. If that fails, the other
    processes continue; when none is left and games are missing, the error is raised.
    Raises InputError where there are no such openings, and what other players raise.
    """
    sides = _Side(0, a, make_copy), _Side(1, b, make_copy)
    places = _places(sides, (a, b), concurrency if make_copy else 1)
    todo: Iterator[int] = (number for number in range(games) if number not in done)
    failed: dict[int, InputError | OSError] = {}
    openings = random_openings(variant, opening_plies, rng, repeat=repeat_openings)
    # Those of the first pairs, in order.
    drawn: list[Opening] = []
    running: dict[int, _Game] = {}
    # Threads wait for engines: at most one for each core.
    waits = places > 1 and any(side.is_engine for side in sides)
    pool = ThreadPoolExecutor(min(places, len(usable_cores()))) if waits else None
    try:
        while True:
            for place in range(places):
                free = place not in running and place not in failed
                number = next(todo, None) if free else None
                if number is None:
                    continue
                pair = number // 2
                drawn += itertools.islice(openings, max(0, pair + 1 - len(drawn)))
                if pair >= len(drawn):
                    continue
                try:
                    for side in sides:
                        side.begin_game(place)
                except (InputError, OSError) as problem:
                    failed[place] = problem
                    todo = itertools.chain([number], todo)
                    continue
                names = a.name, b.name
                running[place] = _Game(number, place, names, variant, drawn[pair], longest_game)
            if not running:
                if len(failed) == places and next(todo, None) is not None:
                    raise failed[0]
                return
            for which, side in enumerate(sides):
                to_move = [g for g in running.values() if not g.over and g.mover == which]
                if to_move:
                    side.ask(to_move, pool if side.is_engine else None)
            finished = [game for game in running.values() if game.over]
            running = {place: game for place, game in running.items() if not game.over}
            yield from (game.finished() for game in finished)
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
        continuations = game.continuations() if games_repeat else ()
        tally.add(game.number, game.points, game.record.moves, continuations)
    return MatchResult(
        **tally.score(),
        distinct=len({tuple(game.record.moves) for game in games}),
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
