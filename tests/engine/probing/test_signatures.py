"""A split that holds whole material signatures or pawn skeletons out."""

import numpy as np
import pytest

from engine.probing.data.canonical import canonical_boards
from engine.probing.data.samples import Sample
from engine.probing.data.signatures import HeldOut, signatures, usual_kind
from engine.probing.data.splits import fold_numbers, split, split_whole, thin
from engine.rules.position import Position
from engine.rules.variant import get_variant
from tests.support.network.probing_cases import game_rows, solved_rows


def kind_of(fen: str, kind: HeldOut) -> np.ndarray:
    variant = get_variant("gardner")
    fens = [fen, "2k2/5/1p3/P4/2K2 w - - 0 1"]
    rows = np.stack([Position(variant, each).row for each in fens])
    return signatures(canonical_boards(rows, variant), variant, kind)


@pytest.mark.parametrize(
    ("fen", "material", "pawns"),
    [
        ("k4/5/1p3/P4/4K w - - 0 1", True, True),
        ("2k2/5/3p1/4P/2K2 w - - 0 1", True, True),  # mirrored
        ("2k2/4p/3P1/5/2K2 b - - 0 1", True, True),  # the colours changed
        ("2k2/1p3/5/P4/2K2 w - - 0 1", True, False),
        ("2k2/5/1p3/P4/2KN1 w - - 0 1", False, True),
        ("2kn1/5/1p3/P4/2K2 w - - 0 1", False, True),
    ],
)
def test_signatures_tell_apart_what_they_should(fen: str, material: bool, pawns: bool) -> None:
    wanted: dict[HeldOut, bool] = {"material": material, "pawns": pawns}
    for kind, same in wanted.items():
        first, second = kind_of(fen, kind)
        assert (first == second) == same, kind


def test_a_kind_is_on_one_side_only() -> None:
    variant = get_variant("hexapawn4x4")
    sample = Sample.from_rows(solved_rows("hexapawn4x4", 3000), variant)
    kinds = signatures(sample.boards, variant, "material")
    found = split_whole(sample, kinds, 0.3, np.random.default_rng(0))
    assert not set(kinds[found.train]) & set(kinds[found.test])
    assert not set(sample.groups[found.train]) & set(sample.groups[found.test])
    assert 0.1 < len(found.test) / len(sample) < 0.5
    assert usual_kind(variant) == "material"
    assert usual_kind(get_variant("gardner")) == "pawns"


def test_few_kinds_still_leave_both_sides() -> None:
    variant = get_variant("hexapawn")
    sample = Sample.from_rows(solved_rows("hexapawn"), variant)
    kinds = np.where(np.arange(len(sample)) < 3, 1, 0)
    for seed in range(5):
        found = split_whole(sample, kinds, 0.3, np.random.default_rng(seed))
        assert len(found.train)
        assert len(found.test)


@pytest.mark.parametrize("name", ["hexapawn4x4", "gardner"])
def test_folds_never_divide_a_canonical_position(name: str) -> None:
    variant = get_variant(name)
    rows, games = game_rows(name, 12)
    sample = Sample.from_rows(rows, variant, games)
    rng = np.random.default_rng(0)
    train = split(sample, 0.3, rng).train
    folds = fold_numbers(sample, train, 4, rng)
    assert set(folds) == {0, 1, 2, 3}
    for group in np.unique(sample.groups[train]):
        assert len(set(folds[sample.groups[train] == group])) == 1
    assert len(thin(train, 10, rng)) == 10
    assert thin(train, len(train), rng) is train


def test_positions_of_self_play_are_marked_and_so_are_symmetric_ones() -> None:
    variant = get_variant("hexapawn4x4")
    rows = solved_rows("hexapawn4x4", 2000)
    sample = Sample.from_rows(rows, variant)
    played = [game_rows("hexapawn4x4", 5)[0], game_rows("hexapawn4x4", 3)[0]]
    marked = sample.marking_self_play(iter(played), variant).self_play
    assert marked is not None
    boards = {board.tobytes() for part in played for board in canonical_boards(part, variant)}
    assert marked.tolist() == [board.tobytes() in boards for board in sample.boards]
    assert 0 < marked.sum() < len(rows)
