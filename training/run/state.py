"""What a run saves: a checkpoint, then the learner's state, which commits the round.

`read_header`, `must_fit`, `saved_round` and `naming_fault` serve every kind of
training; the rest is of self-play training.
"""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from engine.network.checkpoint import load_tensors, read_metadata, save_checkpoint, save_tensors
from engine.rules.errors import NotFiniteError
from engine.rules.variant import Variant
from training.config import TrainingConfig
from training.data.index import Index, is_kept
from training.data.run_directory import (
    LEARNER_STATE,
    RunDirectory,
    RunError,
    is_checkpoint,
    is_round_line,
)
from training.data.shards import are_counts
from training.learner.learner import Learner
from training.learner.networks import Settings, check_settings
from training.run.variant_state import VariantState

STATE_FORMAT: Final = "pawnscope-learner-3"


def read_header(path: Path, state_format: str) -> dict[str, Any] | None:
    """The header of a state file, None where there is no file; raises RunError for another
    format."""
    if not path.exists():
        return None
    header = read_metadata(path)
    if header.get("format") != state_format:
        raise RunError(f"{path}: not the state of a learner that this version can read")
    return header


@contextmanager
def must_fit(path: Path, what: str) -> Iterator[None]:
    """Raises RunError where restoring in the block fails: the state does not fit `what`."""
    try:
        yield
    except (KeyError, RuntimeError, ValueError, TypeError) as problem:
        text = textwrap.shorten(str(problem), 160, placeholder=" …")
        raise RunError(f"{path}: does not fit {what} ({text})") from None


def saved_round(directory: Path) -> int | None:
    """The round of the last state that a run directory holds; None where there is none."""
    path = directory / LEARNER_STATE
    return int(read_metadata(path)["round"]) if path.exists() else None


@contextmanager
def naming_fault(directory: Path, doing: str, rates: str) -> Iterator[None]:
    """Add to a NotFiniteError of the block what the run was `doing`, what is saved, and the
    learning `rates` that may be too high."""
    try:
        yield
    except NotFiniteError as fault:
        number = saved_round(directory)
        # A run without a round is removed.
        saved = f"the last state saved is round {number}" if number else "no round was saved"
        raise NotFiniteError(
            f"{directory}: {doing}: {fault}; {saved} ({rates} too high?)"
        ) from None


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


def read_state(
    directory: RunDirectory, index: Index, states: Sequence[VariantState], settings: Settings
) -> tuple[Progress, dict[str, Any] | None]:
    """The progress of a run, and the checked header of the learner's state, whose counts `states`
    take over; None in a new run. Raises RunError, CheckpointError."""
    path = directory.learner_state
    header = read_header(path, STATE_FORMAT)
    if header is None:
        if index.shards():
            raise RunError(f"{path}: missing, but games were played before")
        return Progress(), None
    names = [state.variant.name for state in states]
    sound = False
    with suppress(KeyError, TypeError, AttributeError):
        sound = _is_sound(header, names)
    if not sound:
        raise RunError(f"{path}: its header is not that of a run of {', '.join(names)}")
    # States of older versions do not say what their network is made of.
    if "network" in header:
        check_settings(path, header["network"], settings)
    for state in states:
        if header["digests"][state.variant.name] != state.variant.digest:
            raise RunError(f"{path}: the rules of {state.variant.name} have changed since")
        state.played.update(header["games"][state.variant.name])
    names = ["round", "seconds", "acting", "learned", "line"]
    return Progress(**{name: header[name] for name in names if name in header}), header


def _is_sound(header: dict[str, Any], names: list[str]) -> bool:
    """Whether a header has what a run of these variants needs; raises KeyError, TypeError or
    AttributeError where something is missing."""
    acting = header["acting"]
    counts = [header["games"][name][kind] for name in names for kind in ("positions", "games")]
    texts = [header["digests"][name] for name in names] + list(header.get("learned", {}).values())
    return (
        (acting is None or (is_checkpoint(Path(acting)) and Path(acting).name == acting))
        and isinstance(header.get("network", {}), dict)
        and (header.get("line") is None or is_round_line(header["line"]))
        and all(isinstance(text, str) for text in texts)
        and are_counts([header["round"], header["steps"], *counts])
        and type(header["seconds"]) in (int, float)
        and header["seconds"] >= 0
    )


@dataclass(kw_only=True)
class RunState:
    """The parts of an open run that are saved, and where."""

    directory: RunDirectory
    index: Index
    # One for each variant, in the order of the configuration.
    states: Sequence[VariantState]
    learner: Learner
    progress: Progress

    @property
    def config(self) -> TrainingConfig:
        """The run's configuration."""
        return self.directory.config

    @property
    def variants(self) -> list[Variant]:
        """The variants that are learned."""
        return [state.variant for state in self.states]

    @property
    def newest(self) -> Path:
        """The checkpoint of the learner's last step."""
        return self.directory.checkpoint_path(self.learner.steps)

    @property
    def acting(self) -> Path:
        """The checkpoint that plays: the newest, or the last that passed the gate."""
        name = self.progress.acting
        return self.directory.checkpoints / name if name else self.newest

    def restore(self, header: dict[str, Any] | None) -> None:
        """Restore the learner and the windows; write a checkpoint that is missing, and of a new run
        the first state. Raises RunError, CheckpointError, ShardError, OSError."""
        directory, progress = self.directory, self.progress
        if header is not None:
            tensors, _ = load_tensors(directory.learner_state)
            with must_fit(directory.learner_state, "the run's network"):
                self.learner.restore(tensors, header["steps"])
        elif self.config.gate_games:
            progress.acting = self.newest.name
        self.index.restore_checkpoints(progress.round)
        lost = header is not None and progress.acting is not None and not self.acting.exists()
        if lost:
            directory.log(f"{self.acting}: missing, the newest network plays")
            progress.acting = self.newest.name
        if header is None or lost or not self.newest.exists():
            self.save()
        for state in self.states:
            finished = self.index.shards_of(state.variant.name, range(progress.round + 1))
            state.fill(directory.games, finished, directory.log)

    def save(self) -> None:
        """Write the checkpoint of this step, then the learner's state, and remove the checkpoints
        that are not kept. Raises NotFiniteError, and then the last state stays, and OSError."""
        progress, learner = self.progress, self.learner
        with self.naming_learning_rate(f"round {progress.round} is not saved"):
            learner.require_sound()
        digests = {variant.name: variant.digest for variant in self.variants}
        learned = progress.learned | digests
        save_checkpoint(
            self.newest,
            learner.ema,
            metadata={
                "round": progress.round,
                "step": learner.steps,
                "seed": self.config.seed,
                "seconds": round(progress.seconds, 2),
            },
            trained_on=list(learned),
            digests={name: digest for name, digest in learned.items() if digest},
        )
        header = {
            "format": STATE_FORMAT,
            "network": learner.network.config.to_dict(),
            "digests": digests,
            "learned": learned,
            "steps": learner.steps,
            "round": progress.round,
            "seconds": progress.seconds,
            "games": {state.variant.name: state.played for state in self.states},
            "acting": progress.acting,
            "line": progress.line,
        }
        save_tensors(self.directory.learner_state, learner.state(), header)
        if progress.round:
            self.directory.keep()
        if is_kept(progress.round):
            self.index.add_checkpoint(self.newest.name, progress.round, learner.steps)
        kept = self.index.checkpoints() | {self.newest.name, self.acting.name}
        self.directory.drop_checkpoints(lambda path: path.name in kept)

    def naming_learning_rate(self, doing: str) -> AbstractContextManager[None]:
        """`naming_fault` with the run's learning rate."""
        rates = f"is learning_rate = {self.config.learning.learning_rate:g}"
        return naming_fault(self.directory.path, doing, rates)
