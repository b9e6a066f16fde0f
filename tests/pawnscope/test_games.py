"""`pawnscope.read_games`: the games of a file or a text as a person meets them."""

import doctest
import warnings
from pathlib import Path

import pytest

import pawnscope
from engine.rules.pgn import PgnError
from pawnscope import InputError, games, read_games

TEXT = """\
[Event "First"]
[Site "C:\\games"]
[Variant "hexapawn"]

1. b2 {hm} axb2 2. cxb2 1-0

[Event "Bad"]
[Variant "hexapawn"]

1. b3 *

[Event "Last"]
[FEN "4k3/P7/8/8/8/8/8/R3K3 w Q - 0 30"]

30. O-O-O Ke7 31. a8=Q 1/2
"""


def test_the_examples_run() -> None:
    assert doctest.testmod(games).attempted > 4
    assert doctest.testmod(games).failed == 0


def test_games_have_tags_moves_result_and_variant() -> None:
    with pytest.warns(UserWarning, match="PGN line 10: the move 'b3' is not legal"):
        first, last = read_games(TEXT)
    assert type(first.tags) is dict
    assert (first.tags["Event"], first.tags["Site"], first.tags["Result"]) == (
        *("First", "C:\\games", "1-0"),
    )
    assert first.moves == ("b1b2", "a3b2", "c1b2")
    assert (first.result, first.variant.name) == ("1-0", "hexapawn")
    assert first.comments == {1: "hm"}
    assert (last.moves, last.result) == (("e1c1", "e8e7", "a7a8q"), "1/2-1/2")
    assert last.variant is pawnscope.get_variant("chess")
    assert last.start_fen == last.tags["FEN"] == "4k3/P7/8/8/8/8/8/R3K3 w Q - 0 30"
    assert [position.fen() for position in last.positions()][::3] == [
        last.start_fen,
        "Q7/4k3/8/8/8/8/8/2KR4 b - - 0 31",
    ]
    assert repr(first) == "? - ?: 1-0, 3 moves (hexapawn)"
    (again,) = read_games(last.pgn())
    assert again == last


def test_errors_go_where_the_caller_wants_them() -> None:
    errors: list[PgnError] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(read_games(TEXT, errors.append))) == 2
    assert [str(error)[:12] for error in errors] == ["PGN line 10:"]

    def strict(error: PgnError) -> None:
        raise error

    found = read_games(TEXT, strict)
    assert next(found).tags["Event"] == "First"
    with pytest.raises(PgnError, match="line 10"):
        next(found)


def test_a_path_is_read_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my games.pgn"
    path.write_text('[White "Réti"]\n\n1. Nf3 *\n1. e5 *\n', encoding="latin-1")
    for given in (path, str(path), "my games.pgn"):
        with pytest.warns(UserWarning, match=r"my games\.pgn: PGN line 4: "):
            (game,) = read_games(given)
        assert (game.tags["White"], game.moves) == ("Réti", ("g1f3",))
    (tmp_path / "1. e4 e5").write_text("1. d4 *")
    assert next(read_games("1. e4 e5")).moves == ("d2d4",)


def test_a_path_may_begin_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my book.pgn").write_text('[Variant "hexapawn"]\n\n1. b2 axb2 *\n')
    assert next(read_games("~/my book.pgn")).moves == ("b1b2", "a3b2")
    result = pawnscope.match("random", "random", "hexapawn", games=2, openings="~/my book.pgn")
    assert result.played[0].opening_plies == 2
    for missing in (pawnscope.load, pawnscope.Run):
        with pytest.raises(InputError, match=r"^~no-such-user/x: "):
            missing("~no-such-user/x")
    for wrong, told in ({"openings": 3}, "openings = 3"), ({"games": True}, "games = True"):
        with pytest.raises(InputError, match=told):
            pawnscope.match("random", "random", "hexapawn", **wrong)
    assert next(read_games("~{quiet} 1. e4 *")).moves == ("e2e4",)


@pytest.mark.parametrize("missing", ["gone.pgn", "no games.PGN", "gone", Path("gone")])
def test_a_file_that_is_not_there_is_an_error_at_once(missing: str | Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone|no games"):
        read_games(missing)


def test_what_is_neither_a_path_nor_a_text_is_refused() -> None:
    with pytest.raises(InputError, match="not 3"):
        read_games(3)  # type: ignore[arg-type]
    assert list(read_games("")) == []
    assert next(read_games("1. e4 " + "{word} " * 1000)).moves == ("e2e4",)


def test_a_match_takes_its_openings_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "book.pgn"
    path.write_text('[Variant "hexapawn"]\n\n1. b2 axb2 *\n\n1. e4 *\n')
    with pytest.warns(UserWarning, match=r"left out: .*book\.pgn: PGN line 5: a game of chess"):
        result = pawnscope.match("random", "random", "hexapawn", games=4, openings=path)
    played = list(read_games(result.pgn()))
    assert [game.moves[:2] for game in played] == [("b1b2", "a3b2")] * 4
    assert all(game.tags["Date"] != "????.??.??" for game in played)
