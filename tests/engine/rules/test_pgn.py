"""PGN: what is written reads back, whatever it holds, and one bad game costs itself only."""

import io
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.rules.errors import FenError, InputError
from engine.rules.pgn import GameRecord, PgnError, lexer, read_pgn, read_pgn_file, write_pgn
from engine.rules.pgn.record import RESULTS
from engine.rules.position import Position
from engine.rules.variant import get_variant
from tests.support.rules.random_games import random_games, replayed
from tests.support.rules.variant_lists import EVERY

CHESS = get_variant("chess")


def record_of(finished: Position) -> GameRecord:
    outcome = finished.outcome()
    start = next(iter(replayed(finished)))
    return GameRecord(
        variant=finished.variant,
        start_fen=start.fen(),
        moves=tuple(finished.move_stack),
        result=outcome.result if outcome else "*",
        tags={"White": 'A "quoted" \\ name', "Black": "B", "Time": "12:00"},
        comments={0: "before the first", 1: "after one move (really)"},
    )


@pytest.mark.parametrize("name", EVERY)
def test_games_of_every_variant_round_trip(name: str) -> None:
    variant = get_variant(name)
    records = [record_of(game) for game in random_games(variant, 2, 60, seed=12)]
    middle = next(random_games(variant, 1, 3, seed=12)).fen()
    records += [record_of(game) for game in random_games(variant, 1, 20, fen=middle)]
    texts = "".join(write_pgn(record) for record in records)
    assert max(map(len, texts.splitlines())) < 100
    assert list(read_pgn(texts)) == records
    assert list(read_pgn(io.StringIO(texts))) == records
    assert list(read_pgn(texts.splitlines())) == records


TAG_NAMES = st.text(st.characters(exclude_characters='"[]\x7f', exclude_categories=("Cc", "Zs")))
ODD = st.sampled_from(['"', "\\", "]", "[", "\n", "\r", "\u2028", "\x85", "\x1a", "%", "\ud800"])
VALUES = st.lists(st.characters(codec=None) | ODD | st.just('"]'), max_size=12).map("".join)


@st.composite
def records(draw: st.DrawFn) -> GameRecord:
    """Any game with any tags."""
    position = Position(
        get_variant(draw(st.sampled_from(["chess", "hexapawn", "gardner", "diana"])))
    )
    before = draw(st.integers(0, 3))
    start = position.fen()
    for choice in draw(st.lists(st.integers(0, 99), max_size=9)):
        moves = position.legal_moves
        if moves:
            position.push(moves[choice % len(moves)])
        if len(position.move_stack) == before:
            start, position = position.fen(), Position(position.variant, position.fen())
    return GameRecord(
        variant=position.variant,
        start_fen=start if before else position.variant.start_fen,
        moves=tuple(position.move_stack),
        result=draw(st.sampled_from(RESULTS)),
        tags=draw(st.dictionaries(TAG_NAMES.filter(is_name), VALUES, max_size=4)),
        comments=draw(st.dictionaries(st.integers(0, 9), VALUES, max_size=3)),
    )


def is_name(text: str) -> bool:
    return bool(text) and not any(sign.isspace() for sign in text)


@settings(max_examples=120)
@given(st.lists(records(), max_size=2))
def test_reading_what_was_written_gives_the_same_games(games: list[GameRecord]) -> None:
    text = "".join(write_pgn(game) for game in games)
    assert list(read_pgn(text)) == games
    # As an open file gives it.
    assert list(read_pgn(io.StringIO(text, newline=""))) == games


@pytest.mark.parametrize(
    "value", ["a\nb", "a\r\nb\rc", "\u2028\x85\x0b\x1c", 'x"]\n[White "y', "\\"]
)
def test_a_value_keeps_its_line_breaks(value: str) -> None:
    game = GameRecord(variant=CHESS, start_fen=CHESS.start_fen, moves=(), tags={"White": value})
    (again,) = read_pgn(write_pgn(game))
    assert again.tags["White"] == value


def test_only_quotes_and_backslashes_are_escaped() -> None:
    (game,) = read_pgn('[Site "C:\\new\\games"]\n[White "\\"Bob\\" \\\\ \\u2028 \\d"]\n\n*\n')
    assert game.tags["Site"] == "C:\\new\\games"
    assert game.tags["White"] == '"Bob" \\ \\u2028 \\d'


def test_a_record_has_the_seven_tags_and_those_that_its_fields_give() -> None:
    variant = get_variant("gardner")
    fen = "rnbqk/ppppp/5/PPPPP/RNBQK b - - 0 4"
    tags = {"Board": "3", "Result": "0-1", "White": "Anna", "FEN": "nonsense", "SetUp": "0"}
    game = GameRecord(variant=variant, start_fen=fen, moves=(), result="1-0", tags=tags)
    assert list(game.tags.items()) == [
        *(("Event", "?"), ("Site", "?"), ("Date", "????.??.??"), ("Round", "?")),
        *(("White", "Anna"), ("Black", "?"), ("Result", "1-0"), ("Board", "3")),
        *(("Variant", "gardner"), ("SetUp", "1"), ("FEN", fen)),
    ]
    chess = GameRecord(variant=CHESS, start_fen=CHESS.start_fen, moves=())
    assert not {"Variant", "SetUp", "FEN"} & chess.tags.keys()


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "a]", "[a", "a\n", "a\x1a", "\u2028"])
def test_what_no_pgn_can_hold_is_refused(name: str) -> None:
    with pytest.raises(PgnError, match="tag"):
        GameRecord(variant=CHESS, start_fen=CHESS.start_fen, moves=(), tags={name: "x"})
    with pytest.raises(PgnError, match="'2-0'"):
        GameRecord(variant=CHESS, start_fen=CHESS.start_fen, moves=(), result="2-0")
    with pytest.raises(FenError, match="8/8 w"):
        GameRecord(variant=CHESS, start_fen="8/8 w", moves=())


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
    assert [gardner.tags[name] for name in ("Event", "White", "Black")] == [
        *("A game", "Anna", "Boris")
    ]
    assert gardner.result == "1/2-1/2"
    assert len(gardner.moves) == 5
    assert gardner.comments == {0: "Before", 2: "After two lines", 4: "to the end of the line"}
    assert (game.variant.name, len(game.moves), game.result) == ("chess", 3, "*")


@pytest.mark.nojit
def test_printed_pieces_are_read_as_their_letters() -> None:
    """♘f3 is not the move of a pawn."""
    (game,) = read_pgn("1. ♘f3 ♞\ufe0ec6 2. ♙e4 ♟e5 3.♗b5 1-0")
    assert game == next(read_pgn("1. Nf3 Nc6 2. e4 e5 3. Bb5 1-0"))


def test_games_that_went_on_after_a_claimable_draw_are_read() -> None:
    shuffle = "Nf3 Nf6 Ng1 Ng8 " * 3
    (game,) = read_pgn(shuffle + "e4 e5 *")
    assert len(game.moves) == 14
    assert next(read_pgn(write_pgn(game))).moves == game.moves


@pytest.mark.nojit
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_end_ends_a_line(end: str) -> None:
    text = PGN.replace("\n", end)
    assert [len(game.moves) for game in read_pgn(text)] == [5, 3]
    with pytest.raises(PgnError, match="line 3:"):
        list(read_pgn(f'[Event "x"]{end}{end}1. e5 *{end}'))


GAMES_BY_ENDING = [
    # Without a result, the next tags end a game, or an empty line and a move of number 1.
    ('1. e4 e5\n\n[Event "2"]\n\n1. d4 *', [("*", 2), ("*", 1)]),
    ('1. e4 e5\n[Event "2"]\n1. d4 0-1', [("*", 2), ("0-1", 1)]),
    ("1. e4 e5\n\n1. d4 d5 2. c4\n", [("*", 2), ("*", 3)]),
    ("1. e4 e5\n\n{The second} 1. d4 1-0\n", [("*", 2), ("1-0", 1)]),
    ("1. e4 e5\n\n2. Nf3 1-0\n", [("1-0", 3)]),
    # The result stands in the tag, in the moves, or nowhere.
    ('[Result "1-0"]\n\n1. e4 e5', [("1-0", 2)]),
    ('[Result "1-0"]\n\n1. e4 e5 *', [("1-0", 2)]),
    ('[Result "*"]\n\n1. e4 e5 0-1', [("0-1", 2)]),
    ('[Result "1/2"]\n\n1. e4 e5', [("1/2-1/2", 2)]),
    ('[Result "White won"]\n\n1. e4 e5', [("*", 2)]),
    ("1. e4 e5 1/2", [("1/2-1/2", 2)]),
    ("1. e4 e5 ½-½\n1. d4 1/2\n1. c4 ½", [("1/2-1/2", 2), ("1/2-1/2", 1), ("1/2-1/2", 1)]),
    # A result that is said twice, in one line or two, is one.
    ("1. e4 1-0 *\n1. d4 1/2\n0-1\n\n1. c4 *", [("1-0", 1), ("1/2-1/2", 1), ("*", 1)]),
    # Games without moves.
    ('[Event "1"]\n\n[Event "2"]\n\n1. d4 *', [("*", 0), ("*", 1)]),
    ('[Event "1"]\n\n[Site "here"]\n\n1. d4 *', [("*", 1)]),
    ('[Event "1"]\n\n1-0\n\n[Event "2"]\n\n*', [("1-0", 0), ("*", 0)]),
    # Comments alone are no game.
    ("{nothing}\n; and nothing\n%and nothing\n\n", []),
    ("1. e4 * {a comment}\n\n{nothing}\n", [("*", 1)]),
    ("", []),
    ("\n% nothing\n\x1a\n", []),
]


@pytest.mark.nojit
@pytest.mark.parametrize(("text", "expected"), GAMES_BY_ENDING)
def test_where_games_end_and_how(text: str, expected: list[tuple[str, int]]) -> None:
    assert [(game.result, len(game.moves)) for game in read_pgn(text)] == expected


@pytest.mark.nojit
def test_comments_belong_to_the_move_and_the_game_before_them() -> None:
    text = '{One} ; two\n[Event "x"]\n{three}\n\n1. e4 {four} 1-0 {five}\n\n{six} 1. d4 *'
    first, second = read_pgn(text)
    assert first.comments == {0: "One two three", 1: "four five"}
    assert first.tags["Event"] == "x"
    assert second.comments == {0: "six"}


BAD_GAMES = [
    ('[Variant "gardner"]\n\n1. d3 Nd9 2. e4 {so} (2. d4 *) *\n', 3, "'Nd9'"),
    ('[Variant "gardnr"]\n\n1. d3 *\n', 1, "gardner"),
    ('[Variant "two\nlines\x00\u2028"]\n\n1. d3 *\n', 1, "two\\nlines\\x00\\u2028"),
    ('[Variant "gardner"]\n[FEN "rnbqk/8 w"]\n\n1. d3 *\n', 2, "rnbqk/8 w"),
    ('[FEN "4k3/8/8/8/8/8/8/8 w - - 0 1"]\n*\n', 1, "0 kings"),
    ("[{}]\n\n1. e4 *\n", 1, "'[{}]' is not a tag"),
    ("1. e4 {never\nclosed\n", 1, "'{'"),
    ("1. e4 {never\nclosed\n\n", 1, "'{'"),
    ("\n1. e4 (1. d4\n*\n", 2, "'('"),
    ("1. f3 e5 2. g4 Qh4# 3. a3 0-1\n", 1, "'a3' comes after the end"),
    ("1. e4 --\n*\n", 1, "'--'"),
    ("1. e4 0000\n*\n", 1, "'0000'"),
    ("1. e4\nNf6x 2. e5 *\n", 2, "'Nf6x'"),
    ("<html>\n", 1, "'<html>'"),
    ("1. e4 " + "word" * 1000 + " *\n", 1, "'wordword"),
]


@pytest.mark.nojit
@pytest.mark.parametrize(("text", "line", "named"), BAD_GAMES)
def test_a_bad_game_costs_itself_and_is_named_with_its_line(
    text: str, line: int, named: str
) -> None:
    with pytest.raises(PgnError) as caught:
        list(read_pgn(text))
    assert str(caught.value).startswith(f"PGN line {line}: ")
    good = '[Event "good"]\n\n1. e4 {well} e5 *\n\n'
    errors: list[PgnError] = []
    games = list(read_pgn(f"{good}{text}\n{good}{text}\n{good}", errors.append))
    assert [(game.tags["Event"], len(game.moves)) for game in games] == [("good", 2)] * 3
    height = text.count("\n") + 1
    assert [str(error).partition(": ")[0] for error in errors] == [
        f"PGN line {4 + line}",
        f"PGN line {8 + height + line}",
    ]
    for error in errors:
        assert named in str(error)
        assert str(error).isprintable()
        assert len(str(error)) < 500


def test_good_games_before_a_bad_one_are_still_read() -> None:
    games = read_pgn("1. e4 *\n\n1. e5 *\n")
    assert len(next(games).moves) == 1
    with pytest.raises(PgnError):
        next(games)


def test_a_comment_may_quote_a_whole_game() -> None:
    (game,) = read_pgn('1. e4 {See\n\n[Event "x"]\n\n1. e4 e5 *\n\n[Event "y"]\n} e5 *')
    assert len(game.moves) == 2
    assert game.comments == {1: 'See [Event "x"] 1. e4 e5 * [Event "y"]'}


@given(st.text(alphabet='[]"{}();$%*. 1234-/abcdefghNBRQKOx=+#\n\\\r½', max_size=60))
@example('[A "\\"]\n[B "\\')
@example('{\n\n[a"')
def test_any_text_is_read_or_refused(text: str) -> None:
    errors: list[PgnError] = []
    for game in read_pgn(text, errors.append):
        assert list(read_pgn(write_pgn(game))) == [game]
    assert all(str(error).isprintable() for error in errors)


UNITS = {
    "games": '[Event "a"] 1. e4 {a comment} e5 2. Nf3 (2. f4 exf4) Nc6 1-0 ',
    "comments": "{x} ",
    "words": "Nf3Nf6*",
    "quotes": '[A "b"c"]* ',
    "tags": '[A "\\"] ',
    "open tags": '[A "',
    "open tags in lines": '[A\\"\n',
    "braces": '{\n\n[A "x"]\n',
    "brackets": "[",
    "blanks": "[a  ",
}


class Counted:
    """A pattern that counts the characters at which it looks."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern, self.looked_at = pattern, 0

    def match(self, text: str, place: int = 0) -> re.Match[str] | None:
        found = self.pattern.match(text, place)
        self.looked_at += 1 if found is None else found.end() - place + 1
        return found

    def search(self, text: str, place: int = 0) -> re.Match[str] | None:
        found = self.pattern.search(text, place)
        self.looked_at += (len(text) if found is None else found.end()) - place + 1
        return found

    def fullmatch(self, text: str) -> re.Match[str] | None:
        self.looked_at += len(text)
        return self.pattern.fullmatch(text)

    def sub(self, by: str, text: str) -> str:
        self.looked_at += len(text)
        return self.pattern.sub(by, text)


@pytest.mark.nojit
@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_the_work_of_reading_grows_with_the_length_of_the_text(
    unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times the text is four times the work; it was sixteen times as much."""
    counted = {
        name: Counted(value) for name, value in vars(lexer).items() if isinstance(value, re.Pattern)
    }
    for name, pattern in counted.items():
        monkeypatch.setattr(lexer, name, pattern)

    def work(length: int) -> int:
        before = sum(pattern.looked_at for pattern in counted.values())
        found = sum(1 for _ in lexer.tokens(unit * (length // len(unit))))
        return found + sum(pattern.looked_at for pattern in counted.values()) - before

    short = work(4_000)
    assert work(16_000) < 5 * short + 100


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("encoding", "read"), [("utf-8", "É ½ \U0001d11e"), ("utf-8-sig", "É ½"), ("utf-16", "É ½")]
)
def test_files_are_read_in_their_encoding(tmp_path: Path, encoding: str, read: str) -> None:
    path = tmp_path / "games.pgn"
    path.write_bytes(f'[White "{read}"]\r\n\r\n1. e4 *\r\n'.encode(encoding))
    (game,) = read_pgn_file(path)
    assert game.tags["White"] == read


@pytest.mark.nojit
def test_lines_that_are_not_utf_8_are_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "games.pgn"
    path.write_bytes('[White "Réti"]\n*\n'.encode("latin-1") + '[White "Ð"]\n*\n'.encode())
    assert [game.tags["White"] for game in read_pgn_file(path)] == ["Réti", "Ð"]


@pytest.mark.nojit
def test_the_errors_of_a_file_name_it(tmp_path: Path) -> None:
    path = tmp_path / "games.pgn"
    path.write_bytes(b"1. e4 e4 *\n1. d4 *\n\x00\x80\xff\n")
    errors: list[InputError] = []
    assert len(list(read_pgn_file(path, errors.append))) == 1
    assert [str(error).partition(": the move")[0] for error in errors] == [
        f"{path}: PGN line {line}" for line in (1, 3)
    ]
    with pytest.raises(FileNotFoundError):
        list(read_pgn_file(tmp_path / "none.pgn"))
