"""The mirror image of a game is a game by the same rules."""

import numpy as np
import pytest

from engine.rules import kernels
from engine.rules.position import Position
from engine.rules.tables import EN_PASSANT, NO_SQUARE
from engine.rules.variant import get_variant
from tests.support.rules.random_games import random_games, replayed
from tests.support.rules.variant_lists import EVERY
from training.data.symmetry import mirror_moves, mirror_positions

MIRRORABLE = [name for name in EVERY if get_variant(name).mirrorable]


def positions_of(name: str, games: int = 4) -> list[Position]:
    variant = get_variant(name)
    return [
        position for game in random_games(variant, games, 40, seed=5) for position in replayed(game)
    ]


def mirrored(position: Position) -> Position:
    row = mirror_positions(position.variant, position.row[None])[0]
    return Position.from_row(row, position.variant)


def mirrored_moves(position: Position) -> list[int]:
    moves = np.array(position.legal_moves, np.uint16)
    images: list[int] = mirror_moves(position.variant, moves).tolist()
    return images


@pytest.mark.parametrize("name", MIRRORABLE)
def test_the_mirror_image_has_the_mirrored_moves(name: str) -> None:
    tables = get_variant(name).tables
    for position in positions_of(name):
        image = mirrored(position)
        images = mirrored_moves(position)
        assert sorted(images) == sorted(image.legal_moves)
        assert mirror_moves(position.variant, np.array(images, np.uint16)).tolist() == (
            position.legal_moves
        )
        assert np.array_equal(mirrored(image).row, position.row)
        assert image.outcome() == position.outcome()
        after, image_after = np.empty_like(position.row), np.empty_like(position.row)
        for move, its_image in zip(position.legal_moves, images, strict=True):
            kernels.apply(tables, position.row, move, after)
            kernels.apply(tables, image.row, its_image, image_after)
            assert np.array_equal(mirror_positions(position.variant, after[None])[0], image_after)


def test_en_passant_is_mirrored_too() -> None:
    squares = get_variant("silverman4x5").squares
    targets = {
        position.row[squares + EN_PASSANT] for position in positions_of("silverman4x5", games=40)
    }
    assert len(targets - {NO_SQUARE}) > 2
    position = Position(get_variant("silverman4x5"), "k3/4/pP2/4/3K b - - 0 1")
    position.row[squares + EN_PASSANT] = 5
    image = mirrored(position)
    assert image.row[squares + EN_PASSANT] == 6
    assert image.fen().startswith("3k/4/2Pp/4/K3 b")


def test_castling_and_one_sided_goals_have_no_mirror_image() -> None:
    assert {"chess", "diana", "corner"}.isdisjoint(MIRRORABLE)
    assert {"gardner", "silverman4x5", "hexapawn", "breakthrough", "hill"} <= set(MIRRORABLE)
    one_sided = positions_of("corner")
    assert any(mirrored(position).outcome() != position.outcome() for position in one_sided)
