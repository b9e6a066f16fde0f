"""The ladder of a run: its checkpoints and players of known strength on one Elo scale.

Games are kept in the run's directory, one JSON object a line in `ladder.jsonl`, each written as it
ends; the table `elo_games` of `index.sqlite` repeats them for whoever likes to ask in SQL. A ladder
that was interrupted, or whose run went on, plays only what is missing.
"""

import contextlib
import fcntl
import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.tables import BLACK, WHITE
from engine.rules.variant import Variant
from engine.system.files import append_to
from search.player import Player
from search.players.builtin import is_deterministic
from search.players.external import close_players
from training.data.run_directory import RunError
from training.evaluation.arena import PlayedGame, continuations, default_opening_plies, match_games
from training.evaluation.pentanomial import PairTally
from training.evaluation.ratings import Pairing, Rating, fit_ratings

_FILE: Final = "ladder.jsonl"
_ENGINES: Final = 8
"""Processes of an external engine."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS elo_games (
    a TEXT, b TEXT, number INTEGER, colour TEXT, points REAL, ending TEXT, reason TEXT, moves TEXT,
    PRIMARY KEY (a, b, number)
);
"""
_INSERT: Final = "INSERT OR REPLACE INTO elo_games VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_COLOURS: Final = {"white": WHITE, "black": BLACK}


@dataclass(frozen=True, kw_only=True)
class LadderGame:
    """A line of the file; `a` comes before `b` in the alphabet."""

    a: str
    b: str
    # Counted from 0 within the pairing; games 2i and 2i + 1 share an opening.
    number: int
    # Of A: "white" or "black".
    colour: str
    # A's: 0, 0.5 or 1.
    points: float
    # As `arena.Ending` and what it was in words.
    ending: str
    reason: str
    # From the start position, in UCI's notation.
    moves: str

    def __post_init__(self) -> None:
        """Raises ValueError for what no game has: a file may hold anything."""
        texts = (self.a, self.b, self.ending, self.reason, self.moves)
        if not (
            all(isinstance(text, str) for text in texts)
            and type(self.number) is int
            and self.points in (0.0, 0.5, 1.0)
            and self.colour in _COLOURS
        ):
            raise ValueError("not a game")

    @classmethod
    def of(cls, a: str, b: str, game: PlayedGame) -> "LadderGame":
        """The line of a game that A and B have played."""
        return cls(
            a=a,
            b=b,
            number=game.number,
            colour=next(name for name, side in _COLOURS.items() if side == game.colour),
            points=game.points,
            ending=game.ending.value,
            reason=game.reason,
            moves=_uci_text(game),
        )


def _uci_text(game: PlayedGame) -> str:
    position, words = Position(game.record.variant), []
    for move in game.record.moves:
        words.append(position.uci(move))
        position.push(move)
    return " ".join(words)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """A database that cannot be written is a disk that cannot be written."""
    try:
        yield
    except sqlite3.Error as problem:
        raise OSError(f"{path}: {problem}") from None


class Pool:
    """The games of a run's ladder, held open for one process at a time until `close`."""

    def __init__(self, run: Path, variant: Variant) -> None:
        """Read them; half a line at the end is dropped. Raises RunError or OSError."""
        self.variant = variant
        self._path = run / _FILE
        self._continuations: dict[LadderGame, list[int]] = {}
        self._games: dict[tuple[str, str], dict[int, LadderGame]] = {}
        self._file = self._path.open("a+b", buffering=0)
        try:
            self._lock()
            self._read()
            self._database = self._open_table(run / "index.sqlite")
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{self._path}: another evaluation is at work there") from None

    def _read(self) -> None:
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        os.ftruncate(self._file.fileno(), whole)
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                self._take(LadderGame(**json.loads(line)))
            except (TypeError, ValueError):
                text = line[:40].decode(errors="replace")
                raise RunError(f"{self._path}: line {number} is no game ('{text}')") from None

    def _open_table(self, path: Path) -> sqlite3.Connection:
        with _disk_errors(path):
            database = sqlite3.connect(path)
            rows = [tuple(asdict(game).values()) for game in self.games()]
            with database:
                database.execute(_SCHEMA)
                (count,) = database.execute("SELECT COUNT(*) FROM elo_games").fetchone()
                if count != len(rows):
                    database.execute("DELETE FROM elo_games")
                    database.executemany(_INSERT, rows)
            return database

    def _take(self, game: LadderGame) -> None:
        self._games.setdefault((game.a, game.b), {})[game.number] = game

    def add(self, game: LadderGame) -> None:
        """Keep a game; raises OSError, and then it is not kept."""
        append_to(self._file, json.dumps(asdict(game)).encode() + b"\n")
        self._take(game)
        with _disk_errors(self._path.with_name("index.sqlite")), self._database:
            self._database.execute(_INSERT, tuple(asdict(game).values()))

    def games(self) -> list[LadderGame]:
        """All games, pairing by pairing."""
        return [game for played in self._games.values() for game in played.values()]

    def numbers(self, one: str, other: str) -> Set[int]:
        """The games that these two have played, whoever is named first."""
        return self._games.get(in_order(one, other), {}).keys()

    def pairings(self) -> list[Pairing]:
        """The scores of all who have met; raises RunError where a kept game breaks the rules."""
        return [self._score(a, b, list(games.values())) for (a, b), games in self._games.items()]

    def _score(self, a: str, b: str, games: Sequence[LadderGame]) -> Pairing:
        # Kept games have only the names of who played them.
        repeat = is_deterministic(a) and is_deterministic(b)
        tally = PairTally(games_repeat=repeat)
        for game in games:
            # The tally compares moves, whatever they are written in.
            moves = [zlib.crc32(game.moves.encode())]
            tally.add(game.number, game.points, moves, self._rests(game) if repeat else ())
        return Pairing(a=a, b=b, **tally.score())

    def _rests(self, game: LadderGame) -> list[int]:
        """The game's `arena.continuations`, worked out once."""
        if game not in self._continuations:
            position = Position(self.variant)
            try:
                moves = [position.push_uci(word) for word in game.moves.split()]
            except InputError as problem:
                raise RunError(f"{self._path}: {problem}") from None
            opening = default_opening_plies(self.variant)
            self._continuations[game] = continuations(self.variant, moves, opening)
        return self._continuations[game]

    def close(self) -> None:
        """Let go of the files."""
        self._database.close()
        self._file.close()


def in_order(one: str, other: str) -> tuple[str, str]:
    """The two names as a pairing has them."""
    return (one, other) if one < other else (other, one)


@dataclass(frozen=True, kw_only=True)
class LadderPlan:
    """Who is to be rated, and by how many games."""

    # Names of the run's players, first to last.
    checkpoints: Sequence[str]
    # Names of players of known strength, weakest first.
    anchors: Sequence[str]
    # Whose rating is 0; one of the anchors.
    zero: str
    # Games of each pairing.
    games: int
    # Anchors that each checkpoint meets; the last meets all.
    nearest: int = 2


def missing_pairing(pool: Pool, plan: LadderPlan) -> tuple[str, str] | None:
    """The next two who must play, None where the ladder is complete.

    Neighbours on the list of anchors and on that of checkpoints meet, and every checkpoint meets
    the anchors whose ratings are nearest to its own as it is known by then: games between players
    of about equal strength tell most. Whom a checkpoint has begun to play counts first, so that a
    complete ladder stays complete while the ratings move.
    """
    for stronger, weaker in zip(plan.anchors[1:], plan.anchors, strict=False):
        if _is_missing(pool, plan, stronger, weaker):
            return stronger, weaker
    for place, name in enumerate(plan.checkpoints):
        if place and _is_missing(pool, plan, name, plan.checkpoints[place - 1]):
            return name, plan.checkpoints[place - 1]
        met = [anchor for anchor in plan.anchors if pool.numbers(name, anchor)]
        for anchor in met:
            if _is_missing(pool, plan, name, anchor):
                return name, anchor
        is_last = place == len(plan.checkpoints) - 1
        wanted = len(plan.anchors) if is_last else min(plan.nearest, len(plan.anchors))
        if len(met) < wanted:
            return name, _nearest(pool, plan, name, met)
    return None


def _is_missing(pool: Pool, plan: LadderPlan, one: str, other: str) -> bool:
    return not pool.numbers(one, other) >= set(range(plan.games))


def _nearest(pool: Pool, plan: LadderPlan, name: str, met: Sequence[str]) -> str:
    """The anchor of the nearest rating that was not met; that at zero for a player without one."""
    ratings = fit_ratings(pool.pairings(), plan.zero)
    own = ratings[name].elo if name in ratings else 0.0
    fresh = [anchor for anchor in plan.anchors if anchor not in met]
    return min(fresh, key=lambda anchor: abs(ratings[anchor].elo - own if anchor in ratings else 0))


MakePlayer = Callable[[str, np.random.Generator], Player]
"""The player of a name on the ladder; raises InputError or OSError."""


def play_pairing(
    pool: Pool, one: str, other: str, *, games: int, make: MakePlayer
) -> Generator[LadderGame, None, None]:
    """Play and keep what is missing of a pairing, handing out each game as it ends.

    Openings draw from a generator that the names alone decide: a game that an interrupted pairing
    lacks has the opening of its other half. The players' depend on the games played as well, so
    that nobody meets the same chances again. Raises what `arena.match_games` and `Pool.add` raise.
    """
    a, b = in_order(one, other)
    seed = zlib.crc32(f"{a} {b}".encode())
    opening_rng = np.random.default_rng(seed).spawn(1)[0]
    player_rngs = np.random.default_rng([seed, len(pool.numbers(a, b))]).spawn(2)
    made: list[Player] = []
    with contextlib.ExitStack() as stack:
        stack.callback(close_players, made)

        def player(which: int) -> Player:
            made.append(make(b if which else a, player_rngs[which]))
            return made[-1]

        found = match_games(
            player(0),
            player(1),
            pool.variant,
            games=games,
            opening_plies=default_opening_plies(pool.variant),
            rng=opening_rng,
            revive=player,
            concurrency=_ENGINES,
            done=set(pool.numbers(a, b)),
        )
        stack.enter_context(contextlib.closing(found))
        for game in found:
            line = LadderGame.of(a, b, game)
            pool.add(line)
            yield line


def ladder_ratings(pool: Pool, plan: LadderPlan) -> list[Rating]:
    """Everybody who is joined to the player at zero, weakest first."""
    return sorted(fit_ratings(pool.pairings(), plan.zero).values(), key=lambda rating: rating.elo)
