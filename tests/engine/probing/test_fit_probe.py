"""One probe with its controls, for features of any kind or for a network."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.probing.concepts.material import material
from engine.probing.data.samples import play_random_games
from engine.probing.fit_probe import FittedProbe, fit_probe
from engine.rules.errors import InputError
from engine.rules.variant import get_variant

Array = npt.NDArray[np.float64]
ROWS = 600


def planted() -> tuple[npt.NDArray[np.float32], Array]:
    """Features and what is linear in them, without noise."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(ROWS, 8)).astype(np.float32)
    return features, features @ rng.normal(size=8)


def test_a_planted_direction_is_found_and_nothing_where_nothing_is() -> None:
    features, scores = planted()
    labels = (scores > 0.3).astype(np.float64)
    labels[:20] = np.nan
    fitted = fit_probe(features, labels)
    assert fitted.probe.kind == "binary"
    assert fitted.score > 0.95
    low, high = fitted.interval
    assert 0.9 < low <= fitted.score <= high <= 1.0
    assert fitted.auc is not None
    assert fitted.auc > 0.99
    assert fitted.majority == 0.5
    for chance in (fitted.shuffled_labels, fitted.control_task):
        assert chance == pytest.approx(0.5, abs=0.12)
    assert fitted.selectivity > 0.3
    assert fitted.description.bits < 0.6 * fitted.description.without
    assert fitted.gain is None
    assert not np.isnan(labels[fitted.held_out]).any()
    again = fit_probe(torch.from_numpy(features), labels)
    np.testing.assert_array_equal(again.probe.weights, fitted.probe.weights)
    assert fit_probe(features, scores).score > 0.999
    noise = np.random.default_rng(1).normal(size=ROWS)
    assert fit_probe(features, noise).score < 0.05


def test_held_out_rows_change_scores_and_no_probe() -> None:
    features, scores = planted()
    labels = np.round(scores)
    fitted = fit_probe(features, labels, kind="real", penalty=1e-2)
    other = features.copy()
    other[fitted.held_out] = 0.0
    spoiled = fit_probe(other, labels, kind="real", penalty=1e-2)
    np.testing.assert_array_equal(spoiled.held_out, fitted.held_out)
    np.testing.assert_array_equal(spoiled.probe.weights, fitted.probe.weights)
    assert spoiled.score < 0.1 < 0.9 < fitted.score


def test_groups_stay_together() -> None:
    features, scores = planted()
    groups = np.repeat(np.arange(ROWS // 6), 6) * 10
    held_out = fit_probe(features, scores, groups=groups).held_out
    assert set(groups[held_out]).isdisjoint(np.delete(groups, held_out))
    assert len(held_out) == pytest.approx(0.3 * ROWS, abs=6)
    # Equal rows with one label each, all random: without groups they leak into the score.
    repeated = np.repeat(np.random.default_rng(2).normal(size=(ROWS // 6, 60)), 6, axis=0)
    labels = np.repeat(np.random.default_rng(3).integers(2, size=ROWS // 6), 6)
    assert fit_probe(repeated, labels).score > 0.85
    assert fit_probe(repeated, labels, groups=groups).score < 0.75


def network_probe(**changes: Any) -> FittedProbe:
    variant = get_variant("hexapawn4x4")
    rows = play_random_games(variant, 400, np.random.default_rng(0)).rows
    torch.manual_seed(0)
    network = PolicyValueNet(
        NetworkConfig.for_variant(variant, {"trunk": "residual", "blocks": 1, "channels": 8})
    ).eval()
    return fit_probe(
        network, material, **{"rows": rows, "variant": variant, "untrained": (1, 2), **changes}
    )


def test_a_network_comes_with_its_input_and_untrained_networks() -> None:
    fitted = network_probe()
    assert fitted.raw_input == pytest.approx(1.0, abs=1e-3)
    assert len(fitted.untrained) == 2
    assert fitted.gain == fitted.score - max(
        fitted.raw_input or 0.0, float(np.mean(fitted.untrained))
    )
    assert network_probe(layer="embed").score != fitted.score


def test_mistakes_are_named() -> None:
    features, scores = planted()
    variant = get_variant("hexapawn4x4")
    rows = play_random_games(variant, 50, np.random.default_rng(0)).rows
    with pytest.raises(InputError, match="the concept 'material' needs rows"):
        fit_probe(features, material)
    with pytest.raises(InputError, match=r"features of shape \[600\], not \[600, W\]"):
        fit_probe(features[:, 0], scores)
    with pytest.raises(InputError, match=r"labels of shape \[600, 1\]"):
        fit_probe(features, scores[:, None])
    with pytest.raises(InputError, match=r"groups of shape \[3\] for 600 labels"):
        fit_probe(features, scores, groups=np.zeros(3))
    with pytest.raises(InputError, match="600 labels for 5"):
        fit_probe(features, scores, rows=rows[:5], variant=variant)
    with pytest.raises(InputError, match="kind = 'scalar' is not one of binary"):
        fit_probe(features, scores, kind="scalar")  # type: ignore[arg-type]  # a mistake
    with pytest.raises(InputError, match="1 groups of rows with a label; at least 20"):
        fit_probe(features, scores, groups=np.zeros(ROWS))
    with pytest.raises(InputError, match="all 420 rows to fit to are 1"):
        fit_probe(features, np.ones(ROWS))
    with pytest.raises(InputError, match=r"test_share = 1\.5 is not between"):
        fit_probe(features, scores, test_share=1.5)
    with pytest.raises(InputError, match="nowhere"):
        network_probe(layer="nowhere")
