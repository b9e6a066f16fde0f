"""PGN tags that say how a game was played: when, by whom, with which settings and time."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Final, NamedTuple

PROGRAM: Final = "program"
HUMAN: Final = "human"
"""Values of the tags WhiteType and BlackType (PGN standard, 9.1.3)."""
_MOVE_TIME: Final = re.compile(r"uci:.+:movetime=(\d+)")


class PlayerTags(NamedTuple):
    """What a game's tags say of one player besides the name."""

    # PROGRAM or HUMAN.
    kind: str
    # As "network=runs/a/checkpoints/00000020.safetensors; seed=1"; empty for none.
    settings: str = ""
    # As in the tag TimeControl; empty for none.
    time_control: str = ""


def date_text(day: date) -> str:
    """As in the tag Date."""
    return f"{day:%Y.%m.%d}"


def in_one_line(text: str) -> str:
    """A name or a setting as other programs read it, which end a tag with its line."""
    return " ".join(text.split())


def game_tags(white: PlayerTags, black: PlayerTags) -> Mapping[str, str]:
    """The tags of both players of a game."""
    sides = {"White": white, "Black": black}
    tags = {f"{colour}Type": player.kind for colour, player in sides.items()}
    for colour, player in sides.items():
        if player.settings:
            tags[f"{colour}Settings"] = in_one_line(player.settings)
    if white.time_control == black.time_control:
        sides = {"": white}
    for colour, player in sides.items():
        if player.time_control:
            tags[f"{colour}TimeControl"] = player.time_control
    return tags


def time_control(spec: str) -> str:
    """The time of a player that is written so, "1/0.5" for half a second a move; empty for none."""
    match = _MOVE_TIME.fullmatch(spec)
    return "" if match is None else f"1/{int(match[1]) / 1000:g}"
