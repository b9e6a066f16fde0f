"""FEN, UCI, SAN and the text board: what is written reads back, and what is wrong is named."""

import chess
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.rules.errors import FenError, IllegalMoveError, InputError
from engine.rules.notation.board_text import board_text
from engine.rules.position import Position
from engine.rules.variant import get_variant
from tests.support.rules.random_games import random_games, replayed
from tests.support.rules.variant_lists import EVERY

GARDNER_START = "rnbqk/ppppp/5/PPPPP/RNBQK w - - 0 1"


@pytest.mark.parametrize("name", EVERY)
def test_notations_round_trip_along_random_games(name: str) -> None:
    assert_notations_round_trip(name, 30)


@pytest.mark.nojit
@pytest.mark.parametrize("name", ["hexapawn", "silverman4x5", "diana"])
def test_notations_round_trip_along_a_short_game(name: str) -> None:
    assert_notations_round_trip(name, 6)


def assert_notations_round_trip(name: str, plies: int) -> None:
    for finished in random_games(get_variant(name), 2, plies, seed=11):
        for position in replayed(finished):
            assert Position(position.variant, position.fen()).fen() == position.fen()
            moves = position.legal_moves
            sans = [position.san(move) for move in moves]
            assert len(set(sans)) == len(sans)
            assert [position.parse_san(text) for text in sans] == moves
            assert [position.parse_uci(position.uci(move)) for move in moves] == moves


@given(st.sampled_from(EVERY), st.lists(st.integers(0, 999), max_size=30))
def test_fen_round_trips_after_any_moves(name: str, choices: list[int]) -> None:
    position = Position(get_variant(name))
    for choice in choices:
        moves = position.legal_moves
        if moves:
            position.push(moves[choice % len(moves)])
    again = Position(position.variant, position.fen())
    assert again.fen() == position.fen()
    assert again.row[:-1].tolist() == position.row[:-1].tolist()
    assert again.full_move == position.full_move


@pytest.mark.nojit
def test_fields_after_the_board_may_be_left_out() -> None:
    variant = get_variant("gardner")
    for text in (GARDNER_START.split()[0], GARDNER_START[:-10], "  " + GARDNER_START + " "):
        assert Position(variant, text).fen() == GARDNER_START


BAD_FENS = [
    ("gardner", "", "''"),
    ("gardner", "rnbqk/pppppp/5/PPPPP/RNBQK w - - 0 1", "pppppp"),
    ("gardner", "rnbqk/pppp/5/PPPPP/RNBQK w - - 0 1", "pppp"),
    ("gardner", "rnbqk/ppppp/6/PPPPP/RNBQK w - - 0 1", "'6'"),
    ("gardner", "rnbqk/ppppp/0/PPPPP/RNBQK w - - 0 1", "'0'"),
    ("gardner", "rnbqk/ppppp/PPPPP/RNBQK w - - 0 1", "4 ranks"),
    ("gardner", "rnbqk/ppppp/5/5/PPPPP/RNBQK w - - 0 1", "6 ranks"),
    ("gardner", "rnbqk/ppppx/5/PPPPP/RNBQK w - - 0 1", "'x'"),
    ("losalamos", "rnbknr/pppppp/6/6/PPPPPP/RNQKNR w - - 0 1", "'b'"),
    ("hexapawn", "kpp/3/PPP w - - 0 1", "'k'"),
    ("gardner", "rnbq1/ppppp/5/PPPPP/RNBQK w - - 0 1", "0 kings"),
    ("gardner", "rnbkk/ppppp/5/PPPPP/RNBQK w - - 0 1", "2 kings"),
    ("gardner", "4k/5/5/5/K3R w - - 0 1", "not to move"),
    ("gardner", "4k/5/5/5/K3p w - - 0 1", "e1"),
    ("gardner", "rnbqk/ppppp/5/PPPPP/RNBQK x - - 0 1", "'x'"),
    ("gardner", "rnbqk/ppppp/5/PPPPP/RNBQK w - - -1 1", "'-1'"),
    ("gardner", "rnbqk/ppppp/5/PPPPP/RNBQK w - - 256 1", "'256'"),
    ("gardner", "rnbqk/ppppp/5/PPPPP/RNBQK w - - zero 1", "zero"),
    ("gardner", "rnbqk/ppppp/5/PPPPP/RNBQK w - - 0 1 1", "7"),
    ("gardner", "rnbqk/ppppp/5/PPPPP/RNBQK w K - 0 1", "'K'"),
    ("chess", "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBN1 w KQkq - 0 1", "'K'"),
    ("chess", "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KK - 0 1", "KK"),
    ("chess", "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w AHah - 0 1", "AHah"),
    ("chess", "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq e3 0 1", "e3"),
    ("chess", "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq e9 0 1", "e9"),
    ("gardner", "rnbqk/ppppp/5/PPPPP/RNBQK w - c3 0 1", "c3"),
]


@pytest.mark.nojit
@pytest.mark.parametrize(("name", "text", "named"), BAD_FENS)
def test_bad_fens_are_refused_and_quoted(name: str, text: str, named: str) -> None:
    with pytest.raises(FenError) as caught:
        Position(get_variant(name), text)
    message = str(caught.value)
    assert text in message
    assert named in message
    assert "\n" not in message


@given(st.sampled_from(EVERY), st.text(max_size=60))
@example("gardner", "two\nlines")
def test_any_text_is_a_fen_or_an_input_error(name: str, text: str) -> None:
    message = ""
    try:
        Position(get_variant(name), text)
    except InputError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1


@given(st.sampled_from(EVERY), st.integers(0, 60), st.characters(codec="ascii"))
def test_a_fen_with_one_wrong_letter_is_a_position_or_an_input_error(
    name: str, where: int, letter: str
) -> None:
    variant = get_variant(name)
    fen = variant.start_fen
    index = where % len(fen)
    try:
        position = Position(variant, fen[:index] + letter + fen[index + 1 :])
    except InputError:
        return
    assert Position(variant, position.fen()).fen() == position.fen()


@pytest.mark.nojit
def test_castling_text() -> None:
    chess_position = Position(get_variant("chess"), "4k3/8/8/8/8/8/8/R3K2R w KQ - 0 1")
    for uci, san in (("e1g1", "O-O"), ("e1c1", "O-O-O")):
        move = chess_position.parse_uci(uci)
        assert (chess_position.uci(move), chess_position.san(move)) == (uci, san)
        assert chess_position.parse_san(san.replace("O", "0")) == move
    assert chess_position.parse_uci("e1h1") == chess_position.parse_uci("e1g1")
    # The king could simply step to e1: then the text names the rook. To b1 it could not.
    diana = Position(get_variant("diana"), "3k2/6/6/6/6/R2K1R w KQ - 0 1")
    assert {diana.uci(diana.parse_san("O-O")), diana.uci(diana.parse_san("O-O-O"))} == {
        "d1f1",
        "d1b1",
    }
    assert diana.san(diana.parse_uci("d1e1")) == "Ke1"


SANS = [
    # Two knights of one file and two of one rank reach the square: file, rank or both are named.
    ("chess", "4k3/8/8/8/N7/8/8/N1N1K3 w - - 0 1", "a1b3", "Nab3"),
    ("chess", "8/2k5/8/8/4Q2Q/1K6/8/7Q w - - 0 1", "h4e1", "Qh4e1"),
    ("chess", "4k3/8/8/3pP3/8/8/8/4K3 w - d6 0 2", "e5d6", "exd6"),
    ("chess", "3rk3/4P3/8/8/8/8/8/4K3 w - - 0 1", "e7d8n", "exd8=N"),
    ("gardner", "k4/3P1/2K2/5/5 w - - 0 1", "d4d5q", "d5=Q+"),
    ("gardner", "k4/3P1/1K3/5/5 w - - 0 1", "d4d5r", "d5=R#"),
    ("hexapawn", "p1p/1P1/P1P w - - 0 1", "b2b3", "b3#"),
    ("hexapawn", "ppp/1P1/P1P b - - 0 1", "a3b2", "axb2"),
    ("breakthrough5", "ppppp/ppppp/5/PPPPP/PPPPP w - - 0 1", "a2b3", "ab3"),
    ("breakthrough5", "pp1pp/5/5/PPPPP/P1P2 w - - 0 1", "b2b3", "bb3"),
]


@pytest.mark.nojit
@pytest.mark.parametrize(("name", "fen", "uci", "san"), SANS)
def test_san_by_example(name: str, fen: str, uci: str, san: str) -> None:
    position = Position(get_variant(name), fen)
    assert position.san(position.parse_uci(uci)) == san
    assert position.uci(position.parse_san(san)) == uci


@pytest.mark.nojit
@pytest.mark.parametrize("text", ["Nc3", "Nb1c3", "N1c3", "Nb1-c3", "Nc3!?", " Nc3+ ", "Nc3#"])
def test_san_is_read_with_tolerance(text: str) -> None:
    position = Position(get_variant("chess"))
    assert position.uci(position.parse_san(text)) == "b1c3"


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("fen", "text", "named"),
    [
        (chess.STARTING_FEN, "Nd2", "not legal"),
        (chess.STARTING_FEN, "e5", "not legal"),
        (chess.STARTING_FEN, "O-O", "not legal"),
        (chess.STARTING_FEN, "hello", "not legal"),
        (chess.STARTING_FEN, "", "not legal"),
        ("4k3/8/8/8/8/8/8/N1N1K3 w - - 0 1", "Nb3", "ambiguous, a1b3 or c1b3"),
        ("4k3/P7/8/8/8/8/8/4K3 w - - 0 1", "a8", "ambiguous"),
        ("4k3/P7/8/8/8/8/8/4K3 w - - 0 1", "a8=K", "not legal"),
        ("4k3/8/8/8/8/8/8/4K3 w - - 0 1", "Kd1", "end of the game"),
    ],
)
def test_bad_sans_are_refused_and_quoted(fen: str, text: str, named: str) -> None:
    position = Position(get_variant("chess"), fen)
    with pytest.raises(IllegalMoveError) as caught:
        position.parse_san(text)
    message = str(caught.value)
    assert f"'{text}'" in message
    assert fen in message
    assert named in message


@pytest.mark.nojit
@pytest.mark.parametrize("text", ["a1a9", "e2e5", "", "e7e8q", "resign", "0000", "a2 a3"])
def test_bad_uci_moves_are_refused_and_quoted(text: str) -> None:
    position = Position(get_variant("gardner"))
    with pytest.raises(IllegalMoveError) as caught:
        position.push_uci(text)
    assert f"'{text}'" in str(caught.value)
    assert GARDNER_START in str(caught.value)
    assert position.fen() == GARDNER_START


def test_an_illegal_move_has_no_san() -> None:
    position = Position(get_variant("hexapawn"))
    with pytest.raises(IllegalMoveError, match="a1a3"):
        position.san(0 | 6 << 6)


BOARD = """\
3  p . p
2  . P .
1  P . P

   a b c"""


@pytest.mark.nojit
def test_the_text_board_has_files_and_ranks() -> None:
    position = Position(get_variant("hexapawn"), "p1p/1P1/P1P b - - 0 1")
    assert str(position) == BOARD
    flipped = board_text(position.row, position.variant, flipped=True)
    assert flipped.splitlines()[0] == "1  P . P"
    assert flipped.splitlines()[-1] == "   c b a"
