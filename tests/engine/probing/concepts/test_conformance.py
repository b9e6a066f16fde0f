"""What holds of every registered concept: symmetry, ranges, words, and a game to make sense in."""

import functools

import numpy as np
import numpy.typing as npt
import pytest

import engine.probing.concepts  # noqa: F401  (registers them)
from engine.probing.concepts.registry import Concept, label, registered_concepts
from engine.rules.variant import Variant, get_variant
from tests.support.network.probing_cases import game_rows, mirrored, recoloured

VARIANTS = ("hexapawn4x4", "breakthrough5", "gardner", "losalamos", "chess")
RULE_BASED = [each for each in registered_concepts() if each.needs == "rules"]
Labels = npt.NDArray[np.float64]


@functools.cache
def defined_in(name: str) -> tuple[Concept, ...]:
    variant = get_variant(name)
    return tuple(each for each in RULE_BASED if each.undefined_in(variant) is None)


@functools.cache
def sample(name: str) -> npt.NDArray[np.uint8]:
    """Positions of random games, without castling rights, which have no mirror image."""
    rows = game_rows(name, 8 if name in ("gardner", "hexapawn4x4") else 4)[0]
    rows[:, get_variant(name).squares + 1] = 0
    return rows


@functools.cache
def labelled(name: str) -> dict[str, Labels]:
    return label(defined_in(name), sample(name), get_variant(name))


def mirrored_squares(labels: Labels, variant: Variant) -> Labels:
    boards = labels.reshape(-1, variant.height, variant.width)
    return boards[:, :, ::-1].reshape(labels.shape)


@pytest.mark.parametrize("name", VARIANTS)
def test_symmetric_positions_have_one_label(name: str) -> None:
    """With the colours changed the labels are the same, and a label a square is mirrored."""
    variant, rows = get_variant(name), sample(name)
    for symmetric in (mirrored, recoloured):
        others = np.stack([symmetric(row, variant) for row in rows])
        found = label(defined_in(name), others, variant)
        for each in defined_in(name):
            wanted = labelled(name)[each.name]
            if each.per_square and symmetric is mirrored:
                wanted = mirrored_squares(wanted, variant)
            np.testing.assert_array_equal(found[each.name], wanted, each.name)


@pytest.mark.parametrize("name", VARIANTS)
def test_labels_are_what_their_kind_says(name: str) -> None:
    variant, rows = get_variant(name), sample(name)
    for each in defined_in(name):
        labels = labelled(name)[each.name]
        assert labels.dtype == np.float64
        assert labels.shape == (len(rows), variant.squares)[: 1 + each.per_square], each.name
        known = labels[~np.isnan(labels)]
        assert np.isfinite(known).all(), each.name
        if each.kind == "binary":
            assert np.isin(known, (0, 1)).all(), each.name
        if each.kind != "real":
            assert (known == known.round()).all(), each.name
        if each.kind == "count":
            assert (known >= 0).all(), each.name
        if each.kind == "categorical":
            assert set(known.astype(int)) <= {number for number, _ in each.class_names}, each.name


def test_labels_do_not_depend_on_the_chunk() -> None:
    variant, rows = get_variant("gardner"), sample("gardner")[:40]
    whole = label(defined_in("gardner"), rows, variant)
    for name, found in label(defined_in("gardner"), rows, variant, chunk=7).items():
        np.testing.assert_array_equal(found, whole[name], name)


def test_each_concept_varies_in_some_built_in_variant() -> None:
    varied = {
        each.name
        for name in VARIANTS
        for each in defined_in(name)
        if len(np.unique(labelled(name)[each.name])) > 1
    }
    assert {each.name for each in RULE_BASED} == varied


def test_names_are_unique_and_words_are_there() -> None:
    concepts = registered_concepts()
    assert len({each.name for each in concepts}) == len(concepts) >= 80
    for each in concepts:
        assert each.source, each.name
        assert each.family, each.name
        assert each.definition.endswith("."), each.name
        # One sentence, and no placeholder of `both_sides` left in it.
        assert ". " not in each.definition, each.name
        assert "{" not in each.definition, each.name


def test_concepts_that_reports_of_old_name_are_there() -> None:
    names = {each.name for each in registered_concepts()}
    assert {"material", "mobility", "a pawn can break through"} <= names


def test_what_makes_no_sense_says_why() -> None:
    variant = get_variant("hexapawn")
    reasons = {each.name: each.undefined_in(variant) or "" for each in RULE_BASED}
    assert reasons["my queens"] == "hexapawn has no queens"
    assert reasons["kings in opposition"] == "hexapawn has no king"
    assert reasons["phase of the game"].endswith("without pieces other than pawns and kings")
    assert all(reason.startswith("hexapawn ") for reason in reasons.values() if reason)
