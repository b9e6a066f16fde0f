"""`pawnscope evaluate RUN [RUN ...]`: checkpoints against the truth and on the ladder."""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from tyro import conf

from engine.network.checkpoint import read_description
from engine.network.inference.backends.allocator import keep_freed_memory
from engine.player import Player
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from engine.settings import Count, Natural
from scripts.options import FigureOptions, parse_options, print_json, require_writable
from scripts.players import load_evaluator, load_solution, player_of
from scripts.plots.curve import draw_curve, draw_ladder, draw_simulations
from scripts.progress import Waiting, write_line
from search.exact.solver import estimate_positions
from training.evaluation.ladder import LadderGames, ladder_ratings
from training.evaluation.run_evaluation import (
    EvaluatedRun,
    Exact,
    checkpoint_shares,
    ladder_plan,
    ladder_row,
    play_ladder,
    textbook_rows,
)
from training.evaluation.simulations import compare_searches

Part = Literal["truth", "simulations", "textbook", "ladder"]

_LARGEST_SOLVED = 10_000_000
"""Positions of a variant that is solved here: half a minute, then it is cached."""
_ANCHORS = ("random", *(f"alphabeta:{depth}" for depth in range(1, 7)), "uct:1000")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(FigureOptions):
    """Measure runs by exact values where the variant is solved, and on a ladder of Elo.

    truth: the share of decisions in which each checkpoint keeps the exact value. simulations: the
    same for the last checkpoint's search, by its simulations. textbook: all runs beside each other
    against random play. ladder: all checkpoints rated against players of known strength; its games
    are kept in the run.
    """

    # The runs' directories.
    runs: Annotated[tuple[Path, ...], conf.Positional]
    # The variant, where the networks play several. Its pictures and ladder are in
    # RUN/evaluation-GAME.
    game: str | None = None
    # Simulations a move of the network's search.
    simulations: Count = 64
    # The network's search, on the ladder and in the tables.
    search: Literal["gumbel", "puct"] = "gumbel"
    # What to measure: truth, simulations, textbook, ladder; all unless given.
    only: tuple[Part, ...] = ()
    # Games of each pairing on the ladder; 0 for no ladder.
    games: Natural = 20
    # A further player on the ladder, such as "uci:fairy-stockfish:nodes=1000"; may be repeated.
    anchor: conf.UseAppendAction[tuple[str, ...]] = ()
    # The player with Elo 0: random, or another of the ladder's players of known strength.
    zero: str = "random"
    # Decision positions that are searched; all of a variant with fewer.
    positions: Count = 1000
    # Picture of the run, with the others beside it; curve.svg in the run's directory unless given.
    plot: Path | None = None
    # Seed of the samples.
    seed: Natural = 1


def main(arguments: list[str]) -> int:
    """Print the tables and draw the pictures."""
    options = parse_options(EvaluateOptions, "evaluate", arguments)
    _check(options)
    keep_freed_memory()
    with Waiting("evaluate", quiet=options.json) as waiting:
        progress = _Progress(waiting, quiet=options.json)
        measured = [_evaluate(run, options, progress) for run in options.runs]
    if options.json:
        print_json(measured[0] if len(measured) == 1 else {"runs": measured})
        return 0
    _print_textbook([row for one in measured for row in one["textbook"]])
    for one in measured:
        print("pictures:", *one["pictures"].values())
    return 0


def _check(options: EvaluateOptions) -> None:
    if not options.runs:
        raise InputError("which run? see pawnscope evaluate --help")
    if options.plot is not None and len(options.runs) > 1:
        raise InputError(f"--plot {options.plot}: one picture cannot show {len(options.runs)} runs")
    if options.plot is not None:
        require_writable(options.plot, "--plot")
    if options.zero not in (*_ANCHORS, "perfect", *options.anchor):
        raise InputError(
            f"--zero {options.zero}: not one of the ladder's players; --anchor adds it"
        )


class _Progress:
    """What is shown while a run is measured."""

    def __init__(self, waiting: Waiting, *, quiet: bool) -> None:
        self.now = waiting.now
        self._quiet = quiet

    def line(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            write_line(text, sys.stdout)


def _evaluate(path: Path, options: EvaluateOptions, progress: _Progress) -> dict[str, Any]:
    """Everything that was asked for, as `--json` prints it."""
    run = EvaluatedRun.open(path, options.game)
    anchors = _anchors(run.variant, options)
    exact = _exact(run.variant, options)
    progress.line(f"{path}: {run.variant.name}, {len(run.checkpoints)} checkpoints kept")
    pictures = {"curve": options.plot or run.folder / "curve.svg"}
    run.folder.mkdir(parents=True, exist_ok=True)
    draw_curve(run.metrics, run.variant.name, pictures["curve"], run.starting_weights)
    found: dict[str, Any] = {"run": str(path), "variant": run.variant.name}
    found |= {"simulations": [], "textbook": [], "ladder": [], "pairings": []}
    with tempfile.TemporaryDirectory() as folder:
        # A run that is training removes its newest checkpoint when it has a newer one.
        last = Path(shutil.copy(run.checkpoints[-1], folder))
        run = replace(run, checkpoints=(*run.checkpoints[:-1], last))
        found["checkpoints"] = [
            _point(run, exact, one, options, progress) for one in run.checkpoints
        ]
        if exact and _wants("simulations", options):
            pictures["simulations"] = _beside(pictures["curve"], "simulations")
            found["simulations"] = _simulations(run, exact, progress, pictures["simulations"])
        if exact and _wants("textbook", options):
            progress.now("play against random moves")
            evaluator = load_evaluator(str(last), run.variant)
            rows = textbook_rows(run, exact, evaluator, options.search, options.simulations)
            found["textbook"] = [asdict(row) for row in rows]
        if _wants("ladder", options):
            pictures["ladder"] = _beside(pictures["curve"], "ladder")
            found |= _ladder(run, anchors, options, progress, pictures["ladder"])
    named = {name: str(picture) for name, picture in pictures.items()}
    return found | {"picture": named["curve"], "pictures": named}


def _wants(part: Part, options: EvaluateOptions) -> bool:
    return part in (options.only or (part,)) and (part != "ladder" or options.games > 0)


def _beside(picture: Path, name: str) -> Path:
    return picture.with_name(name + picture.suffix)


def _anchors(variant: Variant, options: EvaluateOptions) -> list[str]:
    """The players of known strength; raises InputError where `--zero` is none of them."""
    perfect = ("perfect",) if _is_solvable(variant) else ()
    anchors = list(dict.fromkeys((*_ANCHORS, *options.anchor, *perfect)))
    if options.zero not in anchors:
        raise InputError(f"--zero {options.zero}: {variant.name} is too large to be solved")
    return anchors


def _exact(variant: Variant, options: EvaluateOptions) -> Exact | None:
    """The solution, where a part needs it and it takes less than a minute."""
    if set(options.only) == {"ladder"} or not _is_solvable(variant):
        return None
    return Exact.of(load_solution(variant), options.positions, options.seed)


def _is_solvable(variant: Variant) -> bool:
    return variant.irreversible and estimate_positions(variant).positions <= _LARGEST_SOLVED


def _point(
    run: EvaluatedRun,
    exact: Exact | None,
    path: Path,
    options: EvaluateOptions,
    progress: _Progress,
) -> dict[str, Any]:
    """One checkpoint's shares of kept values; only its name and step without exact values."""
    about = read_description(path).metadata
    progress.now(f"checkpoint {path.name}")
    point = {"checkpoint": path.name, "round": about.get("round"), "step": about.get("step")}
    if exact is None or not _wants("truth", options):
        return point
    evaluator = load_evaluator(str(path), run.variant)
    point |= checkpoint_shares(exact, evaluator, options.search, options.simulations)
    progress.line(
        f"  step {point['step']:>7,}  keeps the value: raw {point['raw']:7.2%}"
        f"  with {options.simulations} simulations {point['search']:7.2%}"
        f"  (of {point['raw_positions']:,} and {point['searched']:,} positions)"
    )
    return point


def _simulations(
    run: EvaluatedRun, exact: Exact, progress: _Progress, picture: Path
) -> list[dict[str, Any]]:
    """The last checkpoint's search by its simulations: printed, drawn and returned."""
    progress.now("search by its simulations")
    sample, total = exact.searched, exact.total
    part = "all" if len(sample) == total else f"{len(sample):,} of"
    progress.line(
        f"  the last checkpoint's search on {part} {total:,} decision positions,"
        " with 95 % intervals"
    )
    progress.line("    search   simulations   keeps the value              mean regret, of policy")
    evaluator = load_evaluator(str(run.checkpoints[-1]), run.variant)
    points = []
    for point in compare_searches(sample, total, evaluator):
        points.append(asdict(point))
        progress.line(
            f"    {point.search:<8} {point.simulations:>11}   {point.share:7.2%}"
            f" ({point.share_low:7.2%} to {point.share_high:7.2%})"
            f"   {point.regret:.4f}   {point.policy_regret:.4f}"
        )
    title = f"{run.variant.name}: search against the truth"
    draw_simulations(points, sample.raw(evaluator), title, picture)
    return points


def _ladder(
    run: EvaluatedRun,
    anchors: Sequence[str],
    options: EvaluateOptions,
    progress: _Progress,
    picture: Path,
) -> dict[str, Any]:
    """Play what is missing; the rows of the ladder and the scores of its pairings."""
    plan, specs = ladder_plan(
        run,
        search=options.search,
        simulations=options.simulations,
        anchors=anchors,
        zero=options.zero,
        games=options.games,
    )

    def make(spec: str, rng: np.random.Generator) -> Player:
        return player_of(spec, run.variant, rng)

    for spec in options.anchor:
        # An engine that does not start is reported before any game.
        make(spec, np.random.default_rng(0)).close()
    with closing(LadderGames(run.folder, run.variant)) as kept:
        for text in play_ladder(kept, plan, specs, make):
            progress.now(text)
        rows = [ladder_row(run, asdict(rating)) for rating in ladder_ratings(kept, plan)]
        pairings = [asdict(pairing) for pairing in kept.pairings()]
    _print_ladder(rows, options.zero, progress)
    if repeats := _repeats(pairings):
        progress.line(repeats)
    draw_ladder(rows, f"{run.variant.name}: Elo above {options.zero}", picture)
    return {"ladder": rows, "pairings": pairings}


def _print_ladder(rows: Sequence[dict[str, Any]], zero: str, progress: _Progress) -> None:
    progress.line(f"  Elo above {zero}, with 95 % intervals")
    progress.line("    player                      hours      Elo                    games")
    for row in reversed(rows):
        hours = "" if row["hours"] is None else f"{row['hours']:.3f}"
        progress.line(
            f"    {row['name']:<26} {hours:>6}  {row['elo']:+7.0f}"
            f"  ({row['low']:+6.0f} to {row['high']:+6.0f})  {row['games']:>5}"
        )


def _repeats(pairings: Sequence[dict[str, Any]]) -> str | None:
    """A line about pairs of games that repeat others; None where there are none."""
    repeating = [each for each in pairings if each["independent_pairs"] < sum(each["pairs"])]
    if not repeating:
        return None
    differ = sum(each["independent_pairs"] for each in repeating)
    pairs = sum(sum(each["pairs"]) for each in repeating)
    return (
        f"  {differ} of {pairs} pairs of games differ where two deterministic players ran out of"
        " openings; the others count for the ratings and not for their certainty"
    )


def _print_textbook(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    print("exact chances to win against uniformly random moves, and what the networks know")
    print(
        f"{'run':<28} {'taught by':<10} {'first':>8} {'second':>8} {'mean':>8} {'searched':>8}"
        f" {'decisions':>9} {'value sign':>10} {'positions':>10} {'seconds':>8}"
    )
    for row in {row["name"]: row for row in rows}.values():
        shares = [
            row[name]
            for name in (
                "win_first",
                "win_second",
                "win",
                "win_searched",
                "decisions",
                "value_sign",
            )
        ]
        first, second, win, searched, decisions, sign = map(_percent, shares)
        positions = "" if row["positions"] is None else f"{row['positions']:,}"
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.0f}"
        print(
            f"{row['name']:<28} {row['teacher'] or '':<10} {first:>8} {second:>8} {win:>8}"
            f" {searched:>8} {decisions:>9} {sign:>10} {positions:>10} {seconds:>8}"
        )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"
