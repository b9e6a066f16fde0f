"""Self-play training in rounds: play, learn, pass the gate, save, measure.

A round n plays its games with the network that round n - 1 left, learns from the window, and leaves
a checkpoint and the learner's whole state. A killed run continues from the last whole file: games
of an unfinished round that are already written count.

A run may have several variants: each brings an equal share of a round's positions, has a window of
its own and gives every batch an equal share of its rows; one network learns them all.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from engine.network.checkpoint import load_checkpoint
from engine.network.inference.network_evaluator import NetworkEvaluator
from engine.rules.compilation.compile_time import working_time
from training.config import GATE, LEARNING, WARM_START
from training.data.index import Shard, account_of
from training.data.merging import merge_small_files
from training.data.replay import ReplayWindow
from training.data.run_directory import read_metrics
from training.evaluation.truth import TruthCurves, TruthShares
from training.learner.networks import Network, specialised_network
from training.run.choices import Choices, follow_inference
from training.run.gate import gate_score
from training.run.loop import run_rounds
from training.run.monitor import Monitor, Reason, Summary
from training.run.state import RunState
from training.run.variant_state import VariantState, warm_start_windows
from training.selfplay.actors.protocol import Actors, SelfPlayRequest

_LARGEST_FINAL: Final = 6_000
"""Decision positions, over all variants, that the closing measurement searches; of a larger variant
a sample."""
_LARGEST_RAW: Final = 100_000
"""Decision positions, over all variants, on which it measures the raw network."""


@dataclass(kw_only=True)
class TrainingRun(RunState):
    """An open run; see `loop.Trainer`. A context manager that ends the workers."""

    monitor: Monitor
    choices: Choices
    # Of the variants that are solved.
    curves: TruthCurves
    actors: Actors
    # What computes the network in self-play, for each variant.
    inference: list[str] = field(default_factory=list)
    # The index and the workers, if there are any; the directory stays open.
    resources: ExitStack = field(default_factory=ExitStack)
    # Where `_count_time` counts from.
    _mark: float = field(init=False, default_factory=working_time)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; the directory stays open."""
        self.resources.close()

    @property
    def network(self) -> Network:
        """The acting network of the last step."""
        return self.learner.ema

    def train(self, *, measured: bool = True) -> Summary:
        """Train until the network is as good as `stop_at_raw` says, or the time is over; raises as
        `loop.Trainer`. Without `measured` the summary has no shares of the truth."""
        return self._summary(run_rounds(self), measured)

    def begin(self) -> None:
        """Report the round that an earlier session saved and did not report; a new run has its warm
        start and a measurement at step 0."""
        progress = self.progress
        if len(self.curves):
            self.monitor.step("measuring the network against the truth")
        reported = self.directory.drop_metrics_after(progress.round)
        if progress.line and all(values["round"] < progress.round for values in reported):
            self._report(progress.line, measured=True)
        elif progress.round:
            self.curves.measure_raw(self._evaluator)
        self._mark = working_time()
        if progress.round:
            return
        if self.config.warm_start and not self.learner.steps:
            self._warm_start(Path(self.config.warm_start))
            self._count_time()
            self.save()
        # The file of a run that was killed before its first line may be there, and empty.
        has_lines = self.directory.metrics.exists() and read_metrics(self.directory.path)
        if len(self.curves) and not has_lines:
            self._report(self._counts())
        self._mark = working_time()

    def reason_to_stop(self) -> Reason | None:
        """Whether the network is good enough on every variant, or the time is over."""
        raw = self.curves.raw
        # Nobody can say of a variant that is not solved that it is played well enough.
        solved = len(self.curves) == len(self.states)
        if solved and raw is not None and raw >= self.config.stop_at_raw:
            perfect = all(reached.perfect for reached in self.curves.reached.values())
            return "perfect" if perfect else "reached"
        return "time" if self.progress.seconds >= 60.0 * self.config.minutes else None

    def run_round(self) -> None:
        """Play, learn, and pass the gate or not."""
        progress, learning = self.progress, self.config.learning
        before = progress.seconds
        with self.naming_learning_rate(f"round {progress.round + 1}"):
            shards = self._play()
            played = self._count_time()
            positions = sum(shard.positions for shard in shards)
            windows = [state.window for state in self.states]
            generator = self.config.generator(LEARNING, progress.round)
            losses = self._learn(windows, positions * learning.replay_ratio, generator)
            learned = self._count_time()
            gate = self._pass_gate()
        progress.round += 1
        self._count_time()
        progress.line = self._counts() | {
            "positions_per_second": round(positions / (progress.seconds - before), 1),
            "window": sum(map(len, windows)),
            "play_seconds": round(played, 3),
            "learn_seconds": round(learned, 3),
            **account_of(shards),
            **gate,
            "losses": {name: round(value, 5) for name, value in losses.items()},
        }
        if len(self.states) > 1:
            progress.line["by_game"] = {
                state.variant.name: dict(state.played) for state in self.states
            }

    def finish_round(self) -> None:
        """Save, then report the round, with a measurement where one is due."""
        self.save()
        finished = range(self.progress.round + 1)
        for state in self.states:
            merge_small_files(
                self.index,
                self.directory.games,
                state.variant,
                state.number,
                finished,
                self.directory.log,
            )
        self.monitor.round_over(self.progress.seconds, self.progress.round)
        assert self.progress.line is not None
        self._report(self.progress.line)
        self._count_time()

    def _count_time(self) -> float:
        """Add the time since the last call to the run's seconds, measuring and writing included,
        compiling not; returns it."""
        now = working_time()
        spent = now - self._mark
        self.progress.seconds += spent
        self._mark = now
        return spent

    def request_for(self, state: VariantState, positions: int) -> SelfPlayRequest:
        """So many positions of a variant for the next round."""
        return SelfPlayRequest(
            variant=state.variant.name,
            checkpoint=self.acting,
            folder=self.directory.games,
            round=self.progress.round + 1,
            positions=positions,
        )

    def _play(self) -> list[Shard]:
        """The games of the next round: those already written, and what is missing."""
        written: list[Shard] = []
        requests = []
        for state in self.states:
            next_round = range(self.progress.round + 1, self.progress.round + 2)
            shards = self.index.shards_of(state.variant.name, next_round)
            written += shards
            missing = state.quota - sum(shard.positions for shard in shards)
            if missing > 0:
                requests.append(self.request_for(state, missing))
        self.monitor.task("play", sum(request.positions for request in requests))
        if requests:
            names = self.actors.play(requests, self.monitor.advance)
            new = [self.index.add_shard(name) for name in names]
            self.inference = follow_inference(self.variants, new, self.inference, self.choices)
            written += new
        for state in self.states:
            own = [shard for shard in written if shard.variant == state.variant.name]
            state.add(self.directory.games, own)
        return written

    def _warm_start(self, source: Path) -> None:
        """Learn a teacher's games; the windows of self-play stay empty."""
        windows = warm_start_windows(self.states, source)
        rows = sum(map(len, windows)) * self.config.warm_start_replay_ratio
        with self.naming_learning_rate("the warm start"):
            self._learn(windows, rows, self.config.generator(WARM_START))
        if self.config.gate_games:
            self.progress.acting = self.newest.name

    def _learn(
        self, windows: Sequence[ReplayWindow], rows: float, generator: np.random.Generator
    ) -> dict[str, float]:
        """Learn from about so many rows of the windows, a batch at a time."""
        steps = max(1, round(rows / self.config.learning.batch))
        self.monitor.task("learn", steps)
        return self.learner.learn(windows, steps, generator, self.monitor.advance)

    def _pass_gate(self) -> dict[str, Any]:
        """Whether the new network plays from now on; without a gate it always does."""
        config, progress = self.config, self.progress
        if not config.gate_games:
            return {}
        generator = config.generator(GATE, progress.round)
        scores = []
        for variant in self.variants:
            champion = NetworkEvaluator(load_checkpoint(self.acting, variant=variant).network)
            challenger = self._evaluator(variant.name)
            score = gate_score(
                variant, challenger, champion, config.self_play, config.gate_games, generator
            )
            scores.append(score)
        score = sum(scores) / len(scores)
        if score >= 0.5:
            progress.acting = self.newest.name
        return {"gate": {"score": score, "passed": progress.acting == self.newest.name}}

    def _evaluator(self, name: str) -> NetworkEvaluator:
        """The acting network of the last step on the variant of that name."""
        (variant,) = (variant for variant in self.variants if variant.name == name)
        return NetworkEvaluator(specialised_network(self.network, variant))

    def _counts(self) -> dict[str, Any]:
        """How far the run is, for every line of the metrics."""
        return {
            "seconds": round(self.progress.seconds, 2),
            "round": self.progress.round,
            "step": self.learner.steps,
            "games": sum(state.played["games"] for state in self.states),
            "positions": sum(state.played["positions"] for state in self.states),
        }

    def _report(self, line: dict[str, Any], *, measured: bool = False) -> None:
        """Write a line of the metrics, with a point of the truth curve where one is due or asked
        for; of several variants {"games": {name: point}}."""
        seconds = self.progress.seconds
        if len(self.curves) and (measured or self.curves.is_due(seconds)):
            points = self.curves.measure(self._evaluator, seconds)
            several = len(self.states) > 1
            line = line | {"truth": {"games": points} if several else points[self.config.variant]}
        self.directory.add_metrics(line)
        self.monitor.metrics(line)

    def _summary(self, reason: Reason, measured: bool) -> Summary:
        shares: dict[str, TruthShares] = {}
        if measured:
            shares = self.curves.conclude(
                self._evaluator, raw=_LARGEST_RAW, search=_LARGEST_FINAL, seed=self.config.seed
            )
        several = len(self.states) > 1
        return Summary(
            seconds=self.progress.seconds,
            rounds=self.progress.round,
            checkpoint=self.newest,
            truth=None if several else shares.get(self.config.variant),
            truths=shares if several else {},
            reached=self.curves.reached,
            reason=reason,
        )
