"""`pawnscope language train VARIANT`: a language model that learns games by reading them."""

import contextlib
import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.network.inference.backends.allocator import keep_freed_memory
from engine.rules.errors import InputError
from engine.rules.variant import Variant, get_variant
from engine.system.termination import Terminated
from scripts.options import FigureOptions, parse_options, print_json
from scripts.players import find_checkpoint, load_evaluator
from scripts.progress import Bars, columns, fitting
from training.config import read_toml
from training.language.config import LanguageTrainingConfig
from training.language.measures import Perplexity, Share
from training.language.training import COOL, LanguageDirectory, LanguageRun, LanguageSummary

_SETTINGS = ("minutes", "rounds", "seed", "vocabulary", "context", "channels", "blocks", "heads")


@dataclass(frozen=True, kw_only=True)
class LanguageTrainOptions(FigureOptions):
    """Train a move language model on games as UCI moves. The same command resumes the run."""

    # The game; `pawnscope variants` lists them.
    variant: str
    # The run's directory; runs/language-VARIANT where left out.
    run: Path | None = None
    # Stop after so many minutes of training in all; 15 if left out.
    minutes: float | None = None
    # Stop after so many rounds (of 256 games) instead.
    rounds: int | None = None
    # Where weights and games come from.
    seed: int | None = None
    # A TOML file with settings of your own (training/language/config.py names them).
    config: Path | None = None
    # What is read: random games, or those of a network by its policy: random or
    # policy[:CHECKPOINT].
    games: str | None = None
    # Words: "variant", those of the game's own pieces, or "all", of all built-in games.
    vocabulary: str | None = None
    # Tokens of a game, after which it is cut off; if left out what 99 of 100 random games need.
    context: int | None = None
    # Width of the model.
    channels: int | None = None
    # Its blocks of attention and MLP.
    blocks: int | None = None
    # Attention heads in a block.
    heads: int | None = None


def main(arguments: list[str]) -> int:
    """Train until the time is over, then measure.

    ^C while it learns ends the round, saves, and raises KeyboardInterrupt without a measurement; a
    second one does not wait for the round and saves nothing.
    """
    options = parse_options(LanguageTrainOptions, "language train", arguments)
    variant = get_variant(options.variant)
    path = options.run or Path("runs") / f"language-{variant.name}"
    begun = time.monotonic()
    directory = LanguageDirectory(path, variant, _overrides(options, variant, path))
    keep_freed_memory()
    bars = _Bars(quiet=options.json)
    run: LanguageRun | None = None
    try:
        run = LanguageRun(directory, variant, bars, _evaluator)
        with _after_the_round() as interrupted:
            run.learn(interrupted)
        summary = run.train()
    except KeyboardInterrupt:
        bars.close()
        if run is not None and run.saved_rounds is not None:
            print(
                f"{path}: round {run.saved_rounds} is saved, the same command continues the run",
                file=sys.stderr,
            )
        raise
    finally:
        bars.close()
        directory.close()
    _show(options, summary, path, time.monotonic() - begun)
    return 0


@contextlib.contextmanager
def _after_the_round() -> Iterator[Callable[[], bool]]:
    """In the block ^C and SIGTERM interrupt nothing; the function tells whether one has come. A
    second one interrupts. After SIGTERM the block raises Terminated for KeyboardInterrupt."""
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
    # The players' loader thinks of one game at a time; here are many.
    threads = torch.get_num_threads()
    evaluator = load_evaluator(checkpoint, variant)
    torch.set_num_threads(threads)
    return evaluator


def _overrides(options: LanguageTrainOptions, variant: Variant, path: Path) -> dict[str, Any]:
    given = read_toml(options.config) if options.config else {}
    given |= {
        name: getattr(options, name) for name in _SETTINGS if getattr(options, name) is not None
    }
    if options.games is None:
        return given
    kind, _, checkpoint = options.games.partition(":")
    if kind not in ("random", "policy") or (kind == "random" and checkpoint):
        raise InputError(f"--games {options.games}: it is random or policy[:CHECKPOINT]")
    if kind == "random":
        return given | {"games": "random"}
    if (path / "config.toml").exists():
        # A run that goes on has its games; the newest network may be another one by now.
        theirs = LanguageTrainingConfig.load(path / "config.toml").checkpoint
        if not checkpoint or Path(theirs).is_relative_to(checkpoint):
            return given | {"games": "policy"}
    found = find_checkpoint(checkpoint or None, variant)
    return given | {"games": "policy", "checkpoint": str(found)}


class _Bars(Bars):
    """A bar for what is under way, and a line for every measurement, on standard error."""

    def task(self, name: str, total: int) -> None:
        if name == "measure" and not self.live:
            self.keep("measuring on the games that are held out …")
        # While it learns, the measurements are the log.
        self.begin(name, total, " games", logged=name == "play")

    def metrics(self, values: dict[str, Any]) -> None:
        parts = describe_measurement(values)
        # The seconds have no place beside the bar.
        self.words(parts[1:])
        self.keep(fitting(parts, columns() - 1) if self.live else "  ".join(parts))


def describe_measurement(values: dict[str, Any]) -> list[str]:
    """A line of metrics.jsonl in words, the most important first."""
    return [
        f"{values['seconds']:7.1f} s",
        f"perplexity {values['perplexity']:7.3f} (floor {values['floor']:.3f})",
        f"legal {values['best_legal']:6.1%}",
        f"in probability {values['legal_mass']:6.1%}",
        f"own games {values['own_legal_moves']:6.1%}",
        f"{values['tokens_per_second']:7,.0f} tokens/s",
        f"tokens {values['tokens']:,d}",
    ]


def figures(summary: LanguageSummary) -> dict[str, Any]:
    """All that was measured, as JSON can hold it."""

    def plain(value: Any) -> Any:
        if isinstance(value, Share | Perplexity):
            return value.to_dict()
        if dataclasses.is_dataclass(value):
            fields = dataclasses.fields(value)
            return {field.name: plain(getattr(value, field.name)) for field in fields}
        return str(value) if isinstance(value, Path) else value

    values: dict[str, Any] = plain(summary)
    return values


def _show(
    options: LanguageTrainOptions, summary: LanguageSummary, path: Path, seconds: float
) -> None:
    if options.json:
        print_json(figures(summary))
        return
    held = summary.held_out
    print(
        f"{path}: {summary.parameters:,} parameters, {summary.vocabulary} words, read"
        f" {summary.games:,} games of {summary.tokens:,} tokens in {summary.seconds:.1f} s"
        f" ({seconds:.1f} s this time)"
    )
    print(f"on {held.games:,} held-out games, none of them read:")
    for name, value in (
        ("all tokens", held.everywhere),
        ("after a new prefix", held.new),
        ("after a prefix it has read", held.shared),
    ):
        if value.tokens:
            print(
                f"  perplexity  {name:28}{value.perplexity:8.3f}  [{value.low:.3f},"
                f" {value.high:.3f}]  {value.perplexity / value.floor:.3f} x the floor"
                f" {value.floor:.3f}  of {value.tokens:,}"
            )
    for name, share in (
        ("legal: likeliest word", held.best_legal),
        ("  … after a new prefix", held.best_legal_new),
        ("legal: probability", held.legal_mass),
        ("legal: drawn at temperature 1", held.drawn_legal),
        ("result named", held.result_named),
    ):
        print(_line(name, share))
    for own, temperature in (summary.own, 1.0), (summary.own_cool, COOL.temperature):
        print(
            f"in {own.games:,} games of its own at temperature {temperature:g},"
            f" {own.mean_plies:.1f} plies long:"
        )
        print(_line("legal moves", own.legal_moves))
        print(_line("games without a fault", own.wholly_legal))
    print(f"last checkpoint {summary.checkpoint}")


def _line(name: str, share: Share) -> str:
    return (
        f"  {name:40}{share.share:8.2%}  [{share.low:.2%}, {share.high:.2%}]"
        f"  {share.count:,.0f} of {share.total:,}"
    )
