"""Concepts are what a second, slow definition says, on positions of random games."""

import functools

import numpy as np
import numpy.typing as npt
import pytest

from engine.probing.concepts.registry import label, registered_concepts
from engine.rules.tables import EN_PASSANT, NO_SQUARE
from engine.rules.variant import get_variant
from tests.support.concepts.naive import naive_label, view_of
from tests.support.network.probing_cases import game_rows, solved_rows

FAMILIES = ("material", "pawns", "space")
# What other tests look at: the share of the start's pieces, in test_material.py.
ELSEWHERE = {"phase of the game"}


@functools.cache
def positions(name: str) -> npt.NDArray[np.uint8]:
    """Of the solved game where it is small, else of random games, which are thin at their ends."""
    if name == "hexapawn4x4":
        return solved_rows(name, 400)
    rows = game_rows(name, 24 if name != "chess" else 10, 90)[0]
    drawn = np.random.default_rng(0).choice(len(rows), min(300, len(rows)), replace=False)
    rows = rows[np.sort(drawn)]
    rows[:, get_variant(name).squares + EN_PASSANT] = NO_SQUARE
    return rows


VARIANTS = ("hexapawn4x4", "breakthrough5", "gardner", "losalamos", "chess")
ASKED = [
    each for each in registered_concepts() if each.family in FAMILIES and each.name not in ELSEWHERE
]


@functools.cache
def labelled(name: str) -> dict[str, npt.NDArray[np.float64]]:
    variant = get_variant(name)
    defined = tuple(each for each in ASKED if each.undefined_in(variant) is None)
    return label(defined, positions(name), variant)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_slow_definition_agrees(name: str) -> None:
    views = [view_of(row, get_variant(name)) for row in positions(name)]
    for asked, found in labelled(name).items():
        wanted = np.array([naive_label(view, asked) for view in views], np.float64)
        np.testing.assert_array_equal(found, wanted, asked)


def test_the_positions_show_each_concept_with_several_labels() -> None:
    several = {
        asked
        for name in VARIANTS
        for asked, found in labelled(name).items()
        if len(np.unique(found[~np.isnan(found)])) > 1
    }
    assert several == {each.name for each in ASKED}
