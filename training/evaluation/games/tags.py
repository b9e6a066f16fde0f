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


def game_tags(white: PlayerTags, black: PlayerTags, day: date) -> Mapping[str, str]:
    """The tags of a game that was begun on a day."""
    tags = {"Date": f"{day:%Y.%m.%d}"}
    sides = {"White": white, "Black": black}
    tags |= {f"{colour}Type": player.kind for colour, player in sides.items()}
    tags |= {
        f"{colour}Settings": player.settings for colour, player in sides.items() if player.settings
    }
    if white.time_control == black.time_control:
        sides = {"": white}
    return tags | {
        f"{colour}TimeControl": player.time_control
        for colour, player in sides.items()
        if player.time_control
    }


def time_control(spec: str) -> str:
    """The time of a player that is written so, "1/0.5" for half a second a move; empty for none."""
    match = _MOVE_TIME.fullmatch(spec)
    return "" if match is None else f"1/{int(match[1]) / 1000:g}"
