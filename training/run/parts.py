"""What a self-play training run consists of while it is open."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.rules.variant import Variant
from training.config import LearningConfig, TrainingConfig
from training.data.index import Index
from training.data.run_directory import RunDirectory
from training.evaluation.truth import TruthCurves
from training.learner.learner import Learner
from training.learner.networks import Settings
from training.run.choices import Choices
from training.run.monitor import Monitor
from training.run.variant_state import VariantState
from training.selfplay.actors.processes import WorkerPool
from training.selfplay.actors.protocol import Actors


@dataclass(kw_only=True)
class Progress:
    """How far a run is, from the header of the learner's state."""

    # Rounds done.
    round: int = 0
    # Seconds of training in all sessions; compiling does not count.
    seconds: float = 0.0
    # The name of the checkpoint that plays; None without a gate: the newest plays.
    acting: str | None = None
    # Digests by name of all variants that the network knows, of the network it began with too.
    learned: dict[str, str] = field(default_factory=dict)
    # The last round's line of the metrics, which a killed session may not have written there.
    line: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """All parts of a run; `setup.py` makes them, and only `progress` and their insides change."""

    directory: RunDirectory
    monitor: Monitor
    choices: Choices
    index: Index
    # One for each variant, in the order of the configuration.
    states: tuple[VariantState, ...]
    # What the network is made of.
    settings: Settings
    # Of the variants that are solved.
    curves: TruthCurves
    # With the precision that "auto" came to.
    learning: LearningConfig
    learner: Learner
    # Worker processes, if there are any.
    pool: WorkerPool | None
    actors: Actors
    progress: Progress

    @property
    def config(self) -> TrainingConfig:
        """The run's configuration."""
        return self.directory.config

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The variants that are learned."""
        return tuple(state.variant for state in self.states)

    @property
    def newest(self) -> Path:
        """The checkpoint of the learner's last step."""
        return self.directory.checkpoint_path(self.learner.steps)

    @property
    def checkpoint(self) -> Path:
        """The checkpoint that plays: the newest, or the last that passed the gate."""
        acting = self.progress.acting
        return self.directory.checkpoints / acting if acting else self.newest

    def close(self) -> None:
        """End the workers and close the index."""
        self.actors.close()
        if self.pool:
            self.pool.close()
        self.index.close()
