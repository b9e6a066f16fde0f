"""`pawnscope evaluate RUN [RUN ...]`: checkpoints against the truth and on the ladder."""

import shutil
import tempfile
import tomllib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from tqdm import tqdm
from tyro import conf

from engine.network.checkpoint import UniversalDescription, read_description, variant_of
from engine.network.inference.allocator import keep_freed_memory
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from scripts.options import FigureOptions, parse_options, print_json, require_writable
from scripts.players import load_evaluator, load_solution, player_of
from scripts.plots.curve import draw_curve, draw_ladder, draw_simulations, of_game
from scripts.progress import Waiting
from search.evaluator import Evaluator, SolverEvaluator
from search.exact.solver import Solution, estimate_positions
from search.player import Player
from training.data.run_directory import read_metrics, run_checkpoints
from training.evaluation.ladder import (
    LadderPlan,
    Pool,
    ladder_ratings,
    missing_pairing,
    play_pairing,
)
from training.evaluation.simulations import Decisions
from training.evaluation.textbook import TextbookRow, describe_run, measure_row
from training.evaluation.truth import Truth

Part = Literal["truth", "simulations", "textbook", "ladder"]

_LARGEST_SOLVED = 10_000_000
"""Positions of a game that is solved here: half a minute, and then it is kept."""
_RAW_SAMPLE = 20_000
"""Decision positions on which a raw network is measured; of a game with fewer all."""
_ANCHORS = ("random", *(f"alphabeta:{depth}" for depth in range(1, 7)), "uct:1000")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(FigureOptions):
    """Measure runs against the truth where the game is solved, and on a ladder of Elo.

    The kept checkpoints keep the game's value in so many decisions; the last one's search does so
    by its simulations; the runs stand beside each other against random play; all checkpoints are
    rated against players of known strength. A ladder's games are kept in the run.
    """

    # The runs' directories.
    runs: Annotated[tuple[Path, ...], conf.Positional]
    # The game, where the runs' networks play several; RUN/evaluation-GAME then has its pictures
    # and its ladder.
    game: str | None = None
    # Simulations a move of the network's search.
    simulations: int = 64
    # The network's search, on the ladder and in the truth's tables.
    search: Literal["gumbel", "puct"] = "gumbel"
    # What to measure: truth, simulations, textbook, ladder; all if left out.
    only: tuple[Part, ...] = ()
    # Games of each pairing on the ladder; 0 for no ladder.
    games: int = 20
    # A further player on the ladder, such as "uci:fairy-stockfish:nodes=1000"; may be repeated.
    anchor: conf.UseAppendAction[tuple[str, ...]] = ()
    # Whose Elo is 0: random, or another of the ladder's players of known strength.
    zero: str = "random"
    # Decision positions that are searched; of a game with fewer all.
    positions: int = 1000
    # Where the picture of the run goes, and beside it the others; curve.svg in the run's directory
    # if left out.
    plot: Path | None = None
    # Where samples come from.
    seed: int = 1


def main(arguments: list[str]) -> int:
    """Print the tables and draw the pictures."""
    options = parse_options(EvaluateOptions, "evaluate", arguments)
    _check(options)
    keep_freed_memory()
    with Waiting("evaluate", quiet=options.json) as waiting:
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
    for name, least in (("simulations", 1), ("games", 0), ("positions", 1)):
        if getattr(options, name) < least:
            raise InputError(f"--{name} {getattr(options, name)}: at least {least}")
    if options.plot is not None and len(options.runs) > 1:
        raise InputError(f"--plot {options.plot}: one picture cannot show {len(options.runs)} runs")
    if options.plot is not None:
        require_writable(options.plot, "--plot")
    if options.zero not in (*_ANCHORS, "perfect", *options.anchor):
        raise InputError(
            f"--zero {options.zero}: not one of the ladder's players; --anchor adds it"
        )


class _Evaluation:
    """What is measured of one run."""

    def __init__(self, run: Path, options: EvaluateOptions, waiting: Waiting) -> None:
        self._run, self._options, self._waiting = run, options, waiting
        self._paths = run_checkpoints(run)
        self._variant = variant_of(self._paths[-1], options.game)
        several = isinstance(read_description(self._paths[-1]), UniversalDescription)
        self._folder = run / f"evaluation-{self._variant.name}" if several else run
        self._picture = options.plot or self._folder / "curve.svg"
        perfect = ("perfect",) if _is_solvable(self._variant) else ()
        self._anchors = list(dict.fromkeys((*_ANCHORS, *options.anchor, *perfect)))
        if options.zero not in self._anchors:
            raise InputError(
                f"--zero {options.zero}: {self._variant.name} is too large to be solved"
            )
        self._metrics = of_game(read_metrics(run), self._variant.name)
        self._config = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
        self._solution = _solution(self._variant) if self._wants_truth else None
        truth = Truth.of(self._variant, self._solution) if self._solution else None
        # Where no position asks for a decision there are no shares.
        self._truth = truth if truth is not None and len(truth) else None

    @property
    def _wants_truth(self) -> bool:
        return not self._options.only or bool({*self._options.only} - {"ladder"})

    def _wants(self, part: Part) -> bool:
        if part == "ladder":
            return self._options.games > 0 and part in (self._options.only or (part,))
        return self._truth is not None and part in (self._options.only or (part,))

    def measure(self) -> dict[str, Any]:
        """All that was asked for, as `--json` prints it."""
        self._say(f"{self._run}: {self._variant.name}, {len(self._paths)} checkpoints kept")
        pictures = {"curve": str(self._picture)}
        self._folder.mkdir(parents=True, exist_ok=True)
        beginning = self._config.get("initial") or "zero"
        draw_curve(self._metrics, self._variant.name, self._picture, beginning)
        found: dict[str, Any] = {"run": str(self._run), "variant": self._variant.name}
        found |= {"simulations": [], "textbook": [], "ladder": [], "pairings": []}
        with tempfile.TemporaryDirectory() as folder:
            # A run that goes on removes its newest checkpoint when it has a newer one.
            self._paths[-1] = Path(shutil.copy(self._paths[-1], folder))
            found["checkpoints"] = [self._point(path) for path in self._paths]
            if self._wants("simulations"):
                self._waiting.now("search by its simulations")
                path = self._picture.with_name("simulations" + self._picture.suffix)
                found["simulations"] = self._simulations(path)
                pictures["simulations"] = str(path)
            if self._wants("textbook"):
                self._waiting.now("play against random moves")
                found["textbook"] = [asdict(row) for row in self._textbook()]
            if self._wants("ladder"):
                path = self._picture.with_name("ladder" + self._picture.suffix)
                found["ladder"], found["pairings"] = self._ladder(path)
                pictures["ladder"] = str(path)
        return found | {"picture": pictures["curve"], "pictures": pictures}

    def _say(self, text: str) -> None:
        if not self._options.json:
            with tqdm.external_write_mode():
                print(text, flush=True)

    def _evaluator(self, path: Path) -> Evaluator:
        return load_evaluator(str(path), self._variant)

    def _sample(self, size: int) -> Truth:
        assert self._truth is not None
        return self._truth.sample(size, np.random.default_rng(self._options.seed))

    def _point(self, path: Path) -> dict[str, Any]:
        """One checkpoint's shares of kept values; without a solution only its name and step."""
        about = read_description(path).metadata
        self._waiting.now(f"checkpoint {path.name}")
        point = {"checkpoint": path.name, "round": about.get("round"), "step": about.get("step")}
        if not self._wants("truth"):
            return point
        assert self._truth is not None
        assert self._solution is not None
        options, evaluator = self._options, self._evaluator(path)
        raw, searched = self._sample(_RAW_SAMPLE), self._sample(options.positions)
        point["raw"] = raw.raw(evaluator)
        decisions = Decisions(searched, self._solution, len(self._truth))
        point["search"] = decisions.measure(evaluator, options.search, options.simulations).share
        point["decision_positions"] = len(self._truth)
        point["raw_positions"], point["searched"] = len(raw), len(searched)
        self._say(
            f"  step {point['step']:>7,}  keeps the value: raw {point['raw']:7.2%}"
            f"  with {options.simulations} simulations {point['search']:7.2%}"
            f"  (of {len(raw):,} and {len(searched):,} positions)"
        )
        return point

    def _simulations(self, picture: Path) -> list[dict[str, Any]]:
        assert self._truth is not None
        assert self._solution is not None
        evaluator = self._evaluator(self._paths[-1])
        sample = self._sample(self._options.positions)
        decisions = Decisions(sample, self._solution, len(self._truth))
        part = "all" if len(sample) == len(self._truth) else f"{len(sample):,} of"
        self._say(
            f"  the last checkpoint's search on {part} {len(self._truth):,} decision positions,"
            " with 95 % intervals"
        )
        self._say("    search   simulations   keeps the value              mean regret, of policy")
        points = []
        for point in decisions.compare(evaluator):
            points.append(asdict(point))
            self._say(
                f"    {point.search:<8} {point.simulations:>11}   {point.share:7.2%}"
                f" ({point.share_low:7.2%} to {point.share_high:7.2%})"
                f"   {point.regret:.4f}   {point.policy_regret:.4f}"
            )
        title = f"{self._variant.name}: search against the truth"
        draw_simulations(points, sample.raw(evaluator), title, picture)
        return points

    def _textbook(self) -> list[TextbookRow]:
        assert self._truth is not None
        assert self._solution is not None
        rows = {
            str(self._run): (
                self._evaluator(self._paths[-1]),
                describe_run(self._run, self._config.get("teacher")),
            ),
            f"perfect play ({self._variant.name})": (
                SolverEvaluator(self._solution),
                {"teacher": None, "positions": None, "seconds": None},
            ),
        }
        search = self._options.search, self._options.simulations
        return [
            measure_row(name, evaluator, self._sample(_RAW_SAMPLE), self._solution, search, about)
            for name, (evaluator, about) in rows.items()
        ]

    def _ladder(self, picture: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The rows of the ladder and who has played whom; plays what is missing."""
        options = self._options
        kind = {"puct": "mcts", "gumbel": "gumbel"}[options.search]
        steps = {path: int(path.stem) for path in self._paths}
        own = {f"{kind}:{options.simulations}@{step:08d}": path for path, step in steps.items()}
        plan = LadderPlan(
            checkpoints=list(own), anchors=self._anchors, zero=options.zero, games=options.games
        )

        def make(name: str, rng: np.random.Generator) -> Player:
            spec = f"{kind}:{options.simulations}:{own[name]}" if name in own else name
            return player_of(spec, self._variant, rng)

        for name in options.anchor:
            # Better now than after an hour of games.
            make(name, np.random.default_rng(0)).close()
        with closing(Pool(self._folder, self._variant)) as pool:
            while pairing := missing_pairing(pool, plan):
                games = play_pairing(pool, *pairing, games=options.games, make=make)
                total = options.games - len(pool.numbers(*pairing))
                words = " against ".join(pairing)
                for number, _ in enumerate(games, start=1):
                    self._waiting.now(f"{words}, game {number} of {total}")
            rows = [self._row(asdict(rating)) for rating in ladder_ratings(pool, plan)]
            pairings = [asdict(pairing) for pairing in pool.pairings()]
        self._print_ladder(rows)
        if repeats := _repeats(pairings):
            self._say(repeats)
        draw_ladder(rows, f"{self._variant.name}: Elo above {options.zero}", picture)
        return rows, pairings

    def _row(self, rating: dict[str, Any]) -> dict[str, Any]:
        """With the step and the hours of training of a player of the run's."""
        _, _, text = rating["name"].partition("@")
        step = int(text) if text.isdigit() else None
        return rating | {"step": step, "hours": None if step is None else self._hours(step)}

    def _hours(self, step: int) -> float | None:
        seconds = [values["seconds"] for values in self._metrics if values["step"] == step]
        return 0.0 if step == 0 else seconds[-1] / 3600 if seconds else None

    def _print_ladder(self, rows: Sequence[dict[str, Any]]) -> None:
        self._say(f"  Elo above {self._options.zero}, with 95 % intervals")
        self._say("    player                      hours      Elo                    games")
        for row in reversed(rows):
            hours = "" if row["hours"] is None else f"{row['hours']:.3f}"
            self._say(
                f"    {row['name']:<26} {hours:>6}  {row['elo']:+7.0f}"
                f"  ({row['low']:+6.0f} to {row['high']:+6.0f})  {row['games']:>5}"
            )


def _repeats(pairings: Sequence[dict[str, Any]]) -> str | None:
    """What to say of pairs of games that repeat others; None where there are none."""
    repeating = [each for each in pairings if each["independent_pairs"] < sum(each["pairs"])]
    if not repeating:
        return None
    differ = sum(each["independent_pairs"] for each in repeating)
    pairs = sum(sum(each["pairs"]) for each in repeating)
    return (
        f"  {differ} of {pairs} pairs of games differ where two deterministic players ran out of"
        " openings; the others count for the ratings and not for their certainty"
    )


def _is_solvable(variant: Variant) -> bool:
    return variant.irreversible and estimate_positions(variant).positions <= _LARGEST_SOLVED


def _solution(variant: Variant) -> Solution | None:
    """The exact solution where it can be had soon."""
    return load_solution(variant) if _is_solvable(variant) else None


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
