"""The one face of everything that can choose a move."""

from dataclasses import dataclass
from typing import Protocol

from engine.rules.errors import InputError
from engine.rules.position import Position
from search.limits import Limits


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A move and what its player thinks; everything from the side to move."""

    # A legal move.
    move: int
    # The expected result in [-1, 1], None where the player has no opinion.
    value: float | None = None
    # Probabilities of win, draw and loss.
    wdl: tuple[float, float, float] | None = None
    # The expected line, beginning with `move`.
    principal_variation: tuple[int, ...] = ()
    # Positions or simulations looked at.
    nodes: int = 0


class Player(Protocol):
    """Anything that plays. `name` is how it is written on the command line."""

    name: str

    deterministic: bool = False
    """Whether the moves follow from the variant and the game so far alone, when it is asked without
    limits: no random numbers, no clock, nothing learned from other games. Rounding that depends on
    the size of a network's batch is left aside. False where this is not known."""

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """A move for a game that is not over (else InputError); the position is not changed.

        Limits that a player cannot use are ignored.
        """
        ...

    def close(self) -> None:
        """Let go of what the player holds outside this process."""
        return


def games_repeat(a: Player, b: Player) -> bool:
    """Whether the two play the same game again from the same opening with the same colours.

    Such a game is the same sample and must not be counted twice; where either player draws by
    chance, or is not known, every game is a sample of its own, whatever its moves.
    """
    return a.deterministic and b.deterministic


def legal_moves(position: Position) -> list[int]:
    """The legal moves; raises InputError where the game is over."""
    moves = position.legal_moves
    if not moves:
        raise InputError(f"the game is over in '{position.fen()}' ({position.variant.name})")
    return moves
