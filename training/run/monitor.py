"""What a training reports while it runs and at its end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from training.evaluation.truth import Reached, TruthShares

Reason = Literal["perfect", "reached", "time"]
"""Why a training stopped: the raw network keeps the value in every decision position; in as
many of them, or of a sample, as `stop_at_raw` asks for; the time is over."""


class Monitor:
    """Watches a run. This one shows nothing; a command that draws bars is another."""

    def task(self, name: str, total: int) -> None:
        """A part of a round begins: `total` positions or steps."""

    def advance(self, amount: int) -> None:
        """`amount` more positions or steps are done."""

    def metrics(self, values: dict[str, Any]) -> None:
        """A round is over; the values are those of metrics.jsonl."""

    def note(self, text: str) -> None:
        """A line of log.txt that a person should see."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a session of training ended."""

    # Of training in all sessions of the run; compiling does not count.
    seconds: float
    # Rounds in all sessions.
    rounds: int
    # The last network.
    checkpoint: Path
    # Of a run of one variant; None where it is not solved.
    truth: TruthShares | None
    # Of a run of several variants: of those that are solved, by name.
    truths: dict[str, TruthShares]
    # The last measurement of the raw network, by name of the variants that are solved.
    reached: dict[str, Reached]
    reason: Reason
