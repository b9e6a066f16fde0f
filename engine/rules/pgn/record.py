"""One game as PGN holds it, in the one form in which it is written and read back."""

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import Variant

UNFINISHED: Final = "*"
RESULTS: Final = ("1-0", "0-1", "1/2-1/2", UNFINISHED)
SEVEN_TAGS: Final = ("Event", "Site", "Date", "Round", "White", "Black", "Result")
CHESS: Final = "chess"
_UNKNOWN: Final = "?"
_UNKNOWN_DATE: Final = "????.??.??"
_DERIVED_TAGS: Final = ("Result", "Variant", "SetUp", "FEN")
"""What the other fields of a game say."""
TAG_NAME: Final = r'[^\s\x00-\x1f\x7f"\[\]]+'
"""The standard has letters, digits and underscores; whatever can be told from the rest is read."""
_NAME: Final = re.compile(TAG_NAME)


class PgnError(InputError):
    """A game that cannot be read or written; where it was read, the message names the line."""


@dataclass(frozen=True, kw_only=True)
class GameRecord:
    """One game, from any legal start, finished or not.

    A record holds exactly what its PGN text holds: reading what was written gives an equal one.
    Raises PgnError for a result or the name of a tag that PGN cannot hold, and FenError.
    """

    # The rules that it was played by.
    variant: Variant
    # Where it began; kept as a full FEN.
    start_fen: str
    # Moves as uint16 numbers (engine.rules.moves), oldest first.
    moves: tuple[int, ...]
    # One of RESULTS.
    result: str = UNFINISHED
    # All tags in the order of the file, any text as values. The seven standard ones are added
    # where they are missing; Result, Variant, SetUp and FEN always follow the fields above.
    tags: Mapping[str, str] = field(default_factory=dict)
    # Comment after so many moves; 0 stands before the first. Blanks and line breaks between words
    # are kept as one blank, and "}", which cannot be written, as ")".
    comments: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.result not in RESULTS:
            raise PgnError(f"{self.result!r} is not a result ({' '.join(RESULTS)})")
        for name in self.tags:
            if not _is_name(name):
                raise PgnError(f"{name!r} cannot be the name of a PGN tag")
        object.__setattr__(self, "start_fen", _full_fen(self.variant, self.start_fen))
        object.__setattr__(self, "comments", dict(self._kept_comments()))
        object.__setattr__(self, "tags", self._all_tags())

    def _kept_comments(self) -> Iterator[tuple[int, str]]:
        for ply in sorted(self.comments):
            text = " ".join(self.comments[ply].replace("}", ")").split())
            if text and 0 <= ply <= len(self.moves):
                yield ply, text

    def _all_tags(self) -> dict[str, str]:
        tags = {name: _UNKNOWN_DATE if name == "Date" else _UNKNOWN for name in SEVEN_TAGS}
        tags |= {name: text for name, text in self.tags.items() if name not in _DERIVED_TAGS}
        tags["Result"] = self.result
        if self.variant.name != CHESS:
            tags["Variant"] = self.variant.name
        if self.start_fen != start_of(self.variant)[1]:
            tags |= {"SetUp": "1", "FEN": self.start_fen}
        return tags


@functools.lru_cache(maxsize=256)
def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


@functools.lru_cache(maxsize=64)
def start_of(variant: Variant) -> tuple[Position, str]:
    """The variant's start, to be copied, and its FEN in full: a person's file may have a shorter
    one."""
    position = Position(variant)
    return position, position.fen()


def _full_fen(variant: Variant, text: str) -> str:
    own = start_of(variant)[1]
    return own if text in (own, variant.start_fen) else Position(variant, text).fen()
