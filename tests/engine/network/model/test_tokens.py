"""What the side to move sees."""

import numpy as np
import pytest
import torch

from engine.network.model.config import NetworkConfig
from engine.network.model.tokens import EN_PASSANT_TOKEN, Encoder
from engine.rules.moves import from_square, make_move, to_square
from engine.rules.position import Position
from engine.rules.variant import get_variant
from tests.support.network.network_cases import (
    mirrored_rows,
    mirrored_square,
    random_moves,
    random_rows,
)

VARIANTS = ["hexapawn", "gardner", "diana", "silverman4x5", "chess"]


def encoder_of(name: str) -> Encoder:
    variant = get_variant(name)
    return Encoder(NetworkConfig.for_variant(variant))


def test_black_sees_the_board_of_the_module_picture() -> None:
    position = Position(get_variant("hexapawn"), "p1p/1p1/P2 b - - 0 1")
    squares = encoder_of("hexapawn")(torch.from_numpy(position.row[None])).squares
    mine, theirs = 7, 7 | 16
    assert squares.view(3, 3).tolist() == [[mine, 0, mine], [0, mine, 0], [theirs, 0, 0]]


def test_white_sees_the_row_itself() -> None:
    row = Position(get_variant("chess")).row
    tokens = encoder_of("chess")(torch.from_numpy(row[None]))
    assert tokens.squares[0].tolist() == row[:64].tolist()
    assert tokens.state[0].tolist() == [1, 1, 1, 1, 0, 0]


def test_en_passant_stands_on_its_square_for_either_side() -> None:
    for moves, square in (("e2e4 a7a6 e4e5 d7d5", "d6"), ("a2a3 d7d5 a3a4 d5d4 e2e4", "e3")):
        position = Position(get_variant("chess"))
        for move in moves.split():
            position.push_uci(move)
        tokens = encoder_of("chess")(torch.from_numpy(position.row[None]))
        marked = torch.nonzero(tokens.squares[0] == EN_PASSANT_TOKEN).flatten().tolist()
        file, rank = ord(square[0]) - ord("a"), 5  # the sixth rank, seen from the capturing side
        assert marked == [rank * 8 + file]


def test_castling_rights_are_mine_and_theirs() -> None:
    for fen, mine_theirs in (
        ("r3k2r/8/8/8/8/8/8/R3K2R w Kq - 10 9", [1, 0, 0, 1]),
        ("r3k2r/8/8/8/8/8/8/R3K2R b Kq - 10 9", [0, 1, 1, 0]),
    ):
        row = Position(get_variant("chess"), fen).row
        state = encoder_of("chess")(torch.from_numpy(row[None])).state[0]
        assert state.tolist() == pytest.approx([*mine_theirs, 0.1, 0])


@pytest.mark.parametrize("name", VARIANTS)
def test_mirrored_positions_look_the_same(name: str) -> None:
    variant, encoder = get_variant(name), encoder_of(name)
    rows = random_rows(variant, 40)
    ours = encoder(torch.from_numpy(rows))
    twins = encoder(torch.from_numpy(mirrored_rows(variant, rows)))
    assert torch.equal(ours.squares, twins.squares)
    assert torch.equal(ours.state, twins.state)
    assert int(ours.squares.min()) >= 0
    assert int(ours.squares.max()) < 32


@pytest.mark.parametrize("name", VARIANTS)
def test_moves_are_mirrored_with_the_board(name: str) -> None:
    variant, encoder = get_variant(name), encoder_of(name)
    size = variant.squares
    rows = random_rows(variant, 20)
    moves, offsets = random_moves(variant, 20)
    indices = np.repeat(np.arange(20), np.diff(offsets))
    pairs = encoder.from_to(
        torch.from_numpy(rows), torch.from_numpy(moves.astype(np.int64)), torch.from_numpy(indices)
    )
    for move, row, pair in zip(moves, indices, pairs.tolist(), strict=True):
        start, end = from_square(move), to_square(move)
        if rows[row, size] == 1:
            start, end = mirrored_square(variant, start), mirrored_square(variant, end)
        assert pair == (row * size + start) * size + end


def test_a_promotion_that_the_network_does_not_know_is_out_of_range() -> None:
    encoder = encoder_of("losalamos")  # no bishops
    knight, bishop = make_move(30, 35, 2), make_move(30, 35, 3)
    assert encoder.promotion(torch.tensor([knight])).tolist() == [
        1 + get_variant("losalamos").promotion_types.index(2)
    ]
    assert int(encoder.promotion(torch.tensor([bishop]))) > 15
