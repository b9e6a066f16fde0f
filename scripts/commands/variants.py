"""`pawnscope variants`: the games that every command takes, with board and start position."""

from dataclasses import dataclass

from engine.rules.variant import get_variant, variant_names
from scripts.options import FigureOptions, parse_options, print_json


@dataclass(frozen=True, kw_only=True)
class VariantsOptions(FigureOptions):
    """List the games: name, files x ranks, and the FEN that a game starts from."""


def main(arguments: list[str]) -> int:
    """Print one line a game."""
    options = parse_options(VariantsOptions, "variants", arguments)
    games = [get_variant(name) for name in variant_names()]
    if options.json:
        fields = ("width", "height", "start_fen")
        print_json({game.name: {name: getattr(game, name) for name in fields} for game in games})
        return 0
    longest = max(len(game.name) for game in games)
    for game in games:
        print(f"{game.name:{longest}}  {game.width}x{game.height}  {game.start_fen}")
    print("hexapawnWxH is hexapawn on W files and H ranks, each up to 8.")
    return 0
