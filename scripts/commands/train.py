"""`pawnscope train VARIANT`: self-play training with progress bars and a live truth curve."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from tyro import conf

from engine.network.inference.backends.allocator import keep_freed_memory
from engine.settings import Range, Seed
from scripts.expectation import expectation, shipped_runs
from scripts.options import FigureOptions, parse_options, print_json
from scripts.players import RUNS, how_to_rate
from scripts.terminal.colour import colour_of_share, paint
from scripts.terminal.progress import Pace, columns, fitting
from scripts.terminal.sparkline import sparkline
from scripts.terminal.texts import share_text
from scripts.terminal.training_bars import TrainingBars
from scripts.terminal.verbosity import Verbosity, verbosity
from training.config import (
    LARGEST_SEARCH,
    TrainingConfig,
    joined_names,
    merge,
    naming_file,
    parse_variants,
    read_overrides,
    resolve,
)
from training.evaluation.strength import strength_of_run
from training.evaluation.truth import Reached, TruthShares
from training.run.monitor import Outlook, Summary
from training.run.setup import open_directory, open_run

_CURVE: Final = 40
"""Columns of the curve of the truth at the end."""
_METER: Final = 10
"""Columns of a share drawn as a bar."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions(FigureOptions):
    """Train a network by playing against itself. The same command resumes the run."""

    # The variant; `pawnscope variants` lists them. One network learns several, as
    # "hexapawn4x4+gardner".
    variant: str
    # The run's directory; runs/VARIANT if left out (with the checkpoint to begin from, the
    # teacher and the seed, if given).
    run: Path | None = None
    # Begin with the weights of a checkpoint, or of a run's last one, of this variant or another.
    initial: Annotated[str | None, conf.arg(name="from", metavar="CHECKPOINT")] = None
    # Stop after so many minutes in all.
    minutes: Annotated[float, Range(0, infinite=True)] | None = None
    # Stop when the raw network keeps the value in this share of the decisions of a solved game;
    # inf trains until the minutes are over.
    stop_at_raw: Annotated[float, Range(0, 1, infinite=True)] | None = None
    # Where every random choice comes from.
    seed: Seed | None = None
    # A TOML file with settings of your own (training/presets.toml shows them).
    config: Path | None = None
    # Worker processes that play; 0 plays in the learner's own process.
    actors: Annotated[int, Range(0, 256)] | None = None
    # Simulations a move in self-play.
    simulations: Annotated[int, Range(1, LARGEST_SEARCH)] | None = None
    # Learn the solver's positions with their exact values and best moves instead of self-play's.
    teacher: Literal["solver"] | None = None
    # Also write the figures of every round to RUN/tensorboard, for TensorBoard.
    tensorboard: bool = False


def main(arguments: list[str]) -> int:
    """Train until the network is as good as was asked for, the time is over or ^C."""
    options = parse_options(TrainOptions, "train", arguments)
    variants = parse_variants(options.variant)
    path = options.run or default_run(
        options.variant, initial=options.initial, teacher=options.teacher, seed=options.seed
    )
    begun = time.monotonic()
    own = _read_own(options, joined_names(variants))
    with naming_file(options.config, lambda: resolve(variants, own)):
        opened = open_directory(path, variants, _overrides(options, own))
    with opened as directory:
        keep_freed_memory()
        bars = RunBars(path, quiet=options.json, tensorboard=options.tensorboard)
        bars.expected = lambda: expectation(variants, directory.config, shipped_runs())
        with bars.training(), open_run(directory, variants, bars) as run:
            summary = run.train()
    _print_summary(summary, path, time.monotonic() - begun, options.json)
    if not options.json and summary.truth is None:
        for variant in variants:
            if variant.name not in summary.truths:
                print(strength_line(path, variant.name, several=len(variants) > 1))
    if bars.curve and not options.json:
        print(f"truth from the first to the last measurement: {_curve(bars)}")
    return 0


def default_run(
    variant: str, *, initial: str | None, teacher: str | None, seed: int | None
) -> Path:
    """The directory of a run where none is named; its name says how it was asked for."""
    name = variant
    if initial is not None:
        name += f"-from-{Path(initial).stem}"
    if teacher is not None:
        name += f"-{teacher}"
    if seed is not None:
        name += f"-seed{seed}"
    return RUNS / name


def _read_own(options: TrainOptions, variant: str) -> dict[str, Any]:
    """The settings of the person's own file."""
    return read_overrides(options.config, TrainingConfig, variant) if options.config else {}


def _overrides(options: TrainOptions, own: dict[str, Any]) -> dict[str, Any]:
    """The person's own settings with those of the command line over them."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    names = ("minutes", "stop_at_raw", "seed", "teacher", "initial")
    top = {name: given[name] for name in names if name in given}
    self_play = {name: given[name] for name in ("actors", "simulations") if name in given}
    return merge(own, top | ({"self_play": self_play} if self_play else {}))


class RunBars(TrainingBars):
    """Live lines for the training and for the current round, and a line that stays for every
    measurement.

    Between measurements that are far apart, and where the variant is not solved, a line stays every
    now and then.
    """

    def __init__(self, path: Path, *, quiet: bool, tensorboard: bool = False) -> None:
        super().__init__(path, quiet=quiet, tensorboard=tensorboard)
        self._rounds_pace = Pace(at_once=True)
        # What a new run lets one expect, in a line, if anything.
        self.expected: Callable[[], str | None] = lambda: None

    def session(self, outlook: Outlook) -> None:
        super().session(outlook)
        text = self.expected() if outlook.round is None else None
        if text is not None:
            self.keep(text)

    def task_name(self, name: str) -> str:
        return f"round {self._round + 1} {name:5}"

    def metrics(self, values: dict[str, Any]) -> None:
        # A killed session may not have reported its last round.
        self._round = values["round"]
        parts = describe_round(values)
        # The round is shown before the bar.
        self.words(_rate(values))
        super().metrics(values)
        if "truth" in values:
            self._rounds_pace.wrote(values["seconds"])
        every = "truth" in values or verbosity() == Verbosity.VERBOSE
        if every or self._rounds_pace.due(values["seconds"]):
            self.keep(fitting(parts, columns() - 1) if self.live else "  ".join(parts))


def describe_round(values: dict[str, Any]) -> list[str]:
    """A line of metrics.jsonl in words, the most important first: time, round, truth, speed."""
    parts = [f"{values['seconds']:7.1f} s", f"round {values['round']:<4d}"]
    if "truth" in values:
        parts += _point(values["truth"])
    return parts + _rate(values)


def _rate(values: dict[str, Any]) -> list[str]:
    """Speed, losses and counts; nothing before the first round."""
    if "losses" not in values:
        return []
    losses = values["losses"]
    return [
        f"{values['positions_per_second']:6,.0f}/s",
        f"policy {losses['policy']:.3f}",
        f"value {losses['wdl']:.3f}",
        f"games {values['games']:,d}",
        f"positions {values['positions']:,d}",
    ]


def _point(truth: dict[str, Any]) -> list[str]:
    """A point of the truth curve; of several variants the raw network's share of each."""
    if "games" in truth:
        shares = [f"{name} {_painted(point['raw'])}" for name, point in truth["games"].items()]
        return [f"truth {shares[0]}", *shares[1:]]
    return [
        f"truth {_painted(truth['raw'], 6)}",
        f"with search {share_text(truth['search']):>6}",
        f"{'#' * int(_METER * truth['raw']):-<{_METER}}",
    ]


def _painted(share: float, width: int = 0) -> str:
    return paint(f"{share_text(share):>{width}}", colour_of_share(share), sys.stderr)


def _print_summary(summary: Summary, path: Path, seconds: float, as_json: bool) -> None:
    if as_json:
        figures = asdict(summary)
        truth = {"games": figures["truths"]} if summary.truths else figures["truth"]
        names = ("seconds", "reason", "reached")
        print_json(
            {name: figures[name] for name in names}
            | {"checkpoint": str(summary.checkpoint), "truth": truth}
        )
        return
    print(
        f"{path}: {_why(summary)}, after {summary.seconds:.1f} s of training ({seconds:.1f} s for"
        " this command)"
    )
    if summary.truth:
        print(_conclusion(summary.truth))
    for name, shares in summary.truths.items():
        print(f"{name}: {_conclusion(shares)}")
    print(f"last checkpoint {summary.checkpoint}")


def strength_line(run: Path, name: str, *, several: bool) -> str:
    """What is known of the strength at a variant that is not solved, or how to measure it: `play`
    and `uci` prefer networks of known strength."""
    strength = strength_of_run(run, name)
    if strength.known:
        return f"{name}: {strength}"
    return f"{name}: {strength}; {how_to_rate(run, name, several=several)}"


def _why(summary: Summary) -> str:
    """Why the training ended."""
    if summary.reason == "time":
        return "its time is over"
    if summary.reason == "perfect":
        return "the raw network is perfect: " + _all(summary.reached)
    return "the raw network keeps the value in " + _all(summary.reached)


def _all(reached: Mapping[str, Reached]) -> str:
    """What was reached on how many decisions, of each variant."""
    texts = []
    for name, one in reached.items():
        share = share_text(one.raw, 2) if one.raw < 1.0 else "all"
        whole = one.measured == one.decision_positions
        which = "its" if whole else f"a sample of {one.measured:,} of its"
        game = f"{name}: " if len(reached) > 1 else ""
        texts.append(f"{game}{share} of {which} {one.decision_positions:,} decisions")
    return "; ".join(texts)


def _curve(bars: RunBars) -> str:
    return f"{sparkline(bars.curve, _CURVE, sys.stdout)} (0 to 100 %)"


def _conclusion(shares: TruthShares) -> str:
    def on(sample: int) -> str:
        return "" if sample == shares.decision_positions else f" (on a sample of {sample:,})"

    return (
        f"of {shares.decision_positions:,} positions in which the choice matters, the raw"
        f" network keeps the value in {share_text(shares.raw, 2)}{on(shares.raw_positions)}; with"
        f" search {share_text(shares.search, 2)}{on(shares.searched)}"
    )
