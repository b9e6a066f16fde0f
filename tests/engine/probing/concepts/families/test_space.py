"""Files, centre, outposts and kings on drawn boards, with mirror images and colours changed."""

import pytest

from engine.probing.concepts.registry import BothSides
from engine.probing.concepts.space import (
    beyond,
    centre,
    connected_rooks,
    half_open_files,
    king_centralisation,
    king_distance,
    open_files,
    outposts,
    pawn_shield,
    rooks_on_files,
    space,
)
from tests.support.concepts.boards import answers, both, drawn

MIDDLEGAME = """
    . . . r . r k .
    p p . . . p p p
    . . n . . . . .
    . . . N p . . .
    . . B . P . b .
    . . . . . . . .
    P P P . . P P P
    R . . . . R K .
"""


@pytest.mark.parametrize(
    ("asked", "mine", "theirs"),
    [
        # Black has no pawn on c, White none on d but neither has Black.
        (half_open_files, 0, 1),
        # Black's rook on d8; all others have their own pawns ahead.
        (rooks_on_files, 0, 1),
        # a1 and f1 have nothing between them, d8 and f8 neither.
        (connected_rooks, 1, 1),
        # d5 and e4 against e5.
        (centre, 2, 1),
        # d5 against g4.
        (beyond, 1, 1),
        # d5 is protected by e4 and no pawn on c or e can come; c4 is on the own half. g4 is not
        # protected.
        (outposts, 1, 0),
        # f2, g2, h2; f7, g7, h7.
        (pawn_shield, 3, 3),
        # From g1 to e4 or e5: three moves.
        (king_centralisation, 3, 3),
    ],
)
def test_a_middlegame(asked: BothSides, mine: int, theirs: int) -> None:
    assert both(asked, "chess", MIDDLEGAME) == (mine, theirs)
    assert both(asked, "chess", MIDDLEGAME, to_move="b") == (theirs, mine)


def test_open_files_and_kings_of_the_middlegame() -> None:
    fen = f"{drawn(MIDDLEGAME)} w"
    # The d-file alone.
    assert answers(open_files, "chess", fen) == 1
    assert answers(king_distance, "chess", fen) == 7


def test_space_is_the_safe_own_half() -> None:
    """On c to f, ranks two to four, twelve squares: less White's c2, e4, f2, and d4 and f4, which
    e5 attacks. Black, on ranks seven to five: less f7, e5 and, attacked by e4, d5 and f5."""
    assert both(space, "chess", MIDDLEGAME) == (12 - 3 - 2, 12 - 2 - 2)


SMALL = """
    . n . . k
    p . . . .
    . P N . p
    P . . . .
    K . . . R
"""


@pytest.mark.parametrize(
    ("asked", "mine", "theirs"),
    [
        # The centre of 5x5 is one square, on which the knight stands.
        (centre, 1, 0),
        # The third rank of five belongs to nobody.
        (beyond, 0, 0),
        (outposts, 0, 0),
        # a2 is one rank ahead of the king, b3 two; e3 is two ahead of Black's.
        (pawn_shield, 2, 1),
        # To the middle square.
        (king_centralisation, 2, 2),
        # c and d are open; b is White's alone, e Black's alone.
        (half_open_files, 1, 1),
        (rooks_on_files, 1, 0),
        # On b, c, d, ranks two and three: b3 is White's pawn, and e3 attacks d2. Black, on ranks
        # four and three: a2 attacks b3, and b3 attacks c4.
        (space, 4, 4),
    ],
)
def test_a_small_board(asked: BothSides, mine: int, theirs: int) -> None:
    assert both(asked, "gardner", SMALL) == (mine, theirs)


def test_space_on_the_smallest_boards() -> None:
    """Second ranks: the enemy's pawns attack all of 3x3's, and none of 4x4's middle two."""
    assert both(space, "hexapawn", "p p p / . . . / P P P") == (0, 0)
    assert both(space, "hexapawn4x4", "p p p p / . . . . / . . . . / P P P P") == (2, 2)


@pytest.mark.parametrize(
    ("diagram", "connected"),
    [
        (". k . . . / . . . . . / . . . . . / . . . . . / R . R . K", 1),
        (". k . . . / . . . . . / . . . . . / . . . . . / R N R . K", 0),
        (". . . . R / . k . . . / . . . . p / . . . . . / K . . . R", 0),
        (". . . . R / . k . . . / . . . . . / . . . . . / K . . . R", 1),
        ("k . . . . / . . . R . / . . . . . / . . . . . / K . . . R", 0),
        (". k . . . / . . . . . / . . . . . / . . . . . / R . . . K", 0),
    ],
)
def test_rooks_are_connected_along_a_free_line(diagram: str, connected: int) -> None:
    assert both(connected_rooks, "gardner", diagram)[0] == connected


def test_an_outpost_cannot_be_attacked_by_a_pawn_to_come() -> None:
    """c4 is protected by b3. With Black's pawn on d5 it may be attacked; on d3 it came past."""
    free = ". . . k . / . . N . . / . P . . . / . . . . . / K . . . ."
    assert both(outposts, "gardner", free) == (1, 0)
    ranks = ". . . . k / . . . {} . / . . N . . / . P . {} . / . . . . . / K . . . ."
    assert both(outposts, "petty", ranks.format("p", ".")) == (0, 0)
    assert both(outposts, "petty", ranks.format(".", "p")) == (1, 0)
