"""What passes between a run and its actors: positions wanted in, shards of games out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Progress = Callable[[int], None]
"""Called with the number of new positions."""


@dataclass(frozen=True, kw_only=True)
class SelfPlayRequest:
    """Positions of one variant, to be played with a checkpoint."""

    # The variant's name.
    variant: str
    checkpoint: Path
    # Where the shards go.
    folder: Path
    round: int
    # Positions that are wanted, from all actors together.
    positions: int


class Actors(Protocol):
    """Brings the positions of all variants of a run."""

    def prepare(self, requests: Sequence[SelfPlayRequest], chosen: Sequence[str]) -> list[str]:
        """Get ready for such requests, one for each variant. Returns what computes their networks,
        as "native bf16", or "" where no network is needed.

        That is what was `chosen` for each; where the list is empty, what the configuration names or
        finds fastest. Raises OSError, InputError, BackendError.
        """

    def play(self, requests: Sequence[SelfPlayRequest], progress: Progress) -> list[str]:
        """Fulfil the requests with the weights of their checkpoints; the names of the whole shards
        that were written. Raises OSError, InputError."""


class Source(Protocol):
    """Brings the positions of one variant."""

    def prepare(self, request: SelfPlayRequest, chosen: str) -> str:
        """As `Actors` for one request; "" where nothing was chosen."""

    def play(self, request: SelfPlayRequest, progress: Progress) -> list[str]:
        """As `Actors` for one request."""
