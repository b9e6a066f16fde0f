"""The runs in a folder: of what variants, how old, how large and how strong. Reads files only."""

import contextlib
import fcntl
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from training.data.run_directory import LEARNER_STATE, RunError, checkpoints_in
from training.evaluation.strength import Strength, strength_of_run

Kind = Literal["self-play", "solver", "language"]
"""What a run learns from: games of its own, the solver's values, or games as texts."""

_BLOCK: Final = 512
"""Bytes of a unit of `st_blocks`."""
_LINE: Final = 1 << 16
"""Bytes at the end of the metrics in which the last whole line is looked for."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run's files tell; of a damaged run as much as can be read."""

    path: Path
    kind: Kind
    # Names of the variants that it learns.
    variants: tuple[str, ...]
    # Seconds since the epoch of its last change.
    changed: float
    # Of training, in all sessions.
    rounds: int
    seconds: float
    games: int
    checkpoints: int
    files: int
    # On disk.
    bytes: int
    # By name of the variant.
    strengths: Mapping[str, Strength]
    # The process that trains it at present, None where none does.
    process: int | None
    # What is wrong with its files; "" for nothing.
    problem: str


def is_run(path: Path) -> bool:
    """Whether a directory has the files of a training run, damaged or not."""
    if not (path / "config.toml").is_file():
        return False
    if any((path / name).exists() for name in (LEARNER_STATE, ".lock")):
        return True
    # A copy may lack these. Other programs, too, keep a config.toml beside checkpoints.
    with contextlib.suppress(OSError, ValueError):
        config = tomllib.loads((path / "config.toml").read_text(encoding="utf-8"))
        known = (path / "checkpoints", path / "metrics.jsonl")
        return "variant" in config and any(item.exists() for item in known)
    return False


def list_runs(folder: Path) -> list[RunSummary]:
    """The runs in a folder, the last changed first; none where there is no folder.

    Raises OSError for a folder that cannot be read.
    """
    found = sorted(folder.iterdir()) if folder.exists() else []
    runs = [read_run(path) for path in found if is_run(path)]
    return sorted(runs, key=lambda run: -run.changed)


def read_run(path: Path) -> RunSummary:
    """What the files of a run tell; raises RunError for a directory that is no run."""
    if not is_run(path):
        raise RunError(f"{path}: not a training run (no config.toml beside checkpoints)")
    problem, config, last = "", dict[str, Any](), dict[str, Any]()
    try:
        config = tomllib.loads((path / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problem = f"config.toml: {error}"
    try:
        last = _last_line(path / "metrics.jsonl")
    except (OSError, ValueError) as error:
        problem = problem or f"metrics.jsonl: {error}"
    name = config.get("variant")
    variants = tuple(name.split("+")) if isinstance(name, str) else ()
    kind: Kind = "self-play"
    if "vocabulary" in config:
        kind = "language"
    elif config.get("teacher") == "solver":
        kind = "solver"
    changed, files, size = _extent(path)
    return RunSummary(
        path=path,
        kind=kind,
        variants=variants,
        changed=changed,
        rounds=int(_number(last, "round")),
        seconds=_number(last, "seconds"),
        games=int(_number(last, "games")),
        checkpoints=len(checkpoints_in(path)),
        files=files,
        bytes=size,
        strengths={} if kind == "language" else _strengths(path, variants),
        process=_training_process(path),
        problem=" ".join(problem.split()),
    )


def _strengths(path: Path, variants: tuple[str, ...]) -> dict[str, Strength]:
    return {name: strength_of_run(path, name) for name in variants}


def _last_line(metrics: Path) -> dict[str, Any]:
    """The values of the last whole line; none of a run that has none. Raises OSError, ValueError
    for a line that holds no values."""
    if not metrics.exists():
        return {}
    with metrics.open("rb") as file:
        file.seek(max(0, metrics.stat().st_size - _LINE))
        lines = file.read().split(b"\n")[:-1]
    text = next((line for line in reversed(lines) if line.strip()), b"{}")
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"no values in its last line ('{text[:40].decode(errors='replace')}')")
    return values


def _number(values: Mapping[str, Any], name: str) -> float:
    value = values.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _extent(path: Path) -> tuple[float, int, int]:
    """When a directory was last changed, and how many files and bytes on disk it has."""
    changed, files, size = 0.0, 0, 0
    for folder, _, names in os.walk(path):
        for name in names:
            # A run that is training removes files.
            with contextlib.suppress(OSError):
                found = os.lstat(os.path.join(folder, name))
                files += 1
                size += found.st_blocks * _BLOCK
                if name != ".lock":
                    changed = max(changed, found.st_mtime)
    return changed, files, size


def _training_process(path: Path) -> int | None:
    """The process that holds the run's lock."""
    with contextlib.suppress(OSError, ValueError), (path / ".lock").open("rb") as file:
        process = int(file.read(32))
        # Of a process that has ended the lock is not even tried: a training that begins at this
        # moment would find it taken.
        os.kill(process, 0)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return process
    return None
