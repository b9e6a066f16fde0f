"""FEN, UCI, SAN, PGN and the text board: what is written reads back, and what is wrong is named."""

import io

import chess.pgn
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.rules.errors import FenError, IllegalMoveError, InputError
from engine.rules.notation.board_text import board_text
from engine.rules.pgn import GameRecord, PgnError, read_pgn, write_pgn
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


def record_of(finished: Position) -> GameRecord:
    outcome = finished.outcome()
    start = next(iter(replayed(finished)))
    return GameRecord(
        variant=finished.variant,
        start_fen=start.fen(),
        moves=tuple(finished.move_stack),
        result=outcome.result if outcome else "*",
        tags={"White": 'A "quoted" \\ name', "Black": "B", "Time": "12:00"},
        comments={0: "before the first", 2: "after two moves (really)"},
    )


@pytest.mark.parametrize("name", EVERY)
def test_pgn_round_trips(name: str) -> None:
    variant = get_variant(name)
    records = [record_of(game) for game in random_games(variant, 2, 60, seed=12)]
    middle = next(random_games(variant, 1, 3, seed=12)).fen()
    records += [record_of(game) for game in random_games(variant, 1, 20, fen=middle)]
    texts = "".join(write_pgn(record) for record in records)
    assert max(map(len, texts.splitlines())) < 100
    for record, again in zip(records, read_pgn(texts), strict=True):
        comments = {ply: text for ply, text in record.comments.items() if ply <= len(record.moves)}
        assert again.variant is variant
        assert again.start_fen == record.start_fen
        assert again.moves == record.moves
        assert again.result == record.result
        assert {key: again.tags[key] for key in record.tags} == record.tags
        assert again.comments == comments
    assert len(list(read_pgn(io.StringIO(texts)))) == len(records)


def test_chess_games_are_read_by_python_chess() -> None:
    for finished in random_games(get_variant("chess"), 5, 80, seed=13):
        record = record_of(finished)
        theirs = chess.pgn.read_game(io.StringIO(write_pgn(record)))
        assert theirs is not None
        assert not theirs.errors
        assert theirs.end().board().fen() == finished.fen()
        assert theirs.headers["Black"] == record.tags["Black"]
        assert theirs.headers["Result"] == record.result
        again = next(read_pgn(str(theirs)))
        assert (again.moves, again.result) == (record.moves, record.result)


PGN = """\
% an escaped line
[Event "A game"]
[Variant "gardner"]
[White "Anna"] [Black "Boris"]

{Before} 1. d3 $1 (1. a3 cxb3?! (1... bxa3) {inside} 2. Rxb3) 1... exd3 {After
two lines} 2.exd3 cxd3!? ; to the end of the line
3. Qxd3 1/2-1/2

[Event "Chess"]
[Result "*"]

1.e4 e5 2.Nf3 *
"""


@pytest.mark.nojit
def test_pgn_is_read_with_all_its_ornaments() -> None:
    gardner, game = read_pgn(PGN)
    assert gardner.variant.name == "gardner"
    assert gardner.tags == {"Event": "A game", "White": "Anna", "Black": "Boris"}
    assert gardner.result == "1/2-1/2"
    assert len(gardner.moves) == 5
    assert gardner.comments == {0: "Before", 2: "After two lines", 4: "to the end of the line"}
    assert (game.variant.name, len(game.moves), game.result) == ("chess", 3, "*")


def test_games_that_went_on_after_a_claimable_draw_are_read() -> None:
    shuffle = "Nf3 Nf6 Ng1 Ng8 " * 3
    (game,) = read_pgn(shuffle + "e4 e5 *")
    assert len(game.moves) == 14
    assert next(read_pgn(write_pgn(game))).moves == game.moves


BAD_PGNS = [
    ('[Variant "gardner"]\n\n1. d3 Nd9 *\n', 3, "'Nd9'"),
    ('[Variant "gardnr"]\n\n1. d3 *\n', 1, "gardner"),
    ('[Variant "gardner"]\n[FEN "rnbqk/8 w"]\n\n1. d3 *\n', 2, "rnbqk/8 w"),
    ("[Event no quotes]\n\n*\n", 1, "[Event no quotes]"),
    ("1. e4 e5\n2. Nf3\n", 2, "without a result"),
    ('1. e4 e5\n\n[Event "next"]\n\n*\n', 3, "without a result"),
    ("1. e4 {never\nclosed\n", 1, "'{'"),
    ("\n1. e4 (1. d4\n*\n", 2, "'('"),
    ("1. e4 ) *\n", 1, "')'"),
    ("1. e4 } *\n", 1, "'}'"),
    ("1. f3 e5 2. g4 Qh4# 3. a3 0-1\n", 1, "'a3' comes after the end"),
    ("<html>\n", 1, "'<html>'"),
]


@pytest.mark.nojit
@pytest.mark.parametrize(("text", "line", "named"), BAD_PGNS)
def test_bad_pgns_are_refused_with_line_and_text(text: str, line: int, named: str) -> None:
    with pytest.raises(PgnError) as caught:
        list(read_pgn(text))
    message = str(caught.value)
    assert message.startswith(f"PGN line {line}:")
    assert named in message
    assert "\n" not in message


def test_good_games_before_a_bad_one_are_still_read() -> None:
    games = read_pgn("1. e4 *\n\n1. e5 *\n")
    assert len(next(games).moves) == 1
    with pytest.raises(PgnError):
        next(games)


@given(st.text(alphabet='[]"{}();$%*. 1234-/abcdefghNBRQKOx=+#\n\\', max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    message = ""
    try:
        list(read_pgn(text))
    except InputError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1


def test_a_file_without_games_has_none() -> None:
    assert list(read_pgn("")) == []
    assert list(read_pgn("\n% nothing\n\n")) == []
