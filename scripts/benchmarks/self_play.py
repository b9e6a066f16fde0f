"""Self-play at full speed: one pinned, single-threaded worker a core, tree and network in turn.

A simulation counts when the network evaluated its leaf. Simulations that ended in a proven or
finished position, or whose evaluation came from a cache, are left out.
"""

import multiprocessing
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

from engine.rules.compilation.compile_time import working_time
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from engine.system.processes import usable_cores
from scripts.benchmarks.network import (
    GAME,
    NETWORKS,
    network_evaluator,
    network_rates,
)
from scripts.benchmarks.rows import BATCH, REPEATS, SIMULATIONS, Row, row
from search.evaluator import EvaluationLike, Evaluator, Moves, Offsets, Rows
from training.config import SelfPlayConfig
from training.selfplay.actors.processes import pin_to_core
from training.selfplay.games import SelfPlay

_SECONDS = 2.0
"""Of one repeat."""
_WARM_UP = 4
"""Plies that are not counted."""


@dataclass
class Meter:
    """An evaluator that counts what passes through it."""

    evaluator: Evaluator
    # Positions evaluated.
    positions: int = 0
    # Wall time of evaluation.
    seconds: float = 0.0

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> EvaluationLike:
        """See `search.evaluator.Evaluator`."""
        begun = working_time()
        evaluation = self.evaluator.evaluate(positions, moves, offsets)
        self.seconds += working_time() - begun
        self.positions += positions.shape[0]
        return evaluation


@dataclass(frozen=True)
class _Repeat:
    """What one worker did in one repeat."""

    evaluations: int
    plies: int
    seconds: float
    network_seconds: float


def self_play() -> Iterator[Row]:
    """Self-play on every core, with the fastest backend of each precision, beside the network's own
    speed on as many cores."""
    workers = len(usable_cores())
    for name in NETWORKS:
        for precision in ("fp32", "bf16", "int8"):
            try:
                backend = network_evaluator(name, precision, "auto").backend
            except InputError:
                continue
            alone = statistics.median(network_rates(name, precision, backend))
            peer = (f"the network alone on {workers} cores, by {backend}", workers * alone)
            repeats = _play_everywhere(workers, name, precision, backend)
            evaluations = [sum(r.evaluations / r.seconds for r in turn) for turn in repeats]
            plies = [sum(r.plies / r.seconds for r in turn) for turn in repeats]
            outside = [
                100.0 * (1.0 - sum(r.network_seconds for r in turn) / sum(r.seconds for r in turn))
                for turn in repeats
            ]
            label = f"self-play/{GAME}/{name}/{precision}"
            yield row(label, "simulations/s", evaluations, peer)
            yield row(f"{label}/moves", "moves/s", plies)
            yield row(f"{label}/outside-the-network", "% of the time", outside)


def _play_everywhere(
    workers: int, name: str, precision: str, backend: str
) -> list[tuple[_Repeat, ...]]:
    """Each repeat of all workers, which play at the same time."""
    context = multiprocessing.get_context("spawn")
    started = []
    for number in range(workers):
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(theirs, number, name, precision, backend), daemon=True
        )
        process.start()
        theirs.close()
        started.append((process, ours))
    try:
        for _, pipe in started:
            pipe.recv()
        for _, pipe in started:
            pipe.send("go")
        found = [pipe.recv() for _, pipe in started]
    except EOFError:
        raise InputError(f"bench: a self-play worker ended early ({name}, {precision})") from None
    finally:
        # When one worker died early, the others would wait forever for requests.
        for process, pipe in started:
            pipe.close()
            process.terminate()
        for process, _ in started:
            process.join(timeout=10)
    return list(zip(*found, strict=True))


def _work(pipe: Connection, number: int, name: str, precision: str, backend: str) -> None:
    """A worker: warm up, wait for the others, play the repeats, report."""
    pin_to_core(number)
    import torch

    torch.set_num_threads(1)
    meter = Meter(network_evaluator(name, precision, backend))
    config = SelfPlayConfig(games=BATCH, simulations=SIMULATIONS, longest_game=200)
    games = SelfPlay(get_variant(GAME), config, np.random.default_rng(1 + number))
    for _ in range(_WARM_UP):
        games.step(meter)
    pipe.send("ready")
    pipe.recv()
    pipe.send([_repeat(games, meter) for _ in range(REPEATS)])


def _repeat(games: SelfPlay, meter: Meter) -> _Repeat:
    meter.positions, meter.seconds = 0, 0.0
    begun, plies = working_time(), 0
    while working_time() - begun < _SECONDS:
        games.step(meter)
        plies += BATCH
    return _Repeat(meter.positions, plies, working_time() - begun, meter.seconds)
