"""Which move a simulation follows: the selection rules of PUCT and of Gumbel MCTS.

Everything is seen from the node's side to move. README.md has the formulae. A rule always
returns an edge of the node: the first one where no comparison succeeds (NaN). For PUCT, a
simulation that waits for its evaluation (`pending`) counts as a lost visit (virtual loss: Chaslot,
Winands and van den Herik 2008, "Parallel Monte-Carlo Tree Search", section 3.3). For Gumbel, whose
rule distributes visits by their number, it counts as a visit without a value.
"""

import math
from typing import Annotated, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import inlined, internal_kernel, kernel
from engine.rules.tables import Int
from search.mcts.tree import CONSIDERED, NO_EDGE, ROOT, ROUND_START, SIMULATIONS, Tree

PUCT: Final = 0
GUMBEL: Final = 1
"""Values of `Rule.kind`."""

_SMALLEST: Final = 1e-30
"""Replaces a sum of priors that were all rounded to 0."""
_FAR: Final = 1 << 40
"""More than any number of visits."""

ROOT_SCORE: Final = np.dtype([("score", np.float32), ("before", np.int32)], align=True)
"""Of a move at a Gumbel root: its noise plus logit, and its visits before the current round."""
RootScores = Annotated[npt.NDArray[np.void], ROOT_SCORE]
"""[A] ROOT_SCORE of one root's moves."""
BatchRootScores = Annotated[npt.NDArray[np.void], ROOT_SCORE, 2]
"""[B, A] ROOT_SCORE of all games."""


class Rule(NamedTuple):
    """A search's configuration for the kernels; each kind reads its own fields."""

    kind: int
    """PUCT or GUMBEL."""
    leaves: int
    """Leaves of a tree that may wait for the evaluator at the same time."""
    proofs: bool
    """Whether proven values are backed up as proofs."""
    c_puct: float = 0.0
    c_base: float = 1.0
    fpu_reduction: float = 0.0
    root_fpu_reduction: float = 0.0
    forced_playouts: float = 0.0
    c_visit: float = 0.0
    c_scale: float = 0.0


@internal_kernel
def puct_scale(rule: Rule, visits: Int) -> float:
    """c(s) sqrt(N(s)), the factor of P(s, a) / (1 + N(s, a)) in PUCT's U."""
    # log((1 + N + c) / c), written so that c may be infinite.
    growth = math.log1p((1.0 + visits) / rule.c_base)
    return (rule.c_puct + growth) * math.sqrt(visits)


@internal_kernel
def _choose_puct(tree: Tree, index: Int, rule: Rule) -> int:
    """The edge of the highest Q + U; proven losses are passed over, ties go to the first edge.

    U = c(s) * P(s, a) * sqrt(N(s)) / (1 + N(s, a)). All untried edges share one Q, so that only
    the one of the highest prior competes.
    """
    node = tree.nodes[index]
    scale = np.float32(puct_scale(rule, node["visits"]))
    best, best_score = NO_EDGE, np.float32(-math.inf)
    untried, untried_prior, tried_prior = NO_EDGE, np.float32(-1.0), np.float32(0.0)
    start = node["edge_start"]
    for place in range(start, start + node["edge_count"]):
        edge = tree.edges[place]
        prior, passes, pending = edge["prior"], edge["visits"], np.int64(edge["pending"])
        if passes + pending == 0:
            if prior > untried_prior:
                untried, untried_prior = place, prior
            continue
        tried_prior += prior
        if edge["proven"] == -1:
            continue
        value = edge["value"]
        if pending > 0:
            passes += pending
            value -= (value + np.float32(1.0)) * np.float32(pending) / np.float32(passes)
        score = value + scale * prior / np.float32(1 + passes)
        if score > best_score:
            best, best_score = place, score
    if untried != NO_EDGE:
        at_root = index == ROOT
        reduction = rule.root_fpu_reduction if at_root else rule.fpu_reduction
        first_play = max(-1.0, node["win"] - node["loss"] - reduction * math.sqrt(tried_prior))
        if first_play + scale * untried_prior > best_score:
            best = untried
    return best if best != NO_EDGE else start


@internal_kernel
def forced_visits(rule: Rule, prior: float, total: Int) -> float:
    """sqrt(k P(c) sum of N), the least visits of a tried root move (Wu 2019, section 3.2)."""
    return math.sqrt(rule.forced_playouts * prior * total)


@internal_kernel
def _choose_forced(tree: Tree, rule: Rule) -> int:
    """The first root edge that was tried less than its forced playouts, NO_EDGE for none."""
    node = tree.nodes[ROOT]
    total = node["visits"] - 1
    start = node["edge_start"]
    for place in range(start, start + node["edge_count"]):
        edge = tree.edges[place]
        passes = edge["visits"] + np.int64(edge["pending"])
        tried = passes > 0 and edge["proven"] != -1
        if tried and passes < forced_visits(rule, edge["prior"], total):
            return place
    return NO_EDGE


class Survey(NamedTuple):
    """What the values of a node's moves are measured against; proven losses do not count."""

    mixed: float
    """v_mix, the completed value of untried moves."""
    top: float
    """The highest completed value."""
    untried_prior: float
    """Sum of the priors of untried moves."""
    most: Int
    """max_b N(b)."""
    passes: Int
    """Sum of N(b), the pending ones included."""


@inlined
def survey(tree: Tree, index: Int) -> Survey:
    """Walk over a node's edges once (Danihelka et al. 2022, appendix D, for v_mix).

    v_mix = (v + sum_b N(b) * (sum over tried a of P(a) Q(a)) / (sum over tried a of P(a)))
            / (1 + sum_b N(b)),

    v the node's own evaluation. We leave proven losses out of all sums, since they will not be
    played again.
    """
    node = tree.nodes[index]
    total, passes, most = np.int64(0), np.int64(0), np.int64(0)
    tried, untried, weighted = 0.0, 0.0, 0.0
    top, open_edges = -1.0, 0
    start = node["edge_start"]
    for place in range(start, start + node["edge_count"]):
        edge = tree.edges[place]
        if edge["proven"] == -1:
            continue
        visits = np.int64(edge["visits"])
        passes += visits + np.int64(edge["pending"])
        prior = edge["prior"]
        if visits == 0:
            untried += prior
            open_edges += 1
            continue
        total += visits
        most = max(most, visits)
        tried += prior
        weighted += prior * edge["value"]
        top = max(top, np.float64(edge["value"]))
    mixed = np.float64(node["raw_value"])
    if tried > _SMALLEST:
        mixed = (mixed + total * weighted / tried) / (1 + total)
    if open_edges > 0:
        top = max(top, mixed)
    return Survey(mixed, top, untried, most, passes)


@internal_kernel
def value_scale(rule: Rule, most: Int) -> float:
    """What a value in [-1, 1] is multiplied by: sigma(q) = (c_visit + max N) c_scale (q + 1) / 2.

    Danihelka et al. 2022, equation 8, for values in [0, 1]. We map [-1, 1] there by the bounds of
    the game and not by the least and the greatest value seen (as mctx does): small differences
    stay small, and a move's weight does not hang on a move that nobody plays. Any increasing map
    keeps the policy improvement; the constant of this one drops out of the softmax.
    """
    return 0.5 * rule.c_scale * (rule.c_visit + most)


@internal_kernel
def _choose_gumbel(tree: Tree, index: Int, rule: Rule) -> int:
    """The edge of the highest pi'(a) - N(a) / (1 + sum N) (Danihelka et al. 2022, equation 14).

    pi' = softmax(logits + sigma(completed Q)); proven losses are passed over, ties go to the first
    edge. Priors are that softmax without sigma, so that one exponential a tried move is enough.
    """
    known = survey(tree, index)
    scale = np.float32(value_scale(rule, known.most))
    top = np.float32(known.top)
    node = tree.nodes[index]
    start, stop = node["edge_start"], node["edge_start"] + node["edge_count"]
    untried_weight = np.float32(math.exp(scale * (np.float32(known.mixed) - top)))
    norm = np.float32(known.untried_prior) * untried_weight
    for place in range(start, stop):
        edge = tree.edges[place]
        if edge["visits"] > 0 and edge["proven"] != -1:
            norm += edge["prior"] * np.float32(math.exp(scale * (edge["value"] - top)))
    inverse = np.float32(1.0) / max(norm, np.float32(_SMALLEST))
    share = np.float32(1.0) / np.float32(1 + known.passes)
    best, best_score = NO_EDGE, np.float32(-math.inf)
    for place in range(start, stop):
        edge = tree.edges[place]
        if edge["proven"] == -1:
            continue
        weight = untried_weight
        if edge["visits"] > 0:
            weight = np.float32(math.exp(scale * (edge["value"] - top)))
        passes = np.float32(edge["visits"] + np.int64(edge["pending"]))
        score = edge["prior"] * weight * inverse - passes * share
        if score > best_score:
            best, best_score = place, score
    return best if best != NO_EDGE else start


@kernel
def considered_visits(considered: Int, budget: Int, step: Int) -> Int:
    """How often the root move of simulation `step` of `budget` was visited before, in this round.

    Sequential halving over m `considered` moves (Karnin, Koren and Somekh 2013; Danihelka et al.
    2022, section 3): each of the ceil(log2 m) phases gives floor(n / (ceil(log2 m) * moves left))
    visits, at least one, to each move left, then half of them go. What rounding left over goes to
    the last two.
    """
    if considered <= 1:
        return step
    phases = 0
    while (1 << phases) < considered:
        phases += 1
    visits: Int = 0
    while True:
        extra = max(1, budget // (phases * considered))
        if step < extra * considered:
            return visits + step // considered
        step -= extra * considered
        visits += extra
        considered = max(2, considered // 2)


@internal_kernel
def _choose_at_gumbel_root(tree: Tree, rule: Rule, root_scores: RootScores, budget: Int) -> int:
    """Sequential halving: of the moves whose turn it is, the highest g + logit + sigma(Q).

    The moves whose turn it is have been visited as often as the schedule says. Where proofs took
    the last of them away, the next best of those visited less takes the turn.
    """
    counters = tree.counters
    wanted = considered_visits(
        np.int64(counters[CONSIDERED]),
        budget,
        np.int64(counters[SIMULATIONS] - counters[ROUND_START]),
    )
    known = survey(tree, np.int64(ROOT))
    scale = value_scale(rule, known.most)
    best, best_score = NO_EDGE, -math.inf
    best_gap: Int = 2 * _FAR
    for place in range(tree.nodes[ROOT]["edge_count"]):
        edge = tree.edges[place]
        if edge["proven"] == -1:
            continue
        visits = np.int64(edge["visits"])
        fresh = visits + np.int64(edge["pending"]) - np.int64(root_scores[place]["before"])
        gap = wanted - fresh if fresh <= wanted else _FAR + fresh - wanted
        if gap > best_gap:
            continue
        value = np.float64(edge["value"]) if visits > 0 else known.mixed
        score = np.float64(root_scores[place]["score"]) + scale * value
        if gap < best_gap or score > best_score:
            best, best_gap, best_score = place, gap, score
    return best if best != NO_EDGE else tree.nodes[ROOT]["edge_start"]


@inlined
def choose_edge(tree: Tree, index: Int, rule: Rule, root_scores: RootScores, budget: Int) -> int:
    """The edge that a simulation follows at an expanded node that is not proven: one of its own.

    Only a Gumbel root reads `root_scores` ROOT_SCORE[A] and `budget`, the simulations of the round.
    """
    if rule.kind == PUCT:
        if rule.forced_playouts > 0.0 and index == ROOT:
            forced = _choose_forced(tree, rule)
            if forced != NO_EDGE:
                return forced
        return _choose_puct(tree, index, rule)
    if index == ROOT:
        return _choose_at_gumbel_root(tree, rule, root_scores, budget)
    return _choose_gumbel(tree, index, rule)
