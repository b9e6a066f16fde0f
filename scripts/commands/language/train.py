"""`pawnscope language train VARIANT`: trains a move language model on games."""

import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch

from engine.network.inference.backends.allocator import keep_freed_memory
from engine.rules.errors import InputError
from engine.rules.variant import Variant, get_variant
from engine.settings import Count, Natural, Range, Seed
from engine.system.termination import Terminated
from scripts.options import FigureOptions, parse_options, print_json
from scripts.players import RUNS, find_checkpoint, load_evaluator
from scripts.terminal.progress import columns, fitting
from scripts.terminal.training_bars import TrainingBars
from training.config import naming_file, read_overrides
from training.language.config import LONGEST_CONTEXT, LanguageTrainingConfig
from training.language.measures import HALF_TEMPERATURE, Share
from training.language.run import LanguageSummary
from training.language.setup import LanguageDirectory, open_language_run

_SETTINGS = ("minutes", "rounds", "seed", "vocabulary", "context", "channels", "blocks", "heads")


@dataclass(frozen=True, kw_only=True)
class LanguageTrainOptions(FigureOptions):
    """Train a move language model on games as UCI moves. The same command resumes the run."""

    # The variant; `pawnscope variants` lists them.
    variant: str
    # The run's directory; runs/language-VARIANT by default.
    run: Path | None = None
    # Stop after this many minutes of training, over all sessions; 15 by default.
    minutes: Annotated[float, Range(0, infinite=True)] | None = None
    # Stop after this many rounds (of 256 games) instead.
    rounds: Natural | None = None
    # Seed of weights and games.
    seed: Seed | None = None
    # A TOML file with your own settings (training/language/config.py lists them).
    config: Path | None = None
    # The training games: random, or policy[:CHECKPOINT] for a network's own; of the strongest
    # network known if none is named.
    games: str | None = None
    # The vocabulary: the moves of this "variant", or those of "all" built-in variants.
    vocabulary: str | None = None
    # The most tokens of a game, which is cut off there; by default what 99 % of random games need.
    context: Annotated[int, Range(0, LONGEST_CONTEXT)] | None = None
    # Width of the model.
    channels: Count | None = None
    # Blocks of attention and MLP.
    blocks: Count | None = None
    # Attention heads in a block.
    heads: Count | None = None
    # Also write the figures of every measurement to RUN/tensorboard, for TensorBoard.
    tensorboard: bool = False


def main(arguments: list[str]) -> int:
    """Train until the minutes or rounds are over, then measure.

    ^C during training finishes the round, saves, and raises KeyboardInterrupt; a second ^C does not
    wait for the round and saves nothing.
    """
    options = parse_options(LanguageTrainOptions, "language train", arguments)
    variant = get_variant(options.variant)
    path = options.run or RUNS / f"language-{variant.name}"
    begun = time.monotonic()
    own = _read_own(options, variant)
    with naming_file(options.config, lambda: LanguageTrainingConfig.resolve(variant, own)):
        opened = LanguageDirectory(path, variant, _overrides(options, variant, path, own))
    with opened as directory:
        keep_freed_memory()
        bars = _Bars(path, quiet=options.json, tensorboard=options.tensorboard)
        with bars.training():
            run = open_language_run(directory, variant, bars, _evaluator)
            with _after_the_round() as interrupted:
                bars.finishing = interrupted
                run.learn(interrupted)
            summary = run.conclude()
    _show(options, summary, path, time.monotonic() - begun)
    return 0


@contextlib.contextmanager
def _after_the_round() -> Iterator[Callable[[], bool]]:
    """In the block the first ^C or SIGTERM does not interrupt; the function says whether it has
    come. The second one interrupts. After SIGTERM the block raises Terminated for
    KeyboardInterrupt."""
    came: list[int] = []

    def note(number: int, frame: object) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    except KeyboardInterrupt:
        if signal.SIGTERM in came:
            raise Terminated from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _evaluator(checkpoint: str, variant: Variant) -> Any:
    # load_evaluator sets one thread, for one game at a time; here there are many games.
    threads = torch.get_num_threads()
    evaluator = load_evaluator(checkpoint, variant)
    torch.set_num_threads(threads)
    return evaluator


def _read_own(options: LanguageTrainOptions, variant: Variant) -> dict[str, Any]:
    """The settings of the person's own file."""
    if options.config is None:
        return {}
    return read_overrides(options.config, LanguageTrainingConfig, variant.name)


def _overrides(
    options: LanguageTrainOptions, variant: Variant, path: Path, own: dict[str, Any]
) -> dict[str, Any]:
    """The person's own settings with those of the command line over them."""
    given = own | {
        name: getattr(options, name) for name in _SETTINGS if getattr(options, name) is not None
    }
    if options.games is None:
        return given
    kind, _, checkpoint = options.games.partition(":")
    if kind not in ("random", "policy") or (kind == "random" and checkpoint):
        raise InputError(f"--games {options.games}: not random or policy[:CHECKPOINT]")
    if kind == "random":
        return given | {"games": "random"}
    if (path / "config.toml").exists():
        # A run has its games already; the strongest network may be another one by now.
        theirs = LanguageTrainingConfig.load(path / "config.toml").checkpoint
        if not checkpoint or Path(theirs).is_relative_to(checkpoint):
            return given | {"games": "policy"}
    found = find_checkpoint(checkpoint or None, variant)
    return given | {"games": "policy", "checkpoint": str(found)}


class _Bars(TrainingBars):
    """Bars, and a line for every measurement, on standard error."""

    unit = " games"
    # Whether the session ends after this round.
    finishing: Callable[[], bool] | None = None

    def task(self, name: str, total: int) -> None:
        if name == "measure" and not self.live:
            self.keep("measuring on the held-out games …")
        super().task(name, total)

    def _tick(self) -> None:
        # Not by the handler of the signal, which may come in the middle of a line.
        if self.finishing is not None and self.finishing():
            self.finishing = None
            self.keep("finishing the round, then saving; ^C again ends it at once", always=True)
        super()._tick()

    def is_logged(self, name: str) -> bool:
        # During learning the measurements are the log.
        return name == "play"

    def metrics(self, values: dict[str, Any]) -> None:
        parts = describe_measurement(values)
        # There is no space for the seconds beside the bar.
        self.words(parts[1:])
        super().metrics(values)
        self.keep(fitting(parts, columns() - 1) if self.live else "  ".join(parts))


def describe_measurement(values: dict[str, Any]) -> list[str]:
    """The parts of a printed line for a line of metrics.jsonl, the most important first."""
    return [
        f"{values['seconds']:7.1f} s",
        f"perplexity {values['perplexity']:7.3f} (floor {values['floor']:.3f})",
        f"legal {values['best_legal']:6.1%}",
        f"probability {values['legal_mass']:6.1%}",
        f"own games {values['own_legal_moves']:6.1%}",
        f"{values['tokens_per_second']:7,.0f} tokens/s",
        f"tokens {values['tokens']:,d}",
    ]


def _show(
    options: LanguageTrainOptions, summary: LanguageSummary, path: Path, seconds: float
) -> None:
    if options.json:
        print_json(dataclasses.asdict(summary) | {"checkpoint": str(summary.checkpoint)})
        return
    held = summary.held_out
    print(
        f"{path}: {summary.parameters:,} parameters, {summary.vocabulary} tokens in the"
        f" vocabulary, trained on {summary.games:,} games with {summary.tokens:,} tokens in"
        f" {summary.seconds:.1f} s ({seconds:.1f} s in this session)"
    )
    print(f"on {held.games:,} held-out games, none of which training saw:")
    for name, value in (
        ("all tokens", held.everywhere),
        ("after a new prefix", held.new),
        ("after a prefix from training", held.shared),
    ):
        if value.tokens:
            print(
                f"  perplexity  {name:28}{value.perplexity:8.3f}  [{value.low:.3f},"
                f" {value.high:.3f}]  {value.perplexity / value.floor:.3f} x the floor"
                f" {value.floor:.3f}  of {value.tokens:,}"
            )
    for name, share in (
        ("legal: most likely token", held.best_legal),
        ("  … after a new prefix", held.best_legal_new),
        ("legal: probability", held.legal_mass),
        ("legal: drawn at temperature 1", held.drawn_legal),
        ("result correct", held.result_named),
    ):
        print(_line(name, share))
    for own, temperature in (summary.own, 1.0), (summary.own_cool, HALF_TEMPERATURE.temperature):
        print(
            f"in {own.games:,} games that it played alone at temperature {temperature:g}, with"
            f" {own.mean_plies:.1f} plies on average:"
        )
        print(_line("legal moves", own.legal_moves))
        print(_line("games without an illegal move", own.wholly_legal))
    print(f"last checkpoint {summary.checkpoint}")


def _line(name: str, share: Share) -> str:
    return (
        f"  {name:40}{share.share:8.2%}  [{share.low:.2%}, {share.high:.2%}]"
        f"  {share.count:,.0f} of {share.total:,}"
    )
