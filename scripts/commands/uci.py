"""`pawnscope uci`: serve as an engine for any program that speaks UCI."""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.player import Limits, Player
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import Variant
from engine.settings import Natural
from engine.uci import UciSession
from scripts.options import EndgameOptions, parse_options
from scripts.players import default_player, player_of
from scripts.terminal.verbosity import Verbosity, verbosity
from search.exact.tablebase.file import table_names


@dataclass(frozen=True, kw_only=True)
class UciOptions(EndgameOptions):
    """Serve as a UCI engine on standard input and output; UCI_Variant chooses the game."""

    # The player, as in match; if left out the strongest network known of the game, else
    # alpha-beta.
    player: str | None = None
    # Seed of the players' random choices.
    seed: Natural = 1


def main(arguments: list[str]) -> int:
    """Serve until `quit` or the end of the input."""
    options = parse_options(UciOptions, "uci", arguments)
    rng = np.random.default_rng(options.seed)
    players: list[Player] = []
    folder = options.tablebases

    def set_folder(path: str) -> None:
        """Set the folder of endgame tables; raises OSError."""
        nonlocal folder
        if path:
            os.listdir(path)
        folder = Path(path) if path else None

    def make(variant: Variant) -> Player:
        spec, reason = options.player, ""
        if spec is None:
            spec, why = default_player(variant, perfect=False)
            reason = f" ({why})"
        # The folder may have no tables of the variant that a GUI chooses.
        covered = folder is not None and any(table_names(folder, variant))
        player = player_of(spec, variant, rng, folder if covered else None)
        players.append(player)
        if verbosity() > Verbosity.QUIET:
            print(f"pawnscope: {spec} plays {variant.name}{reason}", file=sys.stderr, flush=True)
        # Load kernels and libraries before the clock of the first move runs. A player of endgames
        # alone refuses the start position.
        with suppress(InputError):
            player.choose(Position(variant), Limits(nodes=1))
        return player

    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    try:
        UciSession(make, "Pawnscope", sys.stdout, {"TablebasePath": set_folder}).run(sys.stdin)
    finally:
        for player in players:
            player.close()
    return 0
