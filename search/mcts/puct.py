"""PUCT search of many games at once, as in AlphaZero and KataGo (README.md has the formulae)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import kernel
from engine.rules.compilation.signatures import Array2D
from engine.settings import NonNegative, Range, Share
from search.mcts.batch import BatchSearch, TreeSearchConfig
from search.mcts.result import best_edge, root_width
from search.mcts.selection import PUCT, Rule, forced_visits, puct_scale
from search.mcts.tree import NO_EDGE, ROOT, Trees, tree_of
from search.randomness import random_gamma, seed_states


@dataclass(frozen=True, kw_only=True)
class PuctConfig(TreeSearchConfig):
    """How one PUCT search behaves; the defaults are the published numbers."""

    kind: ClassVar[int] = PUCT
    # c(s) = c_puct + log((1 + N(s) + c_base) / c_base) (Silver et al. 2018, supplement, "Search").
    c_puct: Annotated[float, Range(0, above_low=True)] = 1.25
    # The same; a larger base lets exploration grow later, math.inf never.
    c_base: Annotated[float, Range(0, above_low=True, infinite=True)] = 19652.0
    # An untried move counts as Q = V(s) - reduction * sqrt(prior of the tried moves)
    # (KataGo: Wu 2019, section 2; 0.2 there).
    fpu_reduction: float = 0.2
    # The same at the root (Wu 2019: 0 where noise is on, so that noise can pick any move).
    root_fpu_reduction: float = 0.0
    # Share of Dirichlet noise in the root's priors, 0 for none (AlphaZero: 0.25 in self-play).
    noise_fraction: Share = 0.0
    # Sum of the Dirichlet parameters, shared by the legal moves (KataGo: 0.03 * 19 * 19 = 10.83).
    noise_total: Annotated[float, Range(0, above_low=True)] = 10.83
    # Exponent 1 / temperature of the root's priors, before the noise (KataGo: 1.25, later 1.1).
    root_temperature: Annotated[float, Range(0, above_low=True, infinite=True)] = 1.0
    # k of forced playouts at the root, whose visits are pruned from the policy afterwards; 0 for
    # none (KataGo: Wu 2019, section 3.2; 2 there).
    forced_playouts: NonNegative = 0.0


@kernel
def _temper(trees: Trees, temperature: float) -> None:
    """Raise the priors of every root to 1 / temperature; they sum to 1 again."""
    for game in range(trees.counters.shape[0]):
        count = trees.nodes[game, ROOT]["edge_count"]
        highest, mass = 0.0, 0.0
        for edge in range(count):
            highest = max(highest, np.float64(trees.edges[game, edge]["prior"]))
        for edge in range(count):
            share = np.float64(trees.edges[game, edge]["prior"]) / highest
            trees.edges[game, edge]["prior"] = share ** (1.0 / temperature)
            mass += np.float64(trees.edges[game, edge]["prior"])
        for edge in range(count):
            trees.edges[game, edge]["prior"] = trees.edges[game, edge]["prior"] / mass


@kernel
def _mix_noise(trees: Trees, states: Array2D[np.uint64], fraction: float, total: float) -> None:
    """Mix Dirichlet(total / moves) noise into the priors of every root."""
    for game in range(states.shape[0]):
        count = trees.nodes[game, ROOT]["edge_count"]
        noise = np.empty(count, np.float64)
        mass = 0.0
        for edge in range(count):
            noise[edge] = random_gamma(states[game], total / count)
            mass += noise[edge]
        if mass > 0.0:
            for edge in range(count):
                prior = trees.edges[game, edge]["prior"]
                trees.edges[game, edge]["prior"] = prior + fraction * (noise[edge] / mass - prior)


@kernel
def _prune_forced(trees: Trees, rule: Rule, weights: Array2D[np.float32]) -> None:
    """Fill `weights` [B, A] with visits less what only the forcing brought (Wu 2019, section 3.2).

    Each move but the best loses up to its forced playouts, as long as its Q + U stays below that of
    the best move; a move that keeps a single visit loses that, too.
    """
    for game in range(trees.counters.shape[0]):
        tree = tree_of(trees, game)
        node = tree.nodes[ROOT]
        best = best_edge(tree, np.int64(ROOT))
        scale, total, bound = puct_scale(rule, node["visits"]), node["visits"] - 1, 0.0
        if best != NO_EDGE:
            edge = tree.edges[best]
            bound = edge["value"] + scale * edge["prior"] / (1.0 + edge["visits"])
        for place in range(node["edge_count"]):
            edge = tree.edges[place]
            visits = np.float64(edge["visits"])
            weights[game, place] = visits
            if place == best or visits == 0.0:
                continue
            least = visits - np.floor(forced_visits(rule, edge["prior"], total))
            gap = bound - edge["value"]
            if gap <= 0.0:
                continue
            fair = np.ceil(scale * edge["prior"] / gap - 1.0)
            kept = min(visits, max(0.0, max(least, np.float64(fair))))
            weights[game, place] = kept if kept > 1.0 else 0.0


class PuctSearch(BatchSearch):
    """See BatchSearch; noise is mixed into the priors of every new root."""

    _config: PuctConfig

    def _prepare_roots(self) -> None:
        config = self._config
        if config.root_temperature != 1.0:
            _temper(self.trees, config.root_temperature)
        if config.noise_fraction > 0.0:
            states = seed_states(self._rng, self.trees.counters.shape[0])
            _mix_noise(self.trees, states, config.noise_fraction, config.noise_total)

    def _weights(self) -> npt.NDArray[np.float32] | None:
        if self._config.forced_playouts == 0.0:
            return None
        games = self.trees.counters.shape[0]
        weights = np.zeros((games, root_width(self.trees)), dtype=np.float32)
        _prune_forced(self.trees, self._rule, weights)
        return weights
