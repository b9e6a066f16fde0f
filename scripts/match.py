"""`pawnscope match A B VARIANT`: games between two players, Elo with its interval, and PGN."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from engine.rules.errors import InputError
from engine.rules.pgn import write_pgn
from engine.rules.variant import get_variant
from scripts.options import FigureOptions, parse_options
from scripts.players import player_of
from search.player import Player
from training.arena import (
    MatchResult,
    PlayedGame,
    default_opening_plies,
    match_games,
    summarise,
)

INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class MatchOptions(FigureOptions):
    """Let two players play each other; every opening twice, with colours swapped.

    A player is random, perfect, minimax:DEPTH, alphabeta:DEPTH, uct:SIMULATIONS,
    mcts:SIMULATIONS[:CHECKPOINT], policy[:CHECKPOINT] or uci:COMMAND[:nodes=N|movetime=MS]; a
    checkpoint is a file, a run directory, or absent for the newest run of the game.
    """

    # The player whose side the figures take.
    a: str
    # The other player.
    b: str
    # The game.
    variant: str
    # How many games to play.
    games: int = 100
    # Random plies before each game; 2 if left out, 0 on boards of less than 16 squares.
    openings: int | None = None
    # Where openings and the players' random choices come from.
    seed: int = 1
    # A file to which each finished game is added.
    pgn: Path | None = None


def main(arguments: list[str]) -> int:
    """Play, with a progress bar on standard error, and print the score."""
    options = parse_options(MatchOptions, "match", arguments)
    if options.games < 1:
        raise InputError(f"--games {options.games}: a match has at least 1 game")
    if options.openings is not None and options.openings < 0:
        raise InputError(f"--openings {options.openings}: there are no fewer than 0 plies")
    variant = get_variant(options.variant)
    opening_rng, *player_rngs = np.random.default_rng(options.seed).spawn(3)
    plies = default_opening_plies(variant) if options.openings is None else options.openings
    played: list[PlayedGame] = []
    status = 0
    try:
        with _pgn_file(options.pgn) as file, ExitStack() as stack:

            def make(which: int) -> Player:
                spec = options.b if which else options.a
                player = player_of(spec, variant, player_rngs[which])
                stack.callback(player.close)
                return player

            games = match_games(
                make(0),
                make(1),
                variant,
                games=options.games,
                opening_plies=plies,
                rng=opening_rng,
                revive=make,
            )
            for game in _with_bar(games, options.games):
                if file is not None:
                    _append(file, write_pgn(game.record))
                played.append(game)
    except KeyboardInterrupt:
        print(f"interrupted after {len(played)} games", file=sys.stderr)
        status = INTERRUPTED
    _show(options, summarise(played))
    different = len({tuple(game.record.moves) for game in played})
    if different < len(played) // 2 and not options.json:
        print(f"only {different} games differ; the interval takes all for independent")
    return status


def _with_bar(games: Iterator[PlayedGame], total: int) -> Iterator[PlayedGame]:
    counts = {1.0: 0, 0.5: 0, 0.0: 0}
    with tqdm(total=total, unit="game", disable=None) as bar:
        for game in games:
            counts[game.points] += 1
            bar.set_postfix_str(f"+{counts[1.0]} ={counts[0.5]} -{counts[0.0]}", refresh=False)
            bar.update()
            yield game


@contextmanager
def _pgn_file(path: Path | None) -> Iterator[BinaryIO | None]:
    if path is None:
        yield None
        return
    with open(path, "ab", buffering=0) as file:
        yield file


def _append(file: BinaryIO, text: str) -> None:
    """Add a whole game or, on a full disk, nothing of it; raises OSError."""
    data = text.encode()
    size = os.fstat(file.fileno()).st_size
    try:
        while data:
            data = data[file.write(data) :]
    except OSError:
        os.ftruncate(file.fileno(), size)
        raise


def _show(options: MatchOptions, result: MatchResult) -> None:
    if options.json:
        figures = {
            "games": result.games,
            "wins": result.wins,
            "draws": result.draws,
            "losses": result.losses,
            "elo": result.elo.elo,
            "elo_low": result.elo.low,
            "elo_high": result.elo.high,
            "illegal": result.illegal,
            "time_losses": result.time_losses,
        }
        print(json.dumps(figures))
        return
    print(
        f"{options.a} against {options.b} at {options.variant}: +{result.wins} ={result.draws}"
        f" -{result.losses} of {result.games} games ({result.score:.1%})"
    )
    elo = result.elo
    print(f"Elo {elo.elo:+.0f}, between {elo.low:+.0f} and {elo.high:+.0f} with 95 % confidence")
    if result.illegal or result.time_losses:
        print(
            f"{result.illegal} games lost by an illegal move or a crash,"
            f" {result.time_losses} by silence"
        )
