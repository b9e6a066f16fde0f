"""`pawnscope train VARIANT`: self-play training with progress bars and a live truth curve."""

import dataclasses
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro import conf

from engine.network.memory import keep_freed_memory
from scripts.bars import Bars
from scripts.options import FigureOptions, parse_options, print_json
from training.config import games_named, merge, read_toml
from training.directory import RunDirectory
from training.run import Summary, TrainingRun
from training.truth import TruthShares


@dataclass(frozen=True, kw_only=True)
class TrainOptions(FigureOptions):
    """Train a network by playing against itself. The same command resumes the run."""

    # The game; `pawnscope variants` lists them. Several, as "hexapawn4x4+gardner", are learned by
    # one network.
    variant: str
    # The run's directory; runs/VARIANT where left out (with the checkpoint to begin from, the
    # teacher and the seed, if given).
    run: Path | None = None
    # Begin with the weights of a checkpoint, or of a run's last one, of this game or another.
    initial: Annotated[str | None, conf.arg(name="from", metavar="CHECKPOINT")] = None
    # Stop after so many minutes in all.
    minutes: float | None = None
    # Where every random choice comes from.
    seed: int | None = None
    # A TOML file with settings of your own (training/presets.toml shows them).
    config: Path | None = None
    # Worker processes that play; 0 plays in the learner's own process.
    actors: int | None = None
    # Simulations a move in self-play.
    simulations: int | None = None
    # Learn the solver's positions with their exact values and best moves instead of self-play's.
    teacher: Literal["solver"] | None = None


def main(arguments: list[str]) -> int:
    """Train until the network is perfect, the time is over or ^C."""
    options = parse_options(TrainOptions, "train", arguments)
    games = games_named(options.variant)
    path = options.run or _default_run(options)
    begun = time.monotonic()
    directory = RunDirectory(path, games, _overrides(options))
    keep_freed_memory()
    monitor = _Bars(quiet=options.json)
    run: TrainingRun | None = None
    try:
        run = TrainingRun(directory, games, monitor)
        summary = run.train()
    finally:
        monitor.close()
        (run or directory).close()
    _print_summary(summary, path, time.monotonic() - begun, options.json)
    return 0


def _default_run(options: TrainOptions) -> Path:
    name = options.variant
    if options.initial is not None:
        name += f"-from-{Path(options.initial).stem}"
    if options.teacher is not None:
        name += f"-{options.teacher}"
    if options.seed is not None:
        name += f"-seed{options.seed}"
    return Path("runs") / name


def _overrides(options: TrainOptions) -> dict[str, Any]:
    values = read_toml(options.config) if options.config else {}
    given: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("minutes", "seed", "teacher", "initial")
        if getattr(options, name) is not None
    }
    self_play = {
        name: getattr(options, name)
        for name in ("actors", "simulations")
        if getattr(options, name) is not None
    }
    return merge(values, given | ({"self_play": self_play} if self_play else {}))


class _Bars(Bars):
    """A bar for the part of the round under way, and a line for every round, on standard error."""

    def task(self, name: str, total: int) -> None:
        self.begin(name, total, " positions" if name == "play" else " steps")

    def metrics(self, values: dict[str, Any]) -> None:
        self.close()
        losses = values["losses"]
        line = (
            f"{values['seconds']:7.1f} s  round {values['round']:<4d}"
            f" games {values['games']:<7,d} positions {values['positions']:<9,d}"
            f" {values['positions_per_second']:6,.0f}/s"
            f"  policy {losses['policy']:.3f}  value {losses['wdl']:.3f}"
        )
        if "truth" in values:
            line += f"  truth {_point(values['truth'])}"
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)


def _point(truth: dict[str, Any]) -> str:
    """A point of the truth curve; of several games the raw network's shares by game."""
    if "games" in truth:
        return "  ".join(f"{name} {shares['raw']:.1%}" for name, shares in truth["games"].items())
    return f"{_meter(truth['raw'])} {truth['raw']:6.1%}  with search {truth['search']:6.1%}"


def _meter(share: float, width: int = 20) -> str:
    full = int(share * width)
    return "#" * full + "-" * (width - full)


def _print_summary(summary: Summary, path: Path, seconds: float, as_json: bool) -> None:
    if as_json:
        truth = dataclasses.asdict(summary.truth) if summary.truth else None
        if summary.truths:
            games = {name: dataclasses.asdict(shares) for name, shares in summary.truths.items()}
            truth = {"games": games}
        print_json(
            {
                "seconds": summary.seconds,
                "checkpoint": str(summary.checkpoint),
                "reason": summary.reason,
                "truth": truth,
            }
        )
        return
    why = "the network is perfect" if summary.reason == "perfect" else "its time is over"
    print(f"{path}: {why} after {summary.seconds:.1f} s of training ({seconds:.1f} s this time)")
    if summary.truth:
        print(_conclusion(summary.truth))
    for name, shares in summary.truths.items():
        print(f"{name}: {_conclusion(shares)}")
    print(f"last checkpoint {summary.checkpoint}")


def _conclusion(shares: TruthShares) -> str:
    return (
        f"of {shares.decision_positions:,} positions in which the choice matters, the raw"
        f" network keeps the value in {shares.raw:.2%}; with search {shares.search:.2%}"
        + (f" (of {shares.searched:,})" if shares.searched < shares.decision_positions else "")
    )
