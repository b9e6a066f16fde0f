"""The training loop: rounds of play, learning and measurement, resumable at every round.

A round n plays its games with the network that round n - 1 left, learns from the window, and leaves
a checkpoint and the learner's whole state. A run that is killed goes on from the last whole file:
the games of an unfinished round that are already written count.
"""

import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch

from engine.network.checkpoint import load_tensors, save_checkpoint, save_tensors
from engine.network.inference import NetworkEvaluator
from engine.network.policy_value import PolicyValueNet
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from search.solver import estimate_positions, solve
from training.actors import Actors, Order, make_actors
from training.directory import RunDirectory, RunError, is_checkpoint
from training.games import load_games
from training.index import Index, is_kept
from training.learner import Learner, Losses
from training.replay import ReplayWindow
from training.truth import Truth

STATE_FORMAT: Final = "pawnscope-learner-1"
LARGEST_SOLVED: Final = 2_000_000
"""Positions of a game that is solved for the truth curve: a second or two."""
_LARGEST_FINAL: Final = 6_000
"""Decision positions that the closing measurement searches; of a larger game a sample."""
_MEASURE_SHARE: Final = 0.1
"""Of the time that measuring may take, beside play and learning."""
_LEARNING: Final = 0
_SAMPLING: Final = 1
"""Keys that set the learner's and the sample's random numbers apart, and from the actors'."""


class Monitor(Protocol):
    """Whoever watches a run: a command that draws bars, or a test."""

    def task(self, name: str, total: int) -> None:
        """A part of a round begins: `total` positions or steps."""
        ...

    def advance(self, amount: int) -> None:
        """So much of it is done."""
        ...

    def metrics(self, values: dict[str, Any]) -> None:
        """A round is over; the values are those of metrics.jsonl."""
        ...


@dataclass(frozen=True, kw_only=True)
class TruthShares:
    """Shares of decision positions in which the game's value is kept."""

    # Decision positions of the game.
    decision_positions: int
    # Of them, by the raw network's most likely move.
    raw: float
    # Of `searched` of them, by search.
    search: float
    # Positions on which the search was measured.
    searched: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a session of training ended."""

    # Of training in all sessions of the run.
    seconds: float
    # The last network.
    checkpoint: Path
    # None where the game is not solved.
    truth: TruthShares | None
    # Why it stopped: "perfect" or "time".
    reason: str


def load_truth(variant: Variant) -> Truth | None:
    """The decision positions of the game, None where it cannot be solved in a moment."""
    if not variant.irreversible or estimate_positions(variant).positions > LARGEST_SOLVED:
        return None
    return Truth.of(variant, solve(variant))


def _generator(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _cores() -> int:
    """Cores that this process may use; not every system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class TrainingRun:
    """One session of a run. Use `train`, then `close`."""

    def __init__(self, directory: RunDirectory, variant: Variant, monitor: Monitor) -> None:
        """Take up the run where its files stand; raises RunError, CheckpointError, OSError."""
        self.directory = directory
        self.config = directory.config
        self._variant = variant
        self._monitor = monitor
        self._round = 0
        self._seconds = 0.0
        self._positions = 0
        self._games = 0
        self._truth = load_truth(variant)
        seed = self.config.seed
        torch.set_num_threads(self.config.learning.threads or _cores())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = PolicyValueNet(self.config.network_config(variant))
        self._learner = Learner(variant, network, self.config.learning)
        self._index = Index(directory.path)
        self._window = ReplayWindow(self.config.learning.window)
        if directory.learner_state.exists():
            self._restore()
        elif self._index.shards():
            raise RunError(f"{directory.learner_state}: missing, but games were played before")
        self._index.take_up_checkpoints(self._round)
        if not (directory.learner_state.exists() and self.checkpoint.exists()):
            self._save()
        self._fill_window()
        self._actors: Actors = make_actors(
            # A round whose games are written already has used up its actors' random numbers.
            variant,
            self.config.self_play,
            seed,
            max([self._round, *(shard.round for shard in self._index.shards())]),
        )
        generator = _generator(seed, _SAMPLING)
        self._sample = (
            self._truth.sample(self.config.search_sample, generator) if self._truth else None
        )
        self._raw: float | None = None
        self._measured_at, self._measuring_took = -math.inf, 0.0
        self._round_positions = 0

    def _restore(self) -> None:
        path = self.directory.learner_state
        tensors, header = load_tensors(path)
        if header.get("format") != STATE_FORMAT:
            raise RunError(f"{path}: not the state of a learner that this version can read")
        if header["digest"] != self._variant.digest:
            raise RunError(f"{path}: the rules of {self._variant.name} have changed since")
        try:
            self._learner.restore(tensors, header["steps"])
        except (KeyError, RuntimeError) as problem:
            text = str(problem).splitlines()[0]
            raise RunError(f"{path}: does not fit the run's network ({text})") from None
        self._round, self._seconds = header["round"], header["seconds"]
        self._positions, self._games = header["positions"], header["games"]

    def _fill_window(self) -> None:
        """The shards of finished rounds, as many of the newest as the window holds."""
        chosen, total = [], 0
        for shard in reversed(self._index.shards()):
            if shard.round <= self._round and total < self.config.learning.window:
                chosen.append(shard)
                total += shard.positions
        for shard in reversed(chosen):
            # A damaged file of old games is no reason not to go on without it.
            try:
                rows = load_games(self.directory.games / shard.name, self._variant)
            except InputError as problem:
                self.directory.log(f"left out: {problem}")
                continue
            self._window.add(rows)

    def _save(self) -> Path:
        """Write the network of this step, then the learner's state; the state is the commitment."""
        path = self.directory.checkpoint_path(self._learner.steps)
        about = {"round": self._round, "step": self._learner.steps, "seed": self.config.seed}
        save_checkpoint(path, self._learner.average, metadata=about)
        header = {
            "format": STATE_FORMAT,
            "digest": self._variant.digest,
            "steps": self._learner.steps,
            "round": self._round,
            "seconds": self._seconds,
            "positions": self._positions,
            "games": self._games,
        }
        save_tensors(self.directory.learner_state, self._learner.state(), header)
        if is_kept(self._round):
            self._index.add_checkpoint(path.name, self._round, self._learner.steps)
        self._drop_checkpoints(path)
        return path

    def _drop_checkpoints(self, newest: Path) -> None:
        """Remove the networks that are neither on the schedule nor the newest."""
        kept = self._index.checkpoints()
        for path in self.directory.checkpoints.iterdir():
            if is_checkpoint(path) and path != newest and path.name not in kept:
                path.unlink()

    @property
    def checkpoint(self) -> Path:
        """The newest network."""
        return self.directory.checkpoint_path(self._learner.steps)

    def train(self) -> Summary:
        """Go on until the network is perfect or the time is over; raises OSError.

        KeyboardInterrupt may break in anywhere: the files are whole at any moment.
        """
        if self._truth and self._round:
            self._raw = self._truth.raw(NetworkEvaluator(self._learner.average))
        self._mark = time.monotonic()
        while True:
            reason = self._reason_to_stop()
            if reason:
                return self._finish(reason)
            before = self._seconds
            self._play_round()
            losses = self._learn_round()
            self._round += 1
            self._count_time()
            self._save()
            self._report(losses, self._seconds - before)
            self._count_time()

    def _count_time(self) -> None:
        """Add the wall time since the last call, measuring and writing included."""
        now = time.monotonic()
        self._seconds += now - self._mark
        self._mark = now

    def _play_round(self) -> None:
        """The games of the next round: those already written, and what is missing."""
        number = self._round + 1
        written = [shard for shard in self._index.shards() if shard.round == number]
        missing = self.config.self_play.positions - sum(shard.positions for shard in written)
        self._monitor.task("play", max(0, missing))
        names = [shard.name for shard in written]
        if missing > 0 and not written:
            order = Order(
                checkpoint=self.checkpoint,
                folder=self.directory.games,
                round=number,
                positions=missing,
            )
            names = self._actors.play(order, self._monitor.advance)
            written = [self._index.add_shard(name) for name in names]
        for shard in written:
            self._window.add(load_games(self.directory.games / shard.name, self._variant))
            self._positions += shard.positions
            self._games += shard.games
        self._round_positions = sum(shard.positions for shard in written)

    def _learn_round(self) -> Losses:
        learning = self.config.learning
        steps = max(1, round(self._round_positions * learning.passes / learning.batch))
        self._monitor.task("learn", steps)
        generator = _generator(self.config.seed, _LEARNING, self._round)
        return self._learner.learn(self._window, steps, generator, self._monitor.advance)

    def _report(self, losses: Losses, took: float) -> None:
        values: dict[str, Any] = {
            "seconds": round(self._seconds, 2),
            "round": self._round,
            "step": self._learner.steps,
            "games": self._games,
            "positions": self._positions,
            "positions_per_second": round(self._round_positions / took, 1),
            "losses": {name: round(value, 5) for name, value in asdict(losses).items()},
        }
        if self._truth and self._is_time_to_measure():
            values["truth"] = self._measure()
        self.directory.add_metrics(values)
        self._monitor.metrics(values)

    def _is_time_to_measure(self) -> bool:
        pause = max(self.config.measure_seconds, self._measuring_took / _MEASURE_SHARE)
        return self._seconds - self._measured_at >= pause

    def _measure(self) -> dict[str, float]:
        """The truth curve's next point: all decisions raw, the fixed sample by search."""
        assert self._truth is not None
        assert self._sample is not None
        begun = time.monotonic()
        evaluator = NetworkEvaluator(self._learner.average)
        raw = self._truth.raw(evaluator)
        search = self._sample.search(evaluator, self.config.search_simulations)
        self._raw = raw
        self._measured_at, self._measuring_took = self._seconds, time.monotonic() - begun
        return {"raw": raw, "search": search}

    def _reason_to_stop(self) -> str | None:
        if self._raw is not None and self._raw >= self.config.stop_at_raw:
            return "perfect"
        return "time" if self._seconds >= 60.0 * self.config.minutes else None

    def _finish(self, reason: str) -> Summary:
        shares = None
        if self._truth:
            evaluator = NetworkEvaluator(self._learner.average)
            searched = self._truth.sample(_LARGEST_FINAL, np.random.default_rng(self.config.seed))
            shares = TruthShares(
                decision_positions=len(self._truth),
                raw=self._truth.raw(evaluator),
                search=searched.search(evaluator, self.config.search_simulations),
                searched=len(searched),
            )
        return Summary(
            seconds=self._seconds, checkpoint=self.checkpoint, truth=shares, reason=reason
        )

    def close(self) -> None:
        """End the workers and let go of the directory."""
        self._actors.close()
        self._index.close()
        self.directory.close()
