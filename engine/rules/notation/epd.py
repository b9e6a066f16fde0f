"""Extended Position Description: a position, and operations such as `bm Nf3; id "first";`.

The operations `hmvc` and `fmvn` are the two counters of a FEN. A FEN with its counters is read as
well, with or without operations. (PGN standard, Edwards 1994, section 16.2.)
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from engine.rules.errors import FenError

_FIELDS: Final = re.compile(
    r"(?P<board>\S+)(?:\s+(?P<side>[wb])(?:\s+(?P<castling>-|[KQkq]+)(?:\s+(?P<passed>-|[a-h][1-8]))?)?)?"
    r"(?:\s+(?P<clock>\d+)(?:\s+(?P<move>\d+))?)?(?=\s|\Z)"
)
_PART: Final = re.compile(r'"[^"]*"|;|[^\s;"]+')
_OPCODE: Final = re.compile(r"[A-Za-z]\w*")


class Epd(NamedTuple):
    """A line of EPD."""

    # In full; the board is not looked at.
    fen: str
    # Operands by opcode, as they are written; a text has no quotes.
    operations: Mapping[str, str]


def split_epd(text: str) -> Epd:
    """The position and the operations of a line; raises FenError that quotes it."""
    text = " ".join(text.split())
    match = _FIELDS.match(text)
    if match is None:
        raise FenError("an EPD without a position")
    rest = text[match.end() :]
    try:
        if rest and match["side"] is None:
            raise FenError(f"the side to move is '{rest.split()[0]}', expected w or b")
        operations = _operations(rest)
    except FenError as problem:
        raise FenError(f"EPD '{text}': {problem}") from None
    fields = match.groupdict()
    clock = operations.get("hmvc", fields["clock"] or "0")
    move = operations.get("fmvn", fields["move"] or "1")
    placed = (fields["board"], fields["side"] or "w", fields["castling"] or "-")
    return Epd(" ".join((*placed, fields["passed"] or "-", clock, move)), operations)


def _operations(text: str) -> dict[str, str]:
    if text.count('"') % 2:
        raise FenError("a text in quotes does not end")
    found: dict[str, str] = {}
    parts: list[str] = []
    for part in [*_PART.findall(text), ";"]:
        if part != ";":
            parts.append(part)
            continue
        if parts:
            opcode, *operands = parts
            if not _OPCODE.fullmatch(opcode):
                raise FenError(f"'{opcode}' is not the name of an operation")
            found[opcode] = " ".join(operand.strip('"') for operand in operands)
        parts = []
    return found
