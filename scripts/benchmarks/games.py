"""Benchmarks of the rules, the solver and the tree, without a network."""

import statistics
from collections.abc import Iterator
from functools import partial

import numpy as np

from engine.rules.perft import perft as count_moves
from engine.rules.variant import Variant, get_variant
from scripts.benchmarks.rows import BATCH, SIMULATIONS, Row, rates, row
from scripts.extras import offer_extra
from search.evaluator import Evaluator, UniformEvaluator
from search.exact.solver import solve
from search.mcts.gumbel import GumbelConfig
from search.mcts.puct import PuctConfig
from search.mcts.roots import Roots
from search.mcts.search import SearchConfig, tree_search


def perft() -> Iterator[Row]:
    """Move generation; on the 8x8 board beside python-chess, if that is installed."""
    for name, depth in (("gardner", 6), ("hexapawn5x5", 8)):
        variant = get_variant(name)
        found = rates(partial(count_moves, variant.tables, variant.start_row, depth))
        yield row(f"perft/{name}", "nodes/s", found)
    peer = None
    if offer_extra("python-chess beside perft", "bench", "chess"):
        peer = ("python-chess", statistics.median(rates(_python_chess_nodes)))
    chess = get_variant("chess")
    found = rates(partial(count_moves, chess.tables, chess.start_row, 4))
    yield row("perft/chess", "nodes/s", found, peer)


def _python_chess_nodes() -> int:
    import chess

    def count(board: chess.Board, depth: int) -> int:
        if depth == 1:
            return board.legal_moves.count()
        nodes = 0
        for move in board.legal_moves:
            board.push(move)
            nodes += count(board, depth - 1)
            board.pop()
        return nodes

    return count(chess.Board(), 3)


def solver() -> Iterator[Row]:
    """Positions solved from the start of a variant."""
    variant = get_variant("hexapawn5x4")
    yield row("solve/hexapawn5x4", "positions/s", rates(lambda: solve(variant).position_count))


def search() -> Iterator[Row]:
    """The tree alone: with an evaluator that costs nothing."""
    uniform = UniformEvaluator()
    for name in ("hexapawn5x5", "breakthrough5", "gardner"):
        variant = get_variant(name)
        puct = PuctConfig(simulations=SIMULATIONS, noise_fraction=0.25)
        found = rates(partial(_simulate, variant, uniform, puct))
        yield row(f"search/{name}/uniform", "simulations/s", found)
        peer = ("PUCT", statistics.median(found))
        found = rates(partial(_simulate, variant, uniform, GumbelConfig(simulations=SIMULATIONS)))
        yield row(f"search/{name}/uniform/gumbel", "simulations/s", found, peer)


def _simulate(variant: Variant, evaluator: Evaluator, config: SearchConfig) -> int:
    starts = np.repeat(variant.start_row[None], BATCH, axis=0)
    roots = Roots(starts, np.zeros((BATCH, 1), np.uint64), np.zeros(BATCH, np.int64))
    result = tree_search(variant, roots, evaluator, config, np.random.default_rng(1))
    return int(result.simulations.sum())
