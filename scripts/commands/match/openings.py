"""The openings that a match is asked to begin with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from engine.player import Player
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import Variant
from scripts.commands.match.options import MatchOptions
from scripts.players import require_playable
from scripts.terminal.progress import say
from training.evaluation.games.opening_file import OpeningFile, read_openings
from training.evaluation.openings import Opening, default_opening_plies

_MOST_NAMED: Final = 5
"""Entries of a file that are named one by one."""


class MatchOpenings:
    """All openings of so many plies, or those of a file."""

    def __init__(self, options: MatchOptions, variant: Variant) -> None:
        """Read the file, where one is named. Raises InputError, OSError."""
        self._variant = variant
        self._path, plies = _file_and_plies(options)
        self._file: OpeningFile | None = None
        if self._path is not None:
            self._file = read_openings(self._path, variant, plies)
            self._tell(self._file)
        self.plies = default_opening_plies(variant) if plies is None else plies

    @property
    def listed(self) -> Sequence[Opening] | None:
        """Those of the file; None where there is none."""
        return None if self._file is None else self._file.openings

    @property
    def figures(self) -> dict[str, Any]:
        """What `--json` prints of the file; empty where there is none."""
        if self._file is None:
            return {}
        return {
            "file": str(self._path),
            "openings": len(self._file.openings),
            "repeated": self._file.repeated,
            "left_out": len(self._file.problems),
        }

    def _tell(self, found: OpeningFile) -> None:
        for problem in found.problems[:_MOST_NAMED]:
            say(f"left out: {problem}")
        if (more := len(found.problems) - _MOST_NAMED) > 0:
            say(f"left out: {more:,} more")
        if found.repeated:
            say(f"{self._path}: positions that come again are played once; {found.repeated:,} do")

    def check(self, players: Sequence[Player], *, games: int, repeat: bool) -> None:
        """Raises InputError where a player cannot play from all openings; says if there are few.

        `repeat`: whether they come again when all are used.
        """
        for opening in self.listed or ():
            position = Position(self._variant, opening.start_fen)
            for move in opening.moves:
                position.push(move)
            for player in players:
                require_playable(player, position)
        count, pairs = len(self.listed or ()), (games + 1) // 2
        if 0 < count < pairs and repeat:
            say(f"{self._path}: {count:,} openings for {pairs:,} pairs of games: they repeat")


def _file_and_plies(options: MatchOptions) -> tuple[Path | None, int | None]:
    text, plies = options.openings, options.opening_plies
    if text is None or not text.isdecimal():
        return None if text is None else Path(text), plies
    if plies is not None:
        raise InputError(f"--openings {text} and --opening-plies {plies} ask for two lengths")
    return None, int(text)
