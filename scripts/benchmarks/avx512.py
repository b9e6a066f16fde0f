"""What the AVX-512 kernels are worth end to end: self-play with them and with OpenVINO, in turn.

    python -m scripts.benchmarks.avx512

Each pair plays Gardner as the preset does, on one core with one thread, with an untrained network
of the preset's size and the same precision. The two play in turn, some seconds each, so that other
load on the machine meets both; every turn gives one ratio.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
import torch

from engine.network.inference.backends.protocol import BackendError, BackendName, PrecisionName
from engine.network.inference.parity import random_positions
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.variant import get_variant
from scripts.benchmarks.network import GAME
from scripts.benchmarks.rows import Row, row
from scripts.streams import open_streams
from training.config import resolve
from training.selfplay.acting_evaluator import ActingEvaluator
from training.selfplay.actors.processes import pin_to_core
from training.selfplay.games import SelfPlay

TRUNKS: Final = ("transformer", "residual")
PRECISIONS: Final[tuple[PrecisionName, ...]] = ("fp32", "bf16", "int8")
BACKENDS: Final[tuple[BackendName, ...]] = ("native", "openvino")
TURNS: Final = 9
_SECONDS: Final = 4.0
"""Of one turn."""
_WARM_UP: Final = 2
"""Plies that are not counted."""
_CALIBRATION: Final = 512
"""Positions."""


class _Player:
    """Self-play with one backend."""

    def __init__(self, trunk: str, backend: BackendName, precision: PrecisionName) -> None:
        """Raises BackendError where the backend is not available."""
        variant = get_variant(GAME)
        config = resolve((variant,), {"network": {"trunk": trunk}})
        torch.manual_seed(1)
        network = PolicyValueNet(config.network_config(variant)).eval()
        self_play = replace(config.self_play, backend=backend, precision=precision)
        self._games = SelfPlay(variant, self_play, np.random.default_rng(1))
        self._evaluator = ActingEvaluator(
            variant, self_play, lambda: random_positions(variant, _CALIBRATION)
        )
        self._evaluator.prepare(network)
        for _ in range(_WARM_UP):
            self._games.step(self._evaluator.cached)

    def simulations_a_second(self) -> float:
        """In one turn; a simulation counts when the network evaluated its leaf."""
        self._evaluator.account()
        begun = time.perf_counter()
        while time.perf_counter() - begun < _SECONDS:
            self._games.step(self._evaluator.cached)
        seconds = time.perf_counter() - begun
        return float(self._evaluator.account()["evaluations"]) / seconds


def compared() -> Iterator[Row]:
    """A row a pair: the kernels' simulations, and their ratio to OpenVINO's of the same turn."""
    for trunk in TRUNKS:
        for precision in PRECISIONS:
            label = f"avx512/self-play/{GAME}/{trunk}/{precision}"
            try:
                players = [_Player(trunk, name, precision) for name in BACKENDS]
            except BackendError:
                continue
            turns = [[player.simulations_a_second() for player in players] for _ in range(TURNS)]
            yield row(label, "simulations/s", [ours for ours, _ in turns])
            yield row(f"{label}/openvino", "simulations/s", [theirs for _, theirs in turns])
            yield row(f"{label}/ratio", "times", [ours / theirs for ours, theirs in turns])


def main() -> None:
    """Measure and print."""
    open_streams()
    pin_to_core(0)
    torch.set_num_threads(1)
    for found in compared():
        print(
            f"{found.name:<52}{found.value:>12,.2f} {found.unit:<14}"
            f" ({found.low:,.2f} to {found.high:,.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
