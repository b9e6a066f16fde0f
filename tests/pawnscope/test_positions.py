"""Positions as arguments: what is none is refused, with the place, before a kernel sees it."""

from collections.abc import Callable

import numpy as np
import pytest

import pawnscope as ps
from engine.rules.tables import BLACK_BIT, CASTLING, EN_PASSANT, KING, PAWN, SIDE
from pawnscope.positions import batch_of

GARDNER, CHESS = ps.get_variant("gardner"), ps.get_variant("chess")


def test_positions_are_made_by_name() -> None:
    assert ps.Position("gardner").variant is GARDNER
    assert ps.Position("gardner", fen="k4/5/5/4P/4K b").turn == 1
    with pytest.raises(ps.InputError, match=r"'gardener' \(did you mean gardner\?\)"):
        ps.Position("gardener")
    with pytest.raises(ps.InputError, match="a FEN is a text, not 7"):
        ps.Position("gardner", 7)  # type: ignore[arg-type]
    with pytest.raises(ps.InputError, match="the name of a variant is a text, not None"):
        ps.Position(None)  # type: ignore[arg-type]


def test_moves_are_typed_in_either_notation() -> None:
    for text in ("b1c3", "Nc3"):
        position = ps.Position("gardner")
        move = position.parse_text(text)
        assert position.push_text(text) == move == position.move_stack[-1]
        assert position.fen().startswith("rnbqk/ppppp/2N2/PPPPP/R1BQK b")
    before = position.fen()
    with pytest.raises(ps.InputError, match="the move 'b9' is not legal"):
        position.push_text("b9")
    # The engine's moves stay numbers, and a refused text changes nothing.
    with pytest.raises(ps.InputError, match=r"push takes a move's number; push_text\('Nc3'\)"):
        position.push("Nc3")  # type: ignore[arg-type]
    with pytest.raises(ps.InputError, match=r"push takes a move's number, not 3\.5"):
        position.push(3.5)  # type: ignore[arg-type]
    assert (position.fen(), len(position.hashes)) == (before, 1)


def test_no_text_means_two_moves() -> None:
    """Of every legal move in some hundred positions, both notations are read back as that move."""
    rng = np.random.default_rng(1)
    for name in ("gardner", "chess", "breakthrough5", "losalamos"):
        position = ps.Position(name)
        for _ in range(40):
            moves = position.legal_moves
            if not moves:
                break
            for move in moves:
                assert position.parse_text(position.uci(move)) == move
                assert position.parse_text(position.san(move)) == move
            position.push(moves[rng.integers(len(moves))])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("gardner", r"positions: .* are expected, not 'gardner' \(str\)"),
        (None, r"not None \(NoneType\)"),
        (7, r"not 7 \(int\)"),
        ([], "positions is empty"),
        ([ps.Position("gardner"), "k4/5/5/4P/4K b"], r"positions\[1\]: .* not 'k4/5/5/4P/4K b'"),
        (
            [ps.Position("gardner"), ps.Position("baby")],
            r"positions\[1\] is of baby, positions\[0\]",
        ),
        (ps.Position("baby"), "the position is of baby, the network of gardner"),
        (GARDNER.start_row, r"not rows uint8\[N, 30\] of gardner \(row\[None\] makes"),
        (GARDNER.start_row[None].astype(int), r"int64\[1, 30\], not rows uint8\[N, 30\]"),
        (np.zeros((0, 30), np.uint8), "positions is empty"),
        (np.zeros((2, 69), np.uint8), r"uint8\[2, 69\], not rows uint8\[N, 30\] of gardner"),
        ([GARDNER.start_row, CHESS.start_row], "rows of 2 different lengths"),
    ],
)
def test_what_is_no_position(given: object, told: str) -> None:
    with pytest.raises(ps.InputError, match=told):
        batch_of(given, GARDNER, "the network")


def test_any_sequence_of_positions_will_do() -> None:
    one = ps.Position("gardner")
    for several in ((one, one), iter([one, one]), np.array([one, one], dtype=object)):
        assert batch_of(several, GARDNER, "the network").rows.shape == (2, 30)


def test_a_row_of_another_board_is_no_position() -> None:
    wrong = ps.Position.from_row(CHESS.start_row, GARDNER)
    with pytest.raises(ps.InputError, match=r"positions\[1\]: a row \[69\], not \[30\] of gardner"):
        batch_of([ps.Position(GARDNER), wrong], GARDNER, "the network")


def set_byte(place: int, value: int) -> Callable[[np.ndarray], None]:
    def change(row: np.ndarray) -> None:
        row[place] = value

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (set_byte(30, 15), "an unknown piece"),
        (set_byte(30, BLACK_BIT), "an unknown piece"),
        (set_byte(30, 255), "an unknown piece"),
        (set_byte(64 + SIDE, 2), "neither side is to move"),
        (set_byte(64 + EN_PASSANT, 64), "an en passant square outside the board"),
        (set_byte(64 + EN_PASSANT, 20), "no pawn has just passed over 'e3'"),
        (set_byte(4, 0), "White does not have one king"),
        (set_byte(30, KING | BLACK_BIT), "Black does not have one king"),
        (set_byte(56, PAWN), "a pawn stands on a8, where it must promote"),
        (set_byte(7, 0), "a right to castle without king or rook"),
        (set_byte(64 + CASTLING, 31), "unknown rights to castle"),
        (set_byte(51, PAWN), "the side that is not to move stands in check"),
    ],
)
def test_rows_that_are_no_positions(change: Callable[[np.ndarray], None], told: str) -> None:
    rows = np.repeat(CHESS.start_row[None], 3, axis=0)
    change(rows[2])
    with pytest.raises(ps.InputError, match=rf"^positions\[2\]: .*{told}"):
        batch_of(rows, CHESS, "the network")
    # A Position may have been made of any row.
    with pytest.raises(ps.InputError, match=f"^the position: .*{told}"):
        batch_of(ps.Position.from_row(rows[2], CHESS), CHESS, "the network")


def test_rows_of_real_games_are_positions() -> None:
    """Random games reach castling, en passant and checks; every row of them is accepted."""
    rng = np.random.default_rng(0)
    for name in ("chess", "gardner", "hexapawn4x4", "silverman4x5"):
        rows = []
        for _ in range(5):
            position = ps.Position(name)
            while len(position.move_stack) < 80 and (moves := position.legal_moves):
                rows.append(position.row)
                position.push(moves[rng.integers(len(moves))])
        found = batch_of(np.stack(rows), ps.get_variant(name), "the network")
        np.testing.assert_array_equal(found.rows, rows)
        assert not np.shares_memory(found.rows, rows[0])
