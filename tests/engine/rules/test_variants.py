"""Variant files: what is read, what is refused and how, and that Fairy-Stockfish reads the same."""

import re
from pathlib import Path

import numpy as np
import pyffish
import pytest

import engine.rules.variant
from engine.rules.errors import InputError, UnknownVariantError, VariantError
from engine.rules.perft import perft
from engine.rules.position import Position
from engine.rules.tables import QUEEN, ROOK
from engine.rules.variant import Registry, get_variant, load_variants, variant_names
from engine.rules.variant_file.sections import NO_RULE_KEYS
from tests.support.rules.naive_rules import start
from tests.support.rules.naive_variant import rules_of
from tests.support.rules.random_games import random_games, replayed
from tests.support.rules.variant_lists import BUILT_IN, EVERY

PROMISED = [
    *("hexapawn", "breakthrough", "breakthrough5", "breakthrough6", "breakthrough7", "gardner"),
    *("baby", "mallett", "jacobs", "petty", "microchess", "4x5chess", "4x6chess", "5x6chess"),
    *("silverman4x4", "silverman4x5", "losalamos", "diana", "chess"),
]


def registry_with(text: str) -> Registry:
    """A registry of its own: a built-in file's text may be repeated under other names."""
    registry = Registry()
    registry.add_text(text, "games.ini")
    return registry


def registry_with_built_in(text: str) -> list[str]:
    registry = Registry()
    built_in = Path(engine.rules.variant.__file__).with_name("variants.ini")
    registry.add_text(built_in.read_text(encoding="utf-8"), built_in.name)
    return registry.add_text(text, "games.ini")


BASE = """\
[base]
pawn = p
rook = r
king = k
maxRank = 4
maxFile = 4
startFen = rk2/pp2/2PP/2KR w - - 0 1
promotionRegionWhite = *4
promotionPieceTypes = r
doubleStep = false
castling = false
"""


@pytest.mark.nojit
def test_the_promised_variants_are_built_in() -> None:
    assert set(PROMISED) <= set(BUILT_IN)
    for name in PROMISED:
        variant = get_variant(name)
        assert variant.name == name
        assert variant.squares == variant.width * variant.height
        assert variant.row_size == variant.squares + 5
        assert Position(variant).fen() == variant.start_fen


@pytest.mark.nojit
def test_facts_that_search_and_network_rely_on() -> None:
    assert {n for n in BUILT_IN if get_variant(n).irreversible} == {
        name for name in BUILT_IN if name.startswith(("hexapawn", "breakthrough"))
    }
    assert not get_variant("hexapawn").has_king
    assert get_variant("gardner").has_king
    assert get_variant("gardner").mirrorable
    assert not get_variant("chess").mirrorable
    assert set(get_variant("silverman4x4").promotion_types) == {QUEEN, ROOK}


@pytest.mark.parametrize("name", [n for n in EVERY if get_variant(n).mirrorable])
def test_mirrored_games_are_the_same_games(name: str) -> None:
    variant = get_variant(name)
    board = np.arange(variant.squares).reshape(variant.height, variant.width)[:, ::-1].reshape(-1)
    for finished in random_games(variant, 2, 20, seed=14):
        for position in replayed(finished):
            row = position.row.copy()
            row[: variant.squares] = position.row[board]
            if row[variant.squares + 2] == 255:
                mirrored = Position.from_row(row, variant)
                assert len(mirrored.legal_moves) == len(
                    Position.from_row(position.row, variant).legal_moves
                )


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("maxRnk = 5", "maxRnk"),
        ("pocketsize = 3", "pocketsize"),
        ("castlingKingsidefile = f", "did you mean castlingKingsideFile"),
        ("archbishop = a", "archbishop"),
        ("maxRank = 9", "maxRank = 9"),
        ("maxRank = 0", "maxRank = 0"),
        ("maxFile = i", "maxFile = i"),
        ("maxFile = many", "maxFile = many"),
        ("nMoveRule = 128", "nMoveRule = 128"),
        ("nMoveRule = -1", "nMoveRule = -1"),
        ("nFoldRule = often", "nFoldRule = often"),
        ("doubleStep = perhaps", "doubleStep = perhaps"),
        ("stalemateValue = victory", "stalemateValue = victory"),
        ("customPiece1 = a:WX", "'X'"),
        ("customPiece1 = a:mf", "mf"),
        ("customPiece1 = a", "customPiece1 = a"),
        ("customPiece1 = 7:W", "7:W"),
        ("customPiece1 = k:W", "'k'"),
        ("queen = qq", "queen = qq"),
        ("promotionPieceTypes = rx", "'x'"),
        ("promotionRegionWhite = *5", "*5"),
        ("promotionRegionBlack = e1", "e1"),
        ("flagRegionWhite = everywhere", "everywhere"),
        ("flagPiece = kr", "flagPiece = kr"),
        ("extinctionPieceCount = 65", "extinctionPieceCount = 65"),
        ("startFen = rk2/pp2/2PP/2KR4 w - - 0 1", "2KR4"),
        ("startFen = r3/pp2/2PP/2KR w - - 0 1", "kings"),
        ("no equals sign", "no equals sign"),
        ("[base", "[base"),
    ],
)
def test_bad_lines_are_refused_by_name_and_line(line: str, named: str) -> None:
    text = BASE + "\n[child:base]\n# a comment\n" + line + "\n"
    with pytest.raises(VariantError) as caught:
        registry_with(text)
    message = str(caught.value)
    assert f"games.ini:{text.splitlines().index(line) + 1}:" in message
    assert named in message
    assert "\n" not in message


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("text", "line", "named"),
    [
        (BASE + "[child:bass]\nmaxRank = 4\n", 12, "did you mean base"),
        (BASE + "[base]\npawn = p\n", 12, "'base' exists already"),
        (BASE + "rook = t\n", 12, "'rook' stands twice"),
        ("pawn = p\n" + BASE, 1, "before the first [section]"),
    ],
)
def test_bad_sections_are_refused_by_name_and_line(text: str, line: int, named: str) -> None:
    with pytest.raises(VariantError) as caught:
        registry_with(text)
    assert str(caught.value).startswith(f"games.ini:{line}: ")
    assert named in str(caught.value)


def test_a_mistake_is_said_once_in_its_line() -> None:
    with pytest.raises(VariantError) as caught:
        registry_with(BASE + "flagRegionWhite = p p\u2028p q\n")
    assert len(caught.value.mistakes) == 2
    assert all(mistake.startswith("games.ini:12: ") for mistake in caught.value.mistakes)


MANY = """\
maxRank = 3
[first]
maxFile = 3
maxRank = ten
pawn = pp
king = k
archbishop = a
startFen = aka/ppp/AKA w - - 0 1
flagRegionWhite = *9
doubleStep = maybe
[second:first]
maxRank = 3
nMoveRule = -1
[third:furst]
stalemateValue = victory
[fourth:chess]
pass = true
startFen = rnbqkbnr/8/8/8/8/8/8/RNBQKBNR w KQkq -
nFoldRule = 5
[fourth:chess]
[broken
pawn = p
neither
[fifth:second]
castling = perhaps
"""
"""Mistakes in the lines of WRONG, and nothing else that does not follow from them."""
WRONG = (1, 4, 5, 7, 10, 13, 14, 15, 17, 20, 21, 23, 25)


def test_all_mistakes_of_a_file_are_said_at_once() -> None:
    with pytest.raises(VariantError) as caught:
        registry_with_built_in(MANY)
    lines = MANY.splitlines()
    found = [int(mistake.split(":")[1]) for mistake in caught.value.mistakes]
    assert tuple(found) == WRONG
    for number, mistake in zip(found, caught.value.mistakes, strict=True):
        words = set(re.findall(r"\w+", lines[number - 1]))
        assert words & set(re.findall(r"\w+", mistake.partition(": ")[2])), mistake


def test_keys_that_change_no_rule_are_noted_and_ignored(tmp_path: Path) -> None:
    path = tmp_path / "drawn.ini"
    text = "[drawn:chess]\n" + "".join(f"{key} = x y:1 -\n" for key in NO_RULE_KEYS)
    path.write_text(text)
    said: list[str] = []
    assert load_variants(path, said.append) == ["drawn"]
    assert get_variant("drawn").digest == get_variant("chess").digest
    (line,) = said
    for number, key in enumerate(NO_RULE_KEYS, start=2):
        assert f"drawn.ini:{number}: {key}" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no variant in it"),
        (b"# a comment only\n", "no variant in it"),
        ("[größe:chess]\n".encode("latin-1"), ":1: the byte 0xf6 is no text in UTF-8"),
        (b"[a:chess]\n# \xe9\n", ":2: the byte 0xe9"),
        ("[wide:chess]\n".encode("utf-16"), "text in UTF-16"),
        (b"\x7fELF\0\0", "not a text file"),
        (
            b"# My readme\n\nText.\nMore text.\n- a\n- b\n",
            "own.ini: no variants in it: no line is a",
        ),
        (b"#" * (1 << 22) + b"\n", "not a variant file"),
    ],
)
def test_a_file_that_is_no_variant_file_is_refused_in_plain_words(
    content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "own.ini"
    path.write_bytes(content)
    with pytest.raises(VariantError) as caught:
        load_variants(path)
    assert str(caught.value).startswith(f"{path}:")
    assert said in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 90


def test_lines_are_counted_as_editors_count_them() -> None:
    with pytest.raises(VariantError, match=r"games\.ini:4: the key .nonsense"):
        registry_with("# a\x0bb\u2028c\r\n[base]\rpawn = p\nnonsense = 1\n")


def test_a_bad_file_adds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bad.ini"
    path.write_text(BASE.replace("base", "unwanted") + "[other:unwanted]\nnonsense = 1\n")
    before = variant_names()
    with pytest.raises(VariantError, match=r"bad\.ini:13: .*nonsense"):
        load_variants(path)
    assert variant_names() == before
    with pytest.raises(UnknownVariantError):
        get_variant("unwanted")


def test_a_file_that_repeats_a_built_in_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.ini"
    path.write_text("[gardner:chess]\nmaxRank = 8\n")
    with pytest.raises(VariantError, match=r"mine\.ini:1: .*'gardner'"):
        load_variants(path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.ini"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.ini"):
        load_variants(path)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("gardnr", "gardner"),
        ("Gardner", "gardner"),
        ("hexpawn", "hexapawn"),
        ("breaktrough6", "breakthrough6"),
        ("los-alamos", "losalamos"),
        ("hexapawn9x9", "hexapawn"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownVariantError) as caught:
        get_variant(name)
    assert f"'{name}'" in str(caught.value)
    assert near in str(caught.value).partition("did you mean")[2]


@pytest.mark.parametrize(
    "size", ["0x3", "3x0", "9x3", "3x9", "3x2", "3x1", "10x10", "3x", "x3", ""]
)
def test_impossible_sizes_of_hexapawn_are_refused(size: str) -> None:
    if size:
        with pytest.raises(UnknownVariantError):
            get_variant("hexapawn" + size)


@pytest.mark.parametrize("size", [(1, 3), (3, 3), (2, 8), (5, 4), (8, 8)])
def test_hexapawn_comes_in_any_size(size: tuple[int, int]) -> None:
    width, height = size
    variant = get_variant(f"hexapawn{width}x{height}")
    assert (variant.width, variant.height) == size
    assert variant.start_fen.startswith("p" * width + "/")
    assert len(Position(variant).legal_moves) == width
    for finished in random_games(variant, 5, 200, seed=15):
        outcome = finished.outcome()
        assert outcome is not None
        assert outcome.winner is not None


USER_FILE = """\
; Knights only, on a narrow board: who reaches the far rank wins.
[knightrace:chess]
maxFile = d
maxRank = 5
pawn = -
bishop = -
rook = -
queen = -
king = -
startFen = nnnn/4/4/4/NNNN w - - 0 1
flagPiece = n
flagRegionWhite = *5
flagRegionBlack = *1
castling = false
doubleStep = false

[slowrace:knightrace]
knight = -
customPiece3 = n:fKmN
flagPiece = n
nMoveRule = 10
"""


def test_a_file_of_ones_own_loads_and_plays(tmp_path: Path) -> None:
    path = tmp_path / "mine.ini"
    # Some editors begin a file with a byte-order mark and end lines their own way.
    path.write_bytes(b"\xef\xbb\xbf" + USER_FILE.replace("\n", "\r\n").encode())
    assert load_variants(path) == ["knightrace", "slowrace"]
    assert {"knightrace", "slowrace"} <= set(variant_names())
    race = Position(get_variant("knightrace"))
    assert sorted(race.uci(move) for move in race.legal_moves)[:2] == ["a1b3", "a1c2"]
    for uci in ("a1b3", "a5c4", "b3a5"):
        race.push_uci(uci)
    outcome = race.outcome()
    assert outcome is not None
    assert (outcome.result, outcome.termination.name) == ("1-0", "FLAG")
    for name in ("knightrace", "slowrace"):
        variant = get_variant(name)
        rules = rules_of(USER_FILE + get_variant("chess").ini(), name)
        assert start(rules).perft(3) == perft(variant.tables, variant.start_row, 3)


def test_the_game_in_the_readme_can_be_played() -> None:
    readme = Path(engine.rules.variant.__file__).with_name("README.md").read_text(encoding="utf-8")
    section = re.search(r"(?m)^    \[[^\]]+:[^\]]+\]\n(?:    \w+ = .*\n)+", readme)
    assert section is not None
    (name,) = registry_with_built_in(section[0])
    assert name == "narrowgardner"


def test_sets_of_pieces_are_inherited_as_pieces_not_as_letters() -> None:
    registry = registry_with(
        BASE + "[child:base]\nrook = t\nstartFen = tk2/pp2/2PP/2KT w - - 0 1\n"
    )
    assert registry.get("child").promotion_types == (ROOK,)
    assert registry.get("child").ini().count("promotionPieceTypes = t") == 1


def test_without_a_parent_there_are_no_pieces_and_no_promotions() -> None:
    text = BASE.replace("promotionPieceTypes = r\n", "")
    variant = registry_with(text).get("base")
    assert variant.promotion_types == ()
    position = Position(variant, "rk2/3P/4/2KR w - - 0 1")
    pyffish.load_variant_config(text.replace("[base]", "[nopromotion]"))
    theirs = pyffish.legal_moves("nopromotion", position.fen(), [])
    assert sorted(map(position.uci, position.legal_moves)) == sorted(theirs)


@pytest.mark.parametrize("name", EVERY)
def test_the_ini_text_of_a_variant_defines_the_same_game(name: str) -> None:
    variant = get_variant(name)
    text = variant.ini()
    registry = registry_with(text)
    again = registry.get(name)
    assert again.digest == variant.digest
    assert again.ini() == text
    alone = "alone-" + name
    pyffish.load_variant_config(text.replace(f"[{name}]", f"[{alone}]"))
    for finished in random_games(variant, 1, 30, seed=16):
        for position in list(replayed(finished))[::10]:
            twin = Position(again, position.fen())
            assert twin.legal_moves == position.legal_moves
            if position.legal_moves:
                theirs = pyffish.legal_moves(alone, position.fen(), [])
                assert sorted(map(position.uci, position.legal_moves)) == sorted(theirs)


def test_the_digest_tells_rules_apart_and_not_names() -> None:
    renamed = registry_with(BASE.replace("[base]", "[renamed]")).get("renamed")
    other = registry_with(BASE + "nMoveRule = 20\n").get("base")
    assert renamed.digest == registry_with(BASE).get("base").digest
    assert renamed.digest != other.digest
