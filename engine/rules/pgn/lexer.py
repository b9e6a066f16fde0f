"""The tokens of a PGN text, line by line, in time that grows linearly with the text.

Nothing is refused here: what cannot be read becomes a token that says so, and the reader decides
which game it costs. Lines end with "\\n", "\\r" or both; no other character ends one, since the
value of a tag may hold any.
"""

import functools
import re
from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from itertools import count
from typing import Final, NamedTuple

from engine.rules.pgn.record import TAG_NAME, UNFINISHED
from engine.system.text_file import split_lines


class Kind(Enum):
    """What a token is."""

    TAG = auto()
    BAD_TAG = auto()
    """The text says what is wrong."""
    COMMENT = auto()
    OPEN_COMMENT = auto()
    """One that is never closed; the text says so."""
    NUMBER = auto()
    """Of a move; the text has no dots."""
    MOVE = auto()
    """A move, or a word that is neither a move nor anything else."""
    RESULT = auto()
    """Spelled as in RESULTS."""
    BEGIN_VARIATION = auto()
    END_VARIATION = auto()
    BLANK_LINE = auto()


class Token(NamedTuple):
    """A part of the text."""

    kind: Kind
    # Where it begins; the first line is 1.
    line: int
    text: str = ""
    # Of a tag.
    name: str = ""


SPELLINGS: Final = {
    "1-0": "1-0",
    "0-1": "0-1",
    "1/2-1/2": "1/2-1/2",
    "1/2": "1/2-1/2",
    "½-½": "1/2-1/2",
    "½": "1/2-1/2",
    "*": UNFINISHED,
}
"""How results are written, and what they mean."""
_BLANKS: Final = re.compile(r"[\s\x00-\x1f\x7f\ufeff]*")
"""Between tokens; also the end-of-file sign of DOS (^Z) and byte order marks inside a file."""
_WORD: Final = re.compile(r"[^\s\x00-\x1f\x7f\ufeff(){};]+")
_PIECE: Final = re.compile(
    r"""
    (?P<RESULT> 1-0 | 0-1 | 1/2(?:-1/2)? | ½(?:-½)? | \* )
    | (?P<MOVE> --(?![-+/=]) | 0000(?![0-9]) | O-O(?:-O)? | 0-0(?:-0)?
        | [A-Z]?[a-h]?[1-8]?[-x:]?[a-h][1-8] (?: =[A-Za-z] | [A-Za-z](?![A-Za-z.]) )? )
    | (?P<NUMBER> \d+ ) \.*
    | \$\d* | e\.?p\.? | [^\w*$\[\]"<>@]+
    """,
    re.VERBOSE,
)
"""What a word is made of: `Nc6*`, `1.e4!?`, `exd6e.p.+`. Without a group: glyphs, the remark of a
capture en passant, and signs such as `!?` and `+-`."""
_REMARKS: Final = frozenset({"N", "D", "mate"})
"""Words of annotators: a novelty, a diagram, the end."""
_FIGURINES: Final = str.maketrans("♔♕♖♗♘♙♚♛♜♝♞♟", "KQRBNPKQRBNP", "\ufe0e\ufe0f")
"""Pieces as they are printed, and the signs that say how to draw them, which are left out."""

_TAG_START: Final = re.compile(rf'\[\s*({TAG_NAME})\s*"')
_STRING: Final = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_TAG_END: Final = re.compile(r'"\s*\]')
_TAG_END_BEFORE_TAG: Final = re.compile(rf'"\s*\](?=\s*(?:$|\[\s*{TAG_NAME}\s*"))')
_LAST_TAG_END: Final = re.compile(r'"\s*\]\s*\Z')
_BRACE: Final = re.compile("[{}]")
_ESCAPED: Final = re.compile(r'\\(["\\])')
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9]\w*")
_LONGEST_QUOTE: Final = 60
_LONGEST_KEPT: Final = 16


class _Lines:
    """The lines of a text with their ends, and a look at those that follow."""

    def __init__(self, source: str | Iterable[str]) -> None:
        self._source = _split(source)
        self._ahead: deque[str] = deque()
        # Of the line taken last.
        self.number = 0
        # No string ends in the lines behind that one up to this number.
        self._without_end = 0

    def take(self) -> str | None:
        """The next line; None at the end."""
        line = self._ahead.popleft() if self._ahead else next(self._source, None)
        self.number += line is not None
        return line

    def peek(self, index: int = 0) -> str | None:
        """The line after so many others, without taking it."""
        while len(self._ahead) <= index:
            line = next(self._source, None)
            if line is None:
                return None
            self._ahead.append(line)
        return self._ahead[index]

    def to_end_of_string(self) -> tuple[int, str] | None:
        """How many lines follow up to the one in which a string ends that is open here, and that
        line; None where it never ends. No line is searched twice but the last."""
        for index in count(max(0, self._without_end - self.number)):
            line = self.peek(index)
            if line is None:
                return None
            if _end_of_string(line, 0) < len(line):
                return index + 1, line
            self._without_end = self.number + index + 1
        return None


def _split(source: str | Iterable[str]) -> Iterator[str]:
    if isinstance(source, str):
        yield from split_lines(source)
        return
    for part in source:
        yield from split_lines(part if part.endswith(("\n", "\r")) else f"{part}\n")


def tokens(source: str | Iterable[str]) -> Iterator[Token]:
    """The tokens of a text, or of lines such as those of an open file."""
    lines = _Lines(source)
    while (line := lines.take()) is not None:
        if lines.number == 1:
            line = line.removeprefix("\ufeff")
        if not line.startswith("%"):
            yield from _line_tokens(line, lines)


def _line_tokens(line: str, lines: _Lines) -> Iterator[Token]:
    """The tokens of a line; a tag begins a line or follows a comment, a result or another tag."""
    place = _end_of_blanks(line, 0)
    if place == len(line):
        yield Token(Kind.BLANK_LINE, lines.number)
    tag_may_follow = True
    while place < len(line):
        sign = line[place]
        if sign == "[" and tag_may_follow:
            token, line, place = _tag(line, place, lines)
            yield token
        elif sign == "{":
            token, line, place = _comment(line, place + 1, lines)
            yield token
        elif sign == ";":
            yield Token(Kind.COMMENT, lines.number, line[place + 1 :])
            return
        elif sign in "()":
            kind = Kind.BEGIN_VARIATION if sign == "(" else Kind.END_VARIATION
            yield Token(kind, lines.number)
            place, tag_may_follow = place + 1, False
        elif match := _WORD.match(line, place):
            kind = None
            word = match[0]
            split = _split_word if len(word) > _LONGEST_KEPT else _split_short_word
            for kind, text in split(word):
                yield Token(kind, lines.number, text)
            place, tag_may_follow = match.end(), kind is Kind.RESULT
        else:
            # A brace that closes no comment.
            place += 1
        place = _end_of_blanks(line, place)


def _end_of_blanks(line: str, place: int) -> int:
    match = _BLANKS.match(line, place)
    assert match is not None
    return match.end()


def _split_word(word: str) -> tuple[tuple[Kind, str], ...]:
    """What a word is made of; as a whole it is a move where it is nothing else."""
    if not word.isascii():
        word = word.translate(_FIGURINES)
    found, place = [], 0
    while place < len(word):
        match = _PIECE.match(word, place)
        if match is None:
            return () if word in _REMARKS else ((Kind.MOVE, word),)
        if match.lastgroup:
            text = match[match.lastgroup]
            found.append((Kind[match.lastgroup], SPELLINGS.get(text, text)))
        place = match.end()
    return tuple(found)


_split_short_word: Final = functools.lru_cache(maxsize=8192)(_split_word)
"""Most words come again and again."""


def _comment(line: str, place: int, lines: _Lines) -> tuple[Token, str, int]:
    """The comment that is open at a place, and what follows it: a line and a place in it."""
    opened, parts, is_closed = lines.number, list[str](), False
    while (end := line.find("}", place)) < 0:
        following = lines.peek()
        # The tags of the next game end a comment that somebody forgot to close.
        if following is not None and not line.strip() and _TAG_START.match(following):
            is_closed = is_closed or _closes_before_it_opens(lines)
            following = following if is_closed else None
        if following is None:
            return Token(Kind.OPEN_COMMENT, opened, "a comment '{' is never closed"), "", 0
        parts.append(line[place:])
        line, place = lines.take() or "", 0
    return Token(Kind.COMMENT, opened, "".join([*parts, line[place:end]])), line, end + 1


def _closes_before_it_opens(lines: _Lines) -> bool:
    """Whether "}" is the first brace of the lines that follow."""
    for index in count():
        line = lines.peek(index)
        if line is None:
            return False
        if brace := _BRACE.search(line):
            return brace[0] == "}"
    return False


def _tag(line: str, place: int, lines: _Lines) -> tuple[Token, str, int]:
    """The tag that begins at a place, and what follows it: a line and a place in it."""
    number, start = lines.number, _TAG_START.match(line, place)
    if start is None:
        return _tag_without_quotes(line[place:], number), "", 0
    found = _escaped_value(line, start.end(), lines) or _raw_value(line, start.end())
    if found is None:
        return _tag_without_quotes(line[place:], number), "", 0
    value, line, place = found
    return Token(Kind.TAG, number, _ESCAPED.sub(r"\1", value), start[1]), line, place


def _escaped_value(line: str, place: int, lines: _Lines) -> tuple[str, str, int] | None:
    """A value whose quotes are escaped, as the standard has it, and what follows the tag.

    It may hold line breaks; then nothing but another tag may stand behind it in its last line.
    """
    last, more, pattern = line, 0, _TAG_END
    end = _end_of_string(line, place)
    if end == len(line):
        found = lines.to_end_of_string()
        if found is None:
            return None
        more, last, pattern = *found, _TAG_END_BEFORE_TAG
        end = _end_of_string(last, 0)
    close = pattern.match(last, end)
    if close is None or (not more and _goes_on(line, close.end())):
        return None
    parts = [line, *(lines.take() or "" for _ in range(more))]
    parts[-1] = parts[-1][:end]
    parts[0] = parts[0][place:]
    return "".join(parts), last, close.end()


def _goes_on(line: str, place: int) -> bool:
    """Whether a value goes on after a quote and a bracket, as in `[Event "["a"]"]`."""
    following = line[place : place + 1].strip()
    return following not in ("", "[") and _ends_with_tag(line)


def _ends_with_tag(line: str) -> bool:
    return _LAST_TAG_END.search(line[-_LONGEST_QUOTE:]) is not None


def _end_of_string(line: str, place: int) -> int:
    match = _STRING.match(line, place)
    assert match is not None
    return match.end()


def _raw_value(line: str, place: int) -> tuple[str, str, int] | None:
    """A value with quotes that are not escaped, which end where the tag does."""
    pattern = _TAG_END_BEFORE_TAG if _ends_with_tag(line) else _TAG_END
    end = pattern.search(line, place)
    return None if end is None else (line[place : end.start()], line, end.end())


def _tag_without_quotes(rest: str, line_number: int) -> Token:
    """A tag that lacks a quote, both, or its last bracket, if it can be told what it says."""
    name, *value = rest[1:].strip().removesuffix("]").split(None, 1) or [""]
    text = value[0].strip() if value else ""
    if _PLAIN_NAME.fullmatch(name) and "]" not in text:
        return Token(Kind.TAG, line_number, text.removeprefix('"').removesuffix('"'), name)
    shown = " ".join(rest[: _LONGEST_QUOTE + 1].split())
    if len(rest) > _LONGEST_QUOTE:
        shown += " ..."
    return Token(Kind.BAD_TAG, line_number, f"'{shown}' is not a tag such as [White \"name\"]")
