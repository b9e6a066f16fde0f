"""Prints rows for golden/perft.txt: `.venv/bin/python -m tests.support.rules.perft_rows NAME`.

Fairy-Stockfish (pyffish) counts them, by the variant's own ini text.
"""

import sys
from functools import cache
from pathlib import Path
from typing import Final

import pyffish

from engine.rules.variant import BUILT_IN, Variant, get_variant

GOLDEN: Final = Path(__file__).resolve().parents[2] / "golden" / "perft.txt"
MOST_QUESTIONS: Final = 4_000
"""Positions of the last ply but one; each takes Fairy-Stockfish a millisecond."""


def golden_rows() -> list[tuple[str, str, list[int]]]:
    """Name, start FEN and the counts of depth 1, 2, ... of each row."""
    rows = []
    for line in GOLDEN.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, fen, counts = (part.strip() for part in line.split("|"))
            rows.append((name, fen, [int(count) for count in counts.split()]))
    return rows


@cache
def _load(variant: Variant) -> str:
    """Hand a variant to Fairy-Stockfish; its name there."""
    name = f"perft-{variant.name}"
    pyffish.load_variant_config(variant.ini().replace(f"[{variant.name}]", f"[{name}]"))
    return name


def referee_perft(variant: Variant, depth: int) -> int:
    """Perft from the start position by Fairy-Stockfish."""
    name = _load(variant)

    def count(moves: list[str], plies: int) -> int:
        legal = pyffish.legal_moves(name, variant.start_fen, moves)
        if plies == 1:
            return len(legal)
        return sum(count([*moves, move], plies - 1) for move in legal)

    return count([], depth)


def counted_row(variant: Variant) -> str:
    """A row to the depth that MOST_QUESTIONS allow."""
    counts: list[int] = []
    while not counts or (counts[-1] <= MOST_QUESTIONS and len(counts) < 8 and counts[-1] > 0):
        counts.append(referee_perft(variant, len(counts) + 1))
    return f"{variant.name} | {variant.start_fen} | {' '.join(map(str, counts))}"


def main() -> None:
    """Print the missing rows."""
    known = {name for name, _, _ in golden_rows()}
    for name in sys.argv[1:] or [name for name in BUILT_IN if name not in known]:
        sys.stdout.write(counted_row(get_variant(name)) + "\n")


if __name__ == "__main__":
    main()
