"""What a training reports before it begins, while it runs and at its end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from training.evaluation.truth import Reached, TruthShares

Reason = Literal["perfect", "reached", "time"]
"""Why a training stopped: the raw network keeps the value in every decision position; in as
many of them, or of a sample, as `stop_at_raw` asks for; the time is over."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a session of training begins with, and where it ends."""

    # Rounds, games and seconds of training of earlier sessions; None in a new run.
    round: int | None
    games: int
    seconds: float
    # Seconds of training, over all sessions, after which it ends; infinite where only ^C ends it.
    limit: float
    # Rounds after which it ends instead; 0 for no such end.
    rounds: int = 0
    # The share of the decisions at which it ends; None where a variant is not solved.
    stop_at_raw: float | None = None
    # Points of the truth curve of earlier sessions: seconds of training, and the share that the raw
    # network keeps, of several variants the lowest.
    curve: Sequence[tuple[float, float]] = ()

    def share_done(self, seconds: float, rounds: int) -> float | None:
        """The part of the training that is done, in [0, 1]; None where there is no end."""
        if self.rounds:
            return min(1.0, rounds / self.rounds)
        if math.isinf(self.limit):
            return None
        return min(1.0, seconds / self.limit) if self.limit else 1.0


class Monitor:
    """Watches a run. This one shows nothing; a command that draws bars is another."""

    def step(self, text: str) -> None:
        """A step before the first round begins, as "starting 2 workers"; it is over when anything
        else is reported."""

    def result(self, text: str) -> None:
        """What the step has come to, as "the learner computes in bf16"."""

    def detail(self, text: str) -> None:
        """What only a person who asks for everything wants to know."""

    def session(self, outlook: Outlook) -> None:
        """The run is open: what is there of it, and where it ends."""

    def task(self, name: str, total: int) -> None:
        """A part of a round begins: `total` positions or steps."""

    def advance(self, amount: int) -> None:
        """`amount` more positions or steps are done."""

    def metrics(self, values: dict[str, Any]) -> None:
        """A round is over; the values are those of metrics.jsonl."""

    def round_over(self, seconds: float, number: int) -> None:
        """So many rounds are done, in so many seconds of training; reported before metrics, which
        some kinds of training have less often."""

    def note(self, text: str) -> None:
        """A line of log.txt that a person should see."""


def lowest_raw(values: dict[str, Any]) -> float | None:
    """The share that the raw network keeps, by a line of metrics.jsonl: of several variants the
    lowest; None where it has no measurement."""
    truth = values.get("truth")
    if truth is None:
        return None
    points = truth["games"].values() if "games" in truth else [truth]
    return min((float(point["raw"]) for point in points), default=None)


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
