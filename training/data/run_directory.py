"""A training run is a directory (DESIGN §7): its files, its lock, and what may be wrong with it."""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
from collections.abc import Container
from pathlib import Path
from typing import Any, Final

from engine.rules.errors import InputError
from engine.system.files import append_whole, write_whole
from training.config import (
    ChosenConfig,
    Games,
    TrainingConfig,
    differences,
    games_of,
    load_config,
    merge,
    name_of,
    replace,
    resolve,
    to_toml,
)
from training.learner.networks import begun_network, checkpoint_settings, settings_of

_CHECKPOINT: Final = re.compile(r"\d{8}\.safetensors")
_BEGUN: Final = (".lock", "config.toml.tmp")
"""All that a run has that was killed before its configuration stood."""


class RunError(InputError):
    """A run directory that cannot be used as asked; names the directory."""


class RunDirectory:
    """A run's directory, locked by this process until `close`."""

    def __init__(self, path: Path, games: Games, overrides: dict[str, Any]) -> None:
        """Open the run, or begin one in an empty or new directory.

        `overrides` are what the person asked for; a run that exists must agree with them, but for
        `chosen`, which only a new run takes over. Raises RunError, ConfigError, CheckpointError or
        OSError, and then nothing has been changed.
        """
        self.path = path
        config_path = path / "config.toml"
        if not config_path.exists():
            refuse_foreign(path, "a training run")
            self.config = self._stored = _new_config(games, overrides)
        path.mkdir(parents=True, exist_ok=True)
        self._lock = lock(path)
        try:
            # Read only now: until then another process may have changed it.
            if config_path.exists():
                self.config = _existing_config(path, games, overrides)
                self._stored = load_config(config_path)
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        """Begin what is new and sweep up after a run that was killed."""
        config_path = self.path / "config.toml"
        if not config_path.exists():
            write_whole(config_path, to_toml(self.config))
        for folder in (self.games, self.checkpoints):
            folder.mkdir(exist_ok=True)
        sweep(self.path)

    @property
    def games(self) -> Path:
        """The folder of self-play games."""
        return self.path / "games"

    @property
    def checkpoints(self) -> Path:
        """The folder of networks, named by step."""
        return self.path / "checkpoints"

    @property
    def learner_state(self) -> Path:
        """Everything that the learner needs to go on."""
        return self.path / "learner.safetensors"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    def checkpoint_path(self, step: int) -> Path:
        """Where the network of a step is kept."""
        return self.checkpoints / f"{step:08d}.safetensors"

    def choose(self, chosen: ChosenConfig) -> None:
        """Record what the run is computed with; raises OSError.

        What was asked for this session alone (`--minutes`) does not come into the file.
        """
        self._stored = dataclasses.replace(self._stored, chosen=chosen)
        write_whole(self.path / "config.toml", to_toml(self._stored))
        self.config = dataclasses.replace(self.config, chosen=chosen)

    def take_up_metrics(self, number: int, line: dict[str, Any] | None) -> bool:
        """Bring the metrics into agreement with the learner's state after round `number`.

        A session may have been killed when it had saved that state and not yet written `line`, the
        metrics of that round; whether it is missing comes back. Lines of later rounds, which will
        be made again, are dropped. Raises OSError.
        """
        told = read_metrics(self.path) if self.metrics.exists() else []
        kept = [values for values in told if values["round"] <= number]
        if len(kept) < len(told):
            text = "".join(json.dumps(values) + "\n" for values in kept)
            write_whole(self.metrics, text)
        return line is not None and all(values["round"] < number for values in kept)

    def drop_checkpoints(self, kept: Container[str]) -> None:
        """Remove all networks but those of these names; raises OSError."""
        for path in checkpoints_in(self.path):
            if path.name not in kept:
                path.unlink()

    def add_metrics(self, values: dict[str, Any]) -> None:
        """Append one line; raises OSError."""
        append_whole(self.metrics, json.dumps(values) + "\n")

    def log(self, text: str) -> None:
        """Append a line to log.txt; raises OSError."""
        append_whole(self.path / "log.txt", text + "\n")

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._lock)


def _new_config(games: Games, overrides: dict[str, Any]) -> TrainingConfig:
    """That of a run with fresh weights, or of one that goes on with a checkpoint's network."""
    config = resolve(games, overrides)
    if not config.initial:
        return config
    checkpoint = checkpoint_of(Path(config.initial))
    theirs = checkpoint_settings(checkpoint)
    for name, asked in overrides.get("network", {}).items():
        if name in theirs and asked != theirs[name]:
            raise RunError(f"network.{name} = {asked!r}, but {checkpoint} has {theirs[name]!r}")
    config = resolve(games, merge(overrides, {"network": theirs}))
    # Better now than with a directory half made.
    variants = games_of(games)
    begun_network(checkpoint, variants, settings_of(variants, config))
    return config


def _existing_config(path: Path, games: Games, overrides: dict[str, Any]) -> TrainingConfig:
    config = load_config(path / "config.toml")
    # How long to train and when to stop are asked anew each time; the rest belongs to the run.
    free = ("minutes", "stop_at_raw")
    # What "auto" came to is found and not asked for. A file with settings may be the run's own, or
    # another run's, and then it tells of another machine.
    asked = {name: value for name, value in overrides.items() if name != "chosen"}
    return replace(config, changes_of(path, config, name_of(games), asked, free))


def changes_of(
    path: Path, config: Any, variant: str, overrides: dict[str, Any], free: tuple[str, ...]
) -> dict[str, Any]:
    """What of `overrides` is new to a run that exists, its `config` a dataclass: only what is
    `free` may be. Raises RunError for a run of another variant, and naming another field."""
    if config.variant != variant:
        raise RunError(f"{path}: a run of {config.variant}, not of {variant}")
    fixed = {name: value for name, value in overrides.items() if name not in free}
    different = differences(config, fixed)
    if different:
        raise RunError(f"{path}: {different[0]}; choose another --run or leave the option out")
    return {name: overrides[name] for name in free if name in overrides}


def refuse_foreign(path: Path, kind: str) -> None:
    """Raises RunError where a new run, of a kind in words, would mix with other files."""
    if path.exists() and any(item.name not in _BEGUN for item in path.iterdir()):
        raise RunError(f"{path}: neither empty nor {kind} (no config.toml)")


def sweep(path: Path) -> None:
    """Clear up after a run that was killed; raises OSError."""
    for leftover in (*path.glob("*.tmp"), *path.glob("*/*.tmp")):
        # A worker that outlived its learner for a moment may have been quicker.
        leftover.unlink(missing_ok=True)
    for name in ("metrics.jsonl", "log.txt"):
        drop_broken_line(path / name)


def lock(path: Path) -> int:
    """A directory for this process alone until the descriptor that comes back is closed; raises
    RunError, naming the process that holds it, and OSError."""
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


def drop_broken_line(path: Path) -> None:
    """A killed run may have left half a line; the rest of the file stays."""
    if path.exists():
        text = path.read_bytes()
        if text and not text.endswith(b"\n"):
            os.truncate(path, text.rfind(b"\n") + 1)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The metrics of a run directory, oldest first; empty lines are passed over, and so is half a
    line at the end. Raises OSError, and RunError, quoting it, for another line that is none."""
    file = path / "metrics.jsonl"
    told: list[dict[str, Any]] = []
    lines = file.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        values: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            values = json.loads(line)
        if is_round_line(values):
            told.append(values)
        elif number < len(lines):
            text = line[:40].decode(errors="replace")
            raise RunError(f"{file}: line {number} tells of no round ('{text}')")
    return told


def is_round_line(values: object) -> bool:
    """Whether this is a line of the metrics, as far as a run that goes on needs it."""
    return isinstance(values, dict) and type(values.get("round")) is int and values["round"] >= 0


def run_checkpoints(path: Path) -> list[Path]:
    """The checkpoints of a run directory, first to last; raises RunError where there are none."""
    found = checkpoints_in(path)
    if not found:
        raise RunError(f"{path}: no checkpoints there, is it a training run?")
    return found


def checkpoints_in(path: Path) -> list[Path]:
    """The checkpoints of a run directory, first to last; none of one that has just begun."""
    return sorted(
        item for item in (path / "checkpoints").glob("*.safetensors") if is_checkpoint(item)
    )


def checkpoint_of(path: Path) -> Path:
    """A checkpoint, or the last one of a run's directory; raises RunError where there is none."""
    return run_checkpoints(path)[-1] if path.is_dir() else path


def is_checkpoint(path: Path) -> bool:
    """Whether the file is named as a run names its networks."""
    return _CHECKPOINT.fullmatch(path.name) is not None
