"""The first checkpoint at which a concept is clear of zero."""

import numpy as np

from engine.probing.surface.emergence import first_places


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
