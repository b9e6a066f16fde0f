"""Games read from PGN: where one ends and the next begins, and what one bad game costs."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from engine.rules.errors import IllegalMoveError, InputError
from engine.rules.pgn.lexer import SPELLINGS, Kind, Token, tokens
from engine.rules.pgn.record import CHESS, UNFINISHED, GameRecord, PgnError, start_of
from engine.rules.position import Position
from engine.rules.variant import Variant, get_variant
from engine.system.text_file import text_lines

OnError = Callable[[PgnError], None]
"""Told of each game that cannot be read, in its turn; what it raises ends the reading."""
_CHESS_NAMES: Final = ("", "chess", "standard", "normal", "classical", "from position")
_SQUARES: Final = re.compile(r"([a-h][1-8])[-x:]?([a-h][1-8])(?:=?([A-Za-z]))?\Z")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LONGEST_MESSAGE: Final = 400


class _Game:
    """One game as it is read, token by token."""

    def __init__(self) -> None:
        self._tags: dict[str, str] = {}
        self._tag_lines: dict[str, int] = {}
        # What was read of it: comments alone make no game.
        self._exists = self._in_movetext = self._has_moves = False
        self.has_ended = False
        self.first_line = 0
        self._position: Position | None = None
        self._start_fen = ""
        self._moves: list[int] = []
        # Their words.
        self._comments: dict[int, list[str]] = {}
        self._marker = UNFINISHED
        # Lines in which the variations begin that are not yet closed.
        self._variations: list[int] = []
        self._error: PgnError | None = None
        self._line = 1

    def is_over_before(self, token: Token, *, blank: bool) -> bool:
        """Whether a token belongs to the next game; `blank`: an empty line stands before it."""
        if self.has_ended:
            # A result that is repeated begins no game.
            return blank or token.kind not in (Kind.COMMENT, Kind.RESULT)
        if token.kind in (Kind.TAG, Kind.BAD_TAG):
            return self._in_movetext or (blank and token.name in self._tags)
        is_first_move = token.kind is Kind.NUMBER and token.text == "1"
        return is_first_move and blank and self._has_moves and not self._variations

    def read(self, token: Token) -> None:
        """Take one token."""
        self._line = token.line
        self.first_line = self.first_line or token.line
        if token.kind is Kind.COMMENT:
            self._read_comment(token.text)
            return
        self._exists = True
        self._in_movetext |= token.kind not in (Kind.TAG, Kind.BAD_TAG)
        match token.kind:
            case Kind.MOVE if not self._variations:
                self._has_moves = True
                self._play(token)
            case Kind.TAG:
                self._tags[token.name], self._tag_lines[token.name] = token.text, token.line
            case Kind.BAD_TAG | Kind.OPEN_COMMENT:
                self._fail(token.line, token.text)
            case Kind.BEGIN_VARIATION:
                self._variations.append(token.line)
            case Kind.END_VARIATION if self._variations:
                self._variations.pop()
            case Kind.RESULT if not (self._variations or self.has_ended):
                self._marker, self.has_ended = token.text, True

    def _read_comment(self, text: str) -> None:
        if not self._variations:
            self._comments.setdefault(len(self._moves), []).extend(text.split())

    def _play(self, token: Token) -> None:
        if self._error is None:
            try:
                position = self._position = self._reached().continued()
                self._moves.append(_push(position, token.text))
            except InputError as error:
                self._fail(token.line, str(error))

    def _reached(self) -> Position:
        """The position after the moves so far, at first the one that the tags describe."""
        if self._position is None:
            try:
                variant = _variant_of(self._tags.get("Variant", ""))
            except InputError as error:
                raise self._fail(self._tag_lines["Variant"], str(error)) from None
            position, self._start_fen = start_of(variant)
            self._position = position.copy()
            if (fen := self._tags.get("FEN", self._start_fen)) != self._start_fen:
                try:
                    self._position = Position(variant, fen)
                except InputError as error:
                    raise self._fail(self._tag_lines["FEN"], str(error)) from None
                self._start_fen = self._position.fen()
        return self._position

    def _fail(self, line_number: int, what: str) -> PgnError:
        """Note what is wrong with the game; the first is what it is refused for."""
        if self._error is None:
            self._error = PgnError(f"PGN line {line_number}: {printable_line(what)}")
        return self._error

    def finish(self) -> GameRecord | None:
        """The game, None where nothing but comments was read; raises PgnError."""
        if not self._exists:
            return None
        if self._variations:
            self._fail(self._variations[0], "a variation '(' is never closed")
        if self._error is not None:
            raise self._error
        variant = self._reached().variant
        stated = SPELLINGS.get(self._tags.get("Result", "").strip(), UNFINISHED)
        return GameRecord(
            variant=variant,
            start_fen=self._start_fen,
            moves=tuple(self._moves),
            result=self._marker if stated == UNFINISHED else stated,
            tags=self._tags,
            comments={ply: " ".join(words) for ply, words in self._comments.items()},
        )


def _push(position: Position, text: str) -> int:
    """Play a move in SAN, or one that names both of its squares; raises IllegalMoveError."""
    try:
        return position.push_san(text)
    except IllegalMoveError:
        squares = _SQUARES.match(text)
        if squares is None:
            raise
        with contextlib.suppress(IllegalMoveError):
            return position.push_uci("".join(squares.groups("")).lower())
        raise


def _variant_of(name: str) -> Variant:
    """The variant of a tag; other programs begin names with a capital, and have some for chess."""
    if name.lower() in _CHESS_NAMES:
        return get_variant(CHESS)
    try:
        return get_variant(name)
    except InputError as error:
        try:
            return get_variant(name.lower())
        except InputError:
            raise error from None


def printable_line(text: str) -> str:
    """A message about foreign text: printable, in one line, of a length that can be read."""
    text = _UNPRINTABLE.sub(lambda sign: repr(sign[0])[1:-1], text)
    if len(text) > _LONGEST_MESSAGE:
        return f"{text[: _LONGEST_MESSAGE // 2]} ... {text[-_LONGEST_MESSAGE // 2 :]}"
    return text


def _raise(error: PgnError) -> None:
    raise error


def read_pgn(source: str | Iterable[str], on_error: OnError | None = None) -> Iterator[GameRecord]:
    """Read the games of a text or of an open file, one at a time as they are asked for.

    The rules of each are looked up by its Variant tag (`engine.rules.variant.get_variant`). A game
    that cannot be read costs itself only: `on_error` is told, and the next one follows. The error
    names the line and quotes a bad tag, an unknown variant, a FEN or a move that is not legal, or
    says which comment or variation never ends. Without `on_error` it is raised and ends the
    reading.

    A game ends with its result, with the tags of the next, or, where there are neither, with an
    empty line before a move of number 1. Its result is that of the Result tag; where that gives
    none, the one after the moves; where there is none either, "*".
    """
    yield from (record for _, record in numbered_games(source, on_error))


def numbered_games(
    source: str | Iterable[str], on_error: OnError | None = None
) -> Iterator[tuple[int, GameRecord]]:
    """As `read_pgn`, each game with the line in which it begins."""
    report, game, blank = on_error or _raise, _Game(), False

    def finished() -> Iterator[tuple[int, GameRecord]]:
        try:
            record = game.finish()
        except PgnError as error:
            report(error)
        else:
            if record is not None:
                yield game.first_line, record

    for token in tokens(source):
        if token.kind is Kind.BLANK_LINE:
            blank = True
            continue
        if game.is_over_before(token, blank=blank):
            yield from finished()
            game = _Game()
        game.read(token)
        blank = blank and token.kind is Kind.COMMENT
    yield from finished()


def read_pgn_file(path: str | Path, on_error: OnError | None = None) -> Iterator[GameRecord]:
    """As `read_pgn`, of a file in UTF-8, in UTF-16 with a byte order mark, or in Latin-1.

    Latin-1 is the encoding of the standard; it is taken for a line that is not UTF-8. Raises
    OSError, and PgnError that names the file.
    """

    def named(error: PgnError) -> None:
        (on_error or _raise)(PgnError(f"{path}: {error}"))

    yield from read_pgn(text_lines(path), named)
