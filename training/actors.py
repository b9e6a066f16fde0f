"""Actors: whoever plays the games, in this process or in workers of one thread a core.

An actor reads a checkpoint from the run directory and writes shards of games into it as they are
finished; nothing else passes between it and the learner but what to do next and how far it has
come. Between two rounds the workers serve the learner: each computes the gradient of its part of
every batch, with one thread. The weights and the gradients lie in memory that they share.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.network.checkpoint import load_checkpoint
from engine.network.config import NetworkConfig
from engine.network.policy_value import PolicyValueNet
from engine.rules.errors import InputError, UnknownVariantError
from engine.rules.variant import Variant, define_variants, get_variant
from search.evaluator import UniformEvaluator
from search.tablebase import Tablebases
from training.acting import ActingEvaluator
from training.config import LearningConfig, SelfPlayConfig
from training.games import GameRows, join, load_games, save_games, select
from training.losses import FlatParameters, LossTerms, add_gradient
from training.selfplay import SelfPlay, Statistics
from training.targets import make_batch

Progress = Callable[[int], None]

_CALIBRATION: Final = 512
"""Positions on which int8 finds its scales."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """Games to be played with a checkpoint."""

    checkpoint: Path
    # Where the shards go.
    folder: Path
    round: int
    # Positions that are wanted, from all actors together.
    positions: int


class Actors(Protocol):
    """Plays an order and returns the names of the whole shards that it wrote."""

    def play(self, order: Order, progress: Progress) -> list[str]:
        """Play; raises OSError, InputError."""
        ...

    def close(self) -> None:
        """End the workers, if there are any."""
        ...


class Actor:
    """Plays in the process that owns it. The games in progress live on from order to order."""

    def __init__(
        self,
        variant: Variant,
        config: SelfPlayConfig,
        seed: int,
        first_round: int,
        number: int,
        first_part: int = 0,
    ) -> None:
        """`first_part` counts the shards that an earlier session wrote of an unfinished round: with
        the same random numbers their games would be played again. Raises InputError, OSError for
        tablebases that cannot be used.
        """
        self._variant = variant
        self._config = config
        self._number = number
        self._part = first_part
        generator = np.random.default_rng([seed, first_round, number, first_part])
        searched = variant
        if config.tablebases:
            searched = Tablebases.load(Path(config.tablebases), variant).attached
        self._self_play = SelfPlay(searched, config, generator)
        self._folder = Path()
        self._evaluator = ActingEvaluator(variant, config, self._calibration)

    def play(self, order: Order, progress: Progress) -> list[str]:
        """Play one order; raises OSError, InputError."""
        self._folder = order.folder
        self._evaluator.update(load_checkpoint(order.checkpoint, variant=self._variant).network)
        self._self_play.simulations = self._config.simulations_in(order.round)
        names: list[str] = []
        finished: list[GameRows] = []
        held, total = 0, 0
        begun = time.perf_counter()
        while total < order.positions:
            for rows in self._self_play.step(self._evaluator):
                finished.append(rows)
                held += len(rows)
                total += len(rows)
                progress(len(rows))
            if finished and (held >= self._config.shard_positions or total >= order.positions):
                names.append(self._write(order, join(finished), time.perf_counter() - begun))
                finished, held = [], 0
                begun = time.perf_counter()
        self._part = 0
        return names

    def _write(self, order: Order, rows: GameRows, seconds: float) -> str:
        """One shard, with an account of how it was made."""
        name = f"{order.round:06d}-{self._number:02d}-{self._part:03d}.safetensors"
        statistics, self._self_play.statistics = self._self_play.statistics, Statistics()
        source = {
            "round": order.round,
            "actor": self._number,
            "checkpoint": order.checkpoint.name,
            "seconds": round(seconds, 4),
            **self._evaluator.account(),
            **asdict(statistics),
        }
        save_games(order.folder / name, rows, self._variant, source)
        self._part += 1
        return name

    def _calibration(self) -> npt.NDArray[np.uint8]:
        """Positions of the newest games; of a run that has none, of random ones."""
        shards = sorted(self._folder.glob("*.safetensors"))
        if shards:
            return load_games(shards[-1], self._variant).positions[-_CALIBRATION:]
        config = SelfPlayConfig(simulations=1, noise_fraction=1.0, varied_starts=1.0)
        games = SelfPlay(self._variant, config, np.random.default_rng(0))
        return games.play(UniformEvaluator(), _CALIBRATION).positions

    def close(self) -> None:
        """Nothing to end."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A part of a batch of which a worker computes the gradient."""

    rows: GameRows
    mirror: bool
    # Positions of the whole batch.
    size: int


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """What a worker process needs to begin."""

    variant: str
    ini: str
    config: SelfPlayConfig
    seed: int
    first_round: int
    first_part: int
    number: int
    network: NetworkConfig
    learning: LearningConfig


class _Pupil:
    """A worker's part in learning: a network on the shared weights, with a gradient of its own."""

    def __init__(self, variant: Variant, setup: _Setup, weights: Any, gradient: Any) -> None:
        self._variant = variant
        self._config = setup.learning
        self._network = PolicyValueNet(setup.network).train()
        shared, self._gradient = _vector(weights), _vector(gradient)
        FlatParameters(self._network, shared, self._gradient, keep=True)

    def compute(self, lesson: Lesson) -> npt.NDArray[np.float64]:
        """Leave the gradient in the shared vector; returns the LossTerms [6]."""
        self._gradient.zero_()
        if not len(lesson.rows):
            return np.zeros(len(LossTerms._fields))
        batch = make_batch(self._variant, lesson.rows, self._config, lesson.mirror)
        return add_gradient(self._network, batch, lesson.size, self._config)


def _vector(memory: Any) -> Tensor:
    """Shared memory as a tensor float32[P]."""
    return torch.from_numpy(np.frombuffer(memory, dtype=np.float32))


def _work(setup: _Setup, pipe: Connection, weights: Any, gradient: Any) -> None:
    """A worker's life: orders and lessons in, answers out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pin_to_core(setup.number)
    torch.set_num_threads(1)
    try:
        variant = get_variant(setup.variant)
    except UnknownVariantError:
        define_variants(setup.ini, setup.variant)
        variant = get_variant(setup.variant)
    actor: Actor | None = None
    pupil: _Pupil | None = None
    # A learner that is gone closes the pipe; then there is nobody to play for.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task: Order | Lesson = pipe.recv()
            try:
                if isinstance(task, Order):
                    actor = actor or _make_actor(variant, setup)
                    answer: object = actor.play(task, lambda count: pipe.send(count))
                else:
                    pupil = pupil or _Pupil(variant, setup, weights, gradient)
                    answer = pupil.compute(task)
            except (BrokenPipeError, ConnectionResetError):
                raise
            except (OSError, InputError) as problem:
                answer = problem
            pipe.send(answer)


def _make_actor(variant: Variant, setup: _Setup) -> Actor:
    return Actor(
        variant, setup.config, setup.seed, setup.first_round, setup.number, setup.first_part
    )


def pin_to_core(number: int) -> None:
    """One core for each worker: unpinned, two may share one (Linux only)."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[number % len(cores)]})


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Block ^C, also in a process that starts here: it would die loudly while it still imports."""
    # Its start would unblock the signal again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class WorkerPool:
    """Actors in processes of their own, which are also the learner's hands (`Gradients`)."""

    def __init__(
        self,
        variant: Variant,
        config: SelfPlayConfig,
        learning: LearningConfig,
        network: PolicyValueNet,
        *,
        seed: int,
        first_round: int,
        first_part: int = 0,
    ) -> None:
        """Start the workers; `network` is only looked at. The keywords are those of `Actor`."""
        # Forking would copy torch's threads in an unknown state.
        context = multiprocessing.get_context("spawn")
        size = network.parameter_count
        weights = context.RawArray("f", size)
        parts = [context.RawArray("f", size) for _ in range(config.actors)]
        # Weights and gradient of the learner's network, float32[P].
        self.vectors = _vector(weights), torch.zeros(size)
        self._parts = [_vector(part) for part in parts]
        self._workers: list[tuple[SpawnProcess, Connection]] = []
        for number, part in enumerate(parts):
            ours, theirs = context.Pipe()
            setup = _Setup(
                variant=variant.name,
                ini=variant.ini(),
                config=config,
                seed=seed,
                first_round=first_round,
                first_part=first_part,
                number=number,
                network=network.config,
                learning=learning,
            )
            arguments = (setup, theirs, weights, part)
            process = context.Process(target=_work, args=arguments, daemon=True)
            with _interrupts_held():
                process.start()
            theirs.close()
            self._workers.append((process, ours))

    def play(self, order: Order, progress: Progress) -> list[str]:
        """Share the order out and wait for all; raises OSError, InputError."""
        share = -(-order.positions // len(self._workers))
        part = Order(
            checkpoint=order.checkpoint, folder=order.folder, round=order.round, positions=share
        )
        names: list[str] = []
        for answer in self._ask([part] * len(self._workers), progress):
            names += answer
        return sorted(names)

    def compute(self, rows: GameRows, mirror: bool) -> npt.NDArray[np.float64]:
        """The gradient of a batch into `vectors`; see `Gradients`. Raises OSError."""
        ends = np.linspace(0, len(rows), len(self._workers) + 1).astype(np.int64)
        lessons = [
            Lesson(
                rows=select(rows, np.arange(ends[index], ends[index + 1])),
                mirror=mirror,
                size=len(rows),
            )
            for index in range(len(self._workers))
        ]
        answers = self._ask(lessons, lambda _: None)
        gradient = self.vectors[1]
        # In the order of the workers, so that rounding is the same every time.
        gradient.copy_(self._parts[0])
        for part in self._parts[1:]:
            gradient.add_(part)
        total: npt.NDArray[np.float64] = np.zeros(len(LossTerms._fields))
        for answer in answers:
            total += answer
        return total

    def _ask(self, tasks: Sequence[Order | Lesson], progress: Progress) -> list[Any]:
        """Give every worker its task; their answers, in the workers' order. Raises OSError and what
        a worker answers."""
        for task, (_, pipe) in zip(tasks, self._workers, strict=True):
            # Of a worker that has ended since, the loop below tells.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                pipe.send(task)
        waiting = {pipe: number for number, (_, pipe) in enumerate(self._workers)}
        answers: list[Any] = [None] * len(self._workers)
        problem: Exception | None = None
        while waiting:
            ready = wait(list(waiting))
            for pipe in [pipe for pipe in waiting if pipe in ready]:
                try:
                    answer = pipe.recv()
                except (EOFError, ConnectionResetError):
                    process = self._workers[waiting.pop(pipe)][0]
                    process.join()
                    problem = OSError(f"a self-play worker ended with status {process.exitcode}")
                    continue
                if isinstance(answer, int):
                    progress(answer)
                    continue
                answers[waiting.pop(pipe)] = answer
                if isinstance(answer, Exception):
                    problem = answer
        if problem is not None:
            raise problem
        return answers

    def close(self) -> None:
        """End the workers at once; what they were playing is lost."""
        for process, pipe in self._workers:
            pipe.close()
            process.terminate()
        for process, _ in self._workers:
            process.join()
