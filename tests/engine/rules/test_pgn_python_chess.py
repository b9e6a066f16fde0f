"""PGN against python-chess: each reads what the other writes, and what it lets pass passes."""

import io
import random
import re

import chess.pgn
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules.pgn import GameRecord, PgnError, read_pgn, write_pgn
from engine.rules.position import Position
from engine.rules.variant import get_variant
from tests.support.rules.random_games import random_games

CHESS = get_variant("chess")
START_FEN = "r3k2r/pp4P1/8/3pP3/8/8/6pP/R3K2R w KQkq d6 0 17"


def ucis(game: GameRecord) -> list[str]:
    position = Position(game.variant, game.start_fen)
    found = []
    for move in game.moves:
        found.append(position.uci(move))
        position = position.continued()
        position.push(move)
    return found


def read_by_python_chess(text: str) -> list[chess.pgn.Game]:
    handle, games = io.StringIO(text), []
    while (game := chess.pgn.read_game(handle)) is not None:
        assert not game.errors
        games.append(game)
    return games


def test_python_chess_reads_what_we_write() -> None:
    games = [*random_games(CHESS, 5, 80, seed=13), *random_games(CHESS, 3, 20, fen=START_FEN)]
    for index, finished in enumerate(games):
        fen = START_FEN if index >= 5 else CHESS.start_fen
        outcome = finished.outcome()
        record = GameRecord(
            variant=CHESS,
            start_fen=fen,
            moves=tuple(finished.move_stack),
            result=outcome.result if outcome else "*",
            tags={"Black": "Z\u2028\x85 é", "White-Type": "program", "TimeControl": "1/2"},
            comments={0: "before; the (first) {", 3: "} after"},
        )
        (theirs,) = read_by_python_chess(write_pgn(record))
        assert theirs.end().board().fen(en_passant="legal") == finished.fen()
        assert dict(theirs.headers) == record.tags
        assert theirs.comment == record.comments[0]
        assert next(read_pgn(str(theirs))) == record


TAG = st.from_regex(chess.pgn.TAG_NAME_REGEX).map(str.rstrip)
# A tag in the value of a tag could not be told from two tags in a line.
VALUE = st.text(st.characters(exclude_characters="[\r\n", codec="utf-8") | st.sampled_from('"\\] '))
DERIVED = ("Result", "Variant", "SetUp", "FEN")


@settings(max_examples=150)
@given(
    tags=st.dictionaries(TAG.filter(lambda name: name not in DERIVED), VALUE, max_size=4),
    result=st.sampled_from(["1-0", "0-1", "1/2-1/2", "*"]),
    seed=st.integers(0, 10**6),
    fen=st.sampled_from([chess.STARTING_FEN, START_FEN]),
    columns=st.sampled_from([20, 80, None]),
)
def test_we_read_what_python_chess_writes(
    tags: dict[str, str], result: str, seed: int, fen: str, columns: int | None
) -> None:
    """Random games with comments, glyphs and variations."""
    rng, game = random.Random(seed), chess.pgn.Game()
    game.setup(chess.Board(fen))
    game.headers.update(tags)
    game.headers["Result"] = result
    node: chess.pgn.GameNode = game
    for _ in range(rng.randrange(12)):
        legal = list(node.board().legal_moves)
        if not legal:
            break
        rng.shuffle(legal)
        for variation in legal[1 : 1 + rng.randrange(3)]:
            line = node.add_variation(variation, comment="aside (1. e4) *")
            line.nags.add(3)
        node = node.add_main_variation(legal[0], comment=rng.choice(["", "why; not\n\n{so}[%"]))
        node.nags.update(rng.sample(range(1, 140), rng.randrange(3)))
    exporter = chess.pgn.StringExporter(columns=columns)
    (read,) = read_pgn(game.accept(exporter))
    assert ucis(read) == [move.uci() for move in game.mainline_moves()]
    assert read.result == result
    assert read.start_fen == game.board().fen(en_passant="legal")
    # python-chess escapes nothing; what stands there as an escape is one.
    expected = {name: re.sub(r'\\(["\\])', r"\1", text) for name, text in tags.items()}
    assert {name: read.tags[name] for name in tags} == expected


GAME = '[Event "x"]\n[White "A"]\n\n'
LENIENT = [
    "1. e4 e5 2. Nf3 Nc6*",
    "1. e4 e5 2. Nf3 Nc61-0",
    "1. e4 e6 2. e5 d5 3. exd6e.p. *",
    "1. e4 e6 2. e5 d5 3. exd6 e.p. Bxd6 *",
    "1. e4 e6 2. e5 d5 3. exd6ep+ *",
    "1. e4 e5 1/2",
    "1. e4 e5",
    "1.e4 e5 2.Nf3!? Nc6?! 3.Bb5!! $14 a6 $1 $36 4. Ba4 +/- *",
    "1.e4!e5?2.Nf3$1 Nc6 *",
    "1. e4 e5 2. Nf3 Nc6 3. Bc4 Bc5 4. 0-0 Nf6 5. d3 0-0 *",
    "1. d4 d5 2. Nc3 Nc6 3. Bf4 Bf5 4. Qd2 Qd7 5. 0-0-0 0-0-01-0",
    "1. e4 (1. d4 d5 (1... Nf6 2. c4 {or (2. Nf3)} ) 2. c4) (1. c4) 1... e5 2. Nf3 *",
    "1. e4 {a (comment; with} e5 ; and } another {\n2. Nf3 *",
    "1. e4\n%1. nothing {\ne5 2. Nf3 *",
    "1. e4 e5 \x1a",
    "1. e4 e5 *\n\x1a",
    "1. e2-e4 e7-e5 2. Ng1-f3 Nb8c6 3. f1b5 a6 4. e1g1 *",
    "1. Pe4 e5 *",
    "1. e4 e5 ) } 2. Nf3 *",
    "1. e4 e5 (=) 2. Nf3 N Nc6 D *",
    "1 e4 e5 2 Nf3 *",
    "1 . e4 ... e5 2 ... Nf3",
    "1. f4 e5 2. g4 Qh4 mate 0-1",
    "1. f4 e5 2. g4 Qh4# { mate } 0-1 {really}",
    "1. e4 c5 2. e5 d5 3. exd6 Nf6 4. dxe7 h6 5. exd8Q+ *",
    "1. e4 c5 2. e5 d5 3. exd6 Nf6 4. dxe7 h6 5. exd8=N *",
    "1. e4 c5 2. e5 d5 3. exd6 Nf6 4. dxe7 h6 5. exf8=Q++ *",
    "1. e4 e5 2. Nf3! ! Nc6 ?! *",
    "1-0",
    "*",
]
HEADS = [
    GAME,
    "\ufeff" + GAME,
    "\ufeff% escaped {\n" + GAME,
    "% escaped\n;comment\n\n" + GAME,
    GAME.replace("\n", "\r\n"),
    '[Event "x"]\n% escaped\n[White "A"]\n\n',
    '[Event "x"]\n\n[White "A"]\n',
    '[Event "x"]   \n[White   "A"]\n',
]


@pytest.mark.nojit
@pytest.mark.parametrize("moves", LENIENT)
def test_what_python_chess_lets_pass_is_read_alike(moves: str) -> None:
    text = GAME + moves + "\n\n"
    (theirs,) = read_by_python_chess(text)
    (ours,) = read_pgn(text)
    assert ucis(ours) == [move.uci() for move in theirs.mainline_moves()]
    if moves.endswith("1/2"):
        # It leaves this game unfinished.
        assert ours.result == "1/2-1/2"
    else:
        assert ours.result == theirs.headers["Result"]
    assert len(list(read_pgn(text * 3))) == 3


@pytest.mark.nojit
@pytest.mark.parametrize("head", HEADS)
def test_heads_are_read_alike(head: str) -> None:
    text = head + "1. e4 e5 *\n\n"
    (theirs,) = read_by_python_chess(text.replace("\r\n", "\n"))
    (ours,) = read_pgn(text)
    assert (theirs.headers["Event"], theirs.headers["White"]) == ("x", "A")
    assert (ours.tags["Event"], ours.tags["White"]) == ("x", "A")
    assert ours.moves == next(read_pgn("1. e4 e5 *")).moves


QUOTED = [
    'The "big" one',
    '"',
    '""',
    'a"',
    '"a',
    "C:\\games\\",
    'a "]',
    "\u2028\x85\x0c",
    "",
    " ",
    "]",
    "a]",
    "; {",
]


@pytest.mark.nojit
@pytest.mark.parametrize("value", QUOTED)
def test_values_are_read_as_python_chess_does(value: str) -> None:
    text = f'[Event "{value}"]\n[Site "{value}"]\n\n1. e4 *\n'
    (theirs,) = read_by_python_chess(text)
    (ours,) = read_pgn(text)
    assert theirs.headers["Event"] == ours.tags["Event"] == ours.tags["Site"] == value


@pytest.mark.parametrize("variant", ["Standard", "chess", "From Position", "Normal"])
def test_the_names_of_chess(variant: str) -> None:
    text = f'[Variant "{variant}"]\n\n1. e4 *\n'
    assert len(read_by_python_chess(text)) == 1
    assert [game.variant for game in read_pgn(text)] == [CHESS]


@pytest.mark.parametrize("text", ["1. e4 e4 *", "1. Nf9 *", "1. e4 O-O *", "1. e2e5 *"])
def test_both_refuse_moves_that_are_not_legal(text: str) -> None:
    theirs = chess.pgn.read_game(io.StringIO(text))
    assert theirs is not None
    assert theirs.errors or len(list(theirs.mainline_moves())) < 2
    with pytest.raises(PgnError):
        list(read_pgn(text))
