"""How a piece moves, read from Betza's notation as Fairy-Stockfish reads it.

Atoms: `W` one step straight, `F` one step diagonally, `K` both, `N` the knight's leap, and the
riders `R`, `B`, `Q`. In front of an atom: `m` moves without capturing only, `c` captures only,
`f` forward only (of the knight's leaps the two longest forward). A pawn is `fmWfcF`.
"""

from dataclasses import dataclass
from typing import Final

from engine.rules.errors import InputError

MOVE_ONLY: Final = 1
CAPTURE_ONLY: Final = 2
MOVE_OR_CAPTURE: Final = MOVE_ONLY | CAPTURE_ONLY

Vector = tuple[int, int]
"""(files to the right, ranks forward), from the moving side's view."""

_STRAIGHT: Final[tuple[Vector, ...]] = ((0, 1), (1, 0), (0, -1), (-1, 0))
_DIAGONAL: Final[tuple[Vector, ...]] = ((1, 1), (1, -1), (-1, -1), (-1, 1))
LEAPS: Final[tuple[Vector, ...]] = (
    *((1, 2), (2, 1), (2, -1), (1, -2)),
    *((-1, -2), (-2, -1), (-2, 1), (-1, 2)),
)
"""The knight's leaps."""
RIDES: Final = _STRAIGHT + _DIAGONAL
"""The eight directions in which anything can ride."""

_LEAPERS: Final = {"W": _STRAIGHT, "F": _DIAGONAL, "K": RIDES, "N": LEAPS}
_RIDERS: Final = {"R": _STRAIGHT, "B": _DIAGONAL, "Q": RIDES}


@dataclass(frozen=True, kw_only=True)
class Movement:
    """The moves of one piece type: for each vector a mode (MOVE_ONLY, CAPTURE_ONLY or both)."""

    leaps: dict[Vector, int]
    """Single steps and leaps."""
    rides: dict[Vector, int]
    """Any number of steps in one of RIDES, until something stands in the way."""

    @property
    def forward_only(self) -> bool:
        """Whether every move gains ground, so that no position can come back."""
        return all(ranks > 0 for _, ranks in (*self.leaps, *self.rides))


def parse_betza(text: str) -> Movement:
    """Read Betza's notation; raises InputError that quotes the sign it cannot read."""
    leaps: dict[Vector, int] = {}
    rides: dict[Vector, int] = {}
    mode, forward = 0, False
    for index, sign in enumerate(text):
        if sign in "mc":
            mode |= MOVE_ONLY if sign == "m" else CAPTURE_ONLY
        elif sign == "f":
            forward = True
        elif sign == text[index - 1 : index]:
            # Betza's NN is a rider of knight's leaps, which we do not have.
            raise InputError(f"'{sign}{sign}' in the Betza notation '{text}' is not supported")
        elif sign in _LEAPERS or sign in _RIDERS:
            vectors, target = (
                (_LEAPERS[sign], leaps) if sign in _LEAPERS else (_RIDERS[sign], rides)
            )
            least = 2 if sign == "N" else 1
            for vector in vectors:
                if not forward or vector[1] >= least:
                    target[vector] = target.get(vector, 0) | (mode or MOVE_OR_CAPTURE)
            mode, forward = 0, False
        else:
            raise InputError(f"'{sign}' in the Betza notation '{text}' (known: WFKNRBQ and m c f)")
    if mode or forward:
        raise InputError(f"the Betza notation '{text}' ends in a modifier without a piece")
    return Movement(leaps=leaps, rides=rides)
