"""Reads variant files in Fairy-Stockfish's vocabulary, line by line, so that errors name the line.

[child:parent]          a section inherits every key of its parent
maxRank = 5             keys that we do not support are refused, never ignored
# a comment             full lines only, also with ;
"""

import re
from dataclasses import dataclass
from typing import Final

from engine.rules.errors import VariantError

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

_SECTION: Final = re.compile(r"\[\s*([^\]:\s]+)\s*(?::\s*([^\]:\s]+)\s*)?\]$")


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


def parse_sections(text: str, source: str) -> list[Section]:
    """Split a variant file; raises VariantError that names `source`, the line and the text."""
    sections: list[Section] = []
    for number, line in enumerate(text.splitlines(), start=1):
        place, line = f"{source}:{number}", line.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            match = _SECTION.match(line)
            if not match:
                raise VariantError(f"{place}: '{line}' is not a section like [child:parent]")
            sections.append(Section(match[1], match[2], {}, place))
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            raise VariantError(f"{place}: '{line}' is neither a section nor 'key = value'")
        if not sections:
            raise VariantError(f"{place}: '{line}' stands before the first [section]")
        if key not in KNOWN_KEYS:
            raise VariantError(f"{place}: the key '{key}' is not supported")
        if key in sections[-1].settings:
            raise VariantError(f"{place}: the key '{key}' stands twice in [{sections[-1].name}]")
        sections[-1].settings[key] = Setting(value, place)
    return sections
