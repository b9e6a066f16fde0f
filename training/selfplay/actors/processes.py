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
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.rules.compilation.compile_time import add_compile_seconds, compile_seconds, working_time
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from engine.system.processes import interrupts_held, main_module_hidden, usable_cores
from training.config import LearningConfig, SelfPlayConfig
from training.data.shards import select
from training.learner.losses import Draw, add_gradients, flatten
from training.learner.networks import Network, Settings, build_network, get_or_define
from training.selfplay.actors.local import LocalActors, make_local_actors
from training.selfplay.actors.protocol import Progress, SelfPlayRequest

_END_SECONDS: Final = 5.0
"""Seconds that a worker may take to end before it is killed."""


_Task = tuple[Any, ...]
"""The name of one of `_tasks`, and its arguments."""


class _Answer(NamedTuple):
    """A worker's answer to a task."""

    value: object
    # Seconds of compiling.
    compiling: float


def _divide(draw: Draw, workers: int) -> list[Draw]:
    """A part of the rows for every worker; with few rows some parts are empty."""
    ends = np.linspace(0, len(draw.rows), workers + 1).astype(np.int64)
    return [
        Draw(select(draw.rows, np.arange(start, end)), draw.mirror)
        for start, end in itertools.pairwise(ends)
    ]


def _vector(memory: Any) -> Tensor:
    """Shared memory as a tensor float32[P]."""
    return torch.from_numpy(np.frombuffer(memory, dtype=np.float32))


def _tasks(
    variants: Sequence[Variant],
    learning: LearningConfig,
    settings: Settings,
    vectors: tuple[Tensor, Tensor],
    make_actors: Callable[[], LocalActors],
    progress: Progress,
) -> dict[str, Callable[..., object]]:
    """What a worker does, by name: the methods of `Actors`, and `compute`, which leaves the
    gradient of a part of a batch in its vector. What a task needs is made by the first one."""
    actors = cache(make_actors)

    @cache
    def network() -> Network:
        made = build_network(settings).train()
        flatten(made, *vectors, keep=True)
        return made

    def compute(draws: Sequence[Draw], size: int) -> npt.NDArray[np.float64]:
        vectors[1].zero_()
        return add_gradients(network(), variants, draws, size, learning)

    return {
        "prepare": lambda requests, chosen: actors().prepare(requests, chosen),
        "play": lambda requests: actors().play(requests, progress),
        "compute": compute,
    }


def _work(
    pipe: Connection,
    rules: Sequence[tuple[str, str]],
    learning: LearningConfig,
    settings: Settings,
    memory: Sequence[Any],
    actor_arguments: dict[str, Any],
) -> None:
    """A worker process: tasks in, answers out, until the pipe closes.

    `rules` are the names and ini texts of the variants, `memory` that of the shared weights and of
    the worker's own gradient, `actor_arguments` those of `make_local_actors`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pin_to_core(actor_arguments["number"])
    torch.set_num_threads(1)
    variants = [get_or_define(name, ini, name) for name, ini in rules]
    weights, gradient = map(_vector, memory)
    make_actors = partial(make_local_actors, variants, **actor_arguments)
    tasks = _tasks(variants, learning, settings, (weights, gradient), make_actors, pipe.send)
    # When the learner ends, it closes the pipe.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task, *arguments = pipe.recv()
            before = compile_seconds()
            try:
                answer = tasks[task](*arguments)
            except (BrokenPipeError, ConnectionResetError):
                raise
            except (OSError, InputError) as problem:
                answer = problem
            pipe.send(_Answer(answer, compile_seconds() - before))


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
        self._started = False
        rules = [(variant.name, variant.ini()) for variant in variants]
        keys = {"config": config, "seed": seed, "first_round": first_round}
        for number, part in enumerate(parts):
            ours, theirs = context.Pipe()
            actor = keys | {"first_parts": first_parts, "number": number}
            arguments = (theirs, rules, learning, network.config, (weights, part), actor)
            process = context.Process(target=_work, args=arguments, daemon=True)
            with interrupts_held(), main_module_hidden():
                process.start()
            theirs.close()
            self._workers.append((process, ours))

    def await_start(self, told: Callable[[str], None]) -> None:
        """Wait until all workers can work, and say so before; no-op when that was done. Raises
        OSError."""
        if not self._started:
            told(f"starting {len(self._workers)} worker{'s' if len(self._workers) > 1 else ''}")
            self.prepare([], [])
            self._started = True

    def prepare(self, requests: Sequence[SelfPlayRequest], chosen: Sequence[str]) -> list[str]:
        """See `Actors`. One worker measures for all."""
        if not chosen:
            (chosen,) = self._ask([("prepare", requests, chosen)])
        found: list[str]
        found, *_ = self._ask([("prepare", requests, chosen)] * len(self._workers))
        return found

    def play(self, requests: Sequence[SelfPlayRequest], progress: Progress) -> list[str]:
        """See `Actors`. Every worker gets an equal part of each request."""
        workers = len(self._workers)
        parts = [
            replace(request, positions=-(-request.positions // workers)) for request in requests
        ]
        answers = self._ask([("play", parts)] * workers, progress)
        return sorted(itertools.chain.from_iterable(answers))

    def compute(self, draws: Sequence[Draw]) -> npt.NDArray[np.float64]:
        """The gradient of a batch into `vectors`; see `Gradients`. Raises OSError."""
        shares = [_divide(draw, len(self._workers)) for draw in draws]
        size = sum(len(draw.rows) for draw in draws)
        answers = self._ask([("compute", parts, size) for parts in zip(*shares, strict=True)])
        gradient = self.vectors[1]
        # In the order of the workers, so that rounding does not depend on time.
        gradient.copy_(self._parts[0])
        for part in self._parts[1:]:
            gradient.add_(part)
        total: npt.NDArray[np.float64] = sum(answers)
        return total

    def _ask(self, tasks: Sequence[_Task], progress: Progress = lambda _: None) -> list[Any]:
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
