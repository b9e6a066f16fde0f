"""`pawnscope bench`: speed figures of this machine, each beside a peer or a ceiling of the run."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from engine.network.config import NetworkConfig
from engine.network.inference import NetworkEvaluator
from engine.network.memory import keep_freed_memory
from engine.network.policy_value import PolicyValueNet
from engine.rules import kernels
from engine.rules.errors import InputError
from engine.rules.variant import Variant, get_variant
from scripts.options import FigureOptions, parse_options
from search.evaluator import Evaluator, UniformEvaluator
from search.puct import PuctConfig, Roots, puct_search
from search.solver import solve
from training.config import SelfPlayConfig
from training.selfplay import SelfPlay

REPEATS = 5
GROUPS = ("perft", "solve", "search", "network", "self-play")
_BATCH = 128
_SIMULATIONS = 64


@dataclass(frozen=True, kw_only=True)
class BenchOptions(FigureOptions):
    """Measure this machine: medians of five runs with their spread, on one core."""

    # Only one group: perft, solve, search, network or self-play.
    only: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure: the median of the repeats, and the lowest and highest of them."""

    # group/game/what.
    name: str
    value: float
    unit: str
    low: float
    high: float
    # Of the ceiling or peer that `against` names, measured in the same run; None without one.
    share_of_ceiling: float | None = None
    against: str | None = None


def main(arguments: list[str]) -> int:
    """Measure and print."""
    options = parse_options(BenchOptions, "bench", arguments)
    if options.only is not None and options.only not in GROUPS:
        raise InputError(f"--only {options.only!r}: the groups are {', '.join(GROUPS)}")
    keep_freed_memory()
    rows = []
    for group, measure in _MEASURES.items():
        if options.only in (None, group):
            for row in measure():
                rows.append(row)
                if not options.json:
                    _show(row)
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in rows]}))
    return 0


def _show(row: Row) -> None:
    share = ""
    if row.share_of_ceiling is not None:
        share = f"  {row.share_of_ceiling:.3g} times {row.against}"
    print(
        f"{row.name:<44}{row.value:>14,.0f} {row.unit:<14} ({row.low:,.0f} to {row.high:,.0f})"
        f"{share}",
        flush=True,
    )


def _rates(work: Callable[[], int]) -> list[float]:
    """Units of work a second in each repeat, after one that is not counted."""
    work()
    rates = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        done = work()
        rates.append(done / (time.perf_counter() - begun))
    return rates


def _row(name: str, unit: str, rates: list[float], peer: tuple[str, float] | None = None) -> Row:
    value = statistics.median(rates)
    return Row(
        name=name,
        value=value,
        unit=unit,
        low=min(rates),
        high=max(rates),
        share_of_ceiling=value / peer[1] if peer else None,
        against=peer[0] if peer else None,
    )


def _perft() -> Iterator[Row]:
    """Move generation beside python-chess's, which knows the 8x8 game only."""
    for name, depth in (("gardner", 6), ("hexapawn5x5", 8)):
        variant = get_variant(name)
        rates = _rates(lambda v=variant, d=depth: int(kernels.perft(v.tables, v.start_row, d)))  # type: ignore[misc]
        yield _row(f"perft/{name}", "nodes/s", rates)
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

    peer = statistics.median(_rates(lambda: count(chess.Board(), 3)))
    chess_variant = get_variant("chess")
    rates = _rates(lambda: int(kernels.perft(chess_variant.tables, chess_variant.start_row, 4)))
    yield _row("perft/chess", "nodes/s", rates, ("python-chess", peer))


def _solve() -> Iterator[Row]:
    variant = get_variant("hexapawn5x4")
    yield _row("solve/hexapawn5x4", "positions/s", _rates(lambda: solve(variant).position_count))


def _start_roots(variant: Variant) -> Roots:
    return Roots(
        np.repeat(variant.start_row[None], _BATCH, axis=0),
        np.zeros((_BATCH, 1), dtype=np.uint64),
        np.zeros(_BATCH, dtype=np.int64),
    )


def _search() -> Iterator[Row]:
    """The tree alone: an evaluator that costs nothing."""
    for name in ("hexapawn5x5", "gardner"):
        variant = get_variant(name)
        rates = _rates(lambda v=variant: _simulate(v, UniformEvaluator()))  # type: ignore[misc]
        yield _row(f"search/{name}/uniform", "simulations/s", rates)


def _simulate(variant: Variant, evaluator: Evaluator) -> int:
    config = PuctConfig(simulations=_SIMULATIONS, noise_fraction=0.25)
    rng = np.random.default_rng(1)
    return int(
        puct_search(variant, _start_roots(variant), evaluator, config, rng).simulations.sum()
    )


_NETWORKS = {
    "transformer-4x64": {"trunk": "transformer", "blocks": 4, "channels": 64, "heads": 2},
    "residual-5x64": {"trunk": "residual", "blocks": 5, "channels": 64},
}


def _evaluator(variant: Variant, name: str) -> NetworkEvaluator:
    import torch

    torch.set_num_threads(1)
    config = NetworkConfig.for_variant(variant, _NETWORKS[name])
    return NetworkEvaluator(PolicyValueNet(config))


def _network() -> Iterator[Row]:
    """Inference alone, one thread, batches of 128."""
    variant = get_variant("gardner")
    rows = np.repeat(variant.start_row[None], _BATCH, axis=0)
    moves, offsets = kernels.generate_batch(variant.tables, rows)
    for name in _NETWORKS:
        evaluator = _evaluator(variant, name)

        def work(evaluator: NetworkEvaluator = evaluator) -> int:
            for _ in range(10):
                evaluator.evaluate(rows, moves, offsets)
            return 10 * _BATCH

        yield _row(f"network/gardner/{name}/float32/torch", "positions/s", _rates(work))


def _self_play() -> Iterator[Row]:
    """Whole self-play on one core, beside the network's own speed in the same run."""
    variant = get_variant("gardner")
    ceilings = {row.name.split("/")[2]: row.value for row in _network()}
    for name, ceiling in ceilings.items():
        evaluator = _evaluator(variant, name)
        config = SelfPlayConfig(games=_BATCH, simulations=_SIMULATIONS, longest_game=200)
        games = SelfPlay(variant, config, np.random.default_rng(1))

        def work(games: SelfPlay = games, evaluator: NetworkEvaluator = evaluator) -> int:
            games.step(evaluator)
            return _BATCH * _SIMULATIONS

        yield _row(
            f"self-play/gardner/{name}",
            "simulations/s",
            _rates(work),
            ("the network alone", ceiling),
        )


_MEASURES = dict(zip(GROUPS, (_perft, _solve, _search, _network, _self_play), strict=True))
