"""Training of a move language model in rounds; see `training.run.loop`.

A round is some hundred games, in batches of games of similar length. The games of a round and their
order are a function of (seed, round), so weights, optimiser and counters are all that a killed run
needs. The learning rate rises, stays, and falls to 0 over the last part of the training (Hägele et
al. 2024): a finished run may be given more. A run of a number of `rounds` ends in the same weights,
bit for bit, however often it was killed. A run of a number of minutes does not, because its
learning rate follows the clock.

Not every round is saved or measured. A measurement is written before the state of its round: a
killed run has both, or makes both again. Checkpoints are written after rounds 1, 2, 3, 4, 6, 8, 12
and so on; those of rounds after the saved one are dropped, because they are made again.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from engine.network.checkpoint import save_tensors
from engine.network.language.checkpoint import save_language
from engine.network.language.model import LanguageModel
from engine.network.language.move_tokens import MoveTokenizer
from engine.network.language.sampling import Sampling
from engine.rules.compilation.compile_time import working_time
from engine.rules.variant import Variant
from training.data.index import is_kept
from training.data.run_directory import LockedDirectory
from training.language.config import LanguageTrainingConfig
from training.language.held_out import SeenPrefixes
from training.language.learner import LanguageLearner
from training.language.measures import (
    HALF_TEMPERATURE,
    TEMPERATURE_1,
    HeldOutFigures,
    Measures,
    OwnGameFigures,
    model_predictor,
)
from training.language.sources import GameSource
from training.language.token_games import batches
from training.run.loop import run_rounds
from training.run.monitor import Monitor, Reason
from training.run.state import naming_fault

STATE_FORMAT: Final = "pawnscope-language-run-1"
SAVE_SECONDS: Final = 30.0
"""A kill loses at most so many seconds of learning, and a round."""
MEASURE_SECONDS: Final = 20.0
_QUICK_GAMES: Final = 64
"""Held-out games of the measurements during training; the last one uses all."""
_OWN_GAMES: Final = 500
_PARTS: Final = 1000
"""Steps of the progress bar."""


@dataclass(kw_only=True)
class Progress:
    """How far a run is; part of the header of its state."""

    # Rounds, games and tokens learned.
    round: int = 0
    games: int = 0
    tokens: int = 0
    # Seconds of learning, compiling not included, and those of them in which games were made.
    seconds: float = 0.0
    making: float = 0.0
    # Mean loss of the last round, in nats a token; None before the first.
    loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class LanguageSummary:
    """The result of a run."""

    checkpoint: Path
    parameters: int
    # V, tokens of the vocabulary, and T, tokens of the context.
    vocabulary: int
    context: int
    # Seconds of learning in all sessions, and games and tokens learned.
    seconds: float
    games: int
    tokens: int
    held_out: HeldOutFigures
    # Games that the model plays alone, at temperature 1 and at 0.5.
    own: OwnGameFigures
    own_cool: OwnGameFigures


@dataclass(kw_only=True)
class LanguageRun:
    """An open run, a `loop.Trainer`; `setup.open_language_run` makes it. Call `learn`, then
    `conclude`."""

    directory: LockedDirectory[LanguageTrainingConfig]
    variant: Variant
    tokenizer: MoveTokenizer
    monitor: Monitor
    source: GameSource
    seen: SeenPrefixes
    measures: Measures
    learner: LanguageLearner
    progress: Progress
    # Round of the last measurement, -1 before the first; and seconds of it and of the last save.
    _measured: int = field(init=False, default=-1)
    _measured_seconds: float = field(init=False, default=0.0)
    _saved_seconds: float = field(init=False, default=0.0)

    @property
    def config(self) -> LanguageTrainingConfig:
        """The run's configuration."""
        return self.directory.config

    @property
    def model(self) -> LanguageModel:
        """The model that learns."""
        return self.learner.model

    def learn(self, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Learn until the minutes or rounds are over, measure and save; see `run_rounds`."""
        run_rounds(self, interrupted)
        if self._measured < self.progress.round:
            # Also after ^C in the very last round, which saves without measuring.
            self._report()
            self.save()

    def conclude(self) -> LanguageSummary:
        """Keep the last checkpoint, and measure the model on all held-out games."""
        checkpoint = self.directory.checkpoint_path(self.progress.round)
        if not checkpoint.exists():
            self._keep()
        self.monitor.task("measure", 1)
        held_out, own = self.measure()
        summary = LanguageSummary(
            checkpoint=checkpoint,
            parameters=self.model.parameter_count,
            vocabulary=len(self.tokenizer),
            context=self.config.context,
            seconds=self.progress.seconds,
            games=self.progress.games,
            tokens=self.progress.tokens,
            held_out=held_out,
            own=own,
            own_cool=self._own_games(_OWN_GAMES, HALF_TEMPERATURE),
        )
        self.monitor.advance(1)
        return summary

    def measure(self, games: int | None = None) -> tuple[HeldOutFigures, OwnGameFigures]:
        """All figures on the first held-out games (all where left out), always with the same
        random numbers."""
        predict = model_predictor(self.model, bf16=self.learner.bf16)
        generator = torch.Generator().manual_seed(self.config.seed)
        held_out = self.measures.held_out(predict, self.seen.shared(), generator, games)
        own_games = _OWN_GAMES if games is None else min(games, _OWN_GAMES)
        return held_out, self._own_games(own_games, TEMPERATURE_1)

    def _own_games(self, games: int, sampling: Sampling) -> OwnGameFigures:
        generator = torch.Generator().manual_seed(self.config.seed)
        return self.measures.own_games(self.model, games, generator, sampling)

    def begin(self) -> None:
        """Drop what was written after the saved state; a new run measures and saves at once."""
        # -1 where nothing was saved: then nothing is left of an earlier session.
        saved = self.progress.round if self.directory.learner_state.exists() else -1
        self.directory.drop_checkpoints(lambda path: int(path.stem) <= saved)
        lines = self.directory.drop_metrics_after(saved)
        if lines:
            self._measured, self._measured_seconds = lines[-1]["round"], lines[-1]["seconds"]
        self._saved_seconds = self.progress.seconds
        if self.reason_to_stop() is not None:
            return
        self.monitor.task("learn", _PARTS)
        self.monitor.advance(int(self._fraction() * _PARTS))
        if not lines and not self.learner.steps:
            self._report()
            # Saved before the first checkpoint: checkpoints without a state are refused.
            self.save()

    def reason_to_stop(self) -> Reason | None:
        """Whether the minutes or rounds are over."""
        return None if self._fraction() < 1.0 else "time"

    def _fraction(self) -> float:
        """The part of the training that is done, in [0, 1]."""
        if self.config.rounds:
            return min(1.0, self.progress.round / self.config.rounds)
        wanted = 60.0 * self.config.minutes
        return 1.0 if self.progress.seconds >= wanted else self.progress.seconds / wanted

    def run_round(self) -> None:
        """Learn one round, and keep a checkpoint where its number is due."""
        before = int(self._fraction() * _PARTS)
        config, number = self.config, self.progress.round + 1
        rates = (
            f"are learning_rate = {config.learning_rate:g} and matrix_rate = {config.matrix_rate:g}"
        )
        with naming_fault(self.directory.path, f"round {number}", rates):
            self._learn_round()
            self.learner.require_sound()
        self.monitor.advance(int(self._fraction() * _PARTS) - before)
        if is_kept(number):
            self._keep()

    def _learn_round(self) -> None:
        """The games of one round, in batches."""
        progress, begun = self.progress, working_time()
        games = self.source(progress.round)
        self.seen.mark(games)
        rng = np.random.default_rng([self.config.seed, 3, progress.round])
        parts = batches(games, self.config.batch, rng)
        progress.making += working_time() - begun
        before, total = self._fraction(), 0.0
        step = 1.0 / self.config.rounds if self.config.rounds else 0.0
        for number, part in enumerate(parts):
            fraction = before + step * number / len(parts)
            total += self.learner.learn(part, fraction) * part.token_count
        progress.round += 1
        progress.games += len(games)
        progress.tokens += games.token_count
        progress.seconds += working_time() - begun
        progress.loss = total / max(1, games.token_count)
        self.monitor.round_over(progress.seconds, progress.round)

    def finish_round(self) -> None:
        """Measure and save where it is due."""
        seconds = self.progress.seconds
        if seconds - self._measured_seconds >= MEASURE_SECONDS and self._fraction() < 1.0:
            self._report()
        if seconds - self._saved_seconds >= SAVE_SECONDS:
            self.save()

    def _report(self) -> None:
        """Measure on a few games, and write a line of the metrics."""
        progress = self.progress
        held_out, own = self.measure(_QUICK_GAMES)
        seconds = max(progress.seconds, 1e-9)
        values = {
            "round": progress.round,
            "seconds": round(progress.seconds, 2),
            "games": progress.games,
            "tokens": progress.tokens,
            "tokens_per_second": round(progress.tokens / seconds, 1),
            "making_share": round(progress.making / seconds, 4),
            "loss": progress.loss,
            "perplexity": held_out.everywhere.perplexity,
            "floor": held_out.everywhere.floor,
            "best_legal": held_out.best_legal.share,
            "legal_mass": held_out.legal_mass.share,
            "own_legal_moves": own.legal_moves.share,
            "own_legal_games": own.wholly_legal.share,
        }
        self.directory.add_metrics(values)
        self._measured, self._measured_seconds = progress.round, progress.seconds
        self.monitor.metrics(values)

    def _keep(self) -> None:
        """Write a checkpoint of the model."""
        counts = dataclasses.asdict(self.progress)
        metadata: dict[str, Any] = {
            name: counts[name] for name in ("round", "seconds", "games", "tokens")
        }
        save_language(
            self.directory.checkpoint_path(self.progress.round),
            self.model,
            self.tokenizer,
            self.variant,
            metadata=metadata | {"training": dataclasses.asdict(self.config)},
        )

    def save(self) -> None:
        """Write everything that a resumed run needs."""
        tensors = self.learner.state() | {"seen": torch.from_numpy(self.seen.seen)}
        header = {
            "format": STATE_FORMAT,
            "variant": self.variant.digest,
            "tokenizer": self.tokenizer.digest,
            "config": dataclasses.asdict(self.config),
            "steps": self.learner.steps,
            "precision": "bf16" if self.learner.bf16 else "fp32",
        }
        save_tensors(
            self.directory.learner_state, tensors, header | dataclasses.asdict(self.progress)
        )
        if self.progress.round:
            self.directory.keep()
        self._saved_seconds = self.progress.seconds
