"""Portable Game Notation, read and written for every variant.

The variant is named in the tag `[Variant "gardner"]` (chess where there is none), a start other
than the variant's own in `[SetUp "1"]` and `[FEN "..."]`. Comments are kept; variations, numeric
glyphs (`$1`) and `!?` are read over. (PGN standard, Edwards 1994, section 8.)

What real files hold is read as python-chess reads it. What it ignores in silence, such as a word
that is no move, costs the game here, and the error names its line.
"""

from engine.rules.pgn.reader import read_pgn, read_pgn_file
from engine.rules.pgn.record import GameRecord, PgnError
from engine.rules.pgn.writer import write_pgn

__all__ = ["GameRecord", "PgnError", "read_pgn", "read_pgn_file", "write_pgn"]
