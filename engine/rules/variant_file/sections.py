"""Reads variant files in Fairy-Stockfish's vocabulary, line by line, so that errors name the line.

[child:parent]          a section inherits every key of its parent
maxRank = 5             keys that we do not support are refused, never ignored
pieceToCharTable = …    keys that change no rule are noted and ignored
# a comment             full lines only, also with ;
"""

import difflib
import re
from dataclasses import dataclass, field
from typing import Final

PIECE_KEYS: Final = ("pawn", "knight", "bishop", "rook", "queen", "king")
CUSTOM_KEYS: Final = tuple(f"customPiece{number}" for number in range(1, 10))
RULE_KEYS: Final = (
    *("maxRank", "maxFile", "startFen"),
    *("promotionPieceTypes", "promotionRegionWhite", "promotionRegionBlack"),
    *("doubleStep", "doubleStepRegionWhite", "doubleStepRegionBlack"),
    *("castling", "castlingKingsideFile", "castlingQueensideFile", "castlingKingFile"),
    *("castlingRookKingsideFile", "castlingRookQueensideFile"),
    *("stalemateValue", "checkmateValue"),
    *("flagPiece", "flagRegionWhite", "flagRegionBlack"),
    *("extinctionValue", "extinctionPieceTypes", "extinctionPieceCount"),
    *("nFoldRule", "nMoveRule"),
)
PIECE_SET_KEYS: Final = ("promotionPieceTypes", "flagPiece", "extinctionPieceTypes")
KNOWN_KEYS: Final = (*RULE_KEYS, *PIECE_KEYS, *CUSTOM_KEYS)

NO_RULE_KEYS: Final = (
    *("pieceToCharTable", "variantTemplate", "pocketSize"),
    *("pieceValueMg", "pieceValueEg"),
)
"""Fairy-Stockfish's keys that change no rule: three say how Winboard and XBoard draw the game, as
its variants.ini states, and two what its own search thinks of a piece."""

_SECTION: Final = re.compile(r"\[\s*([^\]:\s]+)\s*(?::\s*([^\]:\s]+)\s*)?\]$")


_LONGEST_QUOTE: Final = 80
_MOST_WITHOUT_SECTION: Final = 3
"""Mistakes of a file without a section; more of them, and it is a file of another kind."""


@dataclass(frozen=True)
class Setting:
    """A value and where it was written."""

    text: str
    place: str
    """`FILE:LINE`."""


@dataclass(frozen=True)
class Section:
    """One `[child:parent]` block with its own keys only."""

    name: str
    parent: str | None
    settings: dict[str, Setting]
    place: str
    unread: set[str] = field(default_factory=set)
    """Letters that keys give to pieces that we do not know: what names them is not wrong, too."""


@dataclass(frozen=True)
class VariantFile:
    """What stands in a file: its sections, and what is wrong with the lines of it."""

    sections: list[Section]
    mistakes: list[str]
    """One line each, with `FILE:LINE`."""
    ignored: list[str]
    """The keys of NO_RULE_KEYS, as `FILE:LINE: KEY`."""


def parse_sections(text: str, source: str) -> VariantFile:
    """Split a variant file; its mistakes name `source`, the line and the text."""
    sections: list[Section] = []
    mistakes: list[str] = []
    ignored: list[str] = []
    # Lines below a header that cannot be read belong to no section, and are not judged.
    lost = False
    # Not by splitlines, which also knows ends of lines that no editor counts.
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        place, line = f"{source}:{number}", line.strip()
        if not line or line[0] in "#;":
            continue
        quoted = f"'{_shortened(line)}'"
        if line.startswith("["):
            match = _SECTION.match(line)
            lost = match is None
            if match:
                sections.append(Section(match[1], match[2], {}, place))
            else:
                mistakes.append(f"{place}: {quoted} is not a section like [child:parent]")
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            mistakes.append(f"{place}: {quoted} is neither a section nor 'key = value'")
        elif lost:
            continue
        elif not sections:
            mistakes.append(f"{place}: {quoted} stands before the first [section]")
        elif key in NO_RULE_KEYS:
            ignored.append(f"{place}: {key}")
        elif key not in KNOWN_KEYS:
            near = difflib.get_close_matches(key, KNOWN_KEYS, n=1, cutoff=0.8)
            advice = f" (did you mean {near[0]}?)" if near else ""
            mistakes.append(f"{place}: the key '{_shortened(key)}' is not supported{advice}")
            if re.fullmatch(r"[A-Za-z](:.*)?", value):
                sections[-1].unread.add(value[0].lower())
        elif key in sections[-1].settings:
            name = sections[-1].name
            mistakes.append(f"{place}: the key '{key}' stands twice in [{name}]")
        else:
            sections[-1].settings[key] = Setting(value, place)
    if len(mistakes) > _MOST_WITHOUT_SECTION and not sections:
        mistakes = [f"{source}: no variants in it: no line is a section like [child:parent]"]
    return VariantFile(sections, mistakes, ignored)


def _shortened(text: str) -> str:
    """What a message repeats of a line, which may be of any length."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[: _LONGEST_QUOTE - 1]}…"
