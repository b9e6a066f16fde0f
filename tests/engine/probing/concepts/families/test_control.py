"""Random concepts: their prevalence, their seeds, and that symmetric positions share them."""

from collections.abc import Callable

import numpy as np
import pytest

from engine.probing.concepts.control import by_hash, by_two_squares, by_weights, hashed_like
from engine.probing.concepts.material import material
from engine.probing.concepts.pawns import breakthrough
from engine.probing.concepts.registry import Concept, registered_concepts
from engine.probing.data.canonical import canonical_boards
from engine.rules.variant import get_variant
from tests.support.network.probing_cases import game_rows, solved_rows


@pytest.mark.parametrize("make", [by_hash, by_weights, by_two_squares])
def test_a_seed_decides(make: Callable[[float, int], Concept]) -> None:
    variant, rows = get_variant("hexapawn4x4"), solved_rows("hexapawn4x4", 500)
    first = make(0.1, 7).labels(rows, variant)
    assert (make(0.1, 7).labels(rows, variant) == first).all()
    assert (make(0.1, 8).labels(rows, variant) != first).any()


def test_a_hash_has_its_prevalence_among_canonical_positions() -> None:
    variant, rows = get_variant("hexapawn4x4"), solved_rows("hexapawn4x4")
    boards, first = np.unique(canonical_boards(rows, variant), axis=0, return_index=True)
    for prevalence in (0.5, 0.1, 0.02):
        share = by_hash(prevalence, 3).labels(rows[first], variant).mean()
        spread = np.sqrt(prevalence * (1 - prevalence) / len(boards))
        assert abs(share - prevalence) < 4 * spread


def test_hashes_of_several_seeds_are_independent() -> None:
    variant, rows = get_variant("hexapawn4x4"), solved_rows("hexapawn4x4")
    first = np.unique(canonical_boards(rows, variant), axis=0, return_index=True)[1]
    labels = np.stack([by_hash(0.5, seed).labels(rows[first], variant) for seed in range(12)])
    correlations = np.atleast_2d(np.corrcoef(labels))[np.triu_indices(12, 1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(len(first))
    # Nor is one of them material in disguise.
    material_labels = material.labels(rows[first], variant)
    for each in labels:
        assert abs(np.corrcoef(each, material_labels)[0, 1]) < 4 / np.sqrt(len(first))


def test_random_weights_and_squares_have_their_prevalence_on_the_reference() -> None:
    variant, rows = get_variant("gardner"), game_rows("gardner", 20)[0]
    for prevalence in (0.5, 0.1):
        made = by_weights(prevalence, 5, reference=rows)
        assert abs(made.labels(rows, variant).mean() - prevalence) < 0.01
    for prevalence in (0.25, 0.1):
        made = by_two_squares(prevalence, 5, reference=rows)
        assert abs(made.labels(rows, variant).mean() - prevalence) < 0.05


def test_random_weights_are_plain_in_the_raw_input() -> None:
    """A linear function of the one-hot board gives the sum exactly."""
    variant, rows = get_variant("hexapawn4x4"), solved_rows("hexapawn4x4", 800)
    (asked,) = (each for each in registered_concepts() if each.name == "random sum of weights")
    boards = rows[:, : variant.squares]
    seen = rows[rows[:, variant.squares] == 0]
    one_hot = (boards[rows[:, variant.squares] == 0][:, :, None] == np.unique(boards)).reshape(
        len(seen), -1
    )
    labels = asked.labels(seen, variant)
    fitted = one_hot @ np.linalg.lstsq(one_hot.astype(float), labels, rcond=None)[0]
    np.testing.assert_allclose(fitted, labels, atol=1e-8)


@pytest.mark.parametrize("real", [material, breakthrough])
def test_a_hash_takes_the_distribution_of_any_concept(real: Concept) -> None:
    variant, rows = get_variant("hexapawn4x4"), solved_rows("hexapawn4x4")
    labels = real.labels(rows, variant)
    made = hashed_like(real, np.append(labels, np.nan), 1)
    drawn = made.labels(rows, variant)
    assert made.kind == real.kind
    assert set(drawn) <= set(labels)
    assert abs(drawn.mean() - labels.mean()) < 0.1 * labels.std() + 0.01
    assert abs(drawn.std() - labels.std()) < 0.1 * labels.std()
    assert abs(np.corrcoef(drawn, labels)[0, 1]) < 0.05
