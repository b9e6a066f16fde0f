"""Openings from PGN and EPD files: what is played, what is left out, and why."""

from pathlib import Path

import numpy as np
import pytest

from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.tables import BLACK, WHITE
from engine.rules.variant import get_variant
from search.players.builtin import MinimaxPlayer, RandomPlayer
from training.evaluation.arena import PlayedGame, match_games, summarise
from training.evaluation.games.opening_file import OpeningFile, read_openings
from training.evaluation.openings import Opening

GARDNER = get_variant("gardner")
BLACK_TO_MOVE = "rnbqk/1pppp/p4/PPPPP/RNBQK b - - 3 12"

EPD = f"""\
# a comment

rnbqk/ppppp/5/PPPPP/RNBQK w - - bm b3; id "start";
{BLACK_TO_MOVE[:-5]} hmvc 3; fmvn 12; id "a; b"
rnbqk/ppppp/5/PPPPP/RNBQK w - - 0 7
rnbqk/ppppp/8/PPPPP/RNBQK w - - id "bad";
k4/5/5/5/4K w - -
rnbqk/ppppp/5/PPPPP/RNBQK w - - id "never
"""

PGN = f"""\
[Variant "gardner"]
[Opening "Quiet"]

1. b3 a3 2. c3 *

[Variant "gardner"]
[FEN "{BLACK_TO_MOVE}"]

*

1. e4 e5 *

[Variant "gardner"]

1. Nc9 *

[Variant "Gardner"]

1. b3 a3 2. c3 1-0

[FEN "4k/5/5/5/K3R w"]
[Variant "gardner"]
*
"""


def read(tmp_path: Path, name: str, text: str, plies: int | None = None) -> OpeningFile:
    path = tmp_path / name
    path.write_text(text)
    return read_openings(path, GARDNER, plies)


def fens(openings: tuple[Opening, ...]) -> list[str]:
    """The positions in which the players begin."""
    found = []
    for opening in openings:
        position = Position(GARDNER, opening.start_fen)
        for move in opening.moves:
            assert move in position.legal_moves
            position.push(move)
        found.append(position.fen())
    return found


@pytest.mark.parametrize("name", ["x.epd", "x.EPD", "x.fen"])
def test_positions_of_an_epd(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, name, EPD)
    assert fens(found.openings) == [GARDNER.start_fen, BLACK_TO_MOVE]
    assert [opening.name for opening in found.openings] == ["start", "a; b"]
    assert found.openings[0] == Opening((), None, "start")
    assert found.repeated == 1
    places = [problem.removeprefix(f"{tmp_path / name}: ") for problem in found.problems]
    assert [place.partition(": ")[0] for place in places] == ["line 6", "line 7", "line 8"]
    assert "8 squares" in places[0]
    assert "the game is over in 'k4/5/5/5/4K w - - 0 1'" in places[1]
    assert '"never' in places[2]


def test_only_ends_of_lines_end_lines_of_an_epd(tmp_path: Path) -> None:
    """In the Windows code page the byte 0x85 is an ellipsis."""
    path = tmp_path / "x.epd"
    text = 'rnbqk/ppppp/5/PPPPP/RNBQK w - - c0 "and so on\x85"; id "a";\r\nbad\r\n'
    path.write_bytes(text.encode("latin-1"))
    found = read_openings(path, GARDNER)
    assert [opening.name for opening in found.openings] == ["a"]
    assert [problem.partition(": ")[2][:7] for problem in found.problems] == ["line 2:"]


def test_games_of_a_pgn(tmp_path: Path) -> None:
    found = read(tmp_path, "x.pgn", PGN)
    whole = "rnbqk/1pppp/p4/PPPPP/RNBQK b - - 3 12"
    quiet = Position(GARDNER)
    for word in ("b3", "a3", "c3"):
        quiet.push_san(word)
    assert fens(found.openings) == [quiet.fen(), whole]
    assert [opening.name for opening in found.openings] == ["Quiet", ""]
    assert found.repeated == 1
    places = [problem.removeprefix(f"{tmp_path / 'x.pgn'}: PGN ") for problem in found.problems]
    assert places[0] == "line 11: a game of chess, not gardner"
    assert places[1].startswith("line 15: the move 'Nc9'")
    assert places[2].startswith("line 21: FEN '4k/5/5/5/K3R w': the side that is not to move")


def test_so_many_plies_of_each_game(tmp_path: Path) -> None:
    found = read(tmp_path, "x.pgn", PGN, plies=1)
    assert [len(opening.moves) for opening in found.openings] == [1, 0]
    assert found.openings[0].moves == (Position(GARDNER).parse_san("b3"),)
    mated = '[Variant "gardner"]\n[FEN "k4/5/1K3/5/4R w - - 0 1"]\n\n1. Re5# 1-0\n'
    with pytest.raises(InputError, match=r"no opening for gardner.*line 1: the game is over after"):
        read(tmp_path, "y.pgn", mated)
    assert len(read(tmp_path, "y.pgn", mated, plies=0).openings) == 1


@pytest.mark.parametrize(
    ("name", "text", "plies", "named"),
    [
        ("x.pgn", "", None, "no opening for gardner in it$"),
        ("x.epd", "# nothing\n", None, "no opening for gardner in it$"),
        ("x.pgn", "1. e4 e5 *", None, "PGN line 1: a game of chess, not gardner"),
        ("x.epd", "8/8/8/8 w", None, "line 1: FEN"),
        ("x.epd", EPD, 2, "no plies, and 2 are asked for"),
        ("x.epd", "\x1b[31m\x00" * 200, None, r"FEN '\\x1b\[31m\\x00"),
        ("x.txt", EPD, None, r"ends in \.pgn or \.epd"),
    ],
)
def test_a_file_without_openings_is_refused(
    tmp_path: Path, name: str, text: str, plies: int | None, named: str
) -> None:
    with pytest.raises(InputError, match=named) as caught:
        read(tmp_path, name, text, plies)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert str(caught.value).isprintable()
    # The path is named twice, as long as it may be.
    assert len(str(caught.value).replace(str(tmp_path), "")) < 500


def played(openings: tuple[Opening, ...], games: int, *, repeat: bool = True) -> list[PlayedGame]:
    found = match_games(
        RandomPlayer(np.random.default_rng(1)),
        RandomPlayer(np.random.default_rng(2)),
        GARDNER,
        games=games,
        openings=openings,
        rng=np.random.default_rng(3),
        repeat_openings=repeat,
    )
    return sorted(found, key=lambda game: game.number)


def test_each_opening_of_a_file_is_played_with_both_colours(tmp_path: Path) -> None:
    openings = read(tmp_path, "x.pgn", PGN).openings
    games = played(openings, 12)
    starts = [(game.record.start_fen, game.record.moves[: game.opening_plies]) for game in games]
    assert starts[0::2] == starts[1::2]
    # All once before any comes again.
    assert len(set(starts[0:4])) == len(set(starts[4:8])) == len(set(starts)) == 2
    assert [game.colour for game in games] == [WHITE, BLACK] * 6
    named = {game.record.tags.get("Opening") for game in games}
    assert named == {"Quiet", None}
    black_first = next(game for game in games if game.record.start_fen == BLACK_TO_MOVE)
    assert black_first.record.tags["SetUp"] == "1"
    assert Position(GARDNER, black_first.record.start_fen).turn == BLACK
    # Another generator, another order.
    assert len(played(openings, 12, repeat=False)) == 4


def test_black_wins_with_either_player_where_black_moves_first_and_wins(tmp_path: Path) -> None:
    hexapawn = get_variant("hexapawn")
    (tmp_path / "x.epd").write_text("3/1p1/2P b - -\n")
    openings = read_openings(tmp_path / "x.epd", hexapawn, None).openings
    players = MinimaxPlayer(1), MinimaxPlayer(1)
    rng = np.random.default_rng(3)
    found = match_games(*players, hexapawn, games=2, openings=openings, rng=rng)
    games = sorted(found, key=lambda game: game.number)
    assert [game.record.result for game in games] == ["0-1", "0-1"]
    assert [(game.colour, game.points) for game in games] == [(WHITE, 0.0), (BLACK, 1.0)]


def test_games_of_equal_moves_from_different_starts_differ() -> None:
    fens = ["4k/5/5/4P/K4 w - - 0 1", "k4/5/5/4P/K4 w - - 0 1"]
    moves = tuple(Position(GARDNER, fens[0]).parse_uci(word) for word in ("e2e3",))
    games = played(tuple(Opening(moves, fen) for fen in fens), 4)
    cut = [game.record.moves[:1] for game in games]
    assert len(set(cut)) == 1
    assert len({game.identity[0] for game in games}) == 2
    assert summarise(games, games_repeat=False).distinct_pairs == 2
    assert all(game.continuations() for game in games)
