"""Counts of move sequences against published and independently computed tables."""

import pytest

from engine.rules.perft import perft
from engine.rules.position import Position
from engine.rules.variant import BUILT_IN, get_variant
from tests.support.rules.naive_rules import start
from tests.support.rules.naive_variant import rules_of
from tests.support.rules.perft_rows import golden_rows, referee_perft

ROWS = golden_rows()
NAMES = [name for name, _, _ in ROWS]
MOST_QUESTIONS = 100
"""To Fairy-Stockfish, for one variant."""

# Test positions for chess with castling, en passant, promotion and pins
# (https://www.chessprogramming.org/Perft_Results): FEN | counts.
CHESS_POSITIONS = """
r3k2r/p1ppqpb1/bn2pnp1/3PN3/1p2P3/2N2Q1p/PPPBBPPP/R3K2R w KQkq - 0 1 | 48 2039 97862 4085603
8/2p5/3p4/KP5r/1R3p1k/8/4P1P1/8 w - - 0 1 | 14 191 2812 43238 674624
r3k2r/Pppp1ppp/1b3nbN/nP6/BBP1P3/q4N2/Pp1P2PP/R2Q1RK1 w kq - 0 1 | 6 264 9467 422333
r2q1rk1/pP1p2pp/Q4n2/bbp1p3/Np6/1B3NBn/pPPP1PPP/R3K2R b KQ - 0 1 | 6 264 9467 422333
rnbq1k1r/pp1Pbppp/2p5/8/2B5/8/PPP1NnPP/RNBQK2R w KQ - 1 8 | 44 1486 62379 2103487
r4rk1/1pp1qppp/p1np1n2/2b1p1B1/2B1P1b1/P1NP1N2/1PP1QPPP/R4RK1 w - - 0 10 | 46 2079 89890 3894594
n1n5/PPPk4/8/8/8/8/4Kppp/5N1N b - - 0 1 | 24 496 9483 182838 3605103
"""


def chess_lines() -> list[tuple[str, list[int]]]:
    pairs = (line.split("|") for line in CHESS_POSITIONS.strip().splitlines())
    return [(fen.strip(), [int(count) for count in counts.split()]) for fen, counts in pairs]


def counts_from(name: str, fen: str, depths: int) -> list[int]:
    position = Position(get_variant(name), fen)
    return [perft(position.variant.tables, position.row, d) for d in range(1, depths + 1)]


def test_every_built_in_variant_has_a_row() -> None:
    assert set(BUILT_IN) <= set(NAMES)


@pytest.mark.parametrize(("name", "fen", "counts"), ROWS, ids=NAMES)
def test_start_positions_agree_with_the_golden_table(
    name: str, fen: str, counts: list[int]
) -> None:
    variant = get_variant(name)
    assert variant.start_fen == fen
    assert counts_from(name, fen, len(counts)) == counts
    depth = next(d for d, count in enumerate(counts, start=1) if count > MOST_QUESTIONS or d == 3)
    assert referee_perft(variant, depth) == counts[depth - 1]


@pytest.mark.parametrize(("fen", "counts"), chess_lines())
def test_chess_positions_agree_with_the_published_counts(fen: str, counts: list[int]) -> None:
    assert counts_from("chess", fen, len(counts)) == counts


def test_depth_zero_counts_the_position_itself() -> None:
    variant = get_variant("hexapawn")
    assert perft(variant.tables, variant.start_row, 0) == 1


@pytest.mark.nojit
@pytest.mark.parametrize("name", ["hexapawn", "gardner", "silverman4x5", "chess"])
def test_small_depths_agree_with_the_golden_table(name: str) -> None:
    counts = ROWS[NAMES.index(name)][2]
    assert counts_from(name, get_variant(name).start_fen, 2) == counts[:2]


@pytest.mark.parametrize(("name", "fen", "counts"), ROWS, ids=NAMES)
def test_the_naive_rules_agree_with_the_golden_table(
    name: str, fen: str, counts: list[int]
) -> None:
    game = start(rules_of(get_variant(name).ini(), name))
    depth = 3 if counts[2] < 8_000 else 2
    assert [game.perft(d) for d in range(1, depth + 1)] == counts[:depth]
