"""The tree search that a configuration asks for."""

import numpy as np
import numpy.typing as npt

from engine.rules.variant import Variant
from search.evaluator import Evaluator
from search.mcts.batch import BatchSearch
from search.mcts.gumbel import GumbelConfig, GumbelSearch
from search.mcts.puct import PuctConfig, PuctSearch
from search.mcts.result import SearchResult
from search.mcts.roots import Roots

SearchConfig = PuctConfig | GumbelConfig


def start_search(
    variant: Variant,
    roots: Roots,
    evaluator: Evaluator,
    config: SearchConfig,
    rng: np.random.Generator,
) -> BatchSearch:
    """A search that has evaluated its roots. A finished game is a root without moves."""
    kind = PuctSearch if isinstance(config, PuctConfig) else GumbelSearch
    return kind(variant, roots, evaluator, config, rng)


def tree_search(
    variant: Variant,
    roots: Roots,
    evaluator: Evaluator,
    config: SearchConfig,
    rng: np.random.Generator,
    simulations: npt.NDArray[np.integer] | None = None,
) -> SearchResult:
    """Search B games; `simulations` int[B], if given, replaces the configuration's number.

    The same generator state gives the same result. The noise of a game depends on its place in the
    batch, not on the other games. Raises what the evaluator raises.
    """
    search = start_search(variant, roots, evaluator, config, rng)
    search.run(simulations)
    return search.result()
