"""Benchmarks of labelling: positions a second, by family of concepts and of the whole library."""

from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np

import engine.probing.concepts  # noqa: F401 (registers them)
from engine.probing.concepts.registry import CHUNK, Concept, label, registered_concepts
from engine.probing.data.canonical import Rows
from engine.probing.data.samples import play_random_games
from engine.rules.variant import Variant, get_variant
from scripts.benchmarks.rows import Row, rates, row

_POSITIONS: Final = CHUNK
_GOAL: Final = 200_000.0
"""Positions a second of the whole library that this project aims at on one core."""

_SEARCHED: Final = ("in two", "in two moves")
"""How the names of concepts end that search two moves ahead, which takes most of the time."""


def concepts() -> Iterator[Row]:
    """The rule-based concepts, those of each family alone and all together.

    What families share, as the legal moves, is counted in each that needs it.
    """
    for name in ("hexapawn4x4", "gardner"):
        variant = get_variant(name)
        rows = _rows(variant)
        defined = [
            each
            for each in registered_concepts()
            if each.needs == "rules" and each.undefined_in(variant) is None
        ]
        for family in dict.fromkeys(each.family for each in defined):
            chosen = tuple(each for each in defined if each.family == family)
            found = rates(partial(_label, chosen, rows, variant))
            yield row(f"concepts/{name}/{family} ({len(chosen)})", "positions/s", found)
        quick = tuple(each for each in defined if not each.name.endswith(_SEARCHED))
        for title, chosen in (("all but two moves ahead", quick), ("all", tuple(defined))):
            found = rates(partial(_label, chosen, rows, variant))
            yield row(
                f"concepts/{name}/{title} ({len(chosen)})", "positions/s", found, ("goal", _GOAL)
            )


def _label(chosen: tuple[Concept, ...], rows: Rows, variant: Variant) -> int:
    # A chunk at a time, as one would write labels away: all of them would fill the memory.
    for start in range(0, len(rows), CHUNK):
        label(chosen, rows[start : start + CHUNK], variant)
    return len(rows)


def _rows(variant: Variant) -> Rows:
    """Positions of random games, repeated at random."""
    rng = np.random.default_rng(0)
    rows = play_random_games(variant, 4_000, rng).rows
    return rows[rng.integers(len(rows), size=_POSITIONS)]
