"""Worker processes, one thread and one core each: they play, and compute gradients.

A worker owns local actors (`local.py`): only requests and progress pass through its pipe, games and
networks through the run directory. Between two rounds each worker computes the gradient of its part
of every batch. The weights and the gradients lie in memory that the processes share.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.rules.compilation.compile_time import add_compile_seconds, compile_seconds, working_time
from engine.rules.errors import InputError, UnknownVariantError
from engine.rules.variant import Variant, define_variants, get_variant
from engine.system.processes import interrupts_held, usable_cores
from training.config import LearningConfig, SelfPlayConfig
from training.data.shards import (
    GameRows,
    select,
)
from training.learner.losses import Draw, FlatParameters, LossTerms, add_gradients
from training.learner.networks import Network, Settings, build_network
from training.selfplay.actors.local import LocalActors, make_local_actors
from training.selfplay.actors.protocol import Progress, SelfPlayRequest

_END_SECONDS: Final = 5.0
"""Seconds that a worker may take to end before it is killed."""


class _Part(NamedTuple):
    """A `Draw` as it is sent to a worker, which has the variant already."""

    variant: str
    rows: GameRows
    mirror: bool


@dataclass(frozen=True, kw_only=True)
class _GradientTask:
    """A part of a batch of which a worker computes the gradient."""

    # One of each variant.
    parts: tuple[_Part, ...]
    # Positions of the whole batch.
    size: int


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """What a worker process needs to start."""

    # Name and rules of each variant.
    variants: tuple[tuple[str, str], ...]
    config: SelfPlayConfig
    seed: int
    first_round: int
    # For each variant.
    first_parts: tuple[int, ...]
    number: int
    network: Settings
    learning: LearningConfig


@dataclass(frozen=True, kw_only=True)
class _Preparation:
    """The arguments of `Actors.prepare`."""

    requests: tuple[SelfPlayRequest, ...]
    chosen: tuple[str, ...]


_Task = Sequence[SelfPlayRequest] | _GradientTask | _Preparation


class _Answer(NamedTuple):
    """A worker's answer to a task."""

    value: object
    # Seconds of compiling.
    compiling: float


class _GradientWorker:
    """Computes gradients in a worker: a network on the shared weights, its own gradient."""

    def __init__(
        self, variants: Sequence[Variant], setup: _Setup, weights: Any, gradient: Any
    ) -> None:
        self._variants = {variant.name: variant for variant in variants}
        self._config = setup.learning
        self._network = build_network(setup.network).train()
        shared, self._gradient = _vector(weights), _vector(gradient)
        FlatParameters(self._network, shared, self._gradient, keep=True)

    def compute(self, task: _GradientTask) -> npt.NDArray[np.float64]:
        """Leave the gradient in the shared vector; returns the LossTerms [6]."""
        self._gradient.zero_()
        draws = [
            Draw(variant=self._variants[part.variant], rows=part.rows, mirror=part.mirror)
            for part in task.parts
        ]
        return add_gradients(self._network, draws, task.size, self._config)


def _divide(draw: Draw, workers: int) -> list[_Part]:
    """A part of the rows for every worker; with few rows some parts are empty."""
    ends = np.linspace(0, len(draw.rows), workers + 1).astype(np.int64)
    return [
        _Part(draw.variant.name, select(draw.rows, np.arange(start, end)), draw.mirror)
        for start, end in itertools.pairwise(ends)
    ]


def _vector(memory: Any) -> Tensor:
    """Shared memory as a tensor float32[P]."""
    return torch.from_numpy(np.frombuffer(memory, dtype=np.float32))


def _work(setup: _Setup, pipe: Connection, weights: Any, gradient: Any) -> None:
    """A worker process: tasks in, answers out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pin_to_core(setup.number)
    torch.set_num_threads(1)
    variants = [_variant_of(name, ini) for name, ini in setup.variants]
    actors: LocalActors | None = None
    gradients: _GradientWorker | None = None
    # When the learner ends, it closes the pipe.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task: _Task = pipe.recv()
            before = compile_seconds()
            try:
                answer: object
                if isinstance(task, _GradientTask):
                    gradients = gradients or _GradientWorker(variants, setup, weights, gradient)
                    answer = gradients.compute(task)
                else:
                    actors = actors or _local_actors(variants, setup)
                    if isinstance(task, _Preparation):
                        answer = actors.prepare(task.requests, task.chosen)
                    else:
                        answer = actors.play(task, pipe.send)
            except (BrokenPipeError, ConnectionResetError):
                raise
            except (OSError, InputError) as problem:
                answer = problem
            pipe.send(_Answer(answer, compile_seconds() - before))


def _variant_of(name: str, ini: str) -> Variant:
    """A variant that this process may not know."""
    try:
        return get_variant(name)
    except UnknownVariantError:
        define_variants(ini, name)
        return get_variant(name)


def _local_actors(variants: Sequence[Variant], setup: _Setup) -> LocalActors:
    return make_local_actors(
        variants,
        setup.config,
        seed=setup.seed,
        first_round=setup.first_round,
        number=setup.number,
        first_parts=setup.first_parts,
    )


def pin_to_core(number: int) -> None:
    """One core for each worker: unpinned, two may share one (Linux only)."""
    if hasattr(os, "sched_setaffinity"):
        cores = usable_cores()
        os.sched_setaffinity(0, {cores[number % len(cores)]})


class WorkerPool:
    """Actors in processes of their own, which also compute gradients (`losses.Gradients`)."""

    def __init__(
        self,
        variants: Sequence[Variant],
        config: SelfPlayConfig,
        learning: LearningConfig,
        network: Network,
        *,
        seed: int,
        first_round: int,
        first_parts: Sequence[int],
    ) -> None:
        """Start the workers; `network` is not kept. The keywords are those of
        `make_local_actors`."""
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
                variants=tuple((variant.name, variant.ini()) for variant in variants),
                config=config,
                seed=seed,
                first_round=first_round,
                first_parts=tuple(first_parts),
                number=number,
                network=network.config,
                learning=learning,
            )
            arguments = (setup, theirs, weights, part)
            process = context.Process(target=_work, args=arguments, daemon=True)
            with interrupts_held():
                process.start()
            theirs.close()
            self._workers.append((process, ours))

    def prepare(self, requests: Sequence[SelfPlayRequest], chosen: Sequence[str]) -> list[str]:
        """See `Actors`. One worker measures for all."""
        task = _Preparation(requests=tuple(requests), chosen=tuple(chosen))
        if not chosen:
            (found,) = self._ask([task], lambda _: None)
            task = replace(task, chosen=tuple(found))
        found, *_ = self._ask([task] * len(self._workers), lambda _: None)
        return list(found)

    def play(self, requests: Sequence[SelfPlayRequest], progress: Progress) -> list[str]:
        """See `Actors`. Every worker gets an equal part of each request."""
        workers = len(self._workers)
        parts = [
            replace(request, positions=-(-request.positions // workers)) for request in requests
        ]
        names: list[str] = []
        for answer in self._ask([parts] * workers, progress):
            names += answer
        return sorted(names)

    def compute(self, draws: Sequence[Draw]) -> npt.NDArray[np.float64]:
        """The gradient of a batch into `vectors`; see `Gradients`. Raises OSError."""
        workers = len(self._workers)
        shares = [_divide(draw, workers) for draw in draws]
        size = sum(len(draw.rows) for draw in draws)
        tasks = [_GradientTask(parts=parts, size=size) for parts in zip(*shares, strict=True)]
        answers = self._ask(tasks, lambda _: None)
        gradient = self.vectors[1]
        # In the order of the workers, so that rounding does not depend on time.
        gradient.copy_(self._parts[0])
        for part in self._parts[1:]:
            gradient.add_(part)
        total: npt.NDArray[np.float64] = np.zeros(len(LossTerms._fields))
        for answer in answers:
            total += answer
        return total

    def _ask(self, tasks: Sequence[_Task], progress: Progress) -> list[Any]:
        """Send the tasks to the first workers, one each; returns their answers in order.

        Raises OSError, and errors that a worker answers. Time counts as compiling unless some
        worker works in it.
        """
        begun = working_time()
        asked = self._workers[: len(tasks)]
        for task, (_, pipe) in zip(tasks, asked, strict=True):
            # The loop below reports a worker that has ended.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                pipe.send(task)
        waiting = {pipe: number for number, (_, pipe) in enumerate(asked)}
        answers: list[Any] = [None] * len(asked)
        problem: Exception | None = None
        working = 0.0
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
                working = max(working, working_time() - begun - answer.compiling)
                answers[waiting.pop(pipe)] = answer.value
                if isinstance(answer.value, Exception):
                    problem = answer.value
        add_compile_seconds(max(0.0, working_time() - begun - working))
        if problem is not None:
            raise problem
        return answers

    def close(self) -> None:
        """End the workers at once; their unfinished games are lost."""
        for process, pipe in self._workers:
            pipe.close()
            process.terminate()
        for process, _ in self._workers:
            process.join(_END_SECONDS)
            if process.is_alive():
                # The process is stopped (^Z), or a library in it handles the signal.
                process.kill()
                process.join()
