"""How much search adds to a network, by the number of simulations, measured by exact values.

On decision positions of a solved variant: how often the move that the search plays keeps the exact
value, and how much value it loses (the regret).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv
from scipy.stats import hypergeom

from engine.rules.kernels import generate_batch
from engine.rules.variant import Variant
from search.evaluator import Evaluator, evaluate
from search.exact.solver import Solution
from search.mcts.gumbel import GumbelConfig
from search.mcts.puct import PuctConfig
from search.mcts.roots import Roots
from search.mcts.search import SearchConfig, tree_search
from training.evaluation.truth import Truth

COUNTS: Final = (1, 4, 16, 64, 256)
"""Simulations a move that are compared."""
_AT_ONCE: Final = 256
"""Positions in one batch of searches: enough to fill the network, with little memory."""
_JUDGED_AT_ONCE: Final = 1 << 14
_TAIL: Final = 0.025
_LARGEST_REGRET: Final = 2
"""The regret of a lost game instead of a won one."""

Rows = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

SEARCHES: Final[dict[str, SearchConfig]] = {
    "puct": PuctConfig(),
    "gumbel": GumbelConfig(gumbel_scale=0.0),
}
"""The searches without noise: their generators are never used."""


class Searched(NamedTuple):
    """The result of a search of B positions with M legal moves in all."""

    places: Places
    """[B] the move that it plays, by its index among the M."""
    policy: npt.NDArray[np.float32]
    """[M] its improved policy, which sums to 1 over a position."""


def search_positions(
    variant: Variant, rows: Rows, evaluator: Evaluator, search: str, simulations: int
) -> Searched:
    """Search positions [B, R] of games that cannot repeat and are not over."""
    places, policies, before = [], [], 0
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        history = np.zeros((len(part), 1), np.uint64), np.zeros(len(part), np.int64)
        config = replace(SEARCHES[search], simulations=simulations)
        roots = Roots(part, *history)
        found = tree_search(variant, roots, evaluator, config, np.random.default_rng(0))
        places.append(before + found.offsets[:-1] + found.choices)
        policies.append(found.policy)
        before += len(found.moves)
    return Searched(np.concatenate(places), np.concatenate(policies))


@dataclass(frozen=True, kw_only=True)
class SearchPoint:
    """The result of one search and number of simulations on decision positions.

    Bounds are those of intervals of at least 95 % for all decision positions of the variant. Where
    all were searched, both bounds are the figure itself. Regrets are in values; a win and a loss
    are 2 apart.
    """

    search: str
    simulations: int
    # Positions searched.
    positions: int
    # Share in which the move kept the value.
    share: float
    share_low: float
    share_high: float
    # Mean value that the move loses.
    regret: float
    regret_low: float
    regret_high: float
    # Mean value that a move sampled from the improved policy loses.
    policy_regret: float


class Decisions:
    """Decision positions of a solved variant, all or a sample, and the regret of each move."""

    def __init__(self, truth: Truth, solution: Solution, total: int) -> None:
        """`total`: decision positions of the variant, of which `truth` may hold a sample."""
        values, _ = solution.score_moves(truth.positions, truth.moves, truth.offsets)
        best = np.maximum.reduceat(values, truth.offsets[:-1])
        self._regrets = np.repeat(best, np.diff(truth.offsets)) - values
        self._truth, self._total = truth, total

    def __len__(self) -> int:
        return len(self._truth)

    def measure(self, evaluator: Evaluator, search: str, simulations: int) -> SearchPoint:
        """The result of one of SEARCHES."""
        truth, size = self._truth, len(self)
        found = search_positions(truth.variant, truth.positions, evaluator, search, simulations)
        regrets = self._regrets[found.places]
        kept = int((regrets == 0).sum())
        low, high = _share_interval(kept, size, self._total)
        regret_low, regret_high = regret_interval(regrets, self._total)
        expected = np.add.reduceat(found.policy * self._regrets, truth.offsets[:-1])
        return SearchPoint(
            search=search,
            simulations=simulations,
            positions=size,
            share=kept / size,
            share_low=low,
            share_high=high,
            regret=float(regrets.mean()),
            regret_low=regret_low,
            regret_high=regret_high,
            policy_regret=float(expected.mean()),
        )

    def compare(self, evaluator: Evaluator) -> Iterator[SearchPoint]:
        """A result for each search and each number of COUNTS, with the same network."""
        for search in SEARCHES:
            for simulations in COUNTS:
                yield self.measure(evaluator, search, simulations)


def _unseen(sample: int, total: int) -> float:
    """The finite population correction of a standard error (Cochran 1977, section 2.6)."""
    return float(((total - sample) / max(1, total - 1)) ** 0.5)


def _share_interval(kept: int, sample: int, total: int) -> tuple[float, float]:
    """Jeffreys' 95 % interval (see `elo.py`), narrowed by the finite population correction."""
    share, lost, factor = kept / sample, sample - kept, _unseen(sample, total)
    low = float(betaincinv(kept + 0.5, lost + 0.5, _TAIL)) if kept else 0.0
    high = 1.0 - float(betaincinv(lost + 0.5, kept + 0.5, _TAIL)) if lost else 1.0
    return share - factor * (share - low), share + factor * (high - share)


def regret_interval(regrets: npt.NDArray[np.integer], total: int) -> tuple[float, float]:
    """Bounds of the mean regret over `total` positions, of which a random sample has regrets [B].

    The mean of whole numbers is the sum over r = 1, 2 of the share that is at least r. Each share
    has an exact interval (Clopper and Pearson 1934; without replacement Wright 1991, "Exact
    confidence bounds when sampling from small finite universes"), which is right also where no
    sampled move erred. By Bonferroni's inequality the sums of the bounds hold together.
    """
    low = high = 0.0
    for least in range(1, _LARGEST_REGRET + 1):
        count = int((regrets >= least).sum())
        fewest, most = _exact_bounds(count, len(regrets), total, _TAIL / _LARGEST_REGRET)
        low, high = low + fewest / total, high + most / total
    return low, high


def _exact_bounds(count: int, sample: int, total: int, tail: float) -> tuple[int, int]:
    """The smallest and largest number of `total` that can be of a kind when `count` of a sample
    are.

    Outside these bounds the sample would have probability below `tail`.
    """

    def first(low: int, high: int, holds: Callable[[int], bool]) -> int:
        """The smallest number from low to high for which it holds; `high` where none does."""
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if holds(middle) else (middle + 1, high)
        return low

    smallest, largest = count, total - (sample - count)
    fewest = first(
        smallest, largest, lambda kind: hypergeom.sf(count - 1, total, kind, sample) >= tail
    )
    beyond = first(
        smallest, largest + 1, lambda kind: hypergeom.cdf(count, total, kind, sample) < tail
    )
    return fewest, beyond - 1


def value_sign_accuracy(
    solution: Solution, evaluator: Evaluator, most: int, rng: np.random.Generator
) -> tuple[float | None, int]:
    """How often the predicted value has the sign of the exact one, and over how many positions.

    Over all unfinished positions that are won for one side, or a random sample of `most`. Drawn
    positions are left out, and a prediction of exactly 0 is wrong. None where all are drawn.
    """
    rows = solution.unfinished_positions()
    if len(rows) > most:
        rows = rows[np.sort(rng.choice(len(rows), size=most, replace=False))]
    right = decided = 0
    for start in range(0, len(rows), _JUDGED_AT_ONCE):
        part = rows[start : start + _JUDGED_AT_ONCE]
        values, _ = solution.lookup_batch(part)
        part, values = part[values != 0], values[values != 0]
        if not len(part):
            continue
        moves, offsets = generate_batch(solution.variant.tables, part)
        wdl = evaluate(evaluator, part, moves, offsets).wdl
        right += int((np.sign(wdl[:, 0] - wdl[:, 2]) == values).sum())
        decided += len(part)
    return right / decided if decided else None, decided
