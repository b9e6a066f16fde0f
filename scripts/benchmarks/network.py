"""Benchmarks of arithmetic: the machine's ceiling, the network on each backend, the learner.

All on one thread of torch, which the caller sets.
"""

import functools
import statistics
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.network.inference.backend_evaluator import BackendEvaluator
from engine.network.inference.evaluator import make_evaluator
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.errors import InputError
from engine.rules.kernels import generate_batch
from engine.rules.variant import Variant, get_variant
from scripts.benchmarks.rows import BATCH, Row, rates, row
from search.evaluator import UniformEvaluator
from training.config import LearningConfig, SelfPlayConfig
from training.data.replay import ReplayWindow
from training.data.shards import GameRows
from training.learner.learner import Learner
from training.selfplay.games import SelfPlay

GAME: Final = "gardner"
NETWORKS: Final[dict[str, dict[str, object]]] = {
    "transformer-4x64": {"trunk": "transformer", "blocks": 4, "channels": 64, "heads": 1},
    "residual-5x64": {"trunk": "residual", "blocks": 5, "channels": 64},
    "residual-5x64-plain": {
        "trunk": "residual",
        "blocks": 5,
        "channels": 64,
        "norm": "none",
        "excitation": False,
    },
}
"""The plain tower has neither LayerNorm nor squeeze-and-excitation."""
BACKENDS: Final = (
    ("fp32", "torch"),
    ("bf16", "torch"),
    ("fp32", "openvino"),
    ("bf16", "openvino"),
    ("int8", "openvino"),
    ("bf16", "native"),
    ("int8", "native"),
)
_BATCHES: Final = (32, BATCH)
_SIDE: Final = 1024
"""Size of the ceiling's matrices: enough for full speed, and they fit a cache."""


@functools.cache
def matmul_ceiling(precision: str) -> tuple[float, ...]:
    """Multiplications and additions a second of one core in a large product, each repeat."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}[precision]
    matrix = torch.randint(-100, 100, (_SIDE, _SIDE)).to(dtype)
    multiply = torch._int_mm if precision == "int8" else torch.mm

    def work() -> float:
        for _ in range(20):
            multiply(matrix, matrix)
        return 20 * 2.0 * _SIDE**3

    return tuple(rates(work))


def ceiling() -> Iterator[Row]:
    """The machine's ceiling: what one core multiplies in a second."""
    for precision in ("fp32", "bf16", "int8"):
        yield row(f"ceiling/matmul/{precision}", "FLOP/s", list(matmul_ceiling(precision)))


def untrained(variant: Variant, name: str) -> PolicyValueNet:
    """A network of the list, with random weights: the speed is the same."""
    torch.manual_seed(1)
    return PolicyValueNet(NetworkConfig.for_variant(variant, NETWORKS[name])).eval()


@functools.cache
def flops_a_position(name: str) -> int:
    """Multiplications and additions of one evaluation.

    A convolution's padding counts in full. Kernels that leave it out, a quarter of the taps on 5x5,
    may exceed the ceiling.
    """
    variant = get_variant(GAME)
    network = untrained(variant, name)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.from_numpy(variant.start_row[None].copy()))
    return int(counter.get_total_flops())


@functools.cache
def game_rows() -> GameRows:
    """Positions from play, for calibration and for the learner."""
    variant = get_variant(GAME)
    config = SelfPlayConfig(games=32, simulations=4, search="puct", longest_game=60)
    games = SelfPlay(variant, config, np.random.default_rng(1))
    return games.play(UniformEvaluator(), 2048)


def network_evaluator(
    name: str, precision: str, backend: str, batch: int = BATCH
) -> BackendEvaluator:
    """A network of the list on a backend; raises InputError where that is impossible."""
    variant = get_variant(GAME)
    calibration = game_rows().positions[:1024] if precision == "int8" else None
    return make_evaluator(
        untrained(variant, name),
        backend=backend,
        precision=precision,
        max_batch=batch,
        calibration=calibration,
    )


def network_rates(name: str, precision: str, backend: str, batch: int = BATCH) -> list[float]:
    """Positions a second of one core in each repeat; raises InputError."""
    variant = get_variant(GAME)
    rows: npt.NDArray[np.uint8] = np.ascontiguousarray(game_rows().positions[:batch])
    moves, offsets = generate_batch(variant.tables, rows)
    evaluator = network_evaluator(name, precision, backend, batch)
    repeats = max(1, 8 * BATCH // batch)

    def work() -> int:
        for _ in range(repeats):
            evaluator.evaluate(rows, moves, offsets)
        return repeats * batch

    return rates(work)


def network() -> Iterator[Row]:
    """Inference alone, on one thread, with encoding of rows and reading of moves."""
    for name in NETWORKS:
        for precision, backend in BACKENDS:
            peak = statistics.median(matmul_ceiling(precision)) / flops_a_position(name)
            for batch in _BATCHES:
                label = f"network/{GAME}/{name}/{precision}/{backend}/batch-{batch}"
                try:
                    found = network_rates(name, precision, backend, batch)
                except InputError:
                    break  # Not on this machine; a row of nothing would say less.
                yield row(label, "positions/s", found, (f"the {precision} matmul", peak))


def learner() -> Iterator[Row]:
    """Rows per second of the learner on one thread; backward costs twice as much as forward."""
    variant = get_variant(GAME)
    for name in NETWORKS:
        config = LearningConfig(batch=256)
        window = ReplayWindow(config)
        window.add(game_rows(), config.window)
        trained = Learner([variant], untrained(variant, name), config)

        def work(trained: Learner = trained, window: ReplayWindow = window) -> int:
            trained.learn([window], 4, np.random.default_rng(1))
            return 4 * 256

        peak = statistics.median(matmul_ceiling("fp32")) / (3 * flops_a_position(name))
        yield row(f"learner/{GAME}/{name}", "rows/s", rates(work), ("the fp32 matmul", peak))
