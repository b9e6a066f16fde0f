"""`pawnscope perft VARIANT DEPTH`: count the positions at a depth, and how fast that goes."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from engine.rules import kernels
from engine.rules.compilation.compile_time import working_time
from engine.rules.perft import perft
from engine.rules.position import Position
from engine.rules.variant import get_variant
from engine.settings import Range
from scripts.options import FigureOptions, parse_options, print_json


@dataclass(frozen=True, kw_only=True)
class PerftOptions(FigureOptions):
    """Count the positions that legal moves reach at a depth: the test of a move generator."""

    # The game; `pawnscope variants` lists them.
    variant: str
    # How many plies deep to count.
    depth: Annotated[int, Range(0, 1000)]
    # The position to start from, if not that of the game.
    fen: str | None = None
    # Also count what lies behind each move.
    divide: bool = False


def main(arguments: list[str]) -> int:
    """Print the count and the speed of the kernel alone: compiling it is not timed."""
    options = parse_options(PerftOptions, "perft", arguments)
    position = Position(get_variant(options.variant), options.fen)
    count(position, 1, split=options.divide)

    start = working_time()
    nodes, behind_each = count(position, options.depth, split=options.divide)
    seconds = working_time() - start

    speed = nodes / seconds
    if options.json:
        figures = {"nodes": nodes, "seconds": seconds, "nodes_per_second": speed}
        print_json(figures | ({"divide": behind_each} if options.divide else {}))
        return 0
    for move, behind in behind_each.items():
        print(f"{move}: {behind}")
    took = f"{seconds:.3g} s" if seconds >= 0.001 else f"{1000 * seconds:.3g} ms"
    print(f"{nodes:,} nodes in {took}, {speed / 1e6:.3g} million a second")
    return 0


def count(position: Position, depth: int, *, split: bool) -> tuple[int, dict[str, int]]:
    """Positions `depth` plies below `position`, transpositions counted each time.

    With `split` also what lies behind each move, in UCI notation. A game that is drawn
    continues here.
    """
    tables = position.variant.tables
    if not split or depth == 0:
        return perft(tables, position.row, depth), {}
    child = np.empty_like(position.row)
    behind_each = {}
    for move in kernels.generated_moves(tables, position.row):
        kernels.apply(tables, position.row, move, child)
        behind_each[position.uci(move)] = perft(tables, child, depth - 1)
    return sum(behind_each.values()), behind_each
