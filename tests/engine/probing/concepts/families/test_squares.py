"""What stands on each square, as the side to move sees the board."""

import numpy as np
import pytest

from engine.probing.concepts.squares import my_piece, owner, piece_kind, their_piece
from engine.rules.position import Position
from engine.rules.tables import BLACK_BIT
from engine.rules.variant import get_variant
from tests.support.network.probing_cases import game_rows


def test_a_drawn_board_from_either_end() -> None:
    """White sees a1 first, Black a5; p is at Black's left end of its second rank."""
    variant = get_variant("gardner")
    white = Position(variant, "4k/p4/5/1N3/K4 w - - 0 1").row
    black = Position(variant, "4k/p4/5/1N3/K4 b - - 0 1").row
    rows = np.stack([white, black])
    mine, theirs = my_piece.labels(rows, variant), their_piece.labels(rows, variant)
    assert [np.flatnonzero(each).tolist() for each in mine] == [[0, 6], [4, 5]]
    assert [np.flatnonzero(each).tolist() for each in theirs] == [[15, 24], [16, 20]]
    names = [piece_kind.class_name(label) for label in piece_kind.labels(rows, variant)[1]]
    assert {place: name for place, name in enumerate(names) if name != "empty"} == {
        4: "king",
        5: "pawn",
        16: "knight",
        20: "king",
    }


@pytest.mark.parametrize("name", ["hexapawn4x4", "gardner", "losalamos"])
def test_owner_and_kind_are_the_board(name: str) -> None:
    variant, (rows, _) = get_variant(name), game_rows(name, 2)
    white = rows[rows[:, variant.squares] == 0]
    boards = white[:, : variant.squares]
    assert (piece_kind.labels(white, variant) == boards % BLACK_BIT).all()
    wanted = np.select([boards >= BLACK_BIT, boards > 0], [2, 1], 0)
    assert (owner.labels(white, variant) == wanted).all()
    assert owner.labels(white, variant).shape == boards.shape
