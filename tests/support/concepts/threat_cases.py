"""Positions of many variants, and what the concepts of threats and kings say of them."""

import functools
import itertools

import numpy as np
import numpy.typing as npt

from engine.probing.concepts import king, threats
from engine.probing.concepts.registry import (
    BothSides,
    Concept,
    label,
)
from engine.rules.tables import REPETITION
from engine.rules.variant import Registry, Variant, get_variant
from tests.support.concepts.naive_threats import NaiveThreats
from tests.support.rules.invented_variants import invented_ini
from tests.support.rules.random_games import random_games, replayed

Rows = npt.NDArray[np.uint8]


OWN = """
# Men that ride and capture in different ways, a leaper with forward captures, and a king.
[own]
king = k
pawn = p
customPiece1 = a:mRcF
customPiece2 = b:cRmN
customPiece3 = c:fNQ
maxFile = 6
maxRank = 6
startFen = abkcba/pppppp/6/6/PPPPPP/ABKCBA w - - 0 1
promotionRegionWhite = *6
promotionRegionBlack = *1
promotionPieceTypes = c
doubleStep = true
doubleStepRegionWhite = *2
doubleStepRegionBlack = *5
castling = false

# A king, and yet won by a flag, by bareness, or by stalemating.
[ends]
king = k
rook = r
knight = n
pawn = p
maxFile = 5
maxRank = 5
startFen = rnknr/ppppp/5/PPPPP/RNKNR w - - 0 1
promotionPieceTypes = rn
promotionRegionWhite = *5
promotionRegionBlack = *1
doubleStep = false
castling = false
flagPiece = k
flagRegionWhite = *5
flagRegionBlack = *1
stalemateValue = loss
extinctionValue = loss
extinctionPieceTypes = p
"""
INVENTED = (3, 5, 8, 12, 17, 21)


@functools.cache
def variant_of(name: str) -> Variant:
    if name in ("own", "ends"):
        return _of_file(name, OWN)
    if name.startswith("invented"):
        return _of_file(name, invented_ini(name, int(name.removeprefix("invented"))))
    return get_variant(name)


def _of_file(name: str, ini: str) -> Variant:
    registry = Registry()
    registry.add_text(ini, "own.ini")
    return registry.get(name)


NAMES = ["gardner", "hexapawn4x4", "chess", "own", "ends", *(f"invented{n}" for n in INVENTED)]


@functools.cache
def sample(name: str) -> Rows:
    """At most 24 positions."""
    rows = sampled(variant_of(name), 3, 40, 3, seed=1)
    return rows[:24]


@functools.cache
def labelled(name: str) -> dict[str, npt.NDArray[np.float64]]:
    """All concepts of threats and kings that are defined in the variant, of its sample."""
    variant = variant_of(name)
    every = [value for module in (threats, king) for value in vars(module).values()]
    concepts = [value for value in every if isinstance(value, Concept)]
    for both in every:
        if isinstance(both, BothSides):
            concepts += [both.mine, both.theirs]
    defined = tuple(each for each in concepts if each.undefined_in(variant) is None)
    return label(defined, sample(name), variant)


@functools.cache
def naive(name: str) -> list[NaiveThreats]:
    """The same positions for plain loops."""
    return [NaiveThreats.of(row, variant_of(name)) for row in sample(name)]


def of_sides(at: NaiveThreats) -> list[tuple[str, str, str]]:
    """Each side as concepts call it, its colour, and its enemy's."""
    return [("my", at.me, at.you), ("their", at.you, at.me)]


def sampled(variant: Variant, games: int, plies: int, every: int, seed: int = 0) -> Rows:
    """Unfinished positions of random games, each by itself: nothing is repeated."""
    rows = []
    for game in random_games(variant, games, plies, seed=seed):
        for position in itertools.islice(replayed(game), 0, None, every):
            if position.outcome() is None:
                row = position.row.copy()
                row[variant.squares + REPETITION] = 0
                rows.append(row)
    return np.stack(rows)
