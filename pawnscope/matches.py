"""Matches from Python: games between two players, and what they say of their strength."""

import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import numpy as np

from engine.player import Player, games_repeat
from engine.rules.errors import InputError
from engine.rules.variant import Variant, get_variant
from engine.settings import quoted
from engine.system.files import home_expanded
from pawnscope.networks import Network
from pawnscope.tables import counted, share_text
from pawnscope.threads import torch_threads_kept

if TYPE_CHECKING:
    from training.evaluation.arena import MatchResult as Tally
    from training.evaluation.arena import PlayedGame
    from training.evaluation.openings import Opening

PlayerLike: TypeAlias = str | Network | Player
"""A player's text, as `match` takes it, a network that plays without search, or any Player."""

_CONCURRENCY: Final = 8
"""Games at once against an external engine."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MatchResult:
    """The score of a match from A's side.

        >>> import pawnscope as ps
        >>> result = ps.match("perfect", "random", "hexapawn", games=4)
        >>> result.games == result.wins + result.draws + result.losses == len(result.played)
        True
        >>> result.elo_low <= result.elo <= result.elo_high
        True
        >>> result.pgn().count("[Variant ")
        4

    It prints as the score.
    """

    # The players' names.
    a: str
    b: str
    # What was played.
    variant: Variant
    # Counts and Elo, with the pairs of games behind them (`training/evaluation/arena.py`).
    tally: "Tally"
    # The games, in the order in which they ended.
    played: "tuple[PlayedGame, ...]"

    @property
    def games(self) -> int:
        """Games played."""
        return self.tally.games

    @property
    def wins(self) -> int:
        """Games that A won."""
        return self.tally.wins

    @property
    def draws(self) -> int:
        """Games without a winner."""
        return self.tally.draws

    @property
    def losses(self) -> int:
        """Games that B won."""
        return self.tally.losses

    @property
    def score(self) -> float:
        """A's share of the points."""
        return self.tally.score

    @property
    def elo(self) -> float:
        """How much stronger A is."""
        return float(self.tally.elo.elo)

    @property
    def elo_low(self) -> float:
        """Lower bound of the 95 % interval."""
        return float(self.tally.elo.low)

    @property
    def elo_high(self) -> float:
        """Upper bound of the 95 % interval."""
        return float(self.tally.elo.high)

    def pgn(self) -> str:
        """The games."""
        from engine.rules.pgn import write_pgn

        return "".join(write_pgn(game.record) for game in self.played)

    def __repr__(self) -> str:
        return (
            f"{self.a} against {self.b} at {self.variant.name}: +{self.wins} ={self.draws}"
            f" -{self.losses} of {counted(self.games, 'game')} ({share_text(self.score)})\n"
            f"  Elo {self.elo:+.0f}, between {self.elo_low:+.0f} and {self.elo_high:+.0f} with"
            " 95 % confidence"
        )


def match(
    a: PlayerLike,
    b: PlayerLike,
    variant: str | Variant,
    *,
    games: int = 100,
    opening_plies: int | None = None,
    openings: str | Path | None = None,
    seed: int = 1,
) -> MatchResult:
    """Let two players play; every opening twice, with colours swapped.

        >>> import pawnscope as ps
        >>> ps.match("alphabeta:6", "random", "hexapawn", games=8)
        alphabeta:6 against random at hexapawn: +...
          Elo ..., between ... and ... with 95 % confidence

    A player is a text (random, perfect, minimax:DEPTH, alphabeta:DEPTH, uct:SIMULATIONS,
    mcts:SIMULATIONS[:CHECKPOINT], gumbel:SIMULATIONS[:CHECKPOINT], policy[:CHECKPOINT],
    language[:CHECKPOINT] or uci:COMMAND[:nodes=N|movetime=MS]), a `Network`, which then plays its
    most likely move without search, or any `engine.player.Player`; with one that is an engine
    already started (`ExternalPlayer`), games are played one by one. Without a CHECKPOINT the
    strongest network known serves, of those under `runs/` and the shipped ones. Openings are all of
    `opening_plies` plies in random order, by default 2, on boards of less than 16 squares 0; or
    those of a .pgn or .epd file, of games all plies or `opening_plies` of them. A warning names
    what cannot be used of it.

    Raises InputError, OSError, and what a player raises.
    """
    from search.players.external import ExternalPlayer, close_players
    from training.evaluation.arena import match_games, summarise
    from training.evaluation.openings import default_opening_plies

    if not isinstance(variant, Variant):
        variant = get_variant(variant)
    plies = default_opening_plies(variant) if opening_plies is None else opening_plies
    numbers = (("games", games, 1), ("opening_plies", plies, 0), ("seed", seed, 0))
    for name, number, least in numbers:
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if not whole or number < least:
            raise InputError(f"{name} = {number!r} is not a whole number of at least {least}")
    if not isinstance(openings, str | Path | None):
        raise InputError(f"openings = {quoted(openings)} is no path of a .pgn or .epd file")
    listed = None if openings is None else _listed(openings, variant, opening_plies)
    opening_rng, *player_rngs = np.random.default_rng(int(seed)).spawn(3)
    made: list[Player] = []

    def make(side: int) -> Player:
        player = _player(b if side else a, variant, player_rngs[side])
        if not any(player is own for own in (a, b)):
            made.append(player)
        return player

    # Nobody can make another process of an engine that the caller has started.
    has_started = any(isinstance(player, ExternalPlayer) for player in (a, b))
    with torch_threads_kept():
        try:
            pair = make(0), make(1)
            running = match_games(
                *pair,
                variant,
                games=int(games),
                opening_plies=int(plies),
                openings=listed,
                rng=opening_rng,
                make_copy=None if has_started else make,
                concurrency=_CONCURRENCY,
            )
            with closing(running):
                played = tuple(running)
        finally:
            close_players(made)
    return MatchResult(
        a=pair[0].name,
        b=pair[1].name,
        variant=variant,
        tally=summarise(played, games_repeat=games_repeat(*pair)),
        played=played,
    )


def _listed(path: str | Path, variant: Variant, plies: int | None) -> "Sequence[Opening]":
    from training.evaluation.games.opening_file import read_openings

    found = read_openings(home_expanded(path), variant, plies)
    for problem in found.problems:
        # At the caller of `match`.
        warnings.warn(f"left out: {problem}", stacklevel=3)
    return found.openings


def _player(player: object, variant: Variant, rng: np.random.Generator) -> Player:
    if isinstance(player, Network):
        from search.players.network import PolicyPlayer

        without_search = PolicyPlayer(player.evaluator(variant))
        without_search.name = f"policy:{player.source.partition(',')[0]}"
        return without_search
    if isinstance(player, str):
        return _player_of_text(player, variant, rng)
    if not callable(getattr(player, "choose", None)):
        raise InputError(
            f"a player's text, a Network or a Player are expected, not {quoted(player)}"
        )
    return cast(Player, player)


def _player_of_text(text: str, variant: Variant, rng: np.random.Generator) -> Player:
    from scripts.players import find_checkpoint, load_evaluator, load_language, solution_cache
    from search.exact.solver import load_or_solve
    from search.players.make import make_player

    return make_player(
        text,
        variant,
        rng=rng,
        # Named, so that nothing is said of which one was taken.
        load_evaluator=lambda named, game: load_evaluator(str(find_checkpoint(named, game)), game),
        load_solution=lambda solved: load_or_solve(solved, solution_cache()),
        load_language=load_language,
    )
