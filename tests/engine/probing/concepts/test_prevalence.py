"""How labels are distributed over a sample, counted by hand."""

import numpy as np
import pytest

from engine.probing.concepts.material import material, pieces, queens
from engine.probing.concepts.pawns import breakthrough, leader
from engine.probing.concepts.registry import prevalences
from engine.probing.concepts.squares import my_piece, owner
from engine.rules.position import Position
from engine.rules.variant import get_variant
from tests.support.network.probing_cases import solved_rows

BOARDS = ("pppp/4/4/PPPP w", "pppp/4/1P2/P1PP b", "3p/4/P3/4 w", "4/4/4/pp2 w")
"""Free pawns: none, none, a2. White has no pawn on the last, which is no position of a game."""


def test_four_boards_by_hand() -> None:
    variant = get_variant("hexapawn4x4")
    rows = np.stack([Position(variant, f"{board} - - 0 1").row for board in BOARDS])
    asked = (material, pieces.mine, breakthrough, leader.mine, queens.mine, my_piece, owner)
    found = {each.name: each for each in prevalences(asked, rows, variant)}
    # 0, 0, 0 and -2.
    assert found["material"].mean == -0.5
    assert found["material"].sd == pytest.approx(np.sqrt(0.75))
    assert found["material"].majority == 0.75
    # 4, 4, 1 and 0.
    assert found["my pieces"].mean == 9 / 4
    assert found["a pawn can break through"].mean == 0.25
    # 3, 3, 2 moves, and no pawn at all.
    assert found["my distance of the leading pawn"].mean == pytest.approx(8 / 3)
    assert found["my distance of the leading pawn"].undefined == 1
    # Of 64 squares 9 are the mover's, and 4 + 4 + 1 + 2 the opponent's.
    assert (found["my piece on the square"].labels, found["my piece on the square"].mean) == (
        64,
        9 / 64,
    )
    assert found["owner of the square"].mean == (9 + 2 * 11) / 64
    assert found["owner of the square"].majority == (64 - 20) / 64
    assert found["my queens"].absent == "hexapawn4x4 has no queens"
    assert (found["my queens"].labels, found["my queens"].mean) == (0, None)


def test_of_all_of_hexapawn() -> None:
    """38 of its 70 unfinished positions have a pawn that breaks through, as played out by
    test_breakthrough.py."""
    (found,) = prevalences((breakthrough,), solved_rows("hexapawn"), get_variant("hexapawn"))
    assert (found.labels, found.mean) == (70, 38 / 70)
