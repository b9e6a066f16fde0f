"""Units against squares: a unit that is known, slow definitions, and untrained networks beside."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.probing.activations.capture import capture
from engine.probing.analyses.seen_pieces import one_of_each
from engine.probing.analyses.units import Units, units
from engine.probing.concepts.positions import Positions
from engine.rules.errors import InputError
from engine.rules.tables import BLACK_BIT
from engine.rules.variant import get_variant
from tests.support.network.network_cases import lively_network
from tests.support.network.probing_cases import solved_rows

NAME = "hexapawn4x4"
VARIANT = get_variant(NAME)
ROWS = 400
PAWN = 7
OWN = 5
"""The unit that is made by hand."""


def with_known_unit() -> PolicyValueNet:
    """Unit 5 of the embedding counts their pawns, whatever the square."""
    torch.manual_seed(0)
    config = NetworkConfig.for_variant(VARIANT, {"trunk": "residual", "blocks": 1, "channels": 12})
    network = PolicyValueNet(config).eval()
    weights = dict(network.named_parameters())
    for name, axis in (("token", 1), ("place", 0), ("state", 0)):
        weights[f"embedding.{name}.weight"].data.select(axis, OWN).zero_()
    weights["embedding.token.weight"].data[PAWN | BLACK_BIT, OWN] = 1.0
    return network


@pytest.fixture(scope="module")
def known() -> Units:
    return units(with_known_unit(), "embed", solved_rows(NAME, ROWS), VARIANT, untrained=2, top=12)


def test_a_known_unit_has_the_map_that_it_was_given(known: Units) -> None:
    rows = solved_rows(NAME, ROWS)
    rows = rows[one_of_each(rows, VARIANT, len(rows), np.random.default_rng(0))]
    assert known.positions == len(rows)
    stands = (Positions(rows, VARIANT).boards.reshape(len(rows), -1) == PAWN | BLACK_BIT) * 1.0
    unit = stands.mean(axis=1)
    found = next(each for each in known.top if each.number == OWN)
    assert found.piece == "their P"
    assert found.linear == pytest.approx(1.0)
    of_their_pawns = next(each for each in found.maps if each.letter == "p")
    for square, covariance in enumerate(of_their_pawns.covariances):
        if np.ptp(stands[:, square]) == 0:
            assert covariance is None
            continue
        wanted = np.cov(unit / unit.std(), stands[:, square], bias=True)[0, 1]
        assert covariance == pytest.approx(wanted, abs=1e-6)
    strongest = max(
        abs(np.corrcoef(unit, stands[:, square])[0, 1])
        for square in range(16)
        if np.ptp(stands[:, square]) > 0
    )
    assert abs(found.correlation) == pytest.approx(strongest, abs=1e-6)


def test_the_summary_is_that_of_all_units(known: Units) -> None:
    assert len(known.top) == known.trained.units == 12
    strengths = [abs(each.correlation) for each in known.top]
    assert strengths == sorted(strengths, reverse=True)
    assert known.trained.correlations == pytest.approx(np.quantile(strengths, (0.1, 0.5, 0.9)))
    assert len(known.untrained) == 2
    assert known.untrained[0] != known.untrained[1]
    assert known.untrained_top[0].maps[0].piece == "my P"
    json.dumps(dataclasses.asdict(known), allow_nan=False)
    assert "untrained 2" in repr(known)


def test_what_is_not_linear_is_not_called_so() -> None:
    """The pooled board after ReLUs of many squares, beside the embedding's plain sums."""
    network = lively_network(NAME, "geometric")
    rows = solved_rows(NAME, ROWS)
    plain = units(network, "embed", rows, VARIANT, untrained=0)
    bent = units(network, "value.hidden", rows, VARIANT, untrained=0)
    assert plain.trained.linear[0] == pytest.approx(1.0, abs=1e-4)
    assert bent.trained.linear[0] < 0.98
    assert not bent.untrained
    assert not bent.untrained_top
    values = capture(network, rows, ["value.hidden"])["value.hidden"]
    assert bent.trained.units == int((np.ptp(values, axis=0) > 1e-6).sum())


def test_few_positions_say_nothing_of_the_linear_share() -> None:
    found = units(with_known_unit(), "embed", solved_rows(NAME, ROWS)[:8], VARIANT, untrained=1)
    assert found.trained.linear == ()
    assert all(each.linear is None for each in found.top)


def test_what_cannot_be_compared_is_refused() -> None:
    network = with_known_unit()
    with pytest.raises(InputError, match="the same pieces"):
        units(network, "embed", solved_rows(NAME, ROWS)[:1], VARIANT)
    with pytest.raises(InputError, match="nowhere"):
        units(network, "nowhere", solved_rows(NAME, ROWS), VARIANT)
