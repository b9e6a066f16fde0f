"""The ladder of a run: its checkpoints and players of known strength on one Elo scale.

Games are kept in the run's directory, one JSON object a line in `ladder.jsonl`, each written as it
ends. A ladder that was interrupted, or whose run was continued, plays only the missing games.
"""

import contextlib
import fcntl
import json
import zlib
from collections.abc import Callable, Generator, Iterable, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from engine.player import Player
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.tables import BLACK, WHITE
from engine.rules.variant import Variant
from engine.system.files import append_json, whole_lines
from search.players.external import close_players
from search.players.make import is_deterministic
from training.data.run_directory import RunError
from training.evaluation.arena import PlayedGame, continuations, match_games
from training.evaluation.openings import default_opening_plies
from training.evaluation.pentanomial import PairTally
from training.evaluation.ratings import Pairing, Rating, fit_ratings

_FILE: Final = "ladder.jsonl"
_ENGINES: Final = 8
"""Processes of an external engine."""
_COLOURS: Final = {"white": WHITE, "black": BLACK}


@dataclass(frozen=True, kw_only=True)
class LadderGame:
    """A line of the file; `a` comes before `b` in alphabetical order."""

    a: str
    b: str
    # Counted from 0 within the pairing; games 2i and 2i + 1 share an opening.
    number: int
    # Of A: "white" or "black".
    colour: str
    # A's: 0, 0.5 or 1.
    points: float
    # As `arena.Ending`, and the reason in words.
    ending: str
    reason: str
    # From the start position, in UCI's notation.
    moves: str

    def __post_init__(self) -> None:
        """Raises ValueError for values that no game has: a file may hold anything."""
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
        position, texts = Position(game.record.variant), []
        for move in game.record.moves:
            texts.append(position.uci(move))
            position.push(move)
        return cls(
            a=a,
            b=b,
            number=game.number,
            colour=next(name for name, side in _COLOURS.items() if side == game.colour),
            points=game.points,
            ending=game.ending.value,
            reason=game.reason,
            moves=" ".join(texts),
        )


class LadderGames:
    """The games of a run's ladder, locked by this process until `close`."""

    def __init__(self, run: Path, variant: Variant) -> None:
        """Read the games; an unfinished last line is removed. Raises RunError or OSError."""
        self.variant = variant
        self._path = run / _FILE
        self._continuations: dict[LadderGame, list[int]] = {}
        self._games: dict[tuple[str, str], dict[int, LadderGame]] = {}
        self._file = self._path.open("a+b", buffering=0)
        try:
            self._lock_and_read()
        except BaseException:
            self._file.close()
            raise

    def _lock_and_read(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{self._path}: another evaluation is at work there") from None
        for number, line in enumerate(whole_lines(self._path), start=1):
            try:
                self._record(LadderGame(**json.loads(line)))
            except (TypeError, ValueError):
                text = line[:40].decode(errors="replace")
                raise RunError(f"{self._path}: line {number} is no game ('{text}')") from None

    def _record(self, game: LadderGame) -> None:
        self._games.setdefault((game.a, game.b), {})[game.number] = game

    def add(self, game: LadderGame) -> None:
        """Keep a game. Raises OSError, and then the game is not kept."""
        append_json(self._path, asdict(game))
        self._record(game)

    def games(self) -> list[LadderGame]:
        """All games, by pairing."""
        return [game for played in self._games.values() for game in played.values()]

    def numbers(self, one: str, other: str) -> Set[int]:
        """Numbers of the games of two players, in either order of names."""
        return self._games.get((min(one, other), max(one, other)), {}).keys()

    def pairings(self) -> list[Pairing]:
        """The scores of all pairings; raises RunError where a game holds an illegal move."""
        return [self._score(a, b, games.values()) for (a, b), games in self._games.items()]

    def _score(self, a: str, b: str, games: Iterable[LadderGame]) -> Pairing:
        # The games hold only the players' names.
        repeat = is_deterministic(a) and is_deterministic(b)
        tally = PairTally(games_repeat=repeat)
        for game in games:
            later = self._continuations_of(game) if repeat else ()
            # The tally compares moves in any encoding.
            tally.add(game.number, game.points, [zlib.crc32(game.moves.encode())], later)
        return Pairing(a=a, b=b, **tally.score())

    def _continuations_of(self, game: LadderGame) -> list[int]:
        """The game's `arena.continuations`, computed once."""
        if game not in self._continuations:
            start = Position(self.variant)
            position = start.copy()
            try:
                moves = [position.push_uci(word) for word in game.moves.split()]
            except InputError as problem:
                raise RunError(f"{self._path}: {problem}") from None
            opening = default_opening_plies(self.variant)
            self._continuations[game] = continuations(start, moves, opening)
        return self._continuations[game]

    def close(self) -> None:
        """Close the file, which unlocks it."""
        self._file.close()


@dataclass(frozen=True, kw_only=True)
class LadderPlan:
    """Which players are rated, and by how many games."""

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


def missing_pairing(kept: LadderGames, plan: LadderPlan) -> tuple[str, str] | None:
    """The next two players to play; None where the ladder is complete.

    Neighbours in the list of anchors play each other, and so do neighbouring checkpoints. Every
    checkpoint plays the anchors whose ratings are nearest to its own at that time: games between
    players of equal strength tell most. Pairings that a checkpoint has begun come first, so that a
    complete ladder stays complete while ratings change.
    """
    for stronger, weaker in zip(plan.anchors[1:], plan.anchors, strict=False):
        if _is_missing(kept, plan, stronger, weaker):
            return stronger, weaker
    for place, name in enumerate(plan.checkpoints):
        if place and _is_missing(kept, plan, name, plan.checkpoints[place - 1]):
            return name, plan.checkpoints[place - 1]
        met = [anchor for anchor in plan.anchors if kept.numbers(name, anchor)]
        for anchor in met:
            if _is_missing(kept, plan, name, anchor):
                return name, anchor
        is_last = place == len(plan.checkpoints) - 1
        wanted = len(plan.anchors) if is_last else min(plan.nearest, len(plan.anchors))
        if len(met) < wanted:
            return name, _nearest(kept, plan, name, met)
    return None


def _is_missing(kept: LadderGames, plan: LadderPlan, one: str, other: str) -> bool:
    return not kept.numbers(one, other) >= set(range(plan.games))


def _nearest(kept: LadderGames, plan: LadderPlan, name: str, met: Sequence[str]) -> str:
    """The anchor with the nearest rating among those not yet played; the one at zero for a player
    without a rating."""
    ratings = fit_ratings(kept.pairings(), plan.zero)
    own = ratings[name].elo if name in ratings else 0.0
    fresh = [anchor for anchor in plan.anchors if anchor not in met]
    return min(fresh, key=lambda anchor: abs(ratings[anchor].elo - own if anchor in ratings else 0))


MakePlayer = Callable[[str, np.random.Generator], Player]
"""The player of a name on the ladder; raises InputError or OSError."""


def play_pairing(
    kept: LadderGames, one: str, other: str, *, games: int, make: MakePlayer
) -> Generator[LadderGame, None, None]:
    """Play and keep the missing games of a pairing, and yield each as it ends.

    The generator of openings depends on the names alone: the second game of an interrupted pair has
    the opening of the first. The players' generators also depend on the number of games played, so
    that no random numbers repeat. Raises what `arena.match_games` and `LadderGames.add` raise.
    """
    a, b = sorted((one, other))
    seed = zlib.crc32(f"{a} {b}".encode())
    opening_rng = np.random.default_rng(seed).spawn(1)[0]
    player_rngs = np.random.default_rng([seed, len(kept.numbers(a, b))]).spawn(2)
    made: list[Player] = []
    with contextlib.ExitStack() as stack:
        stack.callback(close_players, made)

        def player(which: int) -> Player:
            made.append(make(b if which else a, player_rngs[which]))
            return made[-1]

        found = match_games(
            player(0),
            player(1),
            kept.variant,
            games=games,
            opening_plies=default_opening_plies(kept.variant),
            rng=opening_rng,
            make_copy=player,
            concurrency=_ENGINES,
            done=set(kept.numbers(a, b)),
        )
        stack.enter_context(contextlib.closing(found))
        for game in found:
            line = LadderGame.of(a, b, game)
            kept.add(line)
            yield line


def ladder_ratings(kept: LadderGames, plan: LadderPlan) -> list[Rating]:
    """All players connected with the one at zero, weakest first."""
    return sorted(fit_ratings(kept.pairings(), plan.zero).values(), key=lambda rating: rating.elo)
