"""Games from PGN: their tags, moves and results, for every variant."""

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.rules.errors import InputError
from engine.rules.pgn import GameRecord, PgnError, read_pgn, read_pgn_file, write_pgn
from engine.rules.position import Position
from engine.rules.variant import Variant
from engine.system.files import home_expanded


@dataclass(frozen=True, repr=False)
class Game:
    """One game of a PGN: see `read_games`.

        >>> import pawnscope as ps
        >>> (game,) = ps.read_games('[Variant "hexapawn"] [White "Anna"] 1. b2 axb2 2. cxb2 1-0')
        >>> game
        Anna - ?: 1-0, 3 moves (hexapawn)
        >>> [position.turn for position in game.positions()]
        [0, 1, 0, 1]

    It prints as one line.
    """

    record: GameRecord
    """The game with its moves as numbers."""

    @property
    def tags(self) -> dict[str, str]:
        """All tags in the order of the file; of the seven standard ones also those that lack."""
        return dict(self.record.tags)

    @property
    def moves(self) -> tuple[str, ...]:
        """UCI texts of the moves, oldest first."""
        position, texts = Position(self.variant, self.start_fen), []
        for move in self.record.moves:
            texts.append(position.uci(move))
            position = position.continued()
            position.push(move)
        return tuple(texts)

    @property
    def result(self) -> str:
        """1-0, 0-1, 1/2-1/2, or * for a game without an end."""
        return self.record.result

    @property
    def variant(self) -> Variant:
        """The rules that it was played by; `variant.name` is what its tag says."""
        return self.record.variant

    @property
    def start_fen(self) -> str:
        """Where it began."""
        return self.record.start_fen

    @property
    def comments(self) -> dict[int, str]:
        """Comments, each by the number of moves before it."""
        return dict(self.record.comments)

    def positions(self) -> Iterator[Position]:
        """The position before each move and the last one, each on its own, with its history.

        Where people played on after a draw by repetition or by the move rule, the position counts
        neither of them.
        """
        position = Position(self.variant, self.start_fen)
        for move in self.record.moves:
            yield position.copy()
            position = position.continued()
            position.push(move)
        yield position

    def pgn(self) -> str:
        """The game as PGN, with its comments and without its variations."""
        return write_pgn(self.record)

    def __repr__(self) -> str:
        white, black = self.record.tags["White"], self.record.tags["Black"]
        count = f"{len(self.record.moves)} moves".replace("1 moves", "1 move")
        return f"{white} - {black}: {self.result}, {count} ({self.variant.name})"


def read_games(
    path_or_text: str | os.PathLike[str], on_error: Callable[[PgnError], None] | None = None
) -> Iterator[Game]:
    """The games of a PGN file or text of any variant, one at a time.

        >>> import pawnscope as ps
        >>> text = '''
        ... [White "Anna"]
        ... [Variant "gardner"]
        ...
        ... 1. b3 {quietly} axb3 2. cxb3 *
        ... '''
        >>> for game in ps.read_games(text):
        ...     print(game.tags["White"], game.moves, game.result, game.variant.name)
        Anna ('b2b3', 'a4b3', 'c2b3') * gardner

    A text is a path where it names a file, and where it is one word or ends in .pgn.

    A game that cannot be read costs itself only: a warning names its line, unless `on_error` takes
    the error. Raises OSError for a file that cannot be read, and what `on_error` raises.
    """
    if isinstance(path_or_text, str) and not _is_path(path_or_text):
        found = read_pgn(path_or_text, on_error or _warn)
    elif isinstance(path_or_text, (str, os.PathLike)):
        path = home_expanded(path_or_text)
        # At once, not when the first game is asked for.
        with open(path, "rb"):
            found = read_pgn_file(path, on_error or _warn)
    else:
        raise InputError(f"games are read from a path or a PGN text, not {path_or_text!r}")
    return map(Game, found)


def _is_path(text: str) -> bool:
    """Whether a text names a file; a game has a blank, a tag or several lines."""
    if not text.strip() or "\n" in text or "\r" in text or "\0" in text:
        return False
    is_word = not any(sign.isspace() or sign in '["' for sign in text)
    return is_word or text.lower().endswith(".pgn") or _exists(text)


def _exists(text: str) -> bool:
    try:
        return home_expanded(text).exists()
    except OSError:
        # A game in one line may be too long for a name.
        return False


def _warn(error: PgnError) -> None:
    warnings.warn(str(error), stacklevel=2)
