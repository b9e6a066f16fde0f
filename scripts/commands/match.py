"""`pawnscope match A B VARIANT`: games between two players, Elo with its interval, SPRT, PGN."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tqdm import tqdm
from tyro import conf

from engine.player import Player, games_repeat
from engine.rules.pgn import write_pgn
from engine.rules.variant import get_variant
from engine.settings import Count, Natural, Range
from engine.system.files import append_to
from scripts.options import EndgameOptions, FigureOptions, parse_options, print_json
from scripts.players import PrecisionName, player_of
from scripts.progress import shows_bars
from search.players.external import close_players
from search.players.language import LanguagePlayer
from training.evaluation.arena import MatchResult, PlayedGame, match_games, summarise
from training.evaluation.openings import default_opening_plies
from training.evaluation.pentanomial import PairTally
from training.evaluation.sprt import Sprt, Verdict

_GAMES = 100
_MOST_TESTED = 20_000
"""Games after which an undecided test ends."""


@dataclass(frozen=True, kw_only=True)
class MatchOptions(FigureOptions, EndgameOptions):
    """Let two players play; every opening twice, with colours swapped.

    A player is random, perfect, minimax:DEPTH, alphabeta:DEPTH, uct:SIMULATIONS,
    mcts:SIMULATIONS[:CHECKPOINT], gumbel:SIMULATIONS[:CHECKPOINT], policy[:CHECKPOINT],
    language[:CHECKPOINT] or uci:COMMAND[:nodes=N|movetime=MS]. A checkpoint is a file, a run
    directory, or absent for the newest run of the variant.
    """

    # The player whose results the figures describe.
    a: str
    # The other player.
    b: str
    # The variant.
    variant: str
    # Games to play; 100 unless given, and with --sprt at most 20,000.
    games: Count | None = None
    # Plies of the openings: all openings of that length in random order. 2 unless given; 0 on
    # boards of less than 16 squares. Openings repeat when all are used; in a test of two
    # deterministic players longer ones follow.
    opening_plies: Annotated[Natural | None, conf.arg(aliases=("--openings",))] = None
    # Stop as soon as the test can tell whether A is ELO0 (H0) or ELO1 (H1) stronger than B.
    sprt: tuple[float, float] | None = None
    # Of the test: probability of saying H1 where H0 is true.
    alpha: Annotated[float, Range(0, 0.5, above_low=True, below_high=True)] = 0.05
    # Of the test: probability of saying H0 where H1 is true.
    beta: Annotated[float, Range(0, 0.5, above_low=True, below_high=True)] = 0.05
    # Precision of A's network: auto, fp32, bf16 or int8 (calibrated on games of the checkpoint's
    # run) ...
    precision_a: PrecisionName = "auto"
    # ... and B's.
    precision_b: PrecisionName = "auto"
    # Parallel games against an external engine, each with its own process.
    concurrency: Count = 8
    # Seed of the openings and of the players.
    seed: Natural = 1
    # A file to which each finished game is appended.
    pgn: Path | None = None


def main(arguments: list[str]) -> int:
    """Play, with a progress bar on standard error, and print the score."""
    options = parse_options(MatchOptions, "match", arguments)
    test = None
    if options.sprt is not None:
        elo0, elo1 = options.sprt
        test = Sprt(elo0=elo0, elo1=elo1, alpha=options.alpha, beta=options.beta)
    variant = get_variant(options.variant)
    opening_rng, *player_rngs = np.random.default_rng(options.seed).spawn(3)
    plies = options.opening_plies
    total = options.games or (_MOST_TESTED if test else _GAMES)
    played: list[PlayedGame] = []
    # A's players and B's: a player that plays one game at a time is made several times.
    made: tuple[list[Player], list[Player]] = [], []
    tally, repeats = PairTally(games_repeat=False), False
    exhausted = False
    cut_short: BaseException | None = None

    def make(side: int) -> Player:
        spec = options.b if side else options.a
        precision = options.precision_b if side else options.precision_a
        player = player_of(spec, variant, player_rngs[side], options.tablebases, precision)
        made[side].append(player)
        return player

    try:
        with ExitStack() as stack:
            file = None
            if options.pgn is not None:
                file = stack.enter_context(open(options.pgn, "ab", buffering=0))
            stack.callback(lambda: close_players([*made[0], *made[1]]))
            pair = make(0), make(1)
            repeats = games_repeat(*pair)
            tally = PairTally(games_repeat=repeats)
            games = match_games(
                *pair,
                variant,
                games=total,
                opening_plies=default_opening_plies(variant) if plies is None else plies,
                rng=opening_rng,
                make_copy=make,
                concurrency=options.concurrency,
                repeat_openings=test is None or not repeats,
            )
            stack.enter_context(closing(games))
            for game in _with_bar(games, total):
                if file is not None:
                    append_to(file, write_pgn(game.record).encode())
                played.append(game)
                continuations = game.continuations() if repeats else ()
                tally.add(game.number, game.points, game.record.moves, continuations)
                if test and test.verdict(tally.ordered) != Verdict.UNDECIDED:
                    break
            else:
                exhausted = len(played) < total
    except KeyboardInterrupt as interrupt:
        print(f"the match is interrupted after {len(played)} games", file=sys.stderr)
        cut_short = interrupt
    except Exception as problem:
        # Finished games count, whatever ended the match.
        if not played:
            raise
        print(f"the match ends after {len(played)} of {total} games", file=sys.stderr)
        cut_short = problem
    result = summarise(played, games_repeat=repeats)
    figures = _figures(result, complete=cut_short is None)
    if test:
        figures["sprt"] = _test_figures(test, tally) | {"openings_exhausted": exhausted}
    if against_rules := _against_rules(made):
        figures["language"] = against_rules
    if options.json:
        print_json(figures)
    else:
        _show(options, result, figures)
    if cut_short is not None:
        raise cut_short
    return 0


def _with_bar(games: Iterator[PlayedGame], total: int) -> Iterator[PlayedGame]:
    counts = {1.0: 0, 0.5: 0, 0.0: 0}
    with tqdm(total=total, unit="game", disable=not shows_bars()) as bar:
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


def _figures(result: MatchResult, *, complete: bool) -> dict[str, Any]:
    """What `--json` prints of every match; `complete`: nothing has cut it short."""

    def fields(*names: str) -> dict[str, Any]:
        return {name: getattr(result, name) for name in names}

    elo = result.elo
    return {
        "games": result.games,
        "complete": complete,
        **fields("wins", "draws", "losses"),
        "elo": elo.elo,
        "elo_low": elo.low,
        "elo_high": elo.high,
        **fields("illegal", "time_losses"),
        **fields("distinct", "pairs", "distinct_pairs", "independent_pairs"),
    }


def _test_figures(test: Sprt, tally: PairTally) -> dict[str, Any]:
    return asdict(test) | {
        "ratio": test.ratio(tally.ordered),
        "lower": test.lower,
        "upper": test.upper,
        "pairs": sum(tally.ordered),
        "verdict": test.verdict(tally.ordered).value,
    }


def _show(options: MatchOptions, result: MatchResult, figures: dict[str, Any]) -> None:
    players = f"{options.a} against {options.b} at {options.variant}"
    if not result.games:
        print(f"{players}: no game was played to its end")
        return
    tally = f"+{result.wins} ={result.draws} -{result.losses} of {result.games} games"
    print(f"{players}: {tally} ({result.score:.1%})")
    elo = result.elo
    print(f"Elo {elo.elo:+.0f}, between {elo.low:+.0f} and {elo.high:+.0f} with 95 % confidence")
    if "sprt" in figures:
        _show_test(figures["sprt"])
    if result.illegal or result.time_losses:
        print(
            f"{result.illegal} games lost by an illegal move or a crash,"
            f" {result.time_losses} by silence"
        )
    for side, counts in figures.get("language", {}).items():
        share = counts["illegal"] / max(1, counts["asked"])
        print(
            f"{getattr(options, side)}: in {counts['illegal']:,} of {counts['asked']:,} positions"
            f" ({share:.2%}) its first choice was against the rules; it played its likeliest"
            " legal move"
        )
    pairs, independent = sum(result.pairs), result.independent_pairs
    if independent < pairs:
        print(
            f"{independent} of {pairs} pairs of games differ; the others count for the score and"
            " not for its certainty"
        )
    elif 2 * result.distinct_pairs < pairs:
        print(
            f"{result.distinct_pairs} of {pairs} pairs of games differ; all count, since not both"
            " players are known to be deterministic"
        )


def _show_test(test: dict[str, Any]) -> None:
    words = {
        Verdict.H0: f"H0, A is not {test['elo1']:g} Elo stronger but {test['elo0']:g}",
        Verdict.H1: f"H1, A is {test['elo1']:g} Elo stronger and not {test['elo0']:g}",
        Verdict.UNDECIDED: "undecided",
    }
    verdict = words[Verdict(test["verdict"])]
    if test["openings_exhausted"]:
        verdict += ", openings exhausted"
    print(
        f"SPRT [{test['elo0']:g}, {test['elo1']:g}]: {verdict}; log ratio"
        f" {test['ratio']:.2f} in ({test['lower']:.2f}, {test['upper']:.2f})"
        f" after {test['pairs']} pairs"
    )
