"""The game that is played, as PGN."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

from engine.rules.pgn import GameRecord
from engine.rules.pgn.record import UNFINISHED
from engine.rules.pgn.writer import gap_before, pgn_bytes
from engine.rules.position import Position
from engine.rules.tables import WHITE
from engine.system.files import append_to
from training.evaluation.games.tags import (
    HUMAN,
    PROGRAM,
    PlayerTags,
    date_text,
    game_tags,
    in_one_line,
)

_PERSON: Final = "Human"


@dataclass(frozen=True, kw_only=True)
class GameTags:
    """What is known of a game before its first move."""

    # The person's: WHITE or BLACK.
    colour: int
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, opponent: str, colour: int, player: PlayerTags | None = None) -> "GameTags":
        """Of a game that begins now against a player of that name."""
        names = _PERSON, opponent
        sides = PlayerTags(HUMAN), player or PlayerTags(PROGRAM)
        if colour != WHITE:
            names, sides = names[::-1], sides[::-1]
        tags = {
            "Event": "Pawnscope game",
            "Date": date_text(date.today()),
            "Round": "-",
            "White": in_one_line(names[0]),
            "Black": in_one_line(names[1]),
        }
        return cls(colour=colour, tags={**tags, **game_tags(*sides)})


def record_of(position: Position, known: GameTags, *, resigned: bool) -> GameRecord:
    """The game so far; `resigned`: the person has given it up."""
    outcome, comments = position.outcome(), dict[int, str]()
    result, termination = UNFINISHED, "unterminated"
    moves = tuple(position.move_stack)
    if outcome is not None:
        result, termination = outcome.result, "normal"
        comments[len(moves)] = outcome.termination.name.lower().replace("_", " ")
    elif resigned:
        result, termination = "0-1" if known.colour == WHITE else "1-0", "normal"
        comments[len(moves)] = "White resigns" if known.colour == WHITE else "Black resigns"
    start = position.copy()
    for _ in moves:
        start.pop()
    return GameRecord(
        variant=position.variant,
        start_fen=start.fen(),
        moves=moves,
        result=result,
        tags={**known.tags, "Termination": termination},
        comments=comments,
    )


def append_game(path: Path, game: GameRecord) -> None:
    """Add a game to a file, whole or not at all; raises OSError."""
    text = gap_before(path) + pgn_bytes(game)
    with open(path, "ab", buffering=0) as file:
        append_to(file, text)
