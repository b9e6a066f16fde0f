"""Threats on drawn boards, and where there are none."""

import chess
import pytest

from engine.probing.concepts import king, threats
from engine.probing.concepts.registry import (
    Concept,
    ConceptUndefinedError,
)
from engine.rules.position import Position
from engine.rules.variant import get_variant
from tests.support.concepts.boards import answers

# Boards, ranks from the top; capitals are White's, to move.
BOARDS = {
    "a knight forks two rooks": (
        """
        . r . r k
        . . . . .
        . . N . .
        . . . . .
        K . . . .
        """,
        {threats.forks.mine: 1, threats.forks.theirs: 0, threats.skewers.mine: 0},
    ),
    "it can go there": (
        """
        . r . r k
        . . . . .
        . . . . .
        . . . . .
        K N . . .
        """,
        {threats.fork_available: 1, threats.forks.mine: 0},
    ),
    "a bishop guards the square": (
        """
        b r . r k
        . . . . .
        . . . . .
        . . . . .
        K N . . .
        """,
        {threats.fork_available: 0},
    ),
    "pawns of a kind fork where nothing defends": (
        """
        . . . . .
        . p . p .
        . . P . .
        . . . . .
        K . . . k
        """,
        {threats.forks.mine: 1, threats.forks.theirs: 0},
    ),
    "a knight is pinned to its king": (
        """
        . . . . k
        . . . . .
        . . . . n
        . . . . .
        K . . . R
        """,
        {threats.pinned.mine: 0, threats.pinned.theirs: 1, threats.pinned_to_piece.theirs: 0},
    ),
    "a knight is pinned to its queen": (
        """
        . k . . q
        . . . . .
        . . . . n
        . . . . .
        K . . . R
        """,
        {threats.pinned.theirs: 0, threats.pinned_to_piece.theirs: 1, threats.skewers.mine: 0},
    ),
    "a queen is skewered before a rook": (
        """
        . . . . .
        . . . . k
        . . . . .
        K . . . .
        R . q . r
        """,
        {threats.skewers.mine: 1, threats.skewers.theirs: 0, threats.queen_attacked.theirs: 1},
    ),
    "a king is skewered before its queen": (
        """
        k . . . .
        . . . . .
        r . K . Q
        . . . . .
        . . . . .
        """,
        {threats.skewers.theirs: 1, threats.in_check: 1, threats.queen_attacked.mine: 0},
    ),
    "a knight uncovers a rook": (
        """
        q . . . k
        . . . . .
        N . . . .
        . . . . .
        R . . K .
        """,
        {threats.discovery_available: 1, threats.queen_attacked.theirs: 0},
    ),
    "a pawn cannot leave its file": (
        """
        q . . . k
        . . . . .
        P . . . .
        . . . . .
        R . . K .
        """,
        {threats.discovery_available: 0},
    ),
    "a pawn without a defender hangs": (
        """
        . . . . k
        . . . . .
        . . p . .
        . . . . .
        K . R . .
        """,
        {threats.hanging.theirs: 1, threats.best_capture.mine: 1, threats.undefended.theirs: 1},
    ),
    "a rook does not take a defended pawn": (
        """
        . . . . k
        . p . . .
        . . p . .
        . . . . .
        K . R . .
        """,
        {threats.hanging.theirs: 0, threats.best_capture.mine: 0, threats.undefended.theirs: 0},
    ),
    "a rook behind a rook takes part": (
        """
        . . r . k
        . . . . .
        . . p . .
        . . R . .
        K . R . .
        """,
        {threats.hanging.theirs: 1, threats.best_capture.mine: 1},
    ),
    "a rook behind the attacker defends": (
        """
        . . p . k
        . . . . .
        . . R . .
        K . . . .
        . . r . .
        """,
        {threats.hanging.theirs: 1, threats.undefended.theirs: 2, threats.best_capture.mine: 5},
    ),
    "a king defends": (
        """
        . . . . .
        . . . . .
        . . p k .
        . . R . .
        K . . . .
        """,
        {threats.hanging.theirs: 0, threats.hanging.mine: 1},
    ),
    "a king does not take what is defended": (
        """
        . . . . .
        . . . . .
        . . p k .
        . . R . .
        K . R . .
        """,
        {threats.hanging.theirs: 1, threats.hanging.mine: 0},
    ),
    "mate on the back rank": (
        """
        k . . . .
        . . . . .
        K . . . .
        . . . . .
        . . . . R
        """,
        {threats.mate_in_one: 1, threats.mate_in_two: 0, threats.win_in_one: 1},
    ),
    "a waiting move mates in two": (
        """
        . . R . .
        . . . . .
        . . . K .
        . . . . .
        . . . k .
        """,
        {threats.mate_in_one: 0, threats.mate_in_two: 1, threats.win_in_two: 1},
    ),
    "the opponent would mate": (
        """
        K . . . .
        . . . . .
        k . . . .
        . . . . .
        N . . . r
        """,
        {threats.their_mate_in_one: 1, threats.mate_in_one: 0, threats.their_checks: 1},
    ),
    "pawns before promotion": (
        """
        . . . . k
        P . . . .
        . . . . .
        . . . p .
        K . . . .
        """,
        {threats.promotion_available: 1, threats.their_promotion_available: 1},
    ),
    "captures are counted": (
        """
        . . . . k
        . . p p .
        . . . P .
        . . . . .
        K . R . .
        """,
        {threats.capture_available: 1, threats.my_captures: 2, threats.their_captures: 1},
    ),
    "a near and a far enemy": (
        """
        . . . . k
        . . . r .
        . . . . .
        . . . . .
        K . . . .
        """,
        {king.nearest_enemy.mine: 3, king.nearest_enemy.theirs: 4},
    ),
    "squares around the kings": (
        """
        k . . . .
        . . . . .
        . . . . .
        . . . . .
        K R . . .
        """,
        {
            king.ring_attacked.theirs: 2,
            king.ring_attackers.theirs: 1,
            king.ring_attacked.mine: 0,
            king.my_escapes: 2,
            king.their_escapes: 1,
            king.nearest_enemy.theirs: 4,
        },
    ),
}
CASES = [
    pytest.param(board, concept, wanted, id=f"{name}: {concept.name}")
    for name, (board, asked) in BOARDS.items()
    for concept, wanted in asked.items()
]


@pytest.mark.parametrize(("board", "concept", "wanted"), CASES)
def test_drawn_boards(board: str, concept: Concept, wanted: int) -> None:
    """From either side, and mirrored."""
    text = "/".join(line.replace(" ", "") for line in board.split("\n") if line.strip())
    for length in range(5, 0, -1):
        text = text.replace("." * length, str(length))
    assert answers(concept, "gardner", f"{text} w") == wanted


@pytest.mark.nojit
def test_a_pawn_wins_by_arriving_where_there_is_no_king() -> None:
    """4 |  .  .  .  .
    3 |  P  .  .  .    a3-a4 wins at once; d2-d1 would, if it were Black's turn.
    2 |  .  .  .  p
    1 |  .  .  .  .
    """
    board = "4/P3/3p/4 w"
    assert answers(threats.win_in_one, "hexapawn4x4", board) == 1
    assert answers(threats.their_win_in_one, "hexapawn4x4", board) == 1
    assert answers(threats.win_in_two, "hexapawn4x4", "4/3p/P3/4 w") == 1
    with pytest.raises(ConceptUndefinedError, match="hexapawn4x4 has no king"):
        answers(threats.mate_in_one, "hexapawn4x4", board)
    with pytest.raises(ConceptUndefinedError, match="has no pieces that capture along lines"):
        answers(threats.skewers.mine, "hexapawn4x4", board)
    with pytest.raises(ConceptUndefinedError, match="hexapawn4x4 has no promotion"):
        answers(threats.promotion_available, "hexapawn4x4", board)
    with pytest.raises(ConceptUndefinedError, match="hexapawn4x4 has no queens"):
        answers(threats.queen_attacked.mine, "hexapawn4x4", board)


def test_a_published_exchange() -> None:
    """Chess Programming Wiki, Static Exchange Evaluation: Rxe5 wins a pawn, Nxe5 loses a knight for
    a pawn."""
    board = "1k1r4/1pp4p/p7/4p3/8/P5P1/1PP4P/2K1R3 w"
    assert answers(threats.best_capture.mine, "chess", board) == 1
    board = "1k1r3q/1ppn3p/p4b2/4p3/8/P2N2P1/1PP1R1BP/2K1Q3 w"
    variant = get_variant("chess")
    row = Position(variant, f"{board} - - 0 1").row
    hanging = threats.hanging_on_squares.theirs.labels(row[None], variant)[0]
    assert hanging[chess.E5] == 0


@pytest.mark.parametrize("rook", [0, 1], ids=["a queen alone", "a rook in the corner as well"])
def test_a_fork_of_the_last_square_of_the_largest_board(rook: int) -> None:
    """The knight goes from g5 to f7."""
    corner = "3q3r" if rook else "3q4"
    assert answers(threats.fork_available, "chess", f"{corner}/8/8/6N1/8/8/8/K6k w") == rook
