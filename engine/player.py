"""Whatever chooses a move: the limits it is given, the choice it makes, and its one protocol."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from engine.rules.errors import InputError
from engine.rules.position import Position


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What ends a search besides the player's own configuration; None for no such limit.

    A limit that is given replaces the player's own nodes or depth, as a UCI `go` does.
    """

    # Nodes or simulations.
    nodes: int | None = None
    # Seconds for this move.
    movetime: float | None = None
    # Plies, for players that search by depth.
    depth: int | None = None
    # Another thread sets it; the player then answers at once with the best move so far.
    stop: threading.Event | None = None

    @property
    def timed(self) -> bool:
        """Whether the time or another thread may end the search."""
        return self.movetime is not None or self.stop is not None

    @property
    def endless(self) -> bool:
        """Whether nothing but `stop` ends the search."""
        return self.nodes is None and self.depth is None and self.movetime is None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A move and its player's evaluation, seen from the side to move."""

    # A legal move.
    move: int
    # The expected result in [-1, 1]; None from a player that gives none.
    value: float | None = None
    # Probabilities of win, draw and loss.
    wdl: tuple[float, float, float] | None = None
    # The expected line, beginning with `move`; empty from a player that gives none.
    principal_variation: tuple[int, ...] = ()
    # Positions or simulations searched.
    nodes: int = 0


class Player(Protocol):
    """Anything that plays."""

    name: str
    """As it is written on the command line."""

    deterministic: bool = False
    """Whether the moves follow from the variant and the game so far alone, without limits: no
    random numbers, no clock, nothing learned from other games. Rounding that depends on the size of
    a network's batch is not counted. False where this is unknown."""

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """Choose a move in a game that is not over (else InputError); `position` is not changed.

        A player ignores limits that it cannot use.
        """
        ...

    def close(self) -> None:
        """Release what the player holds outside this process."""
        return


@runtime_checkable
class BatchPlayer(Player, Protocol):
    """A player that chooses in many positions at once faster than one by one."""

    def choose_batch(self, positions: Sequence[Position]) -> list[Choice]:
        """As `choose` without limits, for positions of one variant from different games."""
        ...


def games_repeat(a: Player, b: Player) -> bool:
    """Whether the two play the same game again from the same opening with the same colours.

    Such a game is the same sample and must not be counted twice. Where either player uses random
    numbers, or is unknown, every game is a new sample, whatever its moves.
    """
    return a.deterministic and b.deterministic


def legal_moves(position: Position) -> list[int]:
    """The legal moves; raises InputError where the game is over."""
    moves = position.legal_moves
    if not moves:
        raise InputError(f"the game is over in '{position.fen()}' ({position.variant.name})")
    return moves
