"""What passes between a run and whoever brings its positions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Progress = Callable[[int], None]
"""Told of so many more positions."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """Positions of one game, to be made with a checkpoint."""

    # The game's name.
    variant: str
    checkpoint: Path
    # Where the shards go.
    folder: Path
    round: int
    # Positions that are wanted, from all actors together.
    positions: int


class Actors(Protocol):
    """Whoever brings the positions of all games of a run."""

    def prepare(self, orders: Sequence[Order], chosen: Sequence[str]) -> list[str]:
        """Be ready for such orders, one for each game; with what their networks are computed comes
        back, as "native bf16", "" for whoever needs none.

        That is what was `chosen` for each, or where the list is empty what the configuration names
        or finds fastest. Raises OSError, InputError, BackendError.
        """
        ...

    def play(self, orders: Sequence[Order], progress: Progress) -> list[str]:
        """Carry out an order for each of some games; the names of the whole shards that were
        written. Raises OSError, InputError."""
        ...

    def close(self) -> None:
        """End the workers, if there are any."""
        ...


class Source(Protocol):
    """Whoever brings the positions of one game."""

    def prepare(self, order: Order, chosen: str) -> str:
        """As `Actors` for one order; "" where nothing was chosen."""
        ...

    def play(self, order: Order, progress: Progress) -> list[str]:
        """As `Actors` for one order."""
        ...
