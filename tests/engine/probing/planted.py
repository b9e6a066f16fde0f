"""Features with planted labels, for tests of probes."""

import numpy as np
import numpy.typing as npt

ROWS, WIDTH = 600, 12
Array = npt.NDArray[np.float64]


def planted_rows(seed: int = 0) -> tuple[npt.NDArray[np.float32], Array, Array]:
    """Features with unlike spreads, collinear and constant ones; a number; three classes, one rare.

    The labels follow from the features, with noise.
    """
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(ROWS, WIDTH)) @ rng.normal(size=(WIDTH, WIDTH))
    features = features * 10.0 ** rng.integers(-2, 3, WIDTH) + 5.0
    features[:, 3] = 7.0
    features[:, 5] = features[:, 4]
    features[:, 7] = 2.0 * features[:, 6] + features[:, 4]
    standard = (features - features.mean(0)) / np.maximum(features.std(0), 1e-9)
    scalar = standard @ rng.normal(size=WIDTH) + rng.normal(size=ROWS)
    edges = np.quantile(scalar, [0.03, 0.6])
    classes = np.digitize(scalar + rng.normal(size=ROWS), edges).astype(np.float64)
    return features.astype(np.float32), scalar, classes
