"""Gumbel MCTS of many games at once: a policy that improves however few the simulations.

Danihelka, Guez, Schrittwieser and Silver 2022, "Policy improvement by planning with Gumbel": at the
root some moves are drawn without replacement (Gumbel-top-k) and halved in rounds; below the root
the search follows its own improved policy. README.md has the formulae.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import internal_kernel, kernel
from engine.rules.compilation.signatures import Array2D
from engine.settings import Count, NonNegative, Range
from search.mcts.batch import BatchSearch, TreeSearchConfig
from search.mcts.result import best_edge, root_width
from search.mcts.selection import (
    GUMBEL,
    ROOT_SCORE,
    BatchRootScores,
    RootScores,
    Rule,
    survey,
    value_scale,
)
from search.mcts.tree import (
    CONSIDERED,
    NO_EDGE,
    ROOT,
    ROUND_START,
    SIMULATIONS,
    Tree,
    Trees,
    tree_of,
)
from search.randomness import random_unit, seed_states
from search.scores import UNPROVEN

_SMALLEST_PRIOR: Final = 1e-30


@dataclass(frozen=True, kw_only=True)
class GumbelConfig(TreeSearchConfig):
    """How one Gumbel search behaves; the defaults are the published numbers."""

    kind: ClassVar[int] = GUMBEL
    # Moves that sequential halving begins with, or all legal moves where there are fewer.
    considered: Count = 16
    # sigma(q) = (c_visit + max_b N(b)) * c_scale * (q + 1) / 2, see `selection.value_scale`.
    c_visit: NonNegative = 50.0
    # The same.
    c_scale: Annotated[float, Range(0, above_low=True)] = 1.0
    # Scale of the Gumbel noise at the root: 1 draws moves by the policy, 0 takes the best ones
    # without noise.
    gumbel_scale: NonNegative = 1.0


@kernel
def _draw_gumbels(
    trees: Trees, states: Array2D[np.uint64], scale: float, root_scores: BatchRootScores
) -> None:
    """Write Gumbel noise plus log prior of every root move into `root_scores` ROOT_SCORE[B, A]."""
    for game in range(states.shape[0]):
        for place in range(trees.nodes[game, ROOT]["edge_count"]):
            noise = -math.log(-math.log(random_unit(states[game])))
            prior = max(np.float64(trees.edges[game, place]["prior"]), _SMALLEST_PRIOR)
            root_scores[game, place]["score"] = scale * noise + math.log(prior)


@kernel
def _begin_rounds(
    trees: Trees, limits: npt.NDArray[np.int32], considered: int, root_scores: BatchRootScores
) -> None:
    """Begin a round of sequential halving in every game that has simulations to run."""
    for game in range(limits.shape[0]):
        tree = tree_of(trees, game)
        if tree.counters[SIMULATIONS] >= limits[game] or tree.nodes[ROOT]["proven"] != UNPROVEN:
            continue
        playable = 0
        for place in range(tree.nodes[ROOT]["edge_count"]):
            edge = tree.edges[place]
            root_scores[game, place]["before"] = edge["visits"]
            playable += edge["proven"] != -1
        tree.counters[ROUND_START] = tree.counters[SIMULATIONS]
        tree.counters[CONSIDERED] = min(considered, playable)


@internal_kernel
def _survivor(tree: Tree, rule: Rule, root_scores: RootScores) -> int:
    """The root edge that sequential halving leaves, NO_EDGE where the game is over.

    The highest g + logit + sigma(Q) among the most visited of this round; at a proven root
    `best_edge`.
    """
    node = tree.nodes[ROOT]
    if node["proven"] != UNPROVEN:
        return best_edge(tree, np.int64(ROOT))
    known = survey(tree, np.int64(ROOT))
    scale = value_scale(rule, known.most)
    best, most, best_score = NO_EDGE, np.int64(-1), -math.inf
    for place in range(node["edge_count"]):
        edge = tree.edges[place]
        if edge["proven"] == -1:
            continue
        visits = np.int64(edge["visits"])
        fresh = visits - np.int64(root_scores[place]["before"])
        value = np.float64(edge["value"]) if visits > 0 else known.mixed
        score = np.float64(root_scores[place]["score"]) + scale * value
        if fresh > most or (fresh == most and score > best_score):
            best, most, best_score = place, fresh, score
    return best


@kernel
def _survivors(trees: Trees, rule: Rule, root_scores: BatchRootScores) -> npt.NDArray[np.int32]:
    """`_survivor` of every game: int32[B]."""
    choices = np.empty(trees.counters.shape[0], np.int32)
    for game in range(choices.shape[0]):
        choices[game] = _survivor(tree_of(trees, game), rule, root_scores[game])
    return choices


@kernel
def _improve(trees: Trees, rule: Rule, weights: Array2D[np.float32]) -> None:
    """Fill `weights` [B, A] with prior * exp(sigma(completed Q)), up to a factor of each game.

    Danihelka et al. 2022, section 4: normalised, this is softmax(logits + sigma(completed Q)).
    """
    for game in range(trees.counters.shape[0]):
        tree = tree_of(trees, game)
        known = survey(tree, np.int64(ROOT))
        scale = value_scale(rule, known.most)
        for place in range(tree.nodes[ROOT]["edge_count"]):
            edge = tree.edges[place]
            value = np.float64(edge["value"]) if edge["visits"] > 0 else known.mixed
            # At a proven loss all moves are lost and `top` is -1: they weigh their priors.
            weights[game, place] = edge["prior"] * math.exp(scale * min(0.0, value - known.top))


class GumbelSearch(BatchSearch):
    """See BatchSearch; Gumbel noise is drawn for every new root.

    A run is one round of sequential halving over its simulations. A further run, or one from a
    root with reused visits, is a new round, which uses the values found before.
    """

    _config: GumbelConfig

    def _prepare_roots(self) -> None:
        games = self.trees.counters.shape[0]
        self._root_scores = np.zeros((games, root_width(self.trees)), dtype=ROOT_SCORE)
        states = seed_states(self._rng, games)
        _draw_gumbels(self.trees, states, self._config.gumbel_scale, self._root_scores)

    def _begin(self, limits: npt.NDArray[np.int32]) -> None:
        _begin_rounds(self.trees, limits, self._config.considered, self._root_scores)

    def choices(self) -> npt.NDArray[np.int32]:
        """Proven moves first, else the move that sequential halving leaves."""
        return _survivors(self.trees, self._rule, self._root_scores)

    def _weights(self) -> npt.NDArray[np.float32]:
        weights = np.zeros(self._root_scores.shape, dtype=np.float32)
        _improve(self.trees, self._rule, weights)
        return weights
