"""Factors that were planted are found again, and matches stand beside their controls."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import NMF, PCA

from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.probing.analyses.factors import (
    Factors,
    Method,
    factors,
    nonnegative_factors,
    principal_components,
)
from engine.probing.analyses.seen_pieces import seen_letters
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Concept, Labels
from engine.probing.controls.patterns import Condition, Pattern
from engine.probing.controls.planted import plant
from engine.probing.data.canonical import board_fractions, canonical_boards
from engine.rules.errors import InputError
from engine.rules.tables import BLACK_BIT
from engine.rules.variant import get_variant
from tests.support.network.probing_cases import solved_rows

NAME = "hexapawn4x4"
VARIANT = get_variant(NAME)
PAWN = 7
LAYER = "block.1.residual"
PATTERN = Pattern(centre=PAWN, others=(Condition(1, 0, PAWN | BLACK_BIT),))


def planted_matrix(rank: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Sparse parts and weights: [500, rank] and [rank, 12], none negative."""
    rng = np.random.default_rng(0)
    weights = rng.exponential(size=(500, rank)) * (rng.random((500, rank)) < 0.4)
    parts = np.kron(np.eye(rank), np.ones((1, 12 // rank))) * rng.uniform(0.5, 2.0, 12)
    return weights, parts


def test_planted_parts_are_found_again() -> None:
    weights, parts = planted_matrix()
    found, _ = nonnegative_factors(weights @ parts, 3, np.random.default_rng(1), steps=500)
    matched = np.abs(np.corrcoef(found.T, weights.T)[:3, 3:])
    assert matched.max(axis=1).min() > 0.999
    assert sorted(matched.argmax(axis=1).tolist()) == [0, 1, 2]
    assert found.min() >= 0.0
    assert found.std(axis=0) == pytest.approx(np.ones(3))


def test_the_error_is_that_of_a_library() -> None:
    matrix = np.random.default_rng(2).exponential(size=(300, 20))
    weights, parts = nonnegative_factors(matrix, 4, np.random.default_rng(3), steps=2000)
    ours = ((matrix - weights @ parts) ** 2).sum()
    peer = NMF(4, init="random", random_state=0, max_iter=2000, tol=1e-6)
    theirs = ((matrix - peer.fit_transform(matrix) @ peer.components_) ** 2).sum()
    assert ours < 1.01 * theirs


def test_principal_components_are_those_of_a_library() -> None:
    vectors = np.random.default_rng(4).normal(size=(400, 6)) @ np.diag([5.0, 3, 2, 1, 0.5, 0.1])
    vectors -= vectors.mean(axis=0)
    weights, parts = principal_components(vectors, 3)
    wanted = PCA(3).fit(vectors).components_
    assert np.abs((parts * wanted).sum(axis=1)) == pytest.approx(np.ones(3))
    assert weights == pytest.approx(vectors @ parts.T)


def strongly_planted() -> PolicyValueNet:
    """A tower in which the pattern's direction is the largest part of the stream."""
    config = NetworkConfig.for_variant(
        VARIANT, {"trunk": "residual", "blocks": 3, "channels": 12, "norm": "none"}
    )
    network = plant(config, VARIANT, "direction", PATTERN, 0, block=1).network
    dict(network.named_parameters())["trunk.blocks.1.second.weight"].data *= 8.0
    return network


def on_squares(positions: Positions) -> Labels:
    labels: Labels = PATTERN.squares(positions.boards).reshape(len(positions), -1).astype(float)
    return labels


def by_hash(positions: Positions) -> Labels:
    return board_fractions(canonical_boards(positions.rows, positions.variant), 3)


def column(positions: Positions) -> Labels:
    """The file of the first piece, as classes."""
    files: Labels = positions.mine.any(axis=1).argmax(axis=1).astype(float)
    return files


CONCEPTS = (
    Concept(
        name="pattern here", kind="binary", definition=".", function=on_squares, per_square=True
    ),
    Concept(name="hash", kind="real", definition=".", function=by_hash),
    Concept(name="file", kind="categorical", definition=".", function=column),
)


def measured(
    method: Method, concepts: tuple[Concept, ...] = CONCEPTS, permutations: int = 20
) -> Factors:
    rows = solved_rows(NAME, 400)
    return factors(
        strongly_planted(),
        LAYER,
        rows,
        concepts,
        VARIANT,
        method=method,
        count=3,
        untrained=2,
        permutations=permutations,
    )


@pytest.mark.parametrize("method", ["nmf", "pca"])
def test_a_planted_direction_is_a_factor_with_its_concept(method: Method) -> None:
    found = measured(method)
    first = found.factors[0]
    assert first.match is not None
    assert (first.match.concept, first.match.how) == ("pattern here", "square")
    assert first.match.correlation > 0.95
    assert first.match.stands_out
    assert max(first.match.untrained) < 0.7
    assert first.match.permuted < 0.5
    assert len(first.match.untrained) == len(found.untrained_explained) == 2
    assert [each.share for each in found.factors] == sorted(
        (each.share for each in found.factors), reverse=True
    )
    assert 0.0 < first.share <= found.explained <= 1.0
    # The pattern is on the square with the largest weight.
    for each in first.boards:
        square = int(np.abs(each.weights).argmax())
        assert each.pieces[square] == "P"
        assert each.pieces[square + 4] == "p"
    assert first.boards[0].weights[int(np.abs(first.boards[0].weights).argmax())] == 1.0
    json.dumps(dataclasses.asdict(found), allow_nan=False)
    assert "pattern here, square" in repr(found)


def test_a_hash_is_matched_by_no_factor() -> None:
    found = measured("pca", CONCEPTS[1:2], permutations=100)
    assert not any(each.match is not None and each.match.stands_out for each in found.factors)


def test_where_no_concept_is_given_factors_have_no_match() -> None:
    assert all(each.match is None for each in measured("pca", ()).factors)


def test_the_same_seed_gives_the_same_factors() -> None:
    assert measured("nmf") == measured("nmf")


def test_letters_are_those_of_the_side_to_move() -> None:
    """The start, seen by White and after a move by Black: both see their own pawns below."""
    for row in solved_rows(NAME, 400)[:20]:
        letters = seen_letters(row[None], VARIANT)[0]
        own = Positions(row[None], VARIANT).mine[0].ravel()
        assert [letter.isupper() for letter in letters] == own.tolist()


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        ("value.hidden", {}, "'value.hidden' has no squares"),
        ("block.9.residual", {}, r"block\.9\.residual"),
        (LAYER, {"count": 13}, "count = 13"),
        (LAYER, {"method": "ica"}, "method = 'ica'"),
    ],
)
def test_what_cannot_be_factored_is_refused(
    layer: str, options: dict[str, Any], message: str
) -> None:
    arguments = {"count": 2, **options}
    with pytest.raises(InputError, match=message):
        factors(strongly_planted(), layer, solved_rows(NAME, 50), CONCEPTS, VARIANT, **arguments)
