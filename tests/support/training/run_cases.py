"""Training runs of a moment in this process, for the tests: begun, stopped and looked into."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.network.checkpoint import load_tensors
from engine.rules.variant import get_variant
from scripts import cli
from tests.support.training.training_cases import SMALL_NETWORK
from training.config import Variants
from training.run.monitor import Monitor, Summary
from training.run.setup import open_directory, open_run

HEXAPAWN = get_variant("hexapawn")
SETTINGS: dict[str, Any] = {
    "stop_at_raw": float("inf"),
    "network": SMALL_NETWORK,
    "measure_seconds": 0.0,
    "self_play": {
        "actors": 0,
        "games": 16,
        "simulations": 4,
        "positions": 80,
        "backend": "torch",
        "precision": "fp32",
    },
    "learning": {"threads": 1, "batch": 32, "replay_ratio": 1.0},
}
"""Rounds of a moment, without an end of their own."""
PLAYED_ROUNDS = 5


class StopHere(BaseException):
    """Ends a session where a test wants it to end, as a kill would: not an error of the run."""


class Watch(Monitor):
    """Notes what a run does; stops it after a round, or when a task of a round begins."""

    def __init__(self, *, after: int = 0, before: tuple[str, int] = ("", 0)) -> None:
        self.after, self.before = after, before
        self.tasks: list[tuple[str, int]] = []
        self.rounds: list[dict[str, Any]] = []
        self.notes: list[str] = []

    def task(self, name: str, total: int) -> None:
        self.tasks.append((name, total))
        wanted, number = self.before
        if [task for task, _ in self.tasks].count(wanted) == number and name == wanted:
            raise StopHere

    def metrics(self, values: dict[str, Any]) -> None:
        if not values["round"]:
            return
        self.rounds.append(values)
        if values["round"] == self.after:
            raise StopHere

    def note(self, text: str) -> None:
        self.notes.append(text)


def train(
    path: Path, watch: Watch, variants: Variants = HEXAPAWN, **overrides: Any
) -> Summary | None:
    """One session in this process; None where the watch stopped it."""
    with (
        suppress(StopHere),
        open_directory(path, variants, SETTINGS | overrides) as directory,
        open_run(directory, variants, watch) as run,
    ):
        return run.train()
    return None


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a directory."""
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def refused(capsys: pytest.CaptureFixture[str], path: Path, *words: str) -> str:
    """The one line with which the command line refuses to train."""
    capsys.readouterr()
    arguments = words or ("hexapawn",)
    assert cli.main(["train", *arguments, "--run", str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if line.startswith("pawnscope: ")]
    assert len(lines) == 1
    assert "Traceback" not in printed.err
    assert printed.err.splitlines()[-1] == lines[0]
    return lines[0]


def state_of(path: Path) -> dict[str, torch.Tensor]:
    return load_tensors(path / "learner.safetensors")[0]
