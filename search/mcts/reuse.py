"""Reuse of a tree: the subtree below the moves played becomes the new tree.

    before   root -> a -> b ...          after the moves (a, b)      b ...
                  -> c -> d ...

Nodes and edges only move to the front and keep their order: a parent comes before its children, and
the edges of an earlier node before those of a later one. So one pass in place is enough.

Values, visits and proofs of the subtree remain valid: they do not depend on the nodes above. So do
repetition counts, which include the path from the old root and the game before it, as long as the
new history ends with that path; `play_lines` appends it.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import copy_into, internal_kernel, kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.errors import InputError
from engine.rules.history import push
from engine.rules.kernels import legal_moves
from engine.rules.tables import Int, Row, Rows, Tables
from search.mcts.roots import Roots
from search.mcts.tree import (
    CONSIDERED,
    EDGES_USED,
    NO_EDGE,
    NO_PARENT,
    NODES_USED,
    REUSED_VISITS,
    ROOT,
    ROUND_START,
    SIMULATIONS,
    UNVISITED,
    Tree,
    Trees,
    tree_of,
)

NO_MOVE: Final = -1
"""In an array of moves: the line ends before this place."""
_GONE: Final = -1


@internal_kernel
def _find_child(tree: Tree, index: Int, move: Int) -> int:
    """The node after a move, UNVISITED where there is none."""
    node = tree.nodes[index]
    for place in range(node["edge_start"], node["edge_start"] + node["edge_count"]):
        if tree.edges[place]["move"] == move:
            child: int = tree.edges[place]["child"]
            return child
    return UNVISITED


@internal_kernel
def _find_descendant(tree: Tree, line: npt.NDArray[np.int64], row: Row) -> Int:
    """The node at the end of a line if its position is `row` and it is expanded, else UNVISITED."""
    index = np.int64(ROOT)
    for place in range(line.shape[0]):
        if line[place] == NO_MOVE:
            break
        index = np.int64(_find_child(tree, index, line[place]))
        if index == UNVISITED:
            return UNVISITED
    node = tree.nodes[index]
    # Without edges it waits for its evaluation, the game is over, or a table proved it.
    if node["edge_count"] == 0:
        return UNVISITED
    for place in range(row.shape[0]):
        if tree.rows[index, place] != row[place]:
            return UNVISITED
    return index


@internal_kernel
def _move_node(tree: Tree, old: Int, new: Int, edge_start: Int) -> None:
    """Copy a node, its row and its edges to places nearer to the front."""
    start, count = np.int64(tree.nodes[old]["edge_start"]), np.int64(tree.nodes[old]["edge_count"])
    if new != old:
        tree.nodes[new] = tree.nodes[old]
        copy_into(tree.rows[new], tree.rows[old])
    if edge_start != start:
        # Forward, so that the two places may overlap.
        copy_into(tree.edges[edge_start:], tree.edges[start : start + count])
    tree.nodes[new]["edge_start"] = edge_start if count > 0 else 0


@internal_kernel
def _keep_subtree(tree: Tree, top: Int) -> None:
    """Make the node `top` the root, and drop all nodes that are not below it."""
    used = np.int64(tree.counters[NODES_USED])
    places = np.full(used, _GONE, np.int64)
    shifts = np.zeros(used, np.int64)
    nodes, edges = np.int64(0), np.int64(0)
    for old in range(top, used):
        parent, parent_edge = np.int64(NO_PARENT), np.int64(NO_EDGE)
        if old != top:
            above = np.int64(tree.nodes[old]["parent"]) if old > 0 else np.int64(NO_PARENT)
            # The nodes before `top` are gone; moved ones have their places.
            if above < top or places[above] == _GONE:
                continue
            parent = places[above]
            parent_edge = np.int64(tree.nodes[old]["parent_edge"]) - shifts[above]
            tree.edges[parent_edge]["child"] = nodes
        places[old] = nodes
        shifts[old] = np.int64(tree.nodes[old]["edge_start"]) - edges
        count = np.int64(tree.nodes[old]["edge_count"])
        _move_node(tree, np.int64(old), nodes, edges)
        tree.nodes[nodes]["parent"] = parent
        tree.nodes[nodes]["parent_edge"] = parent_edge
        nodes += 1
        edges += count
    tree.counters[NODES_USED] = nodes
    tree.counters[EDGES_USED] = edges


@kernel
def keep_lines(trees: Trees, lines: Array2D[np.int64], positions: Rows) -> None:
    """Make the end of each game's line the root of its tree; `positions` [B, R] are those there.

    `lines` [B, K] are the moves played, NO_MOVE after the last of each.
    A tree is emptied where the line is empty, leaves the tree, or ends in another position. The
    counters of simulations are 0 at the new roots.
    """
    for game in range(lines.shape[0]):
        tree = tree_of(trees, game)
        child = np.int64(UNVISITED)
        if lines[game, 0] != NO_MOVE and tree.counters[NODES_USED] > 0:
            child = np.int64(_find_descendant(tree, lines[game], positions[game]))
        reused = np.int64(0)
        if child == UNVISITED:
            tree.counters[NODES_USED] = 0
            tree.counters[EDGES_USED] = 0
        else:
            _keep_subtree(tree, child)
            for place in range(tree.nodes[ROOT]["edge_count"]):
                reused += np.int64(tree.edges[place]["visits"])
        tree.counters[SIMULATIONS] = 0
        tree.counters[REUSED_VISITS] = reused
        tree.counters[ROUND_START] = 0
        tree.counters[CONSIDERED] = 0


def play_lines(tables: Tables, roots: Roots, lines: npt.NDArray[np.int64]) -> Roots:
    """The positions after these lines [B, K], with the histories that led there.

    Raises InputError for a move that is not legal.
    """
    longest = int(roots.history_lengths.max(initial=0)) + lines.shape[1]
    room = max(0, longest - roots.histories.shape[1])
    histories = np.pad(roots.histories, ((0, 0), (0, room)))
    positions, lengths = roots.positions.copy(), roots.history_lengths.copy()
    scratch = np.empty_like(positions[0])
    for game, line in enumerate(lines):
        for ply, move in enumerate(line[line != NO_MOVE]):
            if move not in legal_moves(tables, positions[game]):
                raise InputError(f"move number {move} is not legal at ply {ply} of {line}")
            push(tables, positions[game], move, histories[game], lengths[game], scratch)
            lengths[game] += 1
    return Roots(positions, histories, lengths)
