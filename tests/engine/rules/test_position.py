"""Position keeps its history: what was pushed can be popped, and copies live their own lives."""

import pytest

from engine.rules.moves import from_square, make_move, promotion, to_square
from engine.rules.position import Outcome, Position, Termination
from engine.rules.tables import BLACK, EMPTY, WHITE
from engine.rules.variant import get_variant
from tests.support.rules.random_games import random_games, replayed
from tests.support.rules.variant_lists import EVERY

SHUFFLE = ("g1f3", "g8f6", "f3g1", "f6g8")


@pytest.mark.parametrize("name", EVERY)
def test_pop_takes_back_exactly_what_was_pushed(name: str) -> None:
    for finished in random_games(get_variant(name), 2, 40, seed=17):
        earlier = list(replayed(finished))[:-1]
        for position, move in zip(reversed(earlier), reversed(finished.move_stack), strict=True):
            assert finished.pop() == move
            assert finished.fen() == position.fen()
            assert finished.row.tolist() == position.row.tolist()
            assert finished.hashes == position.hashes
        with pytest.raises(IndexError):
            finished.pop()


@pytest.mark.nojit
def test_a_copy_is_independent() -> None:
    position = Position(get_variant("gardner"))
    position.push_uci("d2d3")
    twin = position.copy()
    twin.push_uci("e4d3")
    assert len(position.move_stack) == 1
    assert position.legal_moves != twin.legal_moves
    twin.pop()
    assert twin.fen() == position.fen()


@pytest.mark.nojit
def test_the_third_time_draws_and_the_row_counts() -> None:
    position = Position(get_variant("chess"))
    for count in (1, 2):
        assert position.outcome() is None
        for uci in SHUFFLE:
            position.push_uci(uci)
        assert position.row[-1] == count
    assert position.outcome() == Outcome(None, Termination.REPETITION)
    assert position.legal_moves == []
    position.pop()
    assert position.outcome() is None


@pytest.mark.nojit
def test_a_row_with_its_history_repeats_too() -> None:
    position = Position(get_variant("chess"))
    for uci in (*SHUFFLE, *SHUFFLE[:3]):
        position.push_uci(uci)
    again = Position.from_row(position.row, position.variant, tuple(position.hashes))
    stranger = Position.from_row(position.row, position.variant)
    for twin in (again, stranger):
        twin.push_uci(SHUFFLE[3])
    assert again.outcome() == Outcome(None, Termination.REPETITION)
    assert stranger.outcome() is None


@pytest.mark.nojit
def test_outcomes_have_a_winner_a_result_and_a_value() -> None:
    assert Position(get_variant("hexapawn")).outcome() is None
    won = Position(get_variant("hexapawn"), "P2/1p1/3 b - - 0 1").outcome()
    assert won == Outcome(WHITE, Termination.FLAG)
    assert won is not None
    assert (won.result, won.value(WHITE), won.value(BLACK)) == ("1-0", 1, -1)
    stuck = Position(get_variant("hexapawn"), "3/1p1/1P1 w - - 0 1").outcome()
    assert stuck == Outcome(BLACK, Termination.STALEMATE)
    assert Outcome(None, Termination.MOVE_RULE).result == "1/2-1/2"


@pytest.mark.nojit
def test_what_a_move_does() -> None:
    position = Position(get_variant("chess"), "r3k2r/1P6/8/3pP3/8/8/8/R3K2R w KQkq d6 0 9")
    assert position.is_capture(position.parse_uci("e5d6"))
    assert position.is_capture(position.parse_uci("b7a8q"))
    assert not position.is_capture(position.parse_uci("b7b8n"))
    castling = position.parse_uci("e1g1")
    assert position.is_castling(castling)
    assert not position.is_capture(castling)
    position.push(castling)
    assert position.fen() == "r3k2r/1P6/8/3pP3/8/8/8/R4RK1 b kq - 1 9"
    assert position.row[4] == EMPTY
    assert position.turn == BLACK


@pytest.mark.nojit
def test_a_move_packs_its_squares() -> None:
    move = make_move(63, 62, 15)
    assert (from_square(move), to_square(move), promotion(move)) == (63, 62, 15)
    assert move < 1 << 16
