"""What registers a concept, and what a concept's function may hand back."""

import numpy as np
import pytest

from engine.probing.concepts.board.sides import Side
from engine.probing.concepts.material import material
from engine.probing.concepts.pawns import breakthrough, passed
from engine.probing.concepts.registry import (
    Concept,
    Labels,
    both_sides,
    concept,
    registered_concepts,
    registering,
)
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from tests.support.network.probing_cases import solved_rows


def test_a_name_is_registered_once() -> None:
    with pytest.raises(InputError, match="the concept 'material' exists already"):
        concept("material", kind="real")(material.function)


def test_a_concept_needs_a_definition() -> None:
    with pytest.raises(InputError, match="the concept 'nameless' has no docstring"):
        concept("nameless", kind="real")(lambda positions: np.zeros(len(positions)))


def test_a_definition_is_the_first_paragraph() -> None:
    assert breakthrough.definition.startswith("The side to move has a pawn (or a piece")
    assert breakthrough.definition.endswith("the larger of 1 and 2a.")


def test_of_both_sides_there_are_two_or_three_concepts() -> None:
    assert passed.difference is not None
    assert [each.name for each in passed if each] == [
        "my passed pawns",
        "their passed pawns",
        "passed pawns (mine minus theirs)",
    ]
    assert passed.mine.definition == (
        "The number of pawns of the side to move with no pawn of the opponent ahead on their file "
        "or a file next to it."
    )
    assert passed.theirs.definition.startswith("The number of pawns of the opponent with no pawn")
    assert [each.kind for each in passed if each] == ["count", "count", "real"]
    assert {each.family for each in passed if each} == {"pawns"}


def test_what_is_registered_elsewhere_stays_there() -> None:
    before = registered_concepts()
    with registering("", taken=()) as found:

        @both_sides("ranks", kind="count", source="this test")
        def ranks(side: Side) -> Labels:
            """The ranks that {side} sees."""
            return np.full(len(side), float(side.height))

    assert list(found) == ["my ranks", "their ranks"]
    assert registered_concepts() == before


def test_a_label_for_each_position() -> None:
    short = Concept(
        name="short", kind="binary", definition="", function=lambda positions: np.zeros(1)
    )
    with pytest.raises(InputError, match=r"the concept 'short': labels of shape \[1\], not"):
        short.labels(solved_rows("hexapawn"), get_variant("hexapawn"))
