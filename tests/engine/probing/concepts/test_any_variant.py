"""Concepts hold in variants that nobody designed: a person's own pieces, boards and rules."""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from engine.probing.concepts.board.variant_facts import goal_distances, piece_values, seen_set
from engine.probing.concepts.registry import (
    Concept,
    ConceptUndefinedError,
    label,
    registered_concepts,
)
from engine.rules.errors import VariantError
from engine.rules.tables import CASTLING, EN_PASSANT, NO_SQUARE
from engine.rules.variant import Registry, Variant, get_variant
from tests.support.network.probing_cases import mirrored, recoloured
from tests.support.rules.invented_variants import invented_ini
from tests.support.rules.random_games import random_games, replayed
from tests.support.training.training_cases import child_of

RULE_BASED = tuple(each for each in registered_concepts() if each.needs == "rules")


def unfinished(variant: Variant, games: int = 3, plies: int = 30) -> npt.NDArray[np.uint8]:
    """Positions of random games, without what has no mirror image."""
    rows = [
        position.row.copy()
        for game in random_games(variant, games, plies)
        for position in replayed(game)
        if position.outcome() is None
    ]
    found = np.stack(rows)
    found[:, variant.squares + CASTLING] = 0
    found[:, variant.squares + EN_PASSANT] = NO_SQUARE
    return found


def defined_in(variant: Variant) -> tuple[Concept, ...]:
    return tuple(each for each in RULE_BASED if each.undefined_in(variant) is None)


def is_fair(variant: Variant) -> bool:
    """Whether both colours play for the same."""
    regions = (variant.promotion_region, variant.double_step_region, variant.flag_region)
    return all(seen_set(variant, each[0], 0) == seen_set(variant, each[1], 1) for each in regions)


def check(variant: Variant) -> None:
    rows, concepts = unfinished(variant), defined_in(variant)
    found = label(concepts, rows, variant)
    for each in concepts:
        known = found[each.name][~np.isnan(found[each.name])]
        assert each._wrong_value(known) is None, each.name
    if variant.mirrorable:
        other = label(concepts, np.stack([mirrored(row, variant) for row in rows]), variant)
        for each in concepts:
            if not each.per_square:
                np.testing.assert_array_equal(other[each.name], found[each.name], each.name)
    if is_fair(variant):
        other = label(concepts, np.stack([recoloured(row, variant) for row in rows]), variant)
        for each in concepts:
            np.testing.assert_array_equal(other[each.name], found[each.name], each.name)


def invented(count: int) -> Iterator[Variant]:
    """So many invented variants: those whose start is a check or the end are left out."""
    seeds = itertools.count()
    while count:
        registry = Registry()
        try:
            registry.add_text(invented_ini("invented", next(seeds)), "invented.ini")
        except VariantError:
            continue
        variant = registry.get("invented")
        if next(random_games(variant, 1, 1)).outcome() is None:
            count -= 1
            yield variant


@pytest.mark.parametrize("variant", invented(22), ids=map(str, range(22)))
def test_in_an_invented_variant(variant: Variant) -> None:
    check(variant)
    values = piece_values(variant)
    assert all(values[t] > 0 for t in variant.piece_types if variant.piece_letters[t] != "k")


@pytest.mark.parametrize("name", ["hexapawn1x3", "hexapawn8x3", "hexapawn2x8", "microchess"])
def test_on_narrow_and_flat_boards(name: str) -> None:
    check(get_variant(name))


def test_without_pawns_all_that_speaks_of_pawns_says_so() -> None:
    variant = child_of("gardner", "knights", pawn="-", startFen="nn1k1/5/5/5/NN1K1 w - - 0 1")
    reasons = {each.name: each.undefined_in(variant) for each in RULE_BASED}
    assert reasons["my knights"] is None
    for name in ("my pawns", "open files", "my space", "pawn race won", "my pawn shield"):
        assert reasons[name] == "knights has no pawns"
    check(variant)


def test_pawns_that_capture_straight_ahead_and_other_strange_ones() -> None:
    """A pawn of the person's own, with an X that only walks and a Y that captures ahead."""
    variant = child_of(
        "breakthrough5",
        "strange",
        customPiece2="x:fmW",
        customPiece3="y:fW",
        startFen="pxyxp/5/5/5/PXYXP w - - 0 1",
        flagPiece="*",
    )
    check(variant)
    assert {variant.piece_letters[t] for t in goal_distances(variant)} == {"p", "x", "y"}


def test_only_the_flag_piece_has_a_goal() -> None:
    variant = child_of(
        "breakthrough5", "flags", customPiece2="x:fmWfcF", startFen="pxxxp/5/5/5/PXXXP w - - 0 1",
        flagPiece="x",
    )  # fmt: skip
    (goal,) = goal_distances(variant)
    assert variant.piece_letters[goal] == "x"
    none = child_of("breakthrough5", "noflags", flagRegionWhite="-", flagRegionBlack="-")
    with pytest.raises(ConceptUndefinedError, match="noflags have nothing to gain"):
        goal_distances(none)
