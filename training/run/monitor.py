"""What a training tells whoever watches it, while it goes on and at its end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from training.evaluation.truth import Reached, TruthShares

Reason = Literal["perfect", "reached", "time"]
"""Why a training stopped: the raw network keeps the value in every decision of its games; in the
share of them, or of a sample, that `stop_at_raw` asks for; or its time is over."""


class Monitor(Protocol):
    """Whoever watches a run: a command that draws bars, or a test."""

    def task(self, name: str, total: int) -> None:
        """A part of a round begins: `total` positions or steps."""
        ...

    def advance(self, amount: int) -> None:
        """So much of it is done."""
        ...

    def metrics(self, values: dict[str, Any]) -> None:
        """A round is over; the values are those of metrics.jsonl."""
        ...

    def note(self, text: str) -> None:
        """Something that a person should know, as it stands in log.txt."""
        ...


class SilentMonitor:
    """A monitor that shows nothing."""

    def task(self, name: str, total: int) -> None:
        """Nothing is shown."""

    def advance(self, amount: int) -> None:
        """Nothing is shown."""

    def metrics(self, values: dict[str, Any]) -> None:
        """Nothing is shown."""

    def note(self, text: str) -> None:
        """Nothing is shown; the run's log has it."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a session of training ended."""

    # Of training in all sessions of the run; compiling does not count.
    seconds: float
    # Rounds in all sessions.
    rounds: int
    # The last network.
    checkpoint: Path
    # Of a run of one game; None where it is not solved.
    truth: TruthShares | None
    # Of a run of several: those that are solved, by name.
    truths: dict[str, TruthShares]
    # What it was stopped for, by game: those that are solved.
    reached: dict[str, Reached]
    # Why it stopped.
    reason: Reason
