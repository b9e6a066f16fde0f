"""What a search found at its roots, and the line that it would play."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search.tree import ROOT, SIMULATIONS, UNPROVEN, UNVISITED, Trees


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
    # [M] int32: simulations through each move; they sum to `simulations` over a game.
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
    # [B] int32: simulations run; fewer than asked for where the root was proven.
    simulations: npt.NDArray[np.int32]


def improved_policy(
    legal: npt.NDArray[np.bool_],
    visits: npt.NDArray[np.int32],
    priors: npt.NDArray[np.float32],
    proven_moves: npt.NDArray[np.int8],
    distances: npt.NDArray[np.int16],
    proven: npt.NDArray[np.int8],
) -> npt.NDArray[np.float32]:
    """Shares of visits among the moves that may still be best; all [B, A] but proven [B].

    Root not proven: every move but the proven losses. Proven win: the won moves of the shortest
    known way. Proven draw or loss: the moves that keep that value. Where none of these moves was
    tried, their priors.
    """
    known = proven[:, None] != UNPROVEN
    kept = legal & np.where(known, proven_moves == proven[:, None], proven_moves != -1)
    won = proven == 1
    ways = np.where(kept, distances, np.iinfo(np.int16).max)
    quick = ways == ways.min(axis=1, keepdims=True, initial=np.iinfo(np.int16).max)
    kept &= quick | ~won[:, None]
    weights = np.where(kept, visits, 0).astype(np.float64)
    untried = weights.sum(axis=1) == 0
    weights[untried] = np.where(kept, priors, 0)[untried]
    total = weights.sum(axis=1, keepdims=True)
    policy: npt.NDArray[np.float32] = (weights / np.where(total > 0, total, 1)).astype(np.float32)
    return policy


def collect(trees: Trees) -> SearchResult:
    """Read the roots of B trees."""
    roots = trees.nodes[:, ROOT]
    counts = roots["edge_count"].astype(np.int64)
    widest = int(counts.max(initial=0))
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
    policy = improved_policy(legal, visits, priors, proven_moves, distances, proven)
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
        simulations=trees.totals[:, SIMULATIONS].copy(),
    )


def best_edge(trees: Trees, game: int, node: int) -> int:
    """The edge that a player would choose at an expanded node, in the game's pool.

    A proven win takes its shortest known way, a proven loss its longest; otherwise the most visits
    among the moves that may still be best, the higher mean value where they tie, then the prior.
    """
    above = trees.nodes[game, node]
    start, proven = int(above["edge_start"]), int(above["proven"])
    edges = trees.edges[game, start : start + int(above["edge_count"])]
    kept = edges["proven"] != -1 if proven == UNPROVEN else edges["proven"] == proven
    places = np.flatnonzero(kept)
    edges = edges[places]
    if proven in (1, -1):
        distances = trees.nodes[game, edges["child"]]["distance"]
        return start + int(places[np.argmin(distances * proven)])
    order = np.lexsort((-edges["prior"], -edges["value"], -edges["visits"]))
    return start + int(places[order[0]])


def principal_variation(trees: Trees, game: int) -> list[int]:
    """The moves of the best line of one game, down to a node that was not expanded."""
    moves, node = [], ROOT
    while node != UNVISITED and trees.nodes[game, node]["edge_count"] > 0:
        edge = trees.edges[game, best_edge(trees, game, node)]
        if node != ROOT and edge["visits"] == 0:
            break
        moves.append(int(edge["move"]))
        node = int(edge["child"])
    return moves
