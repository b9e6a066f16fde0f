"""Self-play training in rounds: play, learn, pass the gate, save, measure.

A round n plays its games with the network that round n - 1 left, learns from the window, and leaves
a checkpoint and the learner's whole state. A killed run continues from the last whole file: games
of an unfinished round that are already written count.

A run may have several variants: each brings an equal share of a round's positions, has a window of
its own and gives every batch an equal share of its rows; one network learns them all.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Self

from engine.network.inference.network_evaluator import NetworkEvaluator
from engine.rules.compilation.compile_time import working_time
from training.data.index import Shard, account_of
from training.data.run_directory import read_metrics
from training.evaluation.truth import TruthShares
from training.learner.losses import Losses
from training.learner.networks import Network, specialised_network
from training.run.choices import follow_inference
from training.run.gate import mean_gate_score
from training.run.loop import run_rounds
from training.run.monitor import Reason, Summary
from training.run.parts import RunParts
from training.run.seeds import GATE, LEARNING, WARM_START, generator_of
from training.run.state import naming_learning_rate, save
from training.run.variant_state import VariantState, warm_start_windows
from training.selfplay.actors.protocol import SelfPlayRequest

_LARGEST_FINAL: Final = 6_000
"""Decision positions, over all variants, that the closing measurement searches; of a larger variant
a sample."""
_LARGEST_RAW: Final = 100_000
"""Decision positions, over all variants, on which it measures the raw network."""


class TrainingRun:
    """An open run; see `loop.Trainer`. A context manager that ends the workers."""

    def __init__(self, parts: RunParts, inference: Sequence[str]) -> None:
        """`inference` names what computes the network in self-play, for each variant."""
        self.parts = parts
        self._inference = list(inference)
        # Where `_count_time` counts from.
        self._mark = working_time()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; the directory stays open."""
        self.parts.close()

    @property
    def network(self) -> Network:
        """The acting network of the last step."""
        return self.parts.learner.ema

    def train(self, *, measured: bool = True) -> Summary:
        """Train until the network is as good as `stop_at_raw` says, or the time is over; raises as
        `loop.Trainer`. Without `measured` the summary has no shares of the truth."""
        return self._summary(run_rounds(self), measured)

    def begin(self) -> None:
        """Report the round that an earlier session saved and did not report; a new run has its warm
        start and a measurement at step 0."""
        run, progress = self.parts, self.parts.progress
        reported = run.directory.drop_metrics_after(progress.round)
        if progress.line and all(values["round"] < progress.round for values in reported):
            self._report(progress.line, measured=True)
        elif progress.round:
            run.curves.measure_raw(self._evaluator)
        self._mark = working_time()
        if progress.round:
            return
        if run.config.warm_start and not run.learner.steps:
            warm_start(run, Path(run.config.warm_start))
            self._count_time()
            save(run)
        # The file of a run that was killed before its first line may be there, and empty.
        has_lines = run.directory.metrics.exists() and read_metrics(run.directory.path)
        if len(run.curves) and not has_lines:
            self._report(counts(run))
        self._mark = working_time()

    def reason_to_stop(self) -> Reason | None:
        """Whether the network is good enough on every variant, or the time is over."""
        run, raw = self.parts, self.parts.curves.raw
        # Nobody can say of a variant that is not solved that it is played well enough.
        solved = len(run.curves) == len(run.states)
        if solved and raw is not None and raw >= run.config.stop_at_raw:
            perfect = all(reached.perfect for reached in run.curves.reached.values())
            return "perfect" if perfect else "reached"
        return "time" if run.progress.seconds >= 60.0 * run.config.minutes else None

    def run_round(self) -> None:
        """Play, learn, and pass the gate or not."""
        run, progress = self.parts, self.parts.progress
        before = progress.seconds
        with naming_learning_rate(run, f"round {progress.round + 1}"):
            shards = self._play()
            played = self._count_time()
            losses = learn(run, sum(shard.positions for shard in shards))
            learned = self._count_time()
            gate = self._pass_gate()
        progress.round += 1
        self._count_time()
        took = {"play_seconds": round(played, 3), "learn_seconds": round(learned, 3)}
        account = took | account_of(shards) | gate
        progress.line = round_line(run, shards, losses, progress.seconds - before, account)

    def finish_round(self) -> None:
        """Save, then report the round, with a measurement where one is due."""
        self.save()
        assert self.parts.progress.line is not None
        self._report(self.parts.progress.line)
        self._count_time()

    def save(self) -> None:
        """Write checkpoint and state."""
        save(self.parts)

    def _count_time(self) -> float:
        """Add the time since the last call to the run's seconds, measuring and writing included,
        compiling not; returns it."""
        now = working_time()
        spent = now - self._mark
        self.parts.progress.seconds += spent
        self._mark = now
        return spent

    def _play(self) -> list[Shard]:
        """The games of the next round: those already written, and what is missing."""
        run = self.parts
        written: list[Shard] = []
        requests = []
        for state in run.states:
            shards = run.index.shards_of_round(state.variant.name, run.progress.round + 1)
            written += shards
            missing = state.quota - sum(shard.positions for shard in shards)
            if missing > 0:
                requests.append(request_for(run, state, missing))
        run.monitor.task("play", sum(request.positions for request in requests))
        if requests:
            names = run.actors.play(requests, run.monitor.advance)
            new = [run.index.add_shard(name) for name in names]
            self._inference = follow_inference(
                run.variants, new, self._inference, run.config.self_play, run.choices
            )
            written += new
        for state in run.states:
            own = [shard for shard in written if shard.variant == state.variant.name]
            state.add(run.directory.games, own)
        return written

    def _pass_gate(self) -> dict[str, Any]:
        """Whether the new network plays from now on; without a gate it always does."""
        run, games = self.parts, self.parts.config.gate_games
        if not games:
            return {}
        score = mean_gate_score(
            run.variants,
            self._evaluator,
            run.checkpoint,
            run.config.self_play,
            games,
            generator_of(run.config.seed, GATE, run.progress.round),
        )
        if score >= 0.5:
            run.progress.acting = run.newest.name
        return {"gate": {"score": score, "passed": run.progress.acting == run.newest.name}}

    def _evaluator(self, name: str) -> NetworkEvaluator:
        """The acting network of the last step on the variant of that name."""
        (variant,) = (variant for variant in self.parts.variants if variant.name == name)
        return NetworkEvaluator(specialised_network(self.network, variant))

    def _report(self, line: dict[str, Any], *, measured: bool = False) -> None:
        """Write a line of the metrics, with a point of the truth curve where one is due or asked
        for; of several variants {"games": {name: point}}."""
        run, seconds = self.parts, self.parts.progress.seconds
        if len(run.curves) and (measured or run.curves.is_due(seconds)):
            points = run.curves.measure(self._evaluator, seconds)
            several = len(run.states) > 1
            line = line | {"truth": {"games": points} if several else points[run.variants[0].name]}
        run.directory.add_metrics(line)
        run.monitor.metrics(line)

    def _summary(self, reason: Reason, measured: bool) -> Summary:
        run = self.parts
        shares: dict[str, TruthShares] = {}
        if measured:
            shares = run.curves.conclude(
                self._evaluator, raw=_LARGEST_RAW, search=_LARGEST_FINAL, seed=run.config.seed
            )
        several = len(run.states) > 1
        return Summary(
            seconds=run.progress.seconds,
            rounds=run.progress.round,
            checkpoint=run.newest,
            truth=None if several else shares.get(run.variants[0].name),
            truths=shares if several else {},
            reached=run.curves.reached,
            reason=reason,
        )


def warm_start(run: RunParts, source: Path) -> None:
    """Learn a teacher's games; the windows of self-play stay empty."""
    windows = warm_start_windows(run.states, source)
    positions = sum(map(len, windows))
    steps = max(1, round(positions * run.config.warm_start_replay_ratio / run.learning.batch))
    run.monitor.task("learn", steps)
    generator = generator_of(run.config.seed, WARM_START)
    with naming_learning_rate(run, "the warm start"):
        run.learner.learn(windows, steps, generator, run.monitor.advance)
    if run.config.gate_games:
        run.progress.acting = run.newest.name


def learn(run: RunParts, positions: int) -> Losses:
    """The steps of a round that has brought so many positions."""
    steps = max(1, round(positions * run.learning.replay_ratio / run.learning.batch))
    run.monitor.task("learn", steps)
    generator = generator_of(run.config.seed, LEARNING, run.progress.round)
    windows = [state.window for state in run.states]
    return run.learner.learn(windows, steps, generator, run.monitor.advance)


def request_for(run: RunParts, state: VariantState, positions: int) -> SelfPlayRequest:
    """So many positions of a variant for the next round."""
    return SelfPlayRequest(
        variant=state.variant.name,
        checkpoint=run.checkpoint,
        folder=run.directory.games,
        round=run.progress.round + 1,
        positions=positions,
    )


def counts(run: RunParts) -> dict[str, Any]:
    """How far the run is, for every line of the metrics."""
    return {
        "seconds": round(run.progress.seconds, 2),
        "round": run.progress.round,
        "step": run.learner.steps,
        "games": sum(state.games for state in run.states),
        "positions": sum(state.positions for state in run.states),
    }


def round_line(
    run: RunParts, shards: Sequence[Shard], losses: Losses, took: float, account: dict[str, Any]
) -> dict[str, Any]:
    """The line of the metrics of a round that `took` so many seconds, without a measurement."""
    positions = sum(shard.positions for shard in shards)
    values = counts(run) | {
        "positions_per_second": round(positions / took, 1),
        "window": sum(len(state.window) for state in run.states),
        **account,
        "losses": {name: round(value, 5) for name, value in asdict(losses).items()},
    }
    if len(run.states) > 1:
        values["by_game"] = {state.variant.name: state.counts() for state in run.states}
    return values
