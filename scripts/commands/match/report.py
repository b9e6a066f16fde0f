"""What a match prints: its figures, or the score in words."""

from dataclasses import asdict
from typing import Any

from scripts.commands.match.options import MatchOptions
from training.evaluation.arena import MatchResult
from training.evaluation.pentanomial import PairTally
from training.evaluation.sprt import Sprt, Verdict


def figures(result: MatchResult, *, complete: bool) -> dict[str, Any]:
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


def sprt_figures(test: Sprt, tally: PairTally) -> dict[str, Any]:
    """What `--json` prints of a test."""
    return asdict(test) | {
        "ratio": test.ratio(tally.ordered),
        "lower": test.lower,
        "upper": test.upper,
        "pairs": sum(tally.ordered),
        "verdict": test.verdict(tally.ordered).value,
    }


def show(options: MatchOptions, result: MatchResult, found: dict[str, Any]) -> None:
    """Print the score in words."""
    players = f"{options.a} against {options.b} at {options.variant}"
    if not result.games:
        print(f"{players}: no game was played to its end")
        return
    tally = f"+{result.wins} ={result.draws} -{result.losses} of {result.games} games"
    print(f"{players}: {tally} ({result.score:.1%})")
    elo = result.elo
    print(f"Elo {elo.elo:+.0f}, between {elo.low:+.0f} and {elo.high:+.0f} with 95 % confidence")
    if "sprt" in found:
        _show_test(found["sprt"])
    if result.illegal or result.time_losses:
        print(
            f"{result.illegal} games lost by an illegal move or a crash,"
            f" {result.time_losses} by silence"
        )
    for side, counts in found.get("language", {}).items():
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
