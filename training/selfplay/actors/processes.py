"""Actors: whoever plays the games, in this process or in workers of one thread a core.

An actor reads a checkpoint from the run directory and writes shards of games into it as they are
finished; nothing else passes between it and the learner but what to do next and how far it has
come. In a run of several games each process has an actor for every one of them. Between two rounds
the workers serve the learner: each computes the gradient of its part of every batch, with one
thread. The weights and the gradients lie in memory that they share.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.network.checkpoint import load_checkpoint
from engine.rules.compilation.compile_time import add_compile_seconds, compile_seconds, working_time
from engine.rules.errors import InputError, UnknownVariantError
from engine.rules.variant import Variant, define_variants, get_variant
from engine.system.processes import interrupts_held
from search.evaluator import UniformEvaluator
from search.exact.tablebase.tables import Tablebases
from training.config import LearningConfig, SelfPlayConfig
from training.data.shards import (
    GameRows,
    join,
    load_games,
    newest_shard,
    save_games,
    select,
    shard_name,
)
from training.learner.losses import Draw, FlatParameters, LossTerms, add_gradients
from training.learner.networks import Network, Settings, build_network
from training.selfplay.acting_evaluator import ActingEvaluator
from training.selfplay.actors.protocol import Order, Progress, Source
from training.selfplay.games import SelfPlay, Statistics

_END_SECONDS: Final = 5.0
"""How long a worker may take to end before it is killed."""
_CALIBRATION: Final = 512
"""Positions on which int8 finds its scales."""
_FEWEST_AT_ONCE: Final = 32
"""Games in progress of each of several games: smaller batches are slow."""


class Company:
    """Brings positions in the process that owns it, those of each game from a source of its own."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        """`sources` by the names of their games."""
        self._sources = sources

    def prepare(self, orders: Sequence[Order], chosen: Sequence[str]) -> list[str]:
        """See `Actors`."""
        each = chosen or [""] * len(orders)
        return [
            self._sources[order.variant].prepare(order, choice)
            for order, choice in zip(orders, each, strict=True)
        ]

    def play(self, orders: Sequence[Order], progress: Progress) -> list[str]:
        """See `Actors`."""
        names: list[str] = []
        for order in orders:
            names += self._sources[order.variant].play(order, progress)
        return names

    def close(self) -> None:
        """Nothing to end."""


def company_of_actors(
    variants: Sequence[Variant],
    config: SelfPlayConfig,
    *,
    seed: int,
    first_round: int,
    number: int,
    first_parts: Sequence[int],
) -> Company:
    """An actor for each game; the keywords are those of `Actor`, `first_parts` for each game."""
    several = len(variants) > 1
    if several:
        config = replace(
            config,
            games=max(min(config.games, _FEWEST_AT_ONCE), config.games // len(variants)),
            cache_megabytes=config.cache_megabytes / len(variants),
        )
    return Company(
        {
            variant.name: Actor(
                variant, config, seed, first_round, number, part, game if several else None
            )
            for game, (variant, part) in enumerate(zip(variants, first_parts, strict=True))
        }
    )


class Actor:
    """Plays one game in the process that owns it. What it has begun to play lives on from order to
    order."""

    def __init__(
        self,
        variant: Variant,
        config: SelfPlayConfig,
        seed: int,
        first_round: int,
        number: int,
        first_part: int = 0,
        game: int | None = None,
    ) -> None:
        """`first_part` counts the shards that an earlier session wrote of an unfinished round: with
        the same random numbers their games would be played again. `game` is the number of the game
        in a run of several. Raises InputError, OSError for tablebases that cannot be used.
        """
        self._variant = variant
        self._config = config
        self._number = number
        self._part = first_part
        self._game = game
        key = [seed, first_round, number, first_part]
        generator = np.random.default_rng(key if game is None else [*key, game + 1])
        searched = variant
        if config.tablebases:
            searched = Tablebases.load(Path(config.tablebases), variant).attached
        self._self_play = SelfPlay(searched, config, generator)
        self._folder = Path()
        self._evaluator = ActingEvaluator(variant, config, self._calibration)

    def prepare(self, order: Order, chosen: str) -> str:
        """See `Source`."""
        self._folder = order.folder
        network = load_checkpoint(order.checkpoint, variant=self._variant).network
        return self._evaluator.prepare(network, chosen)

    def play(self, order: Order, progress: Progress) -> list[str]:
        """Play one order; raises OSError, InputError."""
        self._folder = order.folder
        self._evaluator.update(load_checkpoint(order.checkpoint, variant=self._variant).network)
        self._self_play.simulations = self._config.simulations_in(order.round)
        names: list[str] = []
        finished: list[GameRows] = []
        held, total = 0, 0
        begun = working_time()
        while total < order.positions:
            for rows in self._self_play.step(self._evaluator):
                finished.append(rows)
                held += len(rows)
                total += len(rows)
                progress(len(rows))
            if finished and (held >= self._config.shard_positions or total >= order.positions):
                names.append(self._write(order, join(finished), working_time() - begun))
                finished, held = [], 0
                begun = working_time()
        self._part = 0
        return names

    def _write(self, order: Order, rows: GameRows, seconds: float) -> str:
        """One shard, with an account of how it was made."""
        name = shard_name(order.round, self._number, self._part, self._game)
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
        shard = newest_shard(self._folder, self._variant)
        if shard is not None:
            return load_games(shard, self._variant).positions[-_CALIBRATION:]
        config = SelfPlayConfig(simulations=1, noise_fraction=1.0, varied_starts=1.0)
        games = SelfPlay(self._variant, config, np.random.default_rng(0))
        return games.play(UniformEvaluator(), _CALIBRATION).positions


class _Part(NamedTuple):
    """A `Draw` on its way to a worker, which has the variant already."""

    variant: str
    rows: GameRows
    mirror: bool


@dataclass(frozen=True, kw_only=True)
class _Lesson:
    """A part of a batch of which a worker computes the gradient."""

    # Of each game.
    parts: tuple[_Part, ...]
    # Positions of the whole batch.
    size: int


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """What a worker process needs to begin."""

    # Name and rules of each game.
    games: tuple[tuple[str, str], ...]
    config: SelfPlayConfig
    seed: int
    first_round: int
    # For each game.
    first_parts: tuple[int, ...]
    number: int
    network: Settings
    learning: LearningConfig


@dataclass(frozen=True, kw_only=True)
class _Preparation:
    """What a worker makes ready; the fields are the arguments of `Actors.prepare`."""

    orders: tuple[Order, ...]
    chosen: tuple[str, ...]


_Task = Sequence[Order] | _Lesson | _Preparation


class _Answer(NamedTuple):
    """What a worker answers to a task."""

    value: object
    # Seconds that went into compiling.
    compiling: float


class _Pupil:
    """A worker's part in learning: a network on the shared weights, with a gradient of its own."""

    def __init__(
        self, variants: Sequence[Variant], setup: _Setup, weights: Any, gradient: Any
    ) -> None:
        self._variants = {variant.name: variant for variant in variants}
        self._config = setup.learning
        self._network = build_network(setup.network).train()
        shared, self._gradient = _vector(weights), _vector(gradient)
        FlatParameters(self._network, shared, self._gradient, keep=True)

    def compute(self, lesson: _Lesson) -> npt.NDArray[np.float64]:
        """Leave the gradient in the shared vector; returns the LossTerms [6]."""
        self._gradient.zero_()
        draws = [
            Draw(variant=self._variants[part.variant], rows=part.rows, mirror=part.mirror)
            for part in lesson.parts
        ]
        return add_gradients(self._network, draws, lesson.size, self._config)


def _divide(draw: Draw, workers: int) -> list[_Part]:
    """A part of the rows for every worker, some without any where rows are few."""
    ends = np.linspace(0, len(draw.rows), workers + 1).astype(np.int64)
    return [
        _Part(draw.variant.name, select(draw.rows, np.arange(start, end)), draw.mirror)
        for start, end in itertools.pairwise(ends)
    ]


def _vector(memory: Any) -> Tensor:
    """Shared memory as a tensor float32[P]."""
    return torch.from_numpy(np.frombuffer(memory, dtype=np.float32))


def _work(setup: _Setup, pipe: Connection, weights: Any, gradient: Any) -> None:
    """A worker's life: orders and lessons in, answers out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pin_to_core(setup.number)
    torch.set_num_threads(1)
    variants = [_variant_of(name, ini) for name, ini in setup.games]
    company: Company | None = None
    pupil: _Pupil | None = None
    # A learner that is gone closes the pipe; then there is nobody to play for.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task: _Task = pipe.recv()
            before = compile_seconds()
            try:
                answer: object
                if isinstance(task, _Lesson):
                    pupil = pupil or _Pupil(variants, setup, weights, gradient)
                    answer = pupil.compute(task)
                elif isinstance(task, _Preparation):
                    company = company or _company(variants, setup)
                    answer = company.prepare(task.orders, task.chosen)
                else:
                    company = company or _company(variants, setup)
                    answer = company.play(task, lambda count: pipe.send(count))
            except (BrokenPipeError, ConnectionResetError):
                raise
            except (OSError, InputError) as problem:
                answer = problem
            pipe.send(_Answer(answer, compile_seconds() - before))


def _variant_of(name: str, ini: str) -> Variant:
    """A game that this process may not know."""
    try:
        return get_variant(name)
    except UnknownVariantError:
        define_variants(ini, name)
        return get_variant(name)


def _company(variants: Sequence[Variant], setup: _Setup) -> Company:
    return company_of_actors(
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
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[number % len(cores)]})


class WorkerPool:
    """Actors in processes of their own, which are also the learner's hands (`Gradients`)."""

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
        """Start the workers; `network` is only looked at. The keywords are those of
        `company_of_actors`."""
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
                games=tuple((variant.name, variant.ini()) for variant in variants),
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

    def prepare(self, orders: Sequence[Order], chosen: Sequence[str]) -> list[str]:
        """See `Actors`. One worker chooses for all."""
        task = _Preparation(orders=tuple(orders), chosen=tuple(chosen))
        if not chosen:
            (found,) = self._ask([task], lambda _: None)
            task = replace(task, chosen=tuple(found))
        found, *_ = self._ask([task] * len(self._workers), lambda _: None)
        return list(found)

    def play(self, orders: Sequence[Order], progress: Progress) -> list[str]:
        """Share the orders out and wait for all; see `Actors`."""
        workers = len(self._workers)
        parts = [replace(order, positions=-(-order.positions // workers)) for order in orders]
        names: list[str] = []
        for answer in self._ask([parts] * workers, progress):
            names += answer
        return sorted(names)

    def compute(self, draws: Sequence[Draw]) -> npt.NDArray[np.float64]:
        """The gradient of a batch into `vectors`; see `Gradients`. Raises OSError."""
        workers = len(self._workers)
        shares = [_divide(draw, workers) for draw in draws]
        size = sum(len(draw.rows) for draw in draws)
        lessons = [_Lesson(parts=parts, size=size) for parts in zip(*shares, strict=True)]
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

    def _ask(self, tasks: Sequence[_Task], progress: Progress) -> list[Any]:
        """Give every worker its task, or the first few; their answers, in the workers' order.

        Raises OSError and what a worker answers. Of the time here only that counts in which some
        worker has worked, and not what it was kept waiting by one that compiled.
        """
        begun = working_time()
        asked = self._workers[: len(tasks)]
        for task, (_, pipe) in zip(tasks, asked, strict=True):
            # Of a worker that has ended since, the loop below tells.
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
        """End the workers at once; what they were playing is lost."""
        for process, pipe in self._workers:
            pipe.close()
            process.terminate()
        for process, _ in self._workers:
            process.join(_END_SECONDS)
            if process.is_alive():
                # Stopped (^Z), or held by a library that handles the signal.
                process.kill()
                process.join()
