"""How much search adds to a network, by the number of simulations, measured by exact values.

On decision positions of a solved variant: how often the move that the search plays keeps the exact
value, and how much value it loses (the regret).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom

from search.evaluator import Evaluator
from training.evaluation.elo import TAIL, lower_bound
from training.evaluation.truth import SEARCHES, Truth, search_positions

COUNTS: Final = (1, 4, 16, 64, 256)
"""Simulations a move that are compared."""
_LARGEST_REGRET: Final = 2
"""The regret of a lost game instead of a won one."""


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


def measure_search(
    truth: Truth, total: int, evaluator: Evaluator, search: str, simulations: int
) -> SearchPoint:
    """The result of one of SEARCHES on decision positions, all `total` of a variant or a sample."""
    found = search_positions(truth.variant, truth.positions, evaluator, search, simulations)
    regrets = truth.regrets[found.places]
    kept = int((regrets == 0).sum())
    low, high = _share_interval(kept, len(truth), total)
    regret_low, regret_high = regret_interval(regrets, total)
    expected = np.add.reduceat(found.policy * truth.regrets, truth.offsets[:-1])
    return SearchPoint(
        search=search,
        simulations=simulations,
        positions=len(truth),
        share=kept / len(truth),
        share_low=low,
        share_high=high,
        regret=float(regrets.mean()),
        regret_low=regret_low,
        regret_high=regret_high,
        policy_regret=float(expected.mean()),
    )


def compare_searches(truth: Truth, total: int, evaluator: Evaluator) -> Iterator[SearchPoint]:
    """A result for each search and each number of COUNTS, with the same network."""
    for search in SEARCHES:
        for simulations in COUNTS:
            yield measure_search(truth, total, evaluator, search, simulations)


def _share_interval(kept: int, sample: int, total: int) -> tuple[float, float]:
    """Jeffreys' 95 % interval (see `elo.py`), narrowed by the finite population correction (Cochran
    1977, section 2.6)."""
    share, lost = kept / sample, sample - kept
    factor = ((total - sample) / max(1, total - 1)) ** 0.5
    low = lower_bound(kept, lost) if kept else 0.0
    high = 1.0 - lower_bound(lost, kept) if lost else 1.0
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
        fewest, most = _exact_bounds(count, len(regrets), total, TAIL / _LARGEST_REGRET)
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
