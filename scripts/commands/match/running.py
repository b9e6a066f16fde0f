"""A match as the options ask for it: its players, openings and games, until something ends it."""

import sys
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from engine.player import Player, games_repeat
from engine.rules.pgn import GameRecord
from engine.rules.pgn.writer import gap_before, pgn_bytes
from engine.rules.tables import WHITE
from engine.rules.variant import get_variant
from engine.system.files import append_to
from scripts.commands.match.openings import MatchOpenings
from scripts.commands.match.options import MatchOptions
from scripts.commands.match.report import figures, sprt_figures
from scripts.players import PrecisionName, player_of, player_tags
from scripts.terminal.progress import shows_bars, write_line
from search.players.external import close_players
from search.players.language import LanguagePlayer
from training.evaluation.arena import MatchResult, PlayedGame, match_games, summarise
from training.evaluation.games.tags import PlayerTags, game_tags
from training.evaluation.pentanomial import PairTally
from training.evaluation.sprt import Sprt, Verdict

_GAMES = 100
_MOST_TESTED = 20_000
"""Games after which an undecided test ends."""


class Match:
    """A match and its games so far."""

    def __init__(self, options: MatchOptions) -> None:
        """Raises InputError for a test or openings that cannot be, OSError."""
        self._options = options
        self._variant = get_variant(options.variant)
        self._test = None
        if options.sprt is not None:
            elo0, elo1 = options.sprt
            self._test = Sprt(elo0=elo0, elo1=elo1, alpha=options.alpha, beta=options.beta)
        self._total = options.games or (_MOST_TESTED if self._test else _GAMES)
        self._openings = MatchOpenings(options, self._variant)
        self._opening_rng, *self._player_rngs = np.random.default_rng(options.seed).spawn(3)
        # A's players and B's: a player that plays one game at a time is made several times.
        self._made: tuple[list[Player], list[Player]] = [], []
        self._tags: tuple[PlayerTags, PlayerTags] | None = None
        self._played: list[PlayedGame] = []
        self._repeats, self._exhausted = False, False
        self._tally = PairTally(games_repeat=False)

    def play(self) -> BaseException | None:
        """Play to the end; returns what has cut it short, where finished games are to be counted.

        Raises it where there are none, except for ^C.
        """
        try:
            with _appending(self._options.pgn) as file, ExitStack() as stack:
                stack.callback(lambda: close_players([*self._made[0], *self._made[1]]))
                self._play(stack.enter_context(closing(self._games())), file)
        except KeyboardInterrupt as interrupt:
            write_line(f"{self._kept()}; the same command begins a new match", sys.stderr)
            return interrupt
        except Exception as problem:
            # Finished games count, whatever ended the match.
            if not self._played:
                raise
            ended = f"the match ends after {len(self._played)} of {self._total} games"
            write_line(ended, sys.stderr)
            return problem
        return None

    def _kept(self) -> str:
        """What an interrupt leaves."""
        if not self._played:
            return f"interrupted: no game of {self._total} is over"
        pgn = self._options.pgn
        where = "" if pgn is None else f" and are kept in {pgn}"
        return (
            f"interrupted: {len(self._played)} of {self._total} games are over, which count{where}"
        )

    def _play(self, games: Iterator[PlayedGame], file: FileIO | None) -> None:
        gap = b"" if self._options.pgn is None else gap_before(self._options.pgn)
        for game in _with_bar(games, self._total):
            if file is not None:
                append_to(file, gap + pgn_bytes(self._with_tags(game)))
                gap = b""
            self._count(game)
            if self._test and self._test.verdict(self._tally.ordered) != Verdict.UNDECIDED:
                return
        self._exhausted = len(self._played) < self._total

    def _games(self) -> Generator[PlayedGame, None, None]:
        pair = self._make(0), self._make(1)
        self._repeats = games_repeat(*pair)
        self._tally = PairTally(games_repeat=self._repeats)
        repeat = self._test is None or not self._repeats
        self._openings.check(pair, games=self._total, repeat=repeat)
        if self._options.pgn is not None:
            self._tags = self._player_tags(0), self._player_tags(1)
        return match_games(
            *pair,
            self._variant,
            games=self._total,
            opening_plies=self._openings.plies,
            openings=self._openings.listed,
            rng=self._opening_rng,
            make_copy=self._make,
            concurrency=self._options.concurrency,
            repeat_openings=repeat,
        )

    def _asked(self, side: int) -> tuple[str, PrecisionName]:
        options = self._options
        return (options.b, options.precision_b) if side else (options.a, options.precision_a)

    def _make(self, side: int) -> Player:
        spec, precision = self._asked(side)
        rng, tablebases = self._player_rngs[side], self._options.tablebases
        player = player_of(spec, self._variant, rng, tablebases, precision)
        self._made[side].append(player)
        return player

    def _player_tags(self, side: int) -> PlayerTags:
        spec, precision = self._asked(side)
        options = self._options
        return player_tags(
            spec,
            self._variant,
            seed=options.seed,
            tablebases=options.tablebases,
            precision=precision,
        )

    def _with_tags(self, game: PlayedGame) -> GameRecord:
        """The game with the settings of its players."""
        assert self._tags is not None
        a, b = self._tags
        white, black = (a, b) if game.colour == WHITE else (b, a)
        tags = {**game.record.tags, **game_tags(white, black)}
        return replace(game.record, tags=tags)

    def _count(self, game: PlayedGame) -> None:
        self._played.append(game)
        later = game.continuations() if self._repeats else ()
        self._tally.add(game.number, game.points, game.identity, later)

    @property
    def result(self) -> MatchResult:
        """The score so far."""
        return summarise(self._played, games_repeat=self._repeats)

    def figures(self, *, complete: bool) -> dict[str, Any]:
        """What `--json` prints; `complete`: nothing has cut the match short."""
        found = figures(self.result, complete=complete)
        if self._test is not None:
            tested = sprt_figures(self._test, self._tally)
            found["sprt"] = tested | {"openings_exhausted": self._exhausted}
        if counts := _against_rules(self._made):
            found["language"] = counts
        if self._openings.figures:
            found["openings"] = self._openings.figures
        return found


def _appending(path: Path | None) -> AbstractContextManager[FileIO | None]:
    return nullcontext() if path is None else open(path, "ab", buffering=0)


def _with_bar(games: Iterator[PlayedGame], total: int) -> Iterator[PlayedGame]:
    counts = {1.0: 0, 0.5: 0, 0.0: 0}
    with tqdm(total=total, unit="game", disable=not shows_bars(), dynamic_ncols=True) as bar:
        for game in games:
            counts[game.points] += 1
            bar.set_postfix_str(f"+{counts[1.0]} ={counts[0.5]} -{counts[0.0]}", refresh=False)
            bar.update()
            yield game


def _against_rules(made: tuple[list[Player], list[Player]]) -> dict[str, dict[str, int]]:
    """For the language models of each side: positions asked about, and illegal first choices."""
    counts = {}
    for side, players in zip("ab", made, strict=True):
        if readers := [player for player in players if isinstance(player, LanguagePlayer)]:
            counts[side] = {
                name: sum(getattr(reader, name) for reader in readers)
                for name in ("asked", "illegal")
            }
    return counts
