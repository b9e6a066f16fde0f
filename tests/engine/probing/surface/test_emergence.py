"""The first checkpoint at which a concept is clear of zero."""

import numpy as np

from engine.probing.surface.emergence import first_places, order_of_families


def test_the_first_clear_place_of_any_layer_counts() -> None:
    """Gains of one run: 4 checkpoints, 2 layers, 4 concepts."""
    gains = np.zeros((1, 4, 2, 4), np.float32)
    gains[0, 2:, 0, 0] = 0.2  # the first layer, from the third checkpoint on
    gains[0, 1, 1, 1] = 0.2  # the second layer, at the second checkpoint only
    gains[0, :, :, 2] = 0.004  # below the smallest gain
    margins = np.full(gains.shape, 0.1)
    margins[..., 2] = 0.0
    assert first_places(gains, margins).tolist() == [[2, 1, 4, 4]]


def test_refused_cells_are_never_clear() -> None:
    gains = np.full((2, 3, 1, 1), np.nan, np.float32)
    gains[1, 1] = 0.5
    margins = np.where(np.isnan(gains), np.nan, 0.1)
    assert first_places(gains, margins).tolist() == [[3], [1]]


def test_a_family_has_the_median_of_all_its_concepts_and_that_median_s_interval() -> None:
    """Concepts that do not appear are the last, together."""
    families = ["early", "late", "early", "late", "early"]
    rank = np.array([1.0, 2.0, 3.0, 4.5, 4.5])
    appears = np.array([True, True, True, False, False])
    # In one resample of ten all is the other way round.
    resampled = np.array([rank] * 9 + [rank[::-1]])
    early, late = order_of_families(families, appears, rank, resampled, 0.5)
    assert (early.family, early.appearing, early.concepts) == ("early", 2, 3)
    assert (late.family, late.appearing, late.concepts) == ("late", 1, 2)
    assert (early.rank, early.rank_low, early.rank_high) == (3.0, 3.0, 3.0)
    assert (late.rank, late.rank_low, late.rank_high) == (3.25, 3.25, 3.25)
    resampled = np.array([rank] * 5 + [rank + 10.0] * 5)
    early, _ = order_of_families(families, appears, rank, resampled, 0.95)
    assert (early.rank_low, early.rank_high) == (3.0, 13.0)
