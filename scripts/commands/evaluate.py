"""`pawnscope evaluate RUN [RUN ...]`: checkpoints against the truth and on the ladder."""

import shutil
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
from engine.settings import Count, Natural
from scripts.options import ONE_OR_MORE, FigureOptions, parse_options, print_json, require_writable
from scripts.players import load_evaluator, load_solution, player_of
from scripts.plots.curve import draw_curve, draw_ladder, draw_simulations
from scripts.terminal.interruption import telling
from scripts.terminal.progress import Waiting
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
from training.evaluation.strength import LADDER_SEARCH, write_ratings

Part = Literal["truth", "simulations", "textbook", "ladder"]

_LARGEST_SOLVED = 10_000_000
"""Positions of a variant that is solved here: half a minute, then it is cached."""
_ANCHORS = ("random", *(f"alphabeta:{depth}" for depth in range(1, 7)), "uct:1000")
_TEXTBOOK = (
    ("first", "win_first", 8, ".2%"),
    ("second", "win_second", 8, ".2%"),
    ("mean", "win", 8, ".2%"),
    ("searched", "win_searched", 8, ".2%"),
    ("decisions", "decisions", 9, ".2%"),
    ("value sign", "value_sign", 10, ".2%"),
    ("positions", "positions", 10, ","),
    ("seconds", "seconds", 8, ".0f"),
)
"""Columns of the table of textbook rows: heading, field, width, format."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(FigureOptions):
    """Measure runs by exact values where the variant is solved, and on a ladder of Elo.

    truth: the share of decisions in which each checkpoint keeps the exact value. simulations: the
    same for the last checkpoint's search, by its simulations. textbook: all runs beside each other
    against random play. ladder: all checkpoints rated against players of known strength; its games
    are kept in the run.
    """

    # The runs' directories.
    runs: Annotated[tuple[Path, ...], conf.Positional, ONE_OR_MORE]
    # The variant, where the networks play several. Its pictures and ladder are in
    # RUN/evaluation-GAME.
    game: str | None = None
    # Simulations a move of the network's search.
    simulations: Count = LADDER_SEARCH[1]
    # The network's search, on the ladder and in the tables.
    search: Literal["gumbel", "puct"] = LADDER_SEARCH[0]
    # What to measure.
    only: Annotated[tuple[Part, ...], conf.arg(help_behavior_hint="(default: all)")] = ()
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
    kept = (
        "the ladder's games are kept in the run; the same command plays those that are missing, and"
        " measures the rest again"
    )
    with telling(kept), Waiting("evaluate", quiet=options.json) as waiting:
        measured = [_Evaluation(run, options, waiting).measure() for run in options.runs]
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


class _Evaluation:
    """What is measured of one run; each part is shown as soon as it is known."""

    def __init__(self, path: Path, options: EvaluateOptions, waiting: Waiting) -> None:
        self._options, self._now, self._show = options, waiting.now, waiting.show
        self._run = EvaluatedRun.open(path, options.game)
        variant = self._run.variant
        solvable = variant.irreversible and estimate_positions(variant).positions <= _LARGEST_SOLVED
        perfect = ("perfect",) if solvable else ()
        self._anchors = list(dict.fromkeys((*_ANCHORS, *options.anchor, *perfect)))
        if options.zero not in self._anchors:
            raise InputError(f"--zero {options.zero}: {variant.name} is too large to be solved")
        self._exact = None
        if solvable and set(options.only) != {"ladder"}:
            solution = load_solution(variant)
            self._exact = Exact.of(solution, options.positions, options.seed)
        self._curve = options.plot or self._run.folder / "curve.svg"

    def measure(self) -> dict[str, Any]:
        """Everything that was asked for, as `--json` prints it."""
        run, exact, options = self._run, self._exact, self._options
        name = run.variant.name
        kept = len(run.checkpoints)
        self._show(f"{run.path}: {name}, {kept} checkpoint{'' if kept == 1 else 's'} kept")
        run.folder.mkdir(parents=True, exist_ok=True)
        draw_curve(run.metrics, name, self._curve, run.starting_weights)
        pictures = {"curve": str(self._curve)}
        found: dict[str, Any] = {"run": str(run.path), "variant": name}
        found |= {"simulations": [], "textbook": [], "ladder": [], "pairings": []}
        with tempfile.TemporaryDirectory() as folder:
            # A run that is training removes its newest checkpoint when it has a newer one.
            last = Path(shutil.copy(run.checkpoints[-1], folder))
            run = self._run = replace(run, checkpoints=(*run.checkpoints[:-1], last))
            found["checkpoints"] = [self._point(path) for path in run.checkpoints]
            if exact and self._wants("simulations"):
                found["simulations"] = self._simulations(exact, self._picture("simulations"))
                pictures["simulations"] = str(self._picture("simulations"))
            if exact and self._wants("textbook"):
                self._now("play against random moves")
                evaluator = load_evaluator(str(last), run.variant)
                rows = textbook_rows(run, exact, evaluator, options.search, options.simulations)
                found["textbook"] = [asdict(row) for row in rows]
            if self._wants("ladder"):
                found |= self._ladder(self._picture("ladder"))
                pictures["ladder"] = str(self._picture("ladder"))
        return found | {"picture": pictures["curve"], "pictures": pictures}

    def _wants(self, part: Part) -> bool:
        wanted = part in (self._options.only or (part,))
        return wanted and (part != "ladder" or self._options.games > 0)

    def _picture(self, name: str) -> Path:
        return self._curve.with_name(name + self._curve.suffix)

    def _point(self, path: Path) -> dict[str, Any]:
        """One checkpoint's shares of kept values; only its name and step without exact values."""
        about = read_description(path).metadata
        self._now(f"checkpoint {path.name}")
        point = {"checkpoint": path.name, "round": about.get("round"), "step": about.get("step")}
        if self._exact is None or not self._wants("truth"):
            return point
        simulations = self._options.simulations
        evaluator = load_evaluator(str(path), self._run.variant)
        point |= checkpoint_shares(self._exact, evaluator, self._options.search, simulations)
        self._show(
            f"  step {point['step']:>7,}  keeps the value: raw {point['raw']:7.2%}"
            f"  with {simulations} simulations {point['search']:7.2%}"
            f"  (of {point['raw_positions']:,} and {point['searched']:,} positions)"
        )
        return point

    def _simulations(self, exact: Exact, picture: Path) -> list[dict[str, Any]]:
        """The last checkpoint's search by its simulations: shown, drawn and returned."""
        self._now("search by its simulations")
        sample, total, variant = exact.searched, exact.total, self._run.variant
        part = "all" if len(sample) == total else f"{len(sample):,} of"
        self._show(
            f"  the last checkpoint's search on {part} {total:,} decision positions,"
            " with 95 % intervals"
        )
        self._show("    search   simulations   keeps the value              mean regret, of policy")
        evaluator = load_evaluator(str(self._run.checkpoints[-1]), variant)
        points = []
        for point in compare_searches(sample, total, evaluator):
            points.append(asdict(point))
            self._show(
                f"    {point.search:<8} {point.simulations:>11}   {point.share:7.2%}"
                f" ({point.share_low:7.2%} to {point.share_high:7.2%})"
                f"   {point.regret:.4f}   {point.policy_regret:.4f}"
            )
        title = f"{variant.name}: search against the truth"
        draw_simulations(points, sample.raw(evaluator), title, picture)
        return points

    def _ladder(self, picture: Path) -> dict[str, Any]:
        """Play what is missing; the rows of the ladder and the scores of its pairings."""
        run, options = self._run, self._options
        plan, specs = ladder_plan(
            run,
            search=options.search,
            simulations=options.simulations,
            anchors=self._anchors,
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
                self._now(text)
            rows = [ladder_row(run, asdict(rating)) for rating in ladder_ratings(kept, plan)]
            pairings = [asdict(pairing) for pairing in kept.pairings()]
            write_ratings(run.folder, rows)
        self._show(f"  Elo above {options.zero}, with 95 % intervals")
        self._show("    player                      hours      Elo                    games")
        for row in reversed(rows):
            hours = "" if row["hours"] is None else f"{row['hours']:.3f}"
            self._show(
                f"    {row['name']:<26} {hours:>6}  {row['elo']:+7.0f}"
                f"  ({row['low']:+6.0f} to {row['high']:+6.0f})  {row['games']:>5}"
            )
        if repeats := _repeats(pairings):
            self._show(repeats)
        draw_ladder(rows, f"{run.variant.name}: Elo above {options.zero}", picture)
        return {"ladder": rows, "pairings": pairings}


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
    headings = "".join(f" {heading:>{width}}" for heading, _, width, _ in _TEXTBOOK)
    print(f"{'run':<28} {'taught by':<10}{headings}")
    for row in {row["name"]: row for row in rows}.values():
        figures = (
            f" {'' if row[key] is None else format(row[key], style):>{width}}"
            for _, key, width, style in _TEXTBOOK
        )
        print(f"{row['name']:<28} {row['teacher'] or '':<10}{''.join(figures)}")
