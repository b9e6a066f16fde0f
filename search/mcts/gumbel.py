"""Gumbel MCTS of many games at once: a policy that improves however few the simulations.

Danihelka, Guez, Schrittwieser and Silver 2022, "Policy improvement by planning with Gumbel": at the
root some moves are drawn without replacement by the Gumbel-top-k trick and halved in rounds; below
it the search follows its own improved policy. README.md has the formulae.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import internal_kernel, kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from search.evaluator import Evaluator
from search.mcts.batch import MOST_LEAVES, BatchSearch, Roots
from search.mcts.result import SearchResult, best_edge, collect, root_width
from search.mcts.selection import GUMBEL, MARK, Marks, RootMarks, Rule, survey, value_scale
from search.mcts.tree import (
    CONSIDERED,
    NO_EDGE,
    ROOT,
    ROUND_START,
    SIMULATIONS,
    UNPROVEN,
    Tree,
    Trees,
    tree_of,
)
from search.randomness import random_unit, seed_states

_SMALLEST_PRIOR: Final = 1e-30


@dataclass(frozen=True, kw_only=True)
class GumbelConfig:
    """How one Gumbel search behaves; the numbers published are the defaults."""

    # Simulations a game; the evaluation of the root is not counted.
    simulations: int = 64
    # Moves that sequential halving begins with, fewer where there are fewer.
    considered: int = 16
    # sigma(q) = (c_visit + max_b N(b)) * c_scale * (q + 1) / 2, see `selection.value_scale`.
    c_visit: float = 50.0
    # The same.
    c_scale: float = 1.0
    # Share of Gumbel noise in the choice at the root: 1 draws moves as the policy has them, 0 takes
    # its best ones and plays without chance.
    gumbel_scale: float = 1.0
    # Leaves of a tree that wait for the evaluator at the same time; more than 1 makes the batches
    # of a single tree larger and every simulation a little less wise.
    leaves: int = 1
    # Proven wins, draws and losses climb the tree and are not searched again (Winands 2008).
    proofs: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing; raises InputError."""
        if self.simulations < 0:
            raise InputError(f"simulations must be at least 0, not {self.simulations}")
        if self.considered < 1:
            raise InputError(f"considered must be at least 1, not {self.considered}")
        if not 1 <= self.leaves <= MOST_LEAVES:
            raise InputError(f"leaves must be from 1 to {MOST_LEAVES}, not {self.leaves}")
        for name in ("c_visit", "gumbel_scale"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be at least 0, not {getattr(self, name)}")
        if not 0.0 < self.c_scale < math.inf:
            raise InputError(f"c_scale must be above 0, not {self.c_scale}")


@kernel
def _draw_gumbels(trees: Trees, states: Array2D[np.uint64], scale: float, marks: Marks) -> None:
    """Write Gumbel noise plus log prior of every root move into `marks` MARK[B, A]."""
    for game in range(states.shape[0]):
        for place in range(trees.nodes[game, ROOT]["edge_count"]):
            noise = -math.log(-math.log(random_unit(states[game])))
            prior = max(np.float64(trees.edges[game, place]["prior"]), _SMALLEST_PRIOR)
            marks[game, place]["score"] = scale * noise + math.log(prior)


@kernel
def _begin_rounds(
    trees: Trees, limits: npt.NDArray[np.int32], considered: int, marks: Marks
) -> None:
    """Begin a round of halvings in every game that has simulations to run."""
    for game in range(limits.shape[0]):
        tree = tree_of(trees, game)
        if tree.totals[SIMULATIONS] >= limits[game] or tree.nodes[ROOT]["proven"] != UNPROVEN:
            continue
        playable = 0
        for place in range(tree.nodes[ROOT]["edge_count"]):
            edge = tree.edges[place]
            marks[game, place]["before"] = edge["visits"]
            playable += edge["proven"] != -1
        tree.totals[ROUND_START] = tree.totals[SIMULATIONS]
        tree.totals[CONSIDERED] = min(considered, playable)


@internal_kernel
def _survivor(tree: Tree, rule: Rule, marks: RootMarks) -> int:
    """The root edge that the halvings left, NO_EDGE where the game is over.

    The highest g + logit + sigma(Q) among the most visited of this round; at a proven root, what
    `best_edge` says.
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
        fresh = visits - np.int64(marks[place]["before"])
        value = np.float64(edge["value"]) if visits > 0 else known.mixed
        score = np.float64(marks[place]["score"]) + scale * value
        if fresh > most or (fresh == most and score > best_score):
            best, most, best_score = place, fresh, score
    return best


@kernel
def _survivors(trees: Trees, rule: Rule, marks: Marks) -> npt.NDArray[np.int32]:
    """`_survivor` of every game: int32[B]."""
    choices = np.empty(trees.totals.shape[0], np.int32)
    for game in range(choices.shape[0]):
        choices[game] = _survivor(tree_of(trees, game), rule, marks[game])
    return choices


@kernel
def _improve(trees: Trees, rule: Rule, weights: Array2D[np.float32]) -> None:
    """Fill `weights` [B, A] with prior * exp(sigma(completed Q)), up to a factor of each game.

    Danihelka et al. 2022, section 4: normalised, this is softmax(logits + sigma(completed Q)).
    """
    for game in range(trees.totals.shape[0]):
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

    A run is one round of sequential halvings over its simulations. Running on, or searching from a
    root that has visits already, is a new round, which knows the values that were found before.
    """

    def __init__(
        self,
        variant: Variant,
        roots: Roots,
        evaluator: Evaluator,
        config: GumbelConfig,
        rng: np.random.Generator,
    ) -> None:
        """Judge the roots and draw the noise. A finished game is a root without moves."""
        self._config = config
        rule = Rule(
            kind=GUMBEL,
            leaves=config.leaves,
            proofs=config.proofs,
            c_visit=config.c_visit,
            c_scale=config.c_scale,
        )
        super().__init__(variant, roots, evaluator, rule, config.simulations, rng)

    def _prepare_roots(self) -> None:
        games = self.trees.totals.shape[0]
        self._marks = np.zeros((games, root_width(self.trees)), dtype=MARK)
        states = seed_states(self._rng, games)
        _draw_gumbels(self.trees, states, self._config.gumbel_scale, self._marks)

    def _begin(self, limits: npt.NDArray[np.int32]) -> None:
        _begin_rounds(self.trees, limits, self._config.considered, self._marks)

    def choices(self) -> npt.NDArray[np.int32]:
        """Proven moves first, else the move that the halvings left."""
        return _survivors(self.trees, self._rule, self._marks)

    def result(self) -> SearchResult:
        """What the search knows now; `policy` is softmax(logits + sigma(completed Q))."""
        games = self.trees.totals.shape[0]
        weights = np.zeros((games, root_width(self.trees)), dtype=np.float32)
        _improve(self.trees, self._rule, weights)
        return collect(self.trees, self.choices(), weights)


def gumbel_search(
    variant: Variant,
    roots: Roots,
    evaluator: Evaluator,
    config: GumbelConfig,
    rng: np.random.Generator,
    simulations: npt.NDArray[np.integer] | None = None,
) -> SearchResult:
    """Search B games; `simulations` int[B] replaces the configuration's number game by game.

    The same generator state gives the same result; a game takes its noise by its place in the
    batch, not by what stands beside it. Raises what the evaluator raises.
    """
    search = GumbelSearch(variant, roots, evaluator, config, rng)
    search.run(simulations)
    return search.result()


__all__ = ["GumbelConfig", "GumbelSearch", "Roots", "SearchResult", "gumbel_search"]
