"""Games that are small and strange enough to try the solver, and a dull solver to compare with."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from engine.rules.notation.fen import parse_fen
from engine.rules.variant import Registry, Variant
from tests.support.rules.naive_rules import Game, start
from tests.support.rules.naive_variant import rules_of

STRANGE_GAMES = """
# Double steps and en passant; who is blocked has drawn.
[passing]
pawn = p
maxFile = 3
maxRank = 6
startFen = pp1/3/3/3/3/1PP w - - 0 1
doubleStepRegionWhite = *1 *2
doubleStepRegionBlack = *6 *5
flagPiece = p
flagRegionWhite = *6
flagRegionBlack = *1
promotionRegionWhite = -
promotionRegionBlack = -
stalemateValue = draw
castling = false

# Three kinds of men (three bits a square); only the soldier's arrival counts, who is blocked wins.
[kinds]
customPiece1 = p:mfWcfF
customPiece2 = s:fF
customPiece3 = r:fR
maxFile = 3
maxRank = 4
startFen = prs/3/3/SRP w - - 0 1
flagPiece = p
flagRegionWhite = *4
flagRegionBlack = *1
stalemateValue = win
castling = false
doubleStep = false
nMoveRule = 0

# 32 squares: the second word of a key.
[broad]
customPiece1 = p:mfWcfF
maxFile = 8
maxRank = 4
startFen = p5pp/8/8/PP5P w - - 0 1
flagPiece = p
flagRegionWhite = *4
flagRegionBlack = *1
stalemateValue = loss
castling = false
doubleStep = false
nMoveRule = 0

# Lose all your men, or be blocked, and you win; Black begins.
[giveaway]
customPiece1 = p:fmWfF
maxFile = 3
maxRank = 3
startFen = ppp/3/PPP b - - 0 1
extinctionValue = win
extinctionPieceTypes = *
stalemateValue = win
castling = false
doubleStep = false
nMoveRule = 0

# A soldier may become a runner before it arrives.
[promoting]
pawn = p
customPiece1 = r:fRfF
maxFile = 2
maxRank = 5
startFen = pp/2/2/2/PP w - - 0 1
flagPiece = r
flagRegionWhite = *5
flagRegionBlack = *1
promotionPieceTypes = r
promotionRegionWhite = *4
promotionRegionBlack = *2
stalemateValue = draw
castling = false
doubleStep = false

[breakthrough4x4]
customPiece1 = p:fmWfF
maxFile = 4
maxRank = 4
startFen = pppp/4/4/PPPP w - - 0 1
flagPiece = p
flagRegionWhite = *4
flagRegionBlack = *1
stalemateValue = loss
castling = false
doubleStep = false
nMoveRule = 0

# Custom men do not wind the clock back, and it draws after three moves.
[clocked]
customPiece1 = p:mfWcfF
maxFile = 3
maxRank = 4
startFen = ppp/3/3/PPP w - - 0 1
stalemateValue = loss
castling = false
doubleStep = false
nMoveRule = 3
"""

_registry = Registry()
_registry.add_text(STRANGE_GAMES, "tests/support/search/solver_cases.py")


def strange_game(name: str) -> Variant:
    return _registry.get(name)


@dataclass(frozen=True)
class Known:
    """What the dull solver says of one position, for the side to move."""

    value: int
    distance: int
    moves: dict[str, tuple[int, int]]
    """Legal moves to value and distance, from the side that makes them; empty where it is over."""


def _hurried(outcome: tuple[int, int]) -> tuple[int, int]:
    """What the side to move maximises: the winner hurries, the loser delays, a draw is hurried."""
    value, distance = outcome
    return value, distance if value < 0 else -distance


def explore(game: Game, known: dict[str, Known]) -> Known:
    """What holds of the position; it and all after it are added to `known`."""
    text = " ".join(game.fen().split()[:4])
    if text not in known:
        end = game.end()
        moves: dict[str, tuple[int, int]] = {}
        if end is None:
            for move in game.legal:
                after = explore(game.play(move), known)
                moves[move] = -after.value, after.distance + 1
        best = max(moves.values(), key=_hurried) if end is None else (end[1], 0)
        known[text] = Known(best[0], best[1], moves)
    return known[text]


@cache
def known_positions(variant: Variant) -> dict[str, Known]:
    """Every reachable position of a small game, by the first four fields of its FEN."""
    known: dict[str, Known] = {}
    explore(start(rules_of(variant.ini(), variant.name)), known)
    return known


def row_of(variant: Variant, text: str) -> npt.NDArray[np.uint8]:
    return parse_fen(variant, f"{text} 0 1")[0]
