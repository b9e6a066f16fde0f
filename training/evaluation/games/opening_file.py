"""Openings from a file: the games of a PGN, or the positions of an EPD."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from engine.rules.errors import InputError
from engine.rules.notation.epd import split_epd
from engine.rules.pgn import GameRecord
from engine.rules.pgn.reader import numbered_games, printable_line
from engine.rules.position import Position
from engine.rules.tables import CLOCK, REPETITION
from engine.rules.variant import Variant
from engine.system.text_file import split_lines, text_lines
from training.evaluation.games.game import LONGEST_GAME
from training.evaluation.openings import Opening

_PGN: Final = ".pgn"
_EPD: Final = (".epd", ".fen")
_COMMENTS: Final = ("#", ";", "%")


@dataclass(frozen=True, kw_only=True)
class OpeningFile:
    """The openings of a file, each position once."""

    openings: tuple[Opening, ...]
    # Openings that lead to a position that another one led to.
    repeated: int
    # Why others were left out, one line each, with their places in the file.
    problems: tuple[str, ...]


def read_openings(path: Path, variant: Variant, plies: int | None = None) -> OpeningFile:
    """Read the openings of a .pgn or .epd file, as many plies of each game as are given, else all.

    An entry that cannot be used costs itself only: text that cannot be read, another variant, a
    position that is not legal, a game that is over. Raises InputError where none is left and for a
    file of another kind, and OSError.
    """
    kind, problems = path.suffix.lower(), list[str]()
    if kind == _PGN:
        entries = _of_games(path, variant, plies, problems)
    elif kind not in _EPD:
        raise InputError(f"{path}: a file of openings ends in .pgn or .epd")
    elif plies is not None:
        raise InputError(f"{path}: positions have no plies, and {plies} are asked for")
    else:
        entries = _of_positions(path, variant, problems)
    openings: dict[bytes, Opening] = {}
    count = 0
    for where, opening in entries:
        try:
            end = _end_of(opening, variant)
        except InputError as problem:
            problems.append(f"{path}: {where}: {printable_line(str(problem))}")
            continue
        count += 1
        openings.setdefault(end, opening)
    if not openings:
        first = f"; {problems[0]}" if problems else ""
        raise InputError(f"{path}: no opening for {variant.name} in it{first}")
    return OpeningFile(
        openings=tuple(openings.values()),
        repeated=count - len(openings),
        problems=tuple(problems),
    )


_Entries = Iterator[tuple[str, Opening]]
"""Each with its place in the file."""


def _of_games(path: Path, variant: Variant, plies: int | None, problems: list[str]) -> _Entries:
    def note(problem: InputError) -> None:
        problems.append(f"{path}: {problem}")

    for line, game in numbered_games(text_lines(path), note):
        if game.variant.digest != variant.digest:
            note(InputError(f"PGN line {line}: a game of {game.variant.name}, not {variant.name}"))
            continue
        name = game.tags.get("Opening", "")
        yield f"PGN line {line}", Opening(game.moves[:plies], _start(game), name)


def _start(game: GameRecord) -> str | None:
    return game.tags.get("FEN")


def _of_positions(path: Path, variant: Variant, problems: list[str]) -> _Entries:
    lines = (line for part in text_lines(path) for line in split_lines(part))
    for number, line in enumerate(lines, start=1):
        text = line.removeprefix("\ufeff").strip()
        if not text or text.startswith(_COMMENTS):
            continue
        try:
            fen, operations = split_epd(text)
            fen = Position(variant, fen).fen()
        except InputError as problem:
            problems.append(f"{path}: line {number}: {printable_line(str(problem))}")
            continue
        start = None if fen == Position(variant).fen() else fen
        yield f"line {number}", Opening((), start, operations.get("id", ""))


def _end_of(opening: Opening, variant: Variant) -> bytes:
    """The position after it, without its counters; raises InputError where the game is over."""
    position = Position(variant, opening.start_fen)
    for move in opening.moves:
        position.push(move)
    plies = len(opening.moves)
    if position.outcome() is not None:
        when = f"after {plies} plies" if plies else f"in '{position.fen()}'"
        raise InputError(f"the game is over {when}")
    if plies >= LONGEST_GAME:
        raise InputError(f"an opening of {plies} plies; a game ends after {LONGEST_GAME}")
    row: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = position.row.copy()
    row[[variant.squares + CLOCK, variant.squares + REPETITION]] = 0
    return row.tobytes()
