"""Actors: whoever plays the games, in this process or in workers of one thread a core.

An actor reads a checkpoint from the run directory and writes a shard of games into it; nothing else
passes between it and the learner but what to do next and how far it has come.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from engine.network.checkpoint import load_checkpoint
from engine.network.inference import NetworkEvaluator
from engine.rules.errors import InputError, UnknownVariantError
from engine.rules.variant import Variant, define_variants, get_variant
from training.config import SelfPlayConfig
from training.games import save_games
from training.selfplay import SelfPlay

Progress = Callable[[int], None]


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
        self, variant: Variant, config: SelfPlayConfig, seed: int, first_round: int, number: int
    ) -> None:
        self._variant = variant
        self._number = number
        generator = np.random.default_rng([seed, first_round, number])
        self._self_play = SelfPlay(variant, config, generator)

    def play(self, order: Order, progress: Progress) -> list[str]:
        """Play one order; raises OSError."""
        network = load_checkpoint(order.checkpoint, variant=self._variant).network
        evaluator = NetworkEvaluator(network)
        rows = self._self_play.play(evaluator, order.positions, progress)
        name = f"{order.round:06d}-{self._number:02d}.safetensors"
        source = {"round": order.round, "actor": self._number, "checkpoint": order.checkpoint.name}
        save_games(order.folder / name, rows, self._variant, source)
        return [name]

    def close(self) -> None:
        """Nothing to end."""


@dataclass(frozen=True)
class _Setup:
    """What a worker process needs to begin."""

    variant: str
    ini: str
    config: SelfPlayConfig
    seed: int
    first_round: int
    number: int


def _work(setup: _Setup, pipe: Connection) -> None:
    """A worker's life: orders in, progress and names out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _pin(setup.number)
    torch.set_num_threads(1)
    try:
        variant = get_variant(setup.variant)
    except UnknownVariantError:
        define_variants(setup.ini, setup.variant)
        variant = get_variant(setup.variant)
    actor = Actor(variant, setup.config, setup.seed, setup.first_round, setup.number)
    # A learner that is gone closes the pipe; then there is nobody to play for.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            order = pipe.recv()
            try:
                answer: object = actor.play(order, lambda count: pipe.send(count))
            except (BrokenPipeError, ConnectionResetError):
                raise
            except (OSError, InputError) as problem:
                answer = problem
            pipe.send(answer)


def _pin(number: int) -> None:
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
    """Actors in processes of their own."""

    def __init__(
        self, variant: Variant, config: SelfPlayConfig, seed: int, first_round: int
    ) -> None:
        # Forking would copy torch's threads in an unknown state.
        context = multiprocessing.get_context("spawn")
        self._workers = []
        for number in range(config.actors):
            ours, theirs = context.Pipe()
            setup = _Setup(variant.name, variant.ini(), config, seed, first_round, number)
            process = context.Process(target=_work, args=(setup, theirs), daemon=True)
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
        for _, pipe in self._workers:
            # Of a worker that has ended since, the loop below tells.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                pipe.send(part)
        waiting = {pipe: process for process, pipe in self._workers}
        names: list[str] = []
        problem: Exception | None = None
        while waiting:
            ready = wait(list(waiting))
            for pipe in [pipe for pipe in waiting if pipe in ready]:
                try:
                    answer = pipe.recv()
                except (EOFError, ConnectionResetError):
                    process = waiting.pop(pipe)
                    process.join()
                    problem = OSError(f"a self-play worker ended with status {process.exitcode}")
                    continue
                if isinstance(answer, int):
                    progress(answer)
                    continue
                del waiting[pipe]
                if isinstance(answer, Exception):
                    problem = answer
                else:
                    names += answer
        if problem is not None:
            raise problem
        return sorted(names)

    def close(self) -> None:
        """End the workers at once; what they were playing is lost."""
        for process, pipe in self._workers:
            pipe.close()
            process.terminate()
        for process, _ in self._workers:
            process.join()


def make_actors(variant: Variant, config: SelfPlayConfig, seed: int, first_round: int) -> Actors:
    """Workers where the configuration asks for some, else an actor in this process."""
    if config.actors:
        return WorkerPool(variant, config, seed, first_round)
    return Actor(variant, config, seed, first_round, 0)
