"""A training run is a directory: its files, its lock, its metrics. It knows no network."""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar

from engine.rules.errors import InputError
from engine.settings import Settings
from engine.system.files import append_json, append_whole, whole_lines, write_whole
from training.config import (
    ChosenConfig,
    TrainingConfig,
    Variants,
    differences,
    joined_names,
    load_config,
    replace,
    resolve,
    to_toml,
)

_CHECKPOINT: Final = re.compile(r"\d{8}\.safetensors")
_BEGUN: Final = (".lock", "config.toml.tmp")
"""The files of a run that was killed before its configuration was written."""
LEARNER_STATE: Final = "learner.safetensors"
_KINDS: Final = {
    "a training run": {"stop_at_raw"},
    "a language run": {"vocabulary", "corpus"},
}
"""Fields of its config.toml that only a run of that kind has."""
_FILES: Final = (
    *(LEARNER_STATE, "games.safetensors", "index.sqlite", "metrics.jsonl", "log.txt"),
    *("config.toml", ".lock"),
)
"""The files that a run writes, outside of its folders, before its first round is saved."""

ConfigT = TypeVar("ConfigT", bound=Settings)


class RunError(InputError):
    """A run directory that cannot be used as asked; names the directory."""


class LockedDirectory(Generic[ConfigT]):
    """The directory of a run of any kind, locked by this process until `close`.

    A kind of run is a subclass that says how its configuration comes about. A context manager. If
    its block fails before the first round of a new run is saved, what the run has written is
    removed: the next start, with other settings, finds nothing in its way. A kill and ^C leave it.
    """

    folders: tuple[str, ...] = ("checkpoints",)
    """Made when the run begins."""

    def __init__(
        self, path: Path, kind: str, new: Callable[[], ConfigT], existing: Callable[[], ConfigT]
    ) -> None:
        """Open the run, or begin one, of a kind in words, in an empty or new directory.

        `new` makes the configuration of a new run, before anything is written; `existing` reads
        that of a run that exists, once the directory is locked. Raises RunError, SettingError, what
        `new` and `existing` raise, or OSError, and then nothing has been changed.
        """
        self.path = path
        self.config_path = path / "config.toml"
        # Of self-play games.
        self.games = path / "games"
        self.checkpoints = path / "checkpoints"
        # Everything that a resumed run needs beside games and checkpoints.
        self.learner_state = path / LEARNER_STATE
        # One JSON object a line.
        self.metrics = path / "metrics.jsonl"
        if not self.config_path.exists():
            if path.exists() and any(item.name not in _BEGUN for item in path.iterdir()):
                raise RunError(f"{path}: neither empty nor {kind} (no config.toml)")
            self.config = new()
        # The folders that this session made for a new run, the innermost first; None for a run that
        # is kept whatever happens.
        self._made: list[Path] | None = None
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        self._lock = lock(path)
        try:
            # Read only now: until then another process may have changed it.
            if self.config_path.exists():
                refuse_other_kind(path, kind)
                self.config = existing()
            else:
                self._made = missing
                self.write_config(self.config)
            for folder in self.folders:
                (path / folder).mkdir(exist_ok=True)
            for leftover in (*path.glob("*.tmp"), *path.glob("*/*.tmp")):
                # A worker that outlives its learner for a moment may remove it first.
                leftover.unlink(missing_ok=True)
            for name in ("metrics.jsonl", "log.txt"):
                whole_lines(path / name)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and self._made is not None:
            self._remove()
        self.close()

    def keep(self) -> None:
        """Leave everything in place from now on: a round is saved."""
        self._made = None

    def _remove(self) -> None:
        """Remove the files of a run, and the folders that this session made."""
        # TensorBoard's folder is made by the command, if asked for.
        for folder in (*self.folders, "tensorboard"):
            shutil.rmtree(self.path / folder, ignore_errors=True)
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)
        for made in self._made or ():
            # Somebody else may have put a file there.
            with contextlib.suppress(OSError):
                made.rmdir()

    def checkpoint_path(self, number: int) -> Path:
        """Where the network of a step, or of a round, is kept."""
        return self.checkpoints / f"{number:08d}.safetensors"

    def write_config(self, config: ConfigT) -> None:
        """Write the configuration; raises OSError."""
        write_whole(self.config_path, to_toml(config))

    def drop_metrics_after(self, number: int) -> list[dict[str, Any]]:
        """Drop the metrics of rounds after `number`, which will be made again; returns the lines
        that stay. Raises OSError, RunError."""
        lines = read_metrics(self.path) if self.metrics.exists() else []
        kept = [values for values in lines if values["round"] <= number]
        if len(kept) < len(lines):
            text = "".join(json.dumps(values) + "\n" for values in kept)
            write_whole(self.metrics, text)
        return kept

    def drop_checkpoints(self, kept: Callable[[Path], bool]) -> None:
        """Remove all networks but those that are `kept`; raises OSError."""
        for path in checkpoints_in(self.path):
            if not kept(path):
                path.unlink()

    def add_metrics(self, values: dict[str, Any]) -> None:
        """Append one line; raises OSError."""
        append_json(self.metrics, values)

    def log(self, text: str) -> None:
        """Append a line to log.txt; raises OSError."""
        append_whole(self.path / "log.txt", text + "\n")

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)


def refuse_other_kind(path: Path, kind: str) -> None:
    """Raises RunError for the directory of a run of another kind than this one of `_KINDS`."""
    try:
        names = tomllib.loads((path / "config.toml").read_text(encoding="utf-8")).keys()
    except ValueError:
        # It is read, and refused, by who knows its fields.
        return
    found = [each for each, own in _KINDS.items() if own <= names]
    if found and kind not in found:
        raise RunError(f"{path}: {found[0]}, not {kind}; another directory is needed")


class RunDirectory(LockedDirectory[TrainingConfig]):
    """The directory of a self-play training run."""

    folders = ("games", "checkpoints")

    def __init__(self, path: Path, variants: Variants, overrides: dict[str, Any]) -> None:
        """`overrides` are what the person asked for; a run that exists must agree with them, but
        for `chosen`, which only a new run takes over. Raises as `LockedDirectory`."""

        def existing() -> TrainingConfig:
            config = load_config(path / "config.toml")
            # How long to train and when to stop are asked anew each time; the rest belongs to the
            # run. `chosen` is measured, and a file with settings may come from another machine.
            free = ("minutes", "stop_at_raw")
            asked = {name: value for name, value in overrides.items() if name != "chosen"}
            changes = changes_of(path, config, joined_names(variants), asked, free)
            return replace(config, changes)

        super().__init__(path, "a training run", lambda: resolve(variants, overrides), existing)

    def choose(self, chosen: ChosenConfig) -> None:
        """Record what the run is computed with; raises OSError.

        Settings for this session alone (`--minutes`) are not written.
        """
        self.write_config(dataclasses.replace(load_config(self.config_path), chosen=chosen))
        self.config = dataclasses.replace(self.config, chosen=chosen)


def changes_of(
    path: Path, config: Any, variant: str, overrides: dict[str, Any], free: tuple[str, ...]
) -> dict[str, Any]:
    """The `overrides` that change the `config` (a dataclass) of a run that exists: only `free`
    fields may. Raises RunError for a run of another variant, and naming any other field."""
    if config.variant != variant:
        raise RunError(f"{path}: a run of {config.variant}, not of {variant}")
    fixed = {name: value for name, value in overrides.items() if name not in free}
    different = differences(config, fixed)
    if different:
        raise RunError(f"{path}: {different[0]}; choose another run or leave the setting out")
    return {name: overrides[name] for name in free if name in overrides}


def lock(path: Path) -> int:
    """Lock a directory until the returned descriptor is closed; raises RunError, naming the process
    that holds the lock, and OSError."""
    descriptor = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise RunError(f"{path}: another training is at work there (process {holder})") from None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The metrics of a run directory, oldest first; empty lines and half a line at the end are
    skipped. Raises OSError, and RunError, quoting it, for a line without a round."""
    file = path / "metrics.jsonl"
    metrics: list[dict[str, Any]] = []
    lines = file.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        values: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            values = json.loads(line)
        if is_round_line(values):
            metrics.append(values)
        elif number < len(lines):
            text = line[:40].decode(errors="replace")
            raise RunError(f"{file}: line {number} is not that of a round ('{text}')")
    return metrics


def is_round_line(values: object) -> bool:
    """Whether these are the values of a line of the metrics: a dictionary with a round."""
    return isinstance(values, dict) and type(values.get("round")) is int and values["round"] >= 0


def run_checkpoints(path: Path) -> list[Path]:
    """The checkpoints of a run directory, first to last; raises RunError where there are none."""
    found = checkpoints_in(path)
    if found:
        return found
    if not path.exists():
        raise RunError(f"{path}: there is no such run")
    if not path.is_dir():
        inside = path.parent.name == "checkpoints"
        run = f", as {path.parent.parent}" if inside else ""
        raise RunError(f"{path}: a file, and a run's directory is needed{run}")
    raise RunError(f"{path}: no checkpoints there, is it a training run?")


def checkpoints_in(path: Path) -> list[Path]:
    """The checkpoints of a run directory, first to last; a new run has none."""
    return sorted(
        item for item in (path / "checkpoints").glob("*.safetensors") if is_checkpoint(item)
    )


def checkpoint_of(path: Path) -> Path:
    """A checkpoint, or the last one of a run's directory; raises RunError where there is none."""
    return run_checkpoints(path)[-1] if path.is_dir() else path


def is_checkpoint(path: Path) -> bool:
    """Whether a file has the name of a run's checkpoint."""
    return _CHECKPOINT.fullmatch(path.name) is not None
