"""What a run saves: a checkpoint, then the learner's state, which commits the round.

`read_header`, `must_fit`, `are_counts`, `saved_round` and `naming_fault` serve every kind of
training; the rest is of self-play training.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from engine.network.checkpoint import load_tensors, read_metadata, save_checkpoint, save_tensors
from engine.rules.errors import NotFiniteError
from training.data.index import Index, is_kept
from training.data.run_directory import (
    LEARNER_STATE,
    RunDirectory,
    RunError,
    is_checkpoint,
    is_round_line,
)
from training.learner.networks import Settings, check_settings
from training.run.parts import Progress, RunParts
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


def are_counts(values: Iterable[object]) -> bool:
    """Whether all are whole numbers that count something."""
    return all(type(value) is int and 0 <= value < 1 << 53 for value in values)


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
        saved = "nothing" if number is None else f"round {number}"
        raise NotFiniteError(
            f"{directory}: {doing}: {fault}; the last state saved is {saved} ({rates} too high?)"
        ) from None


def read_state(
    directory: RunDirectory, index: Index, states: Sequence[VariantState], settings: Settings
) -> dict[str, Any] | None:
    """The checked header of the learner's state; None in a new run. Raises RunError,
    CheckpointError."""
    path = directory.learner_state
    header = read_header(path, STATE_FORMAT)
    if header is None:
        if index.shards():
            raise RunError(f"{path}: missing, but games were played before")
        return None
    names = [state.variant.name for state in states]
    sound = False
    with suppress(KeyError, TypeError, AttributeError):
        sound = _is_sound(header, names)
    if not sound:
        raise RunError(f"{path}: its header is not that of a run of {', '.join(names)}")
    if "network" in header:
        check_settings(path, header["network"], settings)
    for state in states:
        if header["digests"][state.variant.name] != state.variant.digest:
            raise RunError(f"{path}: the rules of {state.variant.name} have changed since")
    return header


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


def restore_progress(header: dict[str, Any] | None, states: Sequence[VariantState]) -> Progress:
    """The progress of a header, and the counts of its variants into `states`; those of a new run
    without a header."""
    if header is None:
        return Progress()
    for state in states:
        state.restore(header["games"][state.variant.name])
    return Progress(
        round=header["round"],
        seconds=header["seconds"],
        acting=header["acting"],
        learned=header.get("learned", {}),
        line=header.get("line"),
    )


def restore(run: RunParts, header: dict[str, Any] | None) -> None:
    """Restore the learner and the windows; write a checkpoint that is missing, and of a new run the
    first state. Raises RunError, CheckpointError, ShardError, OSError."""
    directory, progress = run.directory, run.progress
    if header is not None:
        tensors, _ = load_tensors(directory.learner_state)
        # States of older versions do not say what their network is made of.
        with must_fit(directory.learner_state, "the run's network"):
            run.learner.restore(tensors, header["steps"])
    elif run.config.gate_games:
        progress.acting = run.newest.name
    run.index.restore_checkpoints(progress.round)
    lost = header is not None and progress.acting is not None and not run.checkpoint.exists()
    if lost:
        directory.log(f"{run.checkpoint}: missing, the newest network plays")
        progress.acting = run.newest.name
    if header is None or lost or not run.newest.exists():
        save(run)
    for state in run.states:
        finished = run.index.shards_of(state.variant.name, range(progress.round + 1))
        state.fill(directory.games, finished, directory.log)


def save(run: RunParts) -> None:
    """Write the checkpoint of this step, then the learner's state, and remove the checkpoints that
    are not kept. Raises NotFiniteError, and then the last state stays, and OSError."""
    progress, learner = run.progress, run.learner
    with naming_learning_rate(run, f"round {progress.round} is not saved"):
        learner.require_sound()
    digests = {variant.name: variant.digest for variant in run.variants}
    learned = progress.learned | digests
    save_checkpoint(
        run.newest,
        learner.ema,
        metadata={
            "round": progress.round,
            "step": learner.steps,
            "seed": run.config.seed,
            "seconds": round(progress.seconds, 2),
        },
        trained_on=list(learned),
        digests={name: digest for name, digest in learned.items() if digest},
    )
    header = {
        "format": STATE_FORMAT,
        "network": run.settings.to_dict(),
        "digests": digests,
        "learned": learned,
        "steps": learner.steps,
        "round": progress.round,
        "seconds": progress.seconds,
        "games": {state.variant.name: state.counts() for state in run.states},
        "acting": progress.acting,
        "line": progress.line,
    }
    save_tensors(run.directory.learner_state, learner.state(), header)
    if is_kept(progress.round):
        run.index.add_checkpoint(run.newest.name, progress.round, learner.steps)
    kept = run.index.checkpoints() | {run.newest.name, run.checkpoint.name}
    run.directory.drop_checkpoints(lambda path: path.name in kept)


def naming_learning_rate(run: RunParts, doing: str) -> AbstractContextManager[None]:
    """`naming_fault` with the run's learning rate."""
    rates = f"is learning_rate = {run.learning.learning_rate:g}"
    return naming_fault(run.directory.path, doing, rates)
