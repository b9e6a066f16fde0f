"""Portable Game Notation, read and written for every variant.

The variant is named in the tag `[Variant "gardner"]` (chess where there is none), a start other
than the variant's own in `[SetUp "1"]` and `[FEN "..."]`. Comments are kept; variations, numeric
glyphs (`$1`) and `!?` are read over. (PGN standard, Edwards 1994, section 8.)
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.tables import BLACK, CLOCK, REPETITION
from engine.rules.variant import Variant, get_variant

RESULTS: Final = ("1-0", "0-1", "1/2-1/2", "*")
UNFINISHED: Final = "*"
SEVEN_TAGS: Final = ("Event", "Site", "Date", "Round", "White", "Black", "Result")
_SEVEN_DEFAULTS: Final = {"Date": "????.??.??"}
_UNKNOWN: Final = "?"
_OWN_TAGS: Final = ("Variant", "SetUp", "FEN")
_CHESS_NAMES: Final = ("", "chess", "standard", "normal", "classical", "from position")
_CHESS: Final = "chess"
_LINE_LENGTH: Final = 80

_TAG: Final = re.compile(r'\[\s*(\w+)\s+"((?:[^"\\]|\\.)*)"\s*\]')
_TOKEN: Final = re.compile(r"\$\d+|[(){};]|[^\s(){};$]+|\$")
_MOVE_NUMBER: Final = re.compile(r"\d+\.*|\.+")
_NUMBERED_MOVE: Final = re.compile(r"\d+\.+(?=[^.\d])")
_ANNOTATION: Final = re.compile(r"[!?]+")


class PgnError(InputError):
    """A game text that cannot be read; names the line and quotes what stands there."""


@dataclass(frozen=True, kw_only=True)
class GameRecord:
    """One game, from any legal start, finished or not."""

    # The rules that it was played by.
    variant: Variant
    # Where it began, in full FEN.
    start_fen: str
    # Moves as uint16 numbers (engine.rules.moves), oldest first.
    moves: tuple[int, ...]
    # One of RESULTS.
    result: str = UNFINISHED
    # Other tags, such as White and Date; the seven standard ones may be missing.
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    # Comment after so many moves; 0 stands before the first.
    comments: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))


def _tag_line(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'[{name} "{escaped}"]'


def _tag_lines(game: GameRecord) -> list[str]:
    tags = {name: _SEVEN_DEFAULTS.get(name, _UNKNOWN) for name in SEVEN_TAGS}
    tags |= {name: value for name, value in game.tags.items() if name not in _OWN_TAGS}
    tags["Result"] = game.result
    if game.variant.name != _CHESS:
        tags["Variant"] = game.variant.name
    if game.start_fen != game.variant.start_fen:
        tags |= {"SetUp": "1", "FEN": game.start_fen}
    return [_tag_line(name, value) for name, value in tags.items()]


def _comment_words(text: str) -> list[str]:
    # A brace cannot be escaped inside a PGN comment.
    words = text.replace("}", ")").split()
    return ["{", *words, "}"] if words else []


def _played_on(position: Position) -> Position:
    """The position, as a new game where it is drawn: people need not claim a draw."""
    if position.legal_moves:
        return position
    row = position.row.copy()
    row[position.variant.squares + CLOCK] = 0
    row[position.variant.squares + REPETITION] = 0
    return Position.from_row(row, position.variant)


def _movetext(game: GameRecord) -> Iterator[str]:
    position = Position(game.variant, game.start_fen)
    number = int(game.start_fen.split()[-1])
    yield from _comment_words(game.comments.get(0, ""))
    interrupted = True
    for ply, move in enumerate(game.moves, start=1):
        black = position.turn == BLACK
        if interrupted or not black:
            yield f"{number}{'...' if black else '.'}"
        position = _played_on(position)
        yield position.san(move)
        position.push(move)
        number += black
        comment = _comment_words(game.comments.get(ply, ""))
        yield from comment
        interrupted = bool(comment)
    yield game.result


def _wrap(words: Iterable[str]) -> Iterator[str]:
    line = ""
    for word in words:
        if line and len(line) + 1 + len(word) >= _LINE_LENGTH:
            yield line
            line = ""
        line = f"{line} {word}" if line else word
    yield line


def write_pgn(game: GameRecord) -> str:
    """Write one game, ending in an empty line so that games can be written one after another.

    Raises IllegalMoveError where a move is not legal in its place.
    """
    return "\n".join([*_tag_lines(game), "", *_wrap(_movetext(game)), "", ""])


class _GameReader:
    """One game as it is read, word by word."""

    def __init__(self, line_number: int) -> None:
        self.first_line = line_number
        self.tags: dict[str, str] = {}
        self.tag_lines: dict[str, int] = {}
        self.position: Position | None = None
        self.start_fen = ""
        self.moves: list[int] = []
        self.comments: dict[int, str] = {}
        self.comment: list[str] | None = None
        self.depth = 0
        self.opened_line = line_number

    def add_tag(self, name: str, value: str, line_number: int) -> None:
        self.tags[name] = re.sub(r"\\(.)", r"\1", value)
        self.tag_lines[name] = line_number

    def start(self, line_number: int) -> Position:
        """The position that the tags describe, made when the first move is read."""
        if self.position is None:
            name = self.tags.get("Variant", "")
            known = _CHESS if name.lower() in _CHESS_NAMES else name
            try:
                variant = get_variant(known)
            except InputError as error:
                raise _at(self.tag_lines["Variant"], str(error)) from error
            try:
                self.position = Position(variant, self.tags.get("FEN"))
            except InputError as error:
                raise _at(self.tag_lines.get("FEN", line_number), str(error)) from error
            self.start_fen = self.position.fen()
        return self.position

    def push_san(self, text: str, line_number: int) -> None:
        position = self.position = _played_on(self.start(line_number))
        try:
            move = position.parse_san(text)
        except InputError as error:
            raise _at(line_number, str(error)) from error
        position.push(move)
        self.moves.append(move)

    def end_comment(self) -> None:
        words, self.comment = self.comment or [], None
        if words and not self.depth:
            before = self.comments.get(len(self.moves))
            self.comments[len(self.moves)] = " ".join([*([before] if before else []), *words])

    def finish(self, result: str, line_number: int) -> GameRecord:
        variant = self.start(line_number).variant
        return GameRecord(
            variant=variant,
            start_fen=self.start_fen,
            moves=tuple(self.moves),
            result=result,
            tags={
                name: value
                for name, value in self.tags.items()
                if name not in _OWN_TAGS and name != "Result"
            },
            comments=self.comments,
        )


def _at(line_number: int, what: str) -> PgnError:
    return PgnError(f"PGN line {line_number}: {what}")


def _read_tags(game: _GameReader, line: str, line_number: int) -> None:
    rest = line.strip()
    while rest:
        match = _TAG.match(rest)
        if match is None:
            raise _at(line_number, f"'{rest}' is not a tag such as [White \"name\"]")
        game.add_tag(match[1], match[2], line_number)
        rest = rest[match.end() :].strip()


def _read_comment(game: _GameReader, text: str) -> str:
    """Read on inside braces; what follows the closing brace, or nothing."""
    assert game.comment is not None
    inside, brace, rest = text.partition("}")
    game.comment += inside.split()
    if brace:
        game.end_comment()
    return rest


def _read_word(game: _GameReader, word: str, line_number: int) -> bool:
    """Take one word of the movetext; True where it is the result that ends the game."""
    if word in ("(", ")"):
        game.depth += 1 if word == "(" else -1
        game.opened_line = line_number if game.depth == 1 and word == "(" else game.opened_line
        if game.depth < 0:
            raise _at(line_number, "')' closes no variation")
    elif game.depth or (word.startswith("$") and len(word) > 1):
        return False
    elif word in RESULTS:
        return True
    elif not _MOVE_NUMBER.fullmatch(word) and not _ANNOTATION.fullmatch(word):
        game.push_san(_NUMBERED_MOVE.sub("", word, count=1), line_number)
    return False


def _read_movetext(game: _GameReader, line: str, line_number: int) -> tuple[str, str]:
    """Read a line; the result that ended the game, if any, and what follows it."""
    rest = line
    while rest:
        if game.comment is not None:
            rest = _read_comment(game, rest)
            continue
        match = _TOKEN.search(rest)
        if match is None:
            break
        word, rest = match[0], rest[match.end() :]
        if word == "{":
            game.comment, game.opened_line = [], line_number
        elif word == ";":
            game.comment = rest.split()
            game.end_comment()
            break
        elif word == "}":
            raise _at(line_number, "'}' closes no comment")
        elif _read_word(game, word, line_number):
            return word, rest
    return "", ""


def _check_closed(game: _GameReader, line_number: int) -> None:
    if game.comment is not None:
        raise _at(game.opened_line, "a comment '{' is never closed")
    if game.depth:
        raise _at(game.opened_line, "a variation '(' is never closed")
    last = f"after {len(game.moves)} moves" if game.moves else "without moves"
    raise _at(line_number, f"the game ends {last} and without a result ({' '.join(RESULTS)})")


def read_pgn(source: str | Iterable[str]) -> Iterator[GameRecord]:
    """Read the games of a text or of an open file, one at a time as they are asked for.

    The rules of each are looked up by its Variant tag (`engine.rules.variant.get_variant`). Raises
    PgnError that names the line and quotes what it cannot read: a bad tag, an unknown variant, a
    FEN or a move that is not legal, a game without a result.
    """
    game: _GameReader | None = None
    in_movetext = False
    line_number = 0
    lines = source.splitlines() if isinstance(source, str) else source
    for line_number, raw in enumerate(lines, start=1):
        line = raw.removeprefix("\ufeff").rstrip("\r\n")
        in_comment = game is not None and game.comment is not None
        if line.startswith("%") and not in_comment:
            continue
        while line.strip():
            if game is None:
                game, in_movetext = _GameReader(line_number), False
            if game.comment is None and line.lstrip().startswith("["):
                if in_movetext:
                    _check_closed(game, line_number)
                _read_tags(game, line, line_number)
                break
            in_movetext = True
            result, line = _read_movetext(game, line, line_number)
            if result:
                yield game.finish(result, line_number)
                game = None
    if game is not None:
        _check_closed(game, line_number)
