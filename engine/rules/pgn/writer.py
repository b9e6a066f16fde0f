"""A game written as PGN."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from engine.rules.pgn.record import GameRecord
from engine.rules.position import Position
from engine.rules.tables import BLACK

_LINE_LENGTH: Final = 80


def write_pgn(game: GameRecord) -> str:
    """Write one game, ending in an empty line so that games can be written one after another.

    The value of a tag is written as it is, with `\\` before quotes and backslashes; line breaks in
    it stay, which only this reader reads. Raises IllegalMoveError where a move is not legal in its
    place.
    """
    tags = (_tag_line(name, value) for name, value in game.tags.items())
    return "\n".join([*tags, "", *_wrap(_movetext(game)), "", ""])


def pgn_bytes(game: GameRecord) -> bytes:
    """The game in UTF-8; what is no character (a lone surrogate) is written as "?"."""
    return write_pgn(game).encode(errors="replace")


def gap_before(path: Path) -> bytes:
    """What is missing of an empty line at the end of a file, before another game is added to it.

    Raises OSError.
    """
    if not path.is_file() or not path.stat().st_size:
        return b""
    with path.open("rb") as file:
        file.seek(-min(4, path.stat().st_size), os.SEEK_END)
        end = file.read().replace(b"\r\n", b"\n")
    if end.endswith(b"\n\n"):
        return b""
    return b"\n" if end.endswith(b"\n") else b"\n\n"


def _tag_line(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'[{name} "{escaped}"]'


def _movetext(game: GameRecord) -> Iterator[str]:
    position = Position(game.variant, game.start_fen)
    number = position.full_move
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
        comment = game.comments.get(ply, "")
        yield from _comment_words(comment)
        interrupted = bool(comment)
    yield game.result


def _comment_words(text: str) -> list[str]:
    return ["{", *text.split(), "}"] if text else []


def _wrap(words: Iterable[str]) -> Iterator[str]:
    line = ""
    for word in words:
        if line and len(line) + 1 + len(word) >= _LINE_LENGTH:
            yield line
            line = ""
        line = f"{line} {word}" if line else word
    yield line
