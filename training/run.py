"""The training loop: rounds of play, learning and measurement, resumable at every round.

A round n plays its games with the network that round n - 1 left, learns from the window, and leaves
a checkpoint and the learner's whole state. A run that is killed goes on from the last whole file:
the games of an unfinished round that are already written count.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch

from engine.network.checkpoint import (
    load_checkpoint,
    load_tensors,
    read_metadata,
    save_checkpoint,
    save_tensors,
)
from engine.network.inference import NetworkEvaluator
from engine.network.policy_value import PolicyValueNet
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from search.solver import Solution
from training.actors import Actor, Actors, Order, WorkerPool
from training.directory import RunDirectory, RunError, is_checkpoint
from training.games import GameRows, load_games
from training.gate import gate_score
from training.index import Index, Shard, account_of, is_kept
from training.learner import Learner
from training.losses import Losses
from training.preparation import (
    GATING,
    LEARNING,
    WARMING,
    choose_hands,
    count_cores,
    find_oracle,
    generator_of,
    make_curve,
    make_teacher,
    resolve_learning,
)
from training.replay import ReplayWindow, window_size
from training.rescoring import Oracle, rescore
from training.truth import Truth, load_solution

STATE_FORMAT: Final = "pawnscope-learner-2"
_LARGEST_FINAL: Final = 6_000
"""Decision positions that the closing measurement searches; of a larger game a sample."""
_LARGEST_RAW: Final = 100_000
"""Decision positions on which it measures the raw network."""


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
    # Of them (of a sample, where they are very many), by the raw network's most likely move.
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
    solution = load_solution(variant)
    return Truth.of(variant, solution) if solution else None


class TrainingRun:
    """One session of a run. Use `train`, then `close`."""

    def __init__(
        self,
        directory: RunDirectory,
        variant: Variant,
        monitor: Monitor,
        *,
        solution: Solution | None = None,
        oracle: Oracle | None = None,
    ) -> None:
        """Take up the run where its files stand; raises RunError, CheckpointError, OSError.

        `solution` spares the solving of a game that is solved already. `oracle` knows values for
        `rescore`; without one it is the run's tablebases or the solution, if there are any.
        """
        self.directory = directory
        self.config = directory.config
        self._variant = variant
        self._monitor = monitor
        self._round = 0
        self._seconds = 0.0
        self._positions = 0
        self._games = 0
        self._acting: str | None = None
        solution = solution or load_solution(variant)
        self._oracle = oracle or find_oracle(variant, solution, self.config)
        self._curve, self._held_out = make_curve(variant, solution, self.config)
        torch.set_num_threads(self.config.learning.threads or count_cores())
        seed = self.config.seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = PolicyValueNet(self.config.network_config(variant))
        self._index = Index(directory.path)
        header = self._read_state()
        self._learning = resolve_learning(variant, network, self.config, directory.log)
        self._pool = self._make_pool(network)
        try:
            hands = choose_hands(variant, network, self._learning, self._pool, directory.log)
            self._learner = Learner(
                variant, network, self._learning, hands.vectors if hands else None, hands
            )
            self._take_up(header)
            self._actors = self._make_actors(solution)
        except BaseException:
            if self._pool:
                self._pool.close()
            raise
        self._round_positions = 0

    def _read_state(self) -> dict[str, Any] | None:
        """The header of the learner's state, if there is one; raises RunError."""
        path = self.directory.learner_state
        if not path.exists():
            if self._index.shards():
                raise RunError(f"{path}: missing, but games were played before")
            return None
        header = read_metadata(path)
        if header.get("format") != STATE_FORMAT:
            raise RunError(f"{path}: not the state of a learner that this version can read")
        if header["digest"] != self._variant.digest:
            raise RunError(f"{path}: the rules of {self._variant.name} have changed since")
        self._round, self._seconds = header["round"], header["seconds"]
        self._positions, self._games = header["positions"], header["games"]
        self._acting = header["acting"]
        return header

    def _unfinished(self) -> list[Shard]:
        """The shards of the round that comes next."""
        return [shard for shard in self._index.shards() if shard.round == self._round + 1]

    def _make_pool(self, network: PolicyValueNet) -> WorkerPool | None:
        """Workers where the configuration asks for some."""
        if not self.config.self_play.actors:
            return None
        return WorkerPool(
            self._variant,
            self.config.self_play,
            self._learning,
            network,
            seed=self.config.seed,
            first_round=self._round,
            first_part=len(self._unfinished()),
        )

    def _make_actors(self, solution: Solution | None) -> Actors:
        """Whoever brings positions: a teacher, the workers, or an actor in this process."""
        config = self.config
        if config.teacher == "solver":
            dealt = sum(shard.positions for shard in self._index.shards())
            return make_teacher(self._variant, solution, config, dealt)
        return self._pool or Actor(
            self._variant,
            config.self_play,
            config.seed,
            self._round,
            0,
            first_part=len(self._unfinished()),
        )

    def _take_up(self, header: dict[str, Any] | None) -> None:
        """Restore the learner and the window, and write again what is missing."""
        path = self.directory.learner_state
        self._window = ReplayWindow(self._learning)
        if header is not None:
            tensors, _ = load_tensors(path)
            try:
                self._learner.restore(tensors, header["steps"])
            except (KeyError, RuntimeError) as problem:
                text = str(problem).splitlines()[0]
                raise RunError(f"{path}: does not fit the run's network ({text})") from None
        elif self.config.gate_games:
            self._acting = self._newest.name
        self._index.take_up_checkpoints(self._round)
        lost = header is not None and self._acting is not None and not self.checkpoint.exists()
        if lost:
            self.directory.log(f"{self.checkpoint}: missing, the newest network plays")
            self._acting = self._newest.name
        if header is None or lost or not self._newest.exists():
            self._save()
        self._fill_window()

    def _fill_window(self) -> None:
        """The shards of finished rounds, as many of the newest as the window holds."""
        chosen, total = [], 0
        capacity = self._capacity()
        for shard in reversed(self._index.shards()):
            if shard.round <= self._round and total < capacity:
                chosen.append(shard)
                total += shard.positions
        for shard in reversed(chosen):
            # A damaged file of old games is no reason not to go on without it.
            try:
                rows = self._load(shard.name)
            except InputError as problem:
                self.directory.log(f"left out: {problem}")
                continue
            self._window.add(rows, capacity)

    def _load(self, name: str) -> GameRows:
        """The rows of a shard as they are learned; raises ShardError, CheckpointError, OSError."""
        rows = load_games(self.directory.games / name, self._variant)
        if self._oracle is None:
            return rows
        return rescore(self._variant, rows, self._oracle, self._learning.rescore)

    def _capacity(self) -> int:
        return window_size(self._learning, self._positions)

    def _save(self) -> Path:
        """Write the network of this step, then the learner's state; the state is the commitment."""
        path = self._newest
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
            "acting": self._acting,
        }
        save_tensors(self.directory.learner_state, self._learner.state(), header)
        if is_kept(self._round):
            self._index.add_checkpoint(path.name, self._round, self._learner.steps)
        self._drop_checkpoints()
        return path

    def _drop_checkpoints(self) -> None:
        """Remove the networks that are neither on the schedule nor the newest nor acting."""
        kept = self._index.checkpoints() | {self._newest.name, self.checkpoint.name}
        for path in self.directory.checkpoints.iterdir():
            if is_checkpoint(path) and path.name not in kept:
                path.unlink()

    @property
    def _newest(self) -> Path:
        return self.directory.checkpoint_path(self._learner.steps)

    @property
    def checkpoint(self) -> Path:
        """The network that plays: the newest, or the last that came through the gate."""
        return self.directory.checkpoints / self._acting if self._acting else self._newest

    @property
    def network(self) -> PolicyValueNet:
        """The acting network of the last step."""
        return self._learner.average

    def train(self, *, measured: bool = True) -> Summary:
        """Go on until the network is perfect or the time is over; raises OSError.

        Without `measured` there are no shares of the truth in the summary. KeyboardInterrupt may
        break in anywhere: the files are whole at any moment.
        """
        if self._curve and self._round:
            self._curve.measure_raw(self._evaluator())
        self._begin()
        self._mark = time.monotonic()
        while True:
            reason = self._reason_to_stop()
            if reason:
                return self._finish(reason, measured)
            before = self._seconds
            shards = self._play_round()
            played = self._count_time()
            losses = self._learn_round()
            learned = self._count_time()
            gate = self._pass_gate()
            self._round += 1
            self._count_time()
            self._save()
            shares = {"play_seconds": round(played, 3), "learn_seconds": round(learned, 3)}
            self._report(losses, self._seconds - before, shares | account_of(shards) | gate)
            self._count_time()

    def _begin(self) -> None:
        """Before the first round: a teacher's games, and the curve's point at step 0."""
        if self._round:
            return
        self._mark = time.monotonic()
        if self.config.warm_start and not self._learner.steps:
            self._warm_up(Path(self.config.warm_start))
            if self.config.gate_games:
                self._acting = self._newest.name
            self._count_time()
            self._save()
        if self._curve and not self.directory.metrics.exists():
            values = {
                "seconds": round(self._seconds, 2),
                "round": 0,
                "step": self._learner.steps,
                "games": 0,
                "positions": 0,
                "truth": self._measure(),
            }
            self.directory.add_metrics(values)

    def _warm_up(self, source: Path) -> None:
        """Learn a teacher's games; the run itself begins with an empty window."""
        paths = sorted(source.glob("*.safetensors")) if source.is_dir() else [source]
        if not paths:
            raise RunError(f"warm_start = {str(source)!r}: no games there")
        window = ReplayWindow(self._learning)
        for path in paths:
            window.add(load_games(path, self._variant), self._learning.window)
        steps = max(1, round(len(window) * self.config.warm_start_passes / self._learning.batch))
        self._monitor.task("learn", steps)
        generator = generator_of(self.config.seed, WARMING)
        self._learner.learn(window, steps, generator, self._monitor.advance)

    def _count_time(self) -> float:
        """Add the wall time since the last call, measuring and writing included; returns it."""
        now = time.monotonic()
        spent = now - self._mark
        self._seconds += spent
        self._mark = now
        return spent

    def _play_round(self) -> list[Shard]:
        """The games of the next round: those already written, and what is missing."""
        written = self._unfinished()
        missing = self.config.self_play.positions - sum(shard.positions for shard in written)
        self._monitor.task("play", max(0, missing))
        if missing > 0:
            order = Order(
                checkpoint=self.checkpoint,
                folder=self.directory.games,
                round=self._round + 1,
                positions=missing,
            )
            names = self._actors.play(order, self._monitor.advance)
            written += [self._index.add_shard(name) for name in names]
        self._positions += sum(shard.positions for shard in written)
        self._games += sum(shard.games for shard in written)
        for shard in written:
            self._window.add(self._load(shard.name), self._capacity())
        self._round_positions = sum(shard.positions for shard in written)
        return written

    def _learn_round(self) -> Losses:
        learning = self._learning
        steps = max(1, round(self._round_positions * learning.passes / learning.batch))
        self._monitor.task("learn", steps)
        generator = generator_of(self.config.seed, LEARNING, self._round)
        return self._learner.learn(self._window, steps, generator, self._monitor.advance)

    def _pass_gate(self) -> dict[str, Any]:
        """Whether the new network plays from now on; without a gate it always does."""
        games = self.config.gate_games
        if not games:
            return {}
        champion = load_checkpoint(self.checkpoint, variant=self._variant).network
        score = gate_score(
            self._variant,
            self._evaluator(),
            NetworkEvaluator(champion),
            self.config.self_play,
            games,
            generator_of(self.config.seed, GATING, self._round),
        )
        if score >= 0.5:
            self._acting = self._newest.name
        return {"gate": {"score": score, "passed": self._acting == self._newest.name}}

    def _evaluator(self) -> NetworkEvaluator:
        return NetworkEvaluator(self._learner.average)

    def _report(self, losses: Losses, took: float, account: dict[str, Any]) -> None:
        values: dict[str, Any] = {
            "seconds": round(self._seconds, 2),
            "round": self._round,
            "step": self._learner.steps,
            "games": self._games,
            "positions": self._positions,
            "positions_per_second": round(self._round_positions / took, 1),
            "window": len(self._window),
            **account,
            "losses": {name: round(value, 5) for name, value in asdict(losses).items()},
        }
        if self._curve and self._curve.is_due(self._seconds):
            values["truth"] = self._measure()
        self.directory.add_metrics(values)
        self._monitor.metrics(values)

    def _measure(self) -> dict[str, float]:
        """The truth curve's next point."""
        assert self._curve is not None
        evaluator = self._evaluator()
        point = self._curve.measure(evaluator, self._seconds)
        if self._held_out is not None:
            point["held_out"] = self._held_out.raw(evaluator)
        return point

    def _reason_to_stop(self) -> str | None:
        raw = self._curve.raw if self._curve else None
        if raw is not None and raw >= self.config.stop_at_raw:
            return "perfect"
        return "time" if self._seconds >= 60.0 * self.config.minutes else None

    def _finish(self, reason: str, measured: bool) -> Summary:
        shares = None
        if self._curve and measured:
            evaluator, truth = self._evaluator(), self._curve.truth
            generator = np.random.default_rng(self.config.seed)
            searched = truth.sample(_LARGEST_FINAL, generator)
            shares = TruthShares(
                decision_positions=len(truth),
                raw=truth.sample(_LARGEST_RAW, generator).raw(evaluator),
                search=searched.search(evaluator, self.config.search_simulations),
                searched=len(searched),
            )
        return Summary(seconds=self._seconds, checkpoint=self._newest, truth=shares, reason=reason)

    def close(self) -> None:
        """End the workers and let go of the directory."""
        self._actors.close()
        if self._pool:
            self._pool.close()
        self._index.close()
        self.directory.close()
