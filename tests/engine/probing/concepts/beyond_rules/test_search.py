"""Concepts of search are read off the searches that are handed in."""

import numpy as np
import pytest

from engine.probing.concepts.beyond_rules import search
from engine.probing.concepts.registry import Concept, ConceptUndefinedError, label
from engine.probing.data.canonical import Rows
from engine.probing.data.searched import SearchFacts
from engine.rules.tables import SIDE
from engine.rules.variant import get_variant
from tests.support.network.probing_cases import solved_rows

CONCEPTS = tuple(value for value in vars(search).values() if isinstance(value, Concept))
HEXAPAWN = get_variant("hexapawn")


class PlantedSearches:
    """White's positions were searched, and the findings are the number of men."""

    simulations = 8
    source = "planted"

    def facts(self, rows: Rows) -> SearchFacts:
        men = (rows[:, : HEXAPAWN.squares] != 0).sum(axis=1)
        white = rows[:, HEXAPAWN.squares + SIDE] == 0
        found = np.where(white, men.astype(np.float64), np.nan)
        return SearchFacts(found / 10, found, found / 20, found % 2, found - 1)


def test_labels_are_what_was_found_and_missing_elsewhere() -> None:
    rows = solved_rows("hexapawn")
    labels = label(CONCEPTS, rows, HEXAPAWN, searched=PlantedSearches(), chunk=13)
    facts = PlantedSearches().facts(rows)
    wanted = (*facts[:4], np.log2(1 + facts.stable_after))
    assert len(CONCEPTS) == len(wanted)
    assert np.isnan(facts.values).any()
    for concept, column in zip(CONCEPTS, wanted, strict=True):
        np.testing.assert_array_equal(labels[concept.name], column, concept.name)


def test_without_searches_the_reason_is_given() -> None:
    for concept in CONCEPTS:
        assert concept.needs == "search"
        with pytest.raises(ConceptUndefinedError, match="hexapawn was not searched here"):
            concept.labels(HEXAPAWN.start_row[None], HEXAPAWN)
