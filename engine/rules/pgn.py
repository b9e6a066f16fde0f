"""Portable Game Notation, read and written for every variant.

The variant is named in the tag `[Variant "gardner"]` (chess where there is none), a start other
than the variant's own in `[SetUp "1"]` and `[FEN "..."]`. Comments are kept; variations, numeric
glyphs (`$1`) and `!?` are read over. (PGN standard, Edwards 1994, section 8.)
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.tables import BLACK
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
_WORD: Final = re.compile(r"\$\d+|[(){};$]|[^\s(){};$]+")
_SKIPPED: Final = re.compile(r"\d+\.*|\.+|[!?]+|\$\d+")
"""Numbers of moves, annotations and numeric glyphs."""
_NUMBERED_MOVE: Final = re.compile(r"\d+\.+(?=[^.\d])")


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


def _movetext(game: GameRecord) -> Iterator[str]:
    position = Position(game.variant, game.start_fen)
    number = int(game.start_fen.split()[-1])
    yield from _comment_words(game.comments.get(0, ""))
    interrupted = True
    for ply, move in enumerate(game.moves, start=1):
        black = position.turn == BLACK
        if interrupted or not black:
            yield f"{number}{'...' if black else '.'}"
        position = position.continued()
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


class _Token(NamedTuple):
    """A part of the text: the value of a tag, a comment, or a word of the movetext."""

    line: int
    text: str
    # Name of the tag; empty for other tokens.
    tag: str = ""
    is_comment: bool = False


def _tokens(lines: Iterable[str]) -> Iterator[_Token]:
    """The tokens of a text; a tag begins a line or follows a result or another tag."""
    comment: list[str] | None = None
    opened = 0
    for number, raw in enumerate(lines, start=1):
        line = raw.removeprefix("\ufeff")
        rest = "" if line.startswith("%") and comment is None else line.strip()
        tag_may_follow = True
        while rest:
            if comment is not None:
                inside, brace, rest = rest.partition("}")
                comment += inside.split()
                if brace:
                    yield _Token(number, " ".join(comment), is_comment=True)
                    comment, tag_may_follow = None, False
            elif tag_may_follow and rest.startswith("["):
                match = _TAG.match(rest)
                if match is None:
                    raise _at(number, f"'{rest}' is not a tag such as [White \"name\"]")
                rest = rest[match.end() :]
                yield _Token(number, re.sub(r"\\(.)", r"\1", match[2]), tag=match[1])
            elif match := _WORD.match(rest):
                word, rest = match[0], rest[match.end() :]
                tag_may_follow = word in RESULTS
                if word == "{":
                    comment, opened = [], number
                elif word == "}":
                    raise _at(number, "'}' closes no comment")
                elif word == ";":
                    yield _Token(number, " ".join(rest.split()), is_comment=True)
                    rest = ""
                else:
                    yield _Token(number, word)
            rest = rest.lstrip()
    if comment is not None:
        raise _at(opened, "a comment '{' is never closed")


class _GameReader:
    """One game as it is read, token by token."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.tag_lines: dict[str, int] = {}
        self.in_movetext = False
        self.position: Position | None = None
        self.start_fen = ""
        self.moves: list[int] = []
        self.comments: dict[int, str] = {}
        # Lines in which the variations begin that are not yet closed.
        self.variations: list[int] = []

    def read(self, token: _Token) -> bool:
        """Take one token; whether it is the result that ends the game."""
        text = token.text
        if token.tag:
            if self.in_movetext:
                raise self.unfinished(token.line)
            self.tags[token.tag], self.tag_lines[token.tag] = text, token.line
            return False
        self.in_movetext = True
        if token.is_comment:
            if text and not self.variations:
                before = self.comments.get(len(self.moves))
                self.comments[len(self.moves)] = f"{before} {text}" if before else text
        elif text == "(":
            self.variations.append(token.line)
        elif text == ")":
            if not self.variations:
                raise _at(token.line, "')' closes no variation")
            self.variations.pop()
        elif not self.variations and text in RESULTS:
            return True
        elif not self.variations and not _SKIPPED.fullmatch(text):
            self.push_san(_NUMBERED_MOVE.sub("", text, count=1), token.line)
        return False

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
        position = self.position = self.start(line_number).continued()
        try:
            self.moves.append(position.push_san(text))
        except InputError as error:
            raise _at(line_number, str(error)) from error

    def finish(self, result: str, line_number: int) -> GameRecord:
        variant = self.start(line_number).variant
        given = self.tags.keys() - {*_OWN_TAGS, "Result"}
        return GameRecord(
            variant=variant,
            start_fen=self.start_fen,
            moves=tuple(self.moves),
            result=result,
            tags={name: value for name, value in self.tags.items() if name in given},
            comments=self.comments,
        )

    def unfinished(self, line_number: int) -> PgnError:
        """The error of a game that ends, at that line, without a result."""
        if self.variations:
            return _at(self.variations[0], "a variation '(' is never closed")
        last = f"after {len(self.moves)} moves" if self.moves else "without moves"
        return _at(line_number, f"the game ends {last} and without a result ({' '.join(RESULTS)})")


def _at(line_number: int, what: str) -> PgnError:
    return PgnError(f"PGN line {line_number}: {what}")


def read_pgn(source: str | Iterable[str]) -> Iterator[GameRecord]:
    """Read the games of a text or of an open file, one at a time as they are asked for.

    The rules of each are looked up by its Variant tag (`engine.rules.variant.get_variant`). Raises
    PgnError that names the line and quotes what it cannot read: a bad tag, an unknown variant, a
    FEN or a move that is not legal, a game without a result.
    """
    game: _GameReader | None = None
    line_number = 0
    for token in _tokens(source.splitlines() if isinstance(source, str) else source):
        game, line_number = game or _GameReader(), token.line
        if game.read(token):
            yield game.finish(token.text, token.line)
            game = None
    if game is not None:
        raise game.unfinished(line_number)
