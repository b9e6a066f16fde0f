"""What concepts of search ask of searches that were made of positions."""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from engine.probing.data.canonical import Rows


class SearchFacts(NamedTuple):
    """What a search with one network found in N positions; NaN where none was made."""

    values: npt.NDArray[np.float64]
    """[N] in [-1, 1], for the side to move."""
    entropies: npt.NDArray[np.float64]
    """[N] of the shares of the visits, in nats."""
    disagreements: npt.NDArray[np.float64]
    """[N] in [0, 1]: the total variation distance between the shares of the visits and the
    network's own policy."""
    changes: npt.NDArray[np.float64]
    """[N] 1 where the most visited move is not the network's likeliest, else 0."""
    stable_after: npt.NDArray[np.float64]
    """[N] simulations from which on the choice is the final one."""


class Searched(Protocol):
    """Searches of positions uint8[N, R] of one variant, with one network."""

    @property
    def simulations(self) -> int:
        """Simulations a position."""

    @property
    def source(self) -> str:
        """The search and the network, as a report names them."""

    def facts(self, rows: Rows) -> SearchFacts:
        """What was found in these positions."""
