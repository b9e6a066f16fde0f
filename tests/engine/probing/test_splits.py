"""Symmetric positions and games never stand on both sides of a split."""

from collections import defaultdict

import numpy as np
import pytest

from engine.probing.controls.labels import control_task_labels, shuffled_labels
from engine.probing.data.canonical import (
    board_fractions,
    canonical_boards,
    canonical_groups,
    seen_boards,
)
from engine.probing.data.samples import Sample
from engine.probing.data.splits import clusters, count_distinct, split
from engine.rules.position import Position
from engine.rules.tables import CLOCK, REPETITION
from engine.rules.variant import get_variant
from tests.support.network.probing_cases import (
    game_rows,
    identity,
    solved_rows,
    symmetric_positions,
)


def test_symmetric_positions_are_one_canonical_position_and_nothing_else_is() -> None:
    variant = get_variant("hexapawn4x4")
    rows = solved_rows("hexapawn4x4", 3000)
    groups = canonical_groups(canonical_boards(rows, variant))
    by_group = defaultdict(set)
    for row, group in zip(rows, groups, strict=True):
        by_group[int(group)].add(identity(row, variant))
    assert all(len(identities) == 1 for identities in by_group.values())
    assert len({identity(row, variant) for row in rows}) == len(by_group) == groups.max() + 1


def test_the_seen_board_is_the_mover_s() -> None:
    variant = get_variant("hexapawn")
    white = Position(variant, "p1p/1P1/P1P w - - 0 1").row
    black = Position(variant, "p1p/1p1/P1P b - - 0 1").row
    np.testing.assert_array_equal(
        seen_boards(white[None], variant), seen_boards(black[None], variant)
    )
    assert seen_boards(white[None], variant)[0].tolist() == [7, 0, 7, 0, 7, 0, 23, 0, 23]


def test_all_symmetric_positions_of_gardner_are_found() -> None:
    variant = get_variant("gardner")
    rows, _ = game_rows("gardner", 3)
    for row in rows:
        boards = canonical_boards(np.stack(symmetric_positions(row, variant)), variant)
        assert len(np.unique(boards, axis=0)) == 1


@pytest.mark.parametrize("seed", range(3))
def test_no_canonical_position_on_both_sides(seed: int) -> None:
    variant = get_variant("hexapawn4x4")
    sample = Sample.from_rows(solved_rows("hexapawn4x4"), variant)
    rng = np.random.default_rng(seed)
    outer = split(sample, 0.3, rng)
    inner = split(sample, 0.25, rng, among=outer.train)
    for sides in (outer, inner):
        train, test = (
            {identity(sample.rows[index], variant) for index in rows[::7]}
            for rows in (sides.train, sides.test)
        )
        assert not train & test
        assert not set(sample.groups[sides.train]) & set(sample.groups[sides.test])
    assert sorted([*outer.train, *outer.test]) == list(range(len(sample)))
    assert sorted([*inner.train, *inner.test]) == outer.train.tolist()
    assert count_distinct(sample.groups[outer.test]) == round(0.3 * sample.distinct)


def test_test_positions_occur_in_test_games_only() -> None:
    variant = get_variant("gardner")
    rows, games = game_rows("gardner", 40, plies=20)
    sample = Sample.from_rows(rows, variant, games)
    sides = split(sample, 0.3, np.random.default_rng(0))
    assert len(sides.test) > 100
    assert not set(sample.groups[sides.train]) & set(sample.groups[sides.test])
    test_games = set(games[np.isin(sample.groups, sample.groups[sides.test])])
    other = ~np.isin(games, list(test_games))
    assert 1 <= len(test_games) <= 12
    # What a test game has on the training side, a training game has too.
    shared = sides.train[np.isin(games[sides.train], list(test_games))]
    assert set(sample.groups[shared]) <= set(sample.groups[other])
    assert sample.groups[0] in sample.groups[sides.train]


def test_repeats_go_and_symmetric_positions_stay() -> None:
    variant = get_variant("hexapawn4x4")
    row = solved_rows("hexapawn4x4", 1)[0]
    later = row.copy()
    later[variant.squares + CLOCK], later[variant.squares + REPETITION] = 9, 1
    others = symmetric_positions(row, variant)
    far = solved_rows("hexapawn4x4", 40)
    sample = Sample.from_rows(np.stack([row, later, *others, *far]), variant)
    sides = split(sample, 0.5, np.random.default_rng(1)).without_repeats(sample)
    kept = np.sort(np.concatenate([sides.train, sides.test]))
    distinct = {sample.rows[index][: variant.squares + 3].tobytes() for index in kept}
    assert len(distinct) == len(kept) == len({each[:-2].tobytes() for each in sample.rows})


def test_clusters_are_games_where_they_are_known() -> None:
    variant = get_variant("gardner")
    rows, games = game_rows("gardner", 5)
    sample = Sample.from_rows(rows, variant, games)
    everything = np.arange(len(rows))
    found = clusters(sample, everything)
    assert found[0] == found[games == 1][0] == 0, "the start is the first game's"
    assert set(found) == set(games)
    for group in np.unique(sample.groups):
        assert len(set(found[sample.groups == group])) == 1
    plain = Sample.from_rows(rows, variant)
    np.testing.assert_array_equal(clusters(plain, everything), plain.groups)


def test_hashed_labels_follow_the_board_and_the_distribution() -> None:
    variant = get_variant("hexapawn4x4")
    sample = Sample.from_rows(solved_rows("hexapawn4x4"), variant)
    labels = (np.arange(len(sample)) % 10 == 0).astype(np.float64)
    hashed = control_task_labels(sample, labels, 0)
    for group in range(0, sample.distinct, 50):
        assert len(set(hashed[sample.groups == group])) == 1
    assert hashed.mean() == pytest.approx(0.1, abs=0.02)
    assert (hashed != control_task_labels(sample, labels, 1)).any()
    fractions = board_fractions(sample.boards, 0)
    assert 0 <= fractions.min() < 0.01 < 0.99 < fractions.max() < 1
    assert abs(np.corrcoef(hashed, labels)[0, 1]) < 0.05


def test_symmetric_positions_share_a_shuffled_label() -> None:
    variant = get_variant("hexapawn4x4")
    sample = Sample.from_rows(solved_rows("hexapawn4x4", 2000), variant)
    labels = sample.groups.astype(np.float64)
    shuffled = shuffled_labels(sample, labels, np.random.default_rng(0))
    assert sorted(set(shuffled)) == sorted(set(labels))
    assert (shuffled != labels).mean() > 0.99
    for group in range(0, sample.distinct, 50):
        assert len(set(shuffled[sample.groups == group])) == 1
