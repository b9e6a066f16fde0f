"""What a search found at its roots, and the line that it would play."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import internal_kernel, kernel
from engine.rules.tables import Int
from search.mcts.tree import (
    NO_EDGE,
    REUSED_VISITS,
    ROOT,
    SIMULATIONS,
    UNVISITED,
    Tree,
    Trees,
    tree_of,
)
from search.scores import UNPROVEN


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """B roots with M legal moves in all; move i of game b is at `offsets[b] + i`.

    A game that is over has no moves; its value is proven. Everything is seen from the root's side
    to move.
    """

    # [B + 1] int64: where each game's moves begin and end.
    offsets: npt.NDArray[np.int64]
    # [M] uint16, in the order of the rules' generator.
    moves: npt.NDArray[np.uint16]
    # [M] int32: simulations through each move; a game's sum to `simulations + reused_visits`.
    visit_counts: npt.NDArray[np.int32]
    # [M] float32: priors, with the noise where there was some.
    priors: npt.NDArray[np.float32]
    # [M] float32 in [-1, 1]: mean value of each move, exact where proven; an untried move takes the
    # root's value.
    q_values: npt.NDArray[np.float32]
    # [M] int8: exact value of each move, or UNPROVEN.
    proven_moves: npt.NDArray[np.int8]
    # [M] int16: plies to the end along the proof after each proven win or loss, else 0.
    distances: npt.NDArray[np.int16]
    # [M] float32, sums to 1 over a game: the improved policy, see `improved_policy`.
    policy: npt.NDArray[np.float32]
    # [B, 3] float32: mean of all evaluations, exact where proven.
    wdl: npt.NDArray[np.float32]
    # [B] float32: win minus loss.
    value: npt.NDArray[np.float32]
    # [B] int8: exact value, or UNPROVEN.
    proven: npt.NDArray[np.int8]
    # [B] int32: simulations run, fewer than requested where the root was proven.
    simulations: npt.NDArray[np.int32]
    # [B] int32: visits of the root's moves that searches of earlier roots made.
    reused_visits: npt.NDArray[np.int32]
    # [B] int32: the move to play, its number among the game's moves; -1 for a finished game.
    choices: npt.NDArray[np.int32]


def improved_policy(
    legal: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.floating],
    priors: npt.NDArray[np.float32],
    proven_moves: npt.NDArray[np.int8],
    distances: npt.NDArray[np.int16],
    proven: npt.NDArray[np.int8],
) -> npt.NDArray[np.float32]:
    """Shares of the weights among the moves that may still be best; all [B, A] but proven [B].

    Root not proven: every move but the proven losses. Proven win: the won moves of the shortest
    known way. Proven draw or loss: the moves that keep that value. Where the weights of these moves
    are all 0, their priors count, and all alike where these are 0, too.
    """
    known = proven[:, None] != UNPROVEN
    kept = legal & np.where(known, proven_moves == proven[:, None], proven_moves != -1)
    won = proven == 1
    ways = np.where(kept, distances, np.iinfo(np.int16).max)
    quick = ways == ways.min(axis=1, keepdims=True, initial=np.iinfo(np.int16).max)
    kept &= quick | ~won[:, None]
    shares = np.where(kept, weights, 0).astype(np.float64)
    for instead in (priors, kept):
        empty = shares.sum(axis=1) == 0
        shares[empty] = np.where(kept, instead, 0)[empty]
    total = shares.sum(axis=1, keepdims=True)
    policy: npt.NDArray[np.float32] = (shares / np.where(total > 0, total, 1)).astype(np.float32)
    return policy


def root_width(trees: Trees) -> int:
    """A, the most moves of any root."""
    return int(trees.nodes[:, ROOT]["edge_count"].max(initial=0))


def collect(
    trees: Trees, choices: npt.NDArray[np.int32], weights: npt.NDArray[np.float32] | None = None
) -> SearchResult:
    """Read the roots of B trees; `weights` [B, A] make the policy, the visits where absent."""
    roots = trees.nodes[:, ROOT]
    counts = roots["edge_count"].astype(np.int64)
    widest = root_width(trees)
    legal = np.arange(widest) < counts[:, None]
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    edges = trees.edges[:, :widest]
    visits, priors = edges["visits"], edges["prior"]
    proven_moves = np.where(legal, edges["proven"], UNPROVEN).astype(np.int8)
    decisive = np.abs(proven_moves) == 1
    games = np.arange(len(counts))[:, None]
    children = np.where(decisive, edges["child"], ROOT)
    plies = trees.nodes[games, children]["distance"] + 1
    distances = np.where(decisive, plies, 0).astype(np.int16)
    proven = roots["proven"].copy()
    wdl = np.stack([roots["win"], roots["draw"], roots["loss"]], axis=1)
    known = proven != UNPROVEN
    wdl[known] = np.eye(3, dtype=np.float32)[1 - proven[known]]
    value = wdl[:, 0] - wdl[:, 2]
    tried = np.where(legal, visits, 0) > 0
    q_values = np.where(tried, edges["value"], value[:, None])
    policy = improved_policy(
        legal, visits if weights is None else weights, priors, proven_moves, distances, proven
    )
    return SearchResult(
        offsets=offsets,
        moves=edges["move"][legal],
        visit_counts=visits[legal],
        priors=priors[legal],
        q_values=q_values[legal],
        proven_moves=proven_moves[legal],
        distances=distances[legal],
        policy=policy[legal],
        wdl=wdl,
        value=value,
        proven=proven,
        simulations=trees.counters[:, SIMULATIONS].copy(),
        reused_visits=trees.counters[:, REUSED_VISITS].copy(),
        choices=choices,
    )


@internal_kernel
def best_edge(tree: Tree, index: Int) -> int:
    """The edge that a player would choose at a node, NO_EDGE where there are none.

    A proven win takes its shortest known way, a proven loss its longest; otherwise the most visits
    among the moves that may still be best, the higher mean value where they tie, then the prior.
    """
    node = tree.nodes[index]
    proven, start = node["proven"], node["edge_start"]
    best, most = NO_EDGE, np.int64(0)
    highest, likeliest = np.float64(0.0), np.float64(0.0)
    for place in range(start, start + node["edge_count"]):
        edge = tree.edges[place]
        if edge["proven"] == -1 if proven == UNPROVEN else edge["proven"] != proven:
            continue
        rank = np.int64(edge["visits"])
        if proven != UNPROVEN and proven != 0:
            rank = -proven * np.int64(tree.nodes[edge["child"]]["distance"])
        value, prior = np.float64(edge["value"]), np.float64(edge["prior"])
        better = rank > most or (
            rank == most and (value > highest or (value == highest and prior > likeliest))
        )
        if best == NO_EDGE or better:
            best, most, highest, likeliest = place, rank, value, prior
    return best


@kernel
def most_visited(trees: Trees) -> npt.NDArray[np.int32]:
    """`best_edge` at the root of every game: int32[B]."""
    choices = np.empty(trees.counters.shape[0], np.int32)
    for game in range(choices.shape[0]):
        choices[game] = best_edge(tree_of(trees, game), np.int64(ROOT))
    return choices


@kernel
def _best_line(tree: Tree, first: Int) -> list[np.int64]:
    moves, edge = [np.int64(0)], first
    while edge != NO_EDGE:
        moves.append(np.int64(tree.edges[edge]["move"]))
        child = np.int64(tree.edges[edge]["child"])
        if child == UNVISITED:
            break
        edge = np.int64(best_edge(tree, child))
        if edge != NO_EDGE and tree.edges[edge]["visits"] == 0:
            break
    return moves[1:]


def principal_variation(trees: Trees, game: int, choice: int) -> list[int]:
    """The moves of the best line of one game that begins with the choice at its root (-1: none)."""
    return [int(move) for move in _best_line(tree_of(trees, game), np.int64(choice))]
