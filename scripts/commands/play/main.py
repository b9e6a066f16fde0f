"""`pawnscope play VARIANT`: play on a text board against a network, a search or the truth."""

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from engine.player import Player, legal_moves
from engine.rules.errors import InputError
from engine.rules.pgn import write_pgn
from engine.rules.position import Position
from engine.rules.tables import BLACK, WHITE
from engine.rules.variant import get_variant
from engine.settings import Natural
from engine.system.termination import Terminated
from scripts.commands.play.record import GameTags, append_game
from scripts.commands.play.terminal_game import UNFINISHED, TerminalGame
from scripts.options import EndgameOptions, parse_options, require_writable
from scripts.players import (
    SEARCH_PLAYER,
    default_player,
    player_of,
    player_tags,
    require_playable,
)
from scripts.terminal.progress import say


@dataclass(frozen=True, kw_only=True)
class PlayOptions(EndgameOptions):
    """Play a game in the terminal."""

    # The variant; `pawnscope variants` lists them.
    variant: str
    # Begin at this position instead of the variant's start.
    fen: str | None = None
    # Play in the terminal, as without this word.
    terminal: bool = False
    # Your opponent, as in match; if left out the strongest network known of the game, else the
    # perfect player if the game is solved within a second, else alphabeta:4.
    opponent: str | None = None
    # Your colour.
    colour: Literal["white", "black", "random"] = "white"
    # A file to which the game is added when it ends or is left, as PGN.
    pgn: Path | None = None
    # Seed of the opponent's random choices and of a random colour.
    seed: Natural | None = None


def main(arguments: list[str]) -> int:
    """Play one game on standard input and output."""
    options = parse_options(PlayOptions, "play", arguments)
    position = Position(get_variant(options.variant), options.fen)
    legal_moves(position)
    if options.pgn is not None:
        _require_file(options.pgn)
    rng = np.random.default_rng(options.seed)
    colours = {"white": WHITE, "black": BLACK, "random": int(rng.integers(2))}
    opponent, tags = _opponent(options, position, rng, colours[options.colour])
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    game = TerminalGame(position, colours[options.colour], opponent, _ask_person, tags)
    try:
        _play(game, offer=options.pgn is None)
    finally:
        opponent.close()
        if options.pgn is not None and position.move_stack:
            _save(game, options.pgn)
    return 0


def _play(game: TerminalGame, *, offer: bool) -> None:
    """Play, and offer to keep the game when it has ended."""
    try:
        game.play()
        if offer:
            game.keep()
    except (EOFError, KeyboardInterrupt) as end:
        if not game.over:
            print(f"\n{UNFINISHED}")
        elif sys.stdin.isatty():
            # Behind the last prompt.
            print()
        if isinstance(end, Terminated):
            raise


def _opponent(
    options: PlayOptions, position: Position, rng: np.random.Generator, colour: int
) -> tuple[Player, GameTags]:
    """The opponent and what the PGN says of both players; raises InputError, OSError."""
    variant, spec, why = position.variant, options.opponent, ""
    if spec is None:
        spec, why = default_player(variant, perfect=True)
    player = player_of(spec, variant, rng, options.tablebases)
    try:
        require_playable(player, position)
    except InputError as problem:
        player.close()
        if options.opponent is not None:
            raise
        spec, why = SEARCH_PLAYER, str(problem)
        player = player_of(spec, variant, rng, options.tablebases)
    if why:
        say(f"your opponent is {spec} ({why})")
    known = player_tags(spec, variant, seed=options.seed, tablebases=options.tablebases)
    return player, GameTags.of(player.name, colour, known)


def _require_file(path: Path) -> None:
    """Raises InputError where no game could be added to a file, before one is played."""
    require_writable(path, "--pgn")
    if path.exists() and not os.access(path, os.W_OK):
        raise InputError(f"--pgn {path}: the file cannot be written")


def _save(game: TerminalGame, path: Path) -> None:
    """Add the game to a file; where that fails it is printed, so that it is not lost."""
    record = game.record()
    try:
        append_game(path, record)
    except OSError:
        with contextlib.suppress(OSError):
            print(write_pgn(record))
        raise
    say(f"the game is added to {path}")


def _ask_person(prompt: str) -> str:
    """A line from the person, without blanks around it; raises EOFError."""
    if sys.stdin.isatty():
        # Arrow keys then edit the line.
        import readline  # noqa: F401

        return input(prompt).strip()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    # A terminal shows the prompt and the line; a pipe does not.
    print(f"{prompt}{line.strip()}", flush=True)
    return line.strip()
