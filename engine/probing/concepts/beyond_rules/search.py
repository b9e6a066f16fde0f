"""Concepts of what a search with one network finds; `label` is handed the searches."""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.concepts.board.undefined import ConceptUndefinedError
from engine.probing.concepts.positions import Positions
from engine.probing.concepts.registry import Labels, concept
from engine.probing.data.searched import SearchFacts

_MCTS: Final = "AlphaZero, Silver et al. 2018"


def _facts(positions: Positions) -> SearchFacts:
    if positions.searched is None:
        raise ConceptUndefinedError(f"{positions.variant.name} was not searched here")
    return positions.searched.facts(positions.rows)


@concept("value found by search", kind="real", source=_MCTS, needs="search")
def search_value(positions: Positions) -> Labels:
    """The value that a search with the network finds for the side to move, from -1 to 1."""
    return positions.shared(_facts).values


@concept("entropy of the search", kind="real", source=_MCTS, needs="search")
def search_entropy(positions: Positions) -> Labels:
    """The entropy of the shares of the search's visits among the legal moves, in nats."""
    return positions.shared(_facts).entropies


@concept("search against policy", kind="real", source=_MCTS, needs="search")
def search_disagreement(positions: Positions) -> Labels:
    """The total variation distance between the shares of the search's visits and the network's own
    policy: the share of the visits that search moves elsewhere.
    """
    return positions.shared(_facts).disagreements


@concept("search changes the move", kind="binary", source=_MCTS, needs="search")
def search_changes(positions: Positions) -> Labels:
    """The move that the search plays is not the likeliest of the network's own policy."""
    return positions.shared(_facts).changes


@concept("simulations until the choice is stable", kind="real", source=_MCTS, needs="search")
def search_stable(positions: Positions) -> npt.NDArray[np.generic]:
    """The binary logarithm of one more than the simulations from which on the search's choice is
    its final one.
    """
    return np.log2(1 + positions.shared(_facts).stable_after)
