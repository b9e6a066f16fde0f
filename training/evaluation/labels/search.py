"""Searches of positions with one network, and what concepts of search ask of them."""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.network.inference.network_evaluator import NetworkEvaluator
from engine.network.model.policy_value import PolicyValueNet
from engine.probing.data.searched import SearchFacts
from engine.rules.compilation.signatures import contiguous
from engine.rules.errors import InputError
from engine.rules.tables import REPETITION
from engine.rules.variant import Variant
from search.evaluator import Evaluator
from search.mcts.puct import PuctConfig
from search.mcts.result import SearchResult
from search.mcts.roots import Roots
from search.mcts.search import start_search

Rows = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]
"""Called with the positions searched so far and all of them."""

SIMULATIONS: Final = 64
"""A position, unless noted: with no more, search still differs from the network."""
_AT_ONCE: Final = 256
"""Trees that are searched at once: enough to fill the network, with little memory."""


class SearchedRows:
    """Searches of some positions: an `engine.probing.data.searched.Searched`."""

    def __init__(
        self, rows: Rows, facts: SearchFacts, variant: Variant, *, simulations: int, source: str
    ) -> None:
        """`rows` uint8[M, R], what was found in them, and what a report calls the search."""
        self.simulations = simulations
        self.source = source
        self._variant = variant
        keys, first = np.unique(self._keys(rows), return_index=True)
        self._keys_sorted = keys
        self._facts = SearchFacts(*(column[first] for column in facts))

    def _keys(self, rows: Rows) -> npt.NDArray[np.void]:
        """[N] the rows as single values, without their repetitions."""
        kept = contiguous(rows, np.uint8).copy()
        kept[:, self._variant.squares + REPETITION] = 0
        return kept.view(np.dtype((np.void, kept.shape[1]))).ravel()

    def facts(self, rows: Rows) -> SearchFacts:
        """See `Searched`."""
        keys = self._keys(rows)
        places = np.searchsorted(self._keys_sorted, keys)
        places = np.minimum(places, len(self._keys_sorted) - 1)
        known = self._keys_sorted[places] == keys
        return SearchFacts(*(np.where(known, column[places], np.nan) for column in self._facts))


def search_with_network(
    network: PolicyValueNet,
    variant: Variant,
    rows: Rows,
    *,
    simulations: int = SIMULATIONS,
    source: str = "the network",
    progress: Progress = lambda done, total: None,
) -> SearchedRows:
    """As `search_rows`, with the reference evaluator: which other one is the fastest is measured,
    and may be another the next time, with figures that differ a little."""
    return search_rows(
        NetworkEvaluator(network, copy=False),
        variant,
        rows,
        simulations=simulations,
        source=source,
        progress=progress,
    )


def search_rows(
    evaluator: Evaluator,
    variant: Variant,
    rows: Rows,
    *,
    simulations: int = SIMULATIONS,
    source: str = "the network",
    progress: Progress = lambda done, total: None,
) -> SearchedRows:
    """Search unfinished positions uint8[N, R], N >= 1, each by itself, with PUCT without noise.

    Nothing is random: the same evaluator gives the same facts, however many positions there are.
    The games that led to the positions are not known, so earlier positions do not repeat. Raises
    InputError where `simulations` is below 1, and what the evaluator raises.
    """
    if simulations < 1:
        raise InputError(f"{simulations} simulations: a search needs at least 1")
    parts = []
    for begin in range(0, len(rows), _AT_ONCE):
        parts.append(_search(evaluator, variant, rows[begin : begin + _AT_ONCE], simulations))
        progress(min(begin + _AT_ONCE, len(rows)), len(rows))
    facts = SearchFacts(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    name = f"PUCT, {simulations} simulations, {source}"
    return SearchedRows(rows, facts, variant, simulations=simulations, source=name)


def looks(simulations: int) -> list[int]:
    """The numbers of simulations after which the choice is looked at: 0, 1, 2, 3, 4, 6, 8, 12, ...

    Twice for each doubling, up to `simulations`.
    """
    found, power = [0, 1], 2
    while power <= simulations:
        found += [power, power + power // 2]
        power *= 2
    return sorted({*(n for n in found if n < simulations), simulations})


def _search(evaluator: Evaluator, variant: Variant, rows: Rows, simulations: int) -> SearchFacts:
    count = len(rows)
    roots = Roots(
        contiguous(rows, np.uint8), np.zeros((count, 1), np.uint64), np.zeros(count, np.int64)
    )
    config = PuctConfig(simulations=simulations)
    search = start_search(variant, roots, evaluator, config, np.random.default_rng(0))
    numbers = looks(simulations)
    choices = np.empty((len(numbers), count), np.int64)
    for index, number in enumerate(numbers):
        search.run(number)
        choices[index] = search.choices()
    # The first look from which on all choices are the last one.
    differs = choices != choices[-1]
    last_other = len(numbers) - 1 - differs[::-1].argmax(axis=0)
    stable = np.where(differs.any(axis=0), last_other + 1, 0)
    return _facts_of(search.result(), np.array(numbers)[stable])


def _facts_of(found: SearchResult, stable_after: npt.NDArray[np.int64]) -> SearchFacts:
    starts, counts = found.offsets[:-1], np.diff(found.offsets)
    visits = found.visit_counts.astype(np.float64)
    totals = np.add.reduceat(visits, starts)
    # A root that is proven before its first simulation has no visits.
    tried = np.repeat(totals > 0, counts)
    shares = np.where(tried, visits / np.repeat(np.maximum(totals, 1), counts), found.policy)
    priors = found.priors.astype(np.float64)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    likeliest = np.maximum.reduceat(priors, starts)
    return SearchFacts(
        values=found.value.astype(np.float64),
        entropies=-np.add.reduceat(shares * logs, starts),
        disagreements=0.5 * np.add.reduceat(np.abs(shares - priors), starts),
        changes=(priors[starts + found.choices] < likeliest).astype(np.float64),
        stable_after=stable_after.astype(np.float64),
    )
