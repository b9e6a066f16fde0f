"""Mobility: the legal moves of Position, all and by piece, and those after passing."""

import numpy as np
import pytest

from engine.probing.concepts.mobility import (
    king_moves,
    knight_moves,
    mobility,
    mobility_difference,
    pawn_moves,
    queen_moves,
    rook_moves,
    their_mobility,
)
from engine.rules.moves import from_square
from engine.rules.position import Position
from engine.rules.tables import BLACK_BIT, KING, KNIGHT, NO_SQUARE, PAWN, QUEEN, ROOK, SIDE
from engine.rules.variant import get_variant
from tests.support.concepts.boards import answers
from tests.support.network.probing_cases import game_rows


@pytest.mark.parametrize("name", ["hexapawn4x4", "gardner", "silverman4x5", "chess"])
def test_mobility_is_the_number_of_legal_moves(name: str) -> None:
    variant = get_variant(name)
    rows, _ = game_rows(name, 4)
    counts = [len(Position.from_row(row, variant).legal_moves) for row in rows]
    assert mobility.labels(rows, variant).tolist() == counts


def test_mobility_of_the_starts() -> None:
    assert answers(mobility, "chess", "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w") == 20
    assert answers(mobility, "hexapawn", "ppp/3/PPP b") == 3


def test_moves_by_piece_are_those_that_leave_its_squares() -> None:
    variant = get_variant("chess")
    rows, _ = game_rows("chess", 3)
    kinds = {
        PAWN: pawn_moves,
        KNIGHT: knight_moves,
        ROOK: rook_moves,
        QUEEN: queen_moves,
        KING: king_moves,
    }
    for kind, asked in kinds.items():
        counts = [
            sum(
                row[from_square(move)] % BLACK_BIT == kind
                for move in Position.from_row(row, variant).legal_moves
            )
            for row in rows
        ]
        assert asked.labels(rows, variant).tolist() == counts


def test_their_moves_are_legal_ones_after_passing() -> None:
    variant = get_variant("gardner")
    rows, _ = game_rows("gardner", 4)
    found = their_mobility.labels(rows, variant)
    checks = [Position.from_row(row, variant).is_check() for row in rows]
    assert np.isnan(found).tolist() == checks
    assert 0 < sum(checks) < len(rows)
    for row, count in zip(rows, found, strict=True):
        if not np.isnan(count):
            passed = row.copy()
            passed[variant.squares + SIDE] ^= 1
            assert count == len(Position.from_row(passed, variant).legal_moves)
    difference = mobility_difference.labels(rows, variant)
    np.testing.assert_array_equal(difference, mobility.labels(rows, variant) - found)


def test_no_pawn_is_taken_in_passing_after_passing() -> None:
    variant = get_variant("chess")
    position = Position(variant, "4k3/8/8/8/1p6/8/P7/4K3 w - - 0 1")
    position.push_uci("a2a4")
    assert position.row[variant.squares + 2] != NO_SQUARE
    asked = their_mobility.labels(position.row[None], variant)[0]
    # White's king has five moves, and the pawn on a4 one.
    assert asked == 6


@pytest.mark.parametrize(
    ("fen", "moves"),
    [("4k/5/5/5/R3K w", 3 + 4), ("4k/5/5/P4/R3K w", 3 + 0)],
)
def test_a_rook_is_counted_by_its_squares(fen: str, moves: int) -> None:
    """Along its rank three squares, up its file four or none."""
    assert answers(rook_moves, "gardner", fen) == moves
