"""Concepts against concepts: matrices made by hand, slow definitions, and a library that agrees."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy.stats.contingency import association

from engine.probing.analyses.correlations import correlations
from engine.probing.analyses.entanglement import (
    association_matrix,
    correlation_ratio,
    cramers_v,
    entanglement,
    entanglement_of,
)
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import (
    Concept,
    ConceptUndefinedError,
    Kind,
    LabelFunction,
    Labels,
)
from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from tests.support.network.probing_cases import solved_rows

NAN = math.nan
VARIANT = get_variant("hexapawn4x4")


def concept_of(
    name: str, kind: Kind, function: LabelFunction, *, per_square: bool = False
) -> Concept:
    return Concept(
        name=name, kind=kind, definition="Planted.", function=function, per_square=per_square
    )


def named(name: str, kind: Kind = "real", *, per_square: bool = False) -> Concept:
    """One whose labels are handed in."""
    return concept_of(name, kind, lambda positions: np.zeros(len(positions)), per_square=per_square)


def slow_correlation(one: Labels, other: Labels) -> float:
    """Over the rows that have both, from the definition."""
    known = ~(np.isnan(one) | np.isnan(other))
    x, y = one[known], other[known]
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return NAN
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum()))


def test_correlations_leave_missing_pairs_out() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(300, 4)) + 1000.0, rng.normal(size=(300, 3))
    other[:, 0] += one[:, 1]
    one[rng.random(one.shape) < 0.2] = NAN
    other[rng.random(other.shape) < 0.3] = NAN
    one[:, 3] = 5.0
    other[10:, 2] = NAN
    found = correlations(one, other)
    for i in range(4):
        for j in range(3):
            wanted = slow_correlation(one[:, i], other[:, j])
            assert found[i, j] == pytest.approx(wanted, abs=1e-9, nan_ok=True)
    assert np.isnan(found[3]).all(), "a constant correlates with nothing"


def test_correlations_of_many_rows_are_those_of_all() -> None:
    rng = np.random.default_rng(1)
    columns = rng.normal(size=(40_000, 2))
    columns[:, 1] += columns[:, 0] * (np.arange(40_000) > 30_000)
    assert correlations(columns, columns) == pytest.approx(np.corrcoef(columns.T))


def test_classes_by_hand() -> None:
    """Six positions in three classes with means 1, 2 and 6 about 3: the classes explain 28 of the
    variation of 34."""
    classes = np.array([0.0, 0, 1, 1, 2, 2])
    numbers = np.array([0.0, 2, 1, 3, 5, 7])
    assert correlation_ratio(classes, numbers) == pytest.approx(math.sqrt(28 / 34))
    assert correlation_ratio(classes, classes * 5 + 1) == pytest.approx(1.0)
    assert math.isnan(correlation_ratio(classes, np.ones(6)))
    assert cramers_v(classes, np.array([4.0, 4, 9, 9, 7, 7])) == pytest.approx(1.0)
    # Independent: each class meets both others equally often.
    assert cramers_v(classes, np.array([0.0, 1, 0, 1, 0, 1])) == 0.0


def test_classes_agree_with_a_library() -> None:
    rng = np.random.default_rng(2)
    one = rng.integers(0, 4, 500)
    other = np.where(rng.random(500) < 0.5, one % 3, rng.integers(0, 3, 500))
    table = np.zeros((4, 3), int)
    np.add.at(table, (one, other), 1)
    missing = np.append(one.astype(float), [NAN, 3.0])
    beside = np.append(other.astype(float), [1.0, NAN])
    assert cramers_v(missing, beside) == pytest.approx(association(table, "cramer"))


def test_of_two_classes_all_measures_are_one() -> None:
    rng = np.random.default_rng(3)
    one = (rng.random(400) < 0.4).astype(float)
    other = np.where(rng.random(400) < 0.7, one, 1 - one)
    wanted = abs(slow_correlation(one, other))
    columns = np.stack([one, other], axis=1)
    for is_class in ([False, False], [True, False], [True, True]):
        assert abs(association_matrix(columns, is_class)[0, 1]) == pytest.approx(wanted)


def test_like_stands_beside_like_and_one_gain_is_named() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=(2, 500))
    labels = {
        "first": first,
        "second": second,
        "first again": -first + 0.1 * rng.normal(size=500),
        "second again": second * 3.0 + 1.0,
        "alone": rng.normal(size=500),
        "squares": np.stack([second, second, np.zeros(500)], axis=1),
        "kinds": np.zeros((500, 3)),
    }
    concepts = [named(name) for name in list(labels)[:5]]
    concepts += [named("squares", per_square=True)]
    concepts += [named("kinds", "categorical", per_square=True)]
    found = entanglement_of(concepts, labels, "planted")
    assert set(found.groups) == {
        tuple(name for name in found.names if name.startswith("first")),
        tuple(name for name in found.names if name.startswith("second") or name == "squares"),
    }
    places = [found.names.index(name) for name in ("first", "first again")]
    assert abs(places[0] - places[1]) == 1
    assert found.value("first", "first again") == pytest.approx(-0.995, abs=0.005)
    assert found.value("second", "squares") == pytest.approx(1.0)
    assert found.strongest("alone", 1)[0].value == pytest.approx(0.0, abs=0.15)
    assert [each[0] for each in found.absent] == ["kinds"]
    assert {"first", "first again"} in [{each.one, each.other} for each in found.pairs]
    for i, line in enumerate(found.matrix):
        assert line[i] == 1.0
        assert [each[i] for each in found.matrix] == pytest.approx(list(line))
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_concepts_of_a_game_and_those_that_are_not() -> None:
    def undefined(positions: Positions) -> Labels:
        raise ConceptUndefinedError("no such thing")

    def sometimes(positions: Positions) -> Labels:
        """Defined where the side to move has an even number of pieces, and constant there."""
        odd: Labels = positions.mine.sum(axis=(1, 2)) % 2.0
        return np.where(odd == 0, 1.0, NAN)

    rows = solved_rows("hexapawn4x4", 400)
    concepts = [
        concept_of("mine", "count", lambda p: p.mine.sum(axis=(1, 2))),
        concept_of("odd", "binary", lambda p: p.mine.sum(axis=(1, 2)) % 2),
        concept_of("file", "categorical", lambda p: p.mine.any(axis=1).argmax(axis=1)),
        concept_of("undefined", "real", undefined),
        concept_of("constant", "real", sometimes),
    ]
    found = entanglement(concepts, rows, VARIANT)
    assert dict(found.absent) == {
        "undefined": "no such thing",
        "constant": "the same in every position",
    }
    assert found.positions == len(rows)
    labels = {each.name: each.labels(rows, VARIANT) for each in concepts[:3]}
    assert found.value("mine", "odd") == pytest.approx(
        np.corrcoef(labels["mine"], labels["odd"])[0, 1]
    )
    assert found.value("file", "odd") == pytest.approx(
        correlation_ratio(labels["file"], labels["odd"])
    )
    assert "400 positions of hexapawn4x4" in repr(found)
    with pytest.raises(InputError, match="threshold = 2"):
        entanglement(concepts, rows, VARIANT, threshold=2)
    with pytest.raises(InputError, match="1 concepts vary"):
        entanglement(concepts[:1], rows, VARIANT)
    with pytest.raises(InputError, match="no concept 'else'"):
        found.value("mine", "else")
