"""`pawnscope match A B VARIANT`: games between two players, Elo with its interval, SPRT, PGN."""

from scripts.commands.match.options import MatchOptions
from scripts.commands.match.report import show
from scripts.commands.match.running import Match
from scripts.options import parse_options, print_json


def main(arguments: list[str]) -> int:
    """Play, with a progress bar on standard error, and print the score."""
    options = parse_options(MatchOptions, "match", arguments)
    match = Match(options)
    cut_short = match.play()
    figures = match.figures(complete=cut_short is None)
    if options.json:
        print_json(figures)
    else:
        show(options, match.result, figures)
    if cut_short is not None:
        raise cut_short
    return 0
