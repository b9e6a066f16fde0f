"""EPD: positions with operations, as python-chess reads them on 8x8, and on any other board."""

import chess
import pytest

from engine.rules.errors import FenError
from engine.rules.notation.epd import split_epd
from engine.rules.position import Position
from engine.rules.variant import get_variant

LINES = [
    "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - bm e4 d4;",
    'r3k2r/8/8/3pP3/8/8/8/R3K2R w KQ d6 id "a; b \'c\'"; hmvc 7; fmvn 31; c0 "x";',
    '4k3/8/8/8/8/8/8/R3K3 b - - ce -500; acd 12; pv Kd7 O-O-O; noop; c1 ""; id "x"',
    "4k3/8/8/8/8/8/8/R3K3 b Q -",
]


@pytest.mark.nojit
@pytest.mark.parametrize("line", LINES)
def test_lines_are_read_as_python_chess_reads_them(line: str) -> None:
    board, theirs = chess.Board.from_epd(line.replace("bm e4 d4;", "").replace("pv Kd7 O-O-O;", ""))
    found = split_epd(line)
    assert Position(get_variant("chess"), found.fen).fen() == board.fen(en_passant="legal")
    operations = dict(found.operations)
    assert operations.pop("bm", "e4 d4") == "e4 d4"
    assert operations.pop("pv", "Kd7 O-O-O") == "Kd7 O-O-O"
    assert operations == {name: str(value or "") for name, value in theirs.items()}


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("line", "fen"),
    [
        ("rnbqk/ppppp/5/PPPPP/RNBQK", "w - - 0 1"),
        ("rnbqk/ppppp/5/PPPPP/RNBQK b", "b - - 0 1"),
        ("rnbqk/ppppp/5/PPPPP/RNBQK b - - 3 12", "b - - 3 12"),
        ('  rnbqk/ppppp/5/PPPPP/RNBQK  b - - 3 12 id "x";', "b - - 3 12"),
        ("rnbqk/ppppp/5/PPPPP/RNBQK w - - hmvc 4; fmvn 9;", "w - - 4 9"),
    ],
)
def test_counters_and_fields_that_lack(line: str, fen: str) -> None:
    found = split_epd(line)
    assert found.fen == f"rnbqk/ppppp/5/PPPPP/RNBQK {fen}"
    assert Position(get_variant("gardner"), found.fen).fen() == found.fen


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("", "without a position"),
        ('8/8 w - - id "x', "does not end"),
        ("8/8 w - - 0 1 2 x;", "'2'"),
        ("8/8 x - - bm e4;", "'x', expected w or b"),
    ],
)
def test_bad_lines_are_refused_and_quoted(line: str, named: str) -> None:
    with pytest.raises(FenError) as caught:
        split_epd(line)
    assert named in str(caught.value)
    assert line in str(caught.value)
    with pytest.raises(FenError, match="many"):
        Position(get_variant("chess"), split_epd("4k3/8/8/8/8/8/8/4K2R w - - hmvc many;").fen)
