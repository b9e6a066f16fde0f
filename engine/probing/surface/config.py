"""How to probe."""

from dataclasses import dataclass
from pathlib import Path

from engine.probing.activations.capture import Readout
from engine.probing.data.signatures import HeldOut


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Settings of a surface. Everything random follows from `seed`."""

    # Of splits, controls and resamples.
    seed: int = 0
    # Points to probe; empty means the stream after each block and the pooled board.
    layers: tuple[str, ...] = ()
    # How a probe reads squares (capture.py).
    readout: Readout = "mean+max"
    # Share of the games, or canonical positions, that is held out.
    test_share: float = 0.3
    # Rows that a probe is fitted to, at most; the others of the training side are not used.
    training_rows: int = 14_000
    # Parts of the training side for the choice of the penalty.
    folds: int = 4
    # What the harder split holds out whole; None takes what suits the game.
    held_out: HeldOut | None = None
    # Untrained networks to compare with.
    random_networks: int = 5
    # Bootstrap resamples.
    resamples: int = 1000
    # Of the intervals.
    confidence: float = 0.95
    # Whether positions to look at and other forms of probes are added for the last network.
    details: bool = True
    # Layers that are probed at the same time, each on one core.
    workers: int = 1
    # Bytes of features in memory at a time, for each worker; at least one layer's.
    memory: int = 1 << 29
    # A folder to keep the features of all layers in, and to read them from; None keeps nothing.
    activations: Path | None = None

    @property
    def random_seeds(self) -> tuple[int, ...]:
        """Seeds of the untrained networks."""
        return tuple(self.seed + 1 + index for index in range(self.random_networks))
