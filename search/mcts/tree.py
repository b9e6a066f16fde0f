"""Search trees of B games at once, as flat arrays for compiled kernels.

One node is one position; node 0 is the root. The moves of a node are consecutive edges in the
game's pool, written in the order in which the rules generate them:

    rows     [ root | child | child | ...        ]   one position a node
    nodes    [  0   |   1   |   2   | ... N      ]
               | edge_start     |
               v                v
    edges    [ a b c d e f g h | a b c d | ... E ]   one move each
                 |
                 +-- child -> node 1

A node's own numbers are seen from its side to move; an edge's numbers from the side that makes the
move, so that selection compares them as they stand. Only `backup` flips signs.

Callers pass np.int64 and np.float64 to kernels, not literals or narrower numbers: numba compiles a
kernel again for every type of argument.
"""

import math
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import copy_into, internal_kernel, kernel, shared_kernel
from engine.rules.compilation.signatures import Array2D, Array3D
from engine.rules.history import hash_row, repetitions
from engine.rules.kernels import apply, generate
from engine.rules.outcome import ONGOING, terminal_value, termination
from engine.rules.tables import (
    CLOCK,
    FOLD_RULE,
    LARGEST_REPETITION,
    REPETITION,
    SQUARES,
    Int,
    Moves,
    Row,
    Tables,
)
from search.exact.tablebase.probe import probe, repetition_is_near
from search.scores import LONGEST, NO_SCORE, UNPROVEN, WIN

ROOT: Final = 0
NO_PARENT: Final = -1
NO_EDGE: Final = -1
UNVISITED: Final = -1
"""Child of an edge that has not been tried."""

NODE: Final = np.dtype(
    [
        # Zobrist hash of the position.
        ("hash", np.uint64),
        # The node above, NO_PARENT for the root, and the edge that leads here.
        ("parent", np.int32),
        ("parent_edge", np.int32),
        # Its edges in the pool; none where the game is over or the evaluation is awaited.
        ("edge_start", np.int32),
        ("edge_count", np.int32),
        # Evaluations at or below the node; 0 while it waits for its own.
        ("visits", np.int32),
        # Mean of those evaluations: probabilities for the node's side to move.
        ("win", np.float32),
        ("draw", np.float32),
        ("loss", np.float32),
        # Its own evaluation alone, win minus loss; 0 before that.
        ("raw_value", np.float32),
        # Where a win or a loss is proven: plies to the end along the proof.
        ("distance", np.int16),
        # Exact game value for the node's side to move, or UNPROVEN.
        ("proven", np.int8),
        # 1 where the next occurrence of this position, or of an earlier one since the last capture
        # or pawn move, is a draw by the n-fold rule. Known where endgame tables are looked up.
        ("repetition_near", np.int8),
    ],
    align=True,
)

EDGE: Final = np.dtype(
    [
        # The node below, or UNVISITED.
        ("child", np.int32),
        # Simulations through the edge.
        ("visits", np.int32),
        # Their mean value in [-1, 1], exact once proven; 0 before the first.
        ("value", np.float32),
        # Prior probability; the priors of a node sum to 1.
        ("prior", np.float32),
        ("move", np.uint16),
        # Exact value of making the move, or UNPROVEN.
        ("proven", np.int8),
        # Simulations through the edge whose evaluation is awaited; `visits` does not count them.
        ("pending", np.uint8),
    ],
    align=True,
)

NODES_USED: Final = 0
EDGES_USED: Final = 1
SIMULATIONS: Final = 2
REUSED_VISITS: Final = 3
ROUND_START: Final = 4
CONSIDERED: Final = 5
"""Places in a tree's counters. SIMULATIONS counts those begun at this root, without the evaluation
of the root itself; REUSED_VISITS the visits of its moves that searches of earlier roots made. In
Gumbel's current round of sequential halving, ROUND_START is the simulations begun before it and
CONSIDERED the moves that it considers."""
_COUNTERS: Final = 6


Hashes = npt.NDArray[np.uint64]
"""[H] Zobrist hashes of a game's earlier positions, oldest first."""


class Tree(NamedTuple):
    """The tree of one game: views into `Trees`."""

    rows: Array2D[np.uint8]
    """[N, R] positions; REPETITION counts the path from the root and the game before it."""
    nodes: Annotated[npt.NDArray[np.void], NODE]
    """[N] NODE."""
    edges: Annotated[npt.NDArray[np.void], EDGE]
    """[E] EDGE."""
    counters: npt.NDArray[np.int32]
    """[6] NODES_USED, EDGES_USED, SIMULATIONS, REUSED_VISITS, ROUND_START, CONSIDERED."""


class Trees(NamedTuple):
    """B trees with room for N nodes and E edges each; `reserve` makes more room."""

    rows: Array3D[np.uint8]
    """[B, N, R] positions."""
    nodes: Annotated[npt.NDArray[np.void], NODE, 2]
    """[B, N] NODE."""
    edges: Annotated[npt.NDArray[np.void], EDGE, 2]
    """[B, E] EDGE."""
    counters: Array2D[np.int32]
    """[B, 6] what each tree counts, as in `Tree`."""


def allocate(games: int, nodes: int, edges: int, row_size: int) -> Trees:
    """Empty trees for B games with N nodes and E edges; memory is touched when it is used."""
    return Trees(
        rows=np.empty((games, nodes, row_size), dtype=np.uint8),
        nodes=np.empty((games, nodes), dtype=NODE),
        edges=np.empty((games, edges), dtype=EDGE),
        counters=np.zeros((games, _COUNTERS), dtype=np.int32),
    )


def _enlarged(array: npt.NDArray[Any], wanted: int) -> npt.NDArray[Any]:
    size = array.shape[1]
    if wanted <= size:
        return array
    larger = np.empty((array.shape[0], max(wanted, 2 * size), *array.shape[2:]), dtype=array.dtype)
    larger[:, :size] = array
    return larger


def reserve(trees: Trees, *, nodes: int = 0, edges: int = 0) -> Trees:
    """The same trees with room for at least so many nodes and edges; doubles what is too small."""
    return Trees(
        _enlarged(trees.rows, nodes),
        _enlarged(trees.nodes, nodes),
        _enlarged(trees.edges, edges),
        trees.counters,
    )


@kernel
def tree_of(trees: Trees, game: Int) -> Tree:
    """One game's tree."""
    return Tree(trees.rows[game], trees.nodes[game], trees.edges[game], trees.counters[game])


@internal_kernel
def add_node(tables: Tables, tree: Tree, parent: Int, edge: Int, move_count: int) -> bool:
    """Make a node of the position in the next free row; whether the game continues there.

    `move_count` is the number of legal moves. The node is proven where the game is over, and where
    endgame tables attached to `tables` cover it (`tablebase.probe.probe`): a draw always, a win or
    a loss only where no repetition of an earlier position can turn it into a draw.
    """
    index = tree.counters[NODES_USED]
    tree.counters[NODES_USED] = index + 1
    row, node = tree.rows[index], tree.nodes[index]
    node["parent"] = parent
    node["parent_edge"] = edge
    node["edge_start"] = 0
    node["edge_count"] = 0
    node["visits"] = 0
    node["win"] = 0.0
    node["draw"] = 0.0
    node["loss"] = 0.0
    node["raw_value"] = 0.0
    node["distance"] = 0
    node["proven"] = UNPROVEN
    squares, fold = tables[SQUARES], tables[FOLD_RULE]
    near = False
    if parent != NO_PARENT and row[squares + CLOCK] > 0:
        near = tree.nodes[parent]["repetition_near"] != 0
    repeated = fold != 0 and np.int64(row[squares + REPETITION]) + 2 >= fold
    node["repetition_near"] = 1 if near or repeated else 0
    reason = termination(tables, row, move_count)
    if reason != ONGOING:
        node["proven"] = terminal_value(tables, reason, row)
        return False
    score = probe(tables, row)
    # The root is always searched: the search must return a move.
    if score == NO_SCORE or parent == NO_PARENT:
        return True
    won, lost = score > LONGEST, score < -LONGEST
    if near and (won or lost):
        return True
    node["proven"] = 1 if won else -1 if lost else 0
    node["distance"] = WIN - abs(score) if won or lost else 0
    return False


@shared_kernel
def add_root(tables: Tables, tree: Tree, position: Row, history: Hashes, moves: Moves) -> int:
    """Make the root node and write its legal moves; return their number, 0 where it is over."""
    row = tree.rows[ROOT]
    copy_into(row, position)
    tree.nodes[ROOT]["hash"] = hash_row(tables, row)
    move_count = generate(tables, row, moves)
    continues = add_node(tables, tree, np.int64(NO_PARENT), np.int64(NO_EDGE), move_count)
    clock = int(np.int64(row[tables[SQUARES] + CLOCK]))
    if repetition_is_near(tables, history, history.shape[0], clock):
        tree.nodes[ROOT]["repetition_near"] = 1
    return move_count if continues else 0


@internal_kernel
def count_repetitions(
    tree: Tree, parent: Int, clock: int, position_hash: np.uint64, history: Hashes
) -> int:
    """How often a child of `parent` occurred before, on its path from the root and in the game."""
    count, passed, index = 0, 0, parent
    while passed < clock and index != NO_PARENT:
        node = tree.nodes[index]
        if node["hash"] == position_hash:
            count += 1
        passed += 1
        index = node["parent"]
    return count + repetitions(history, history.shape[0], clock - passed, position_hash)


@shared_kernel
def add_child(
    tables: Tables, tree: Tree, parent: Int, edge: Int, history: Hashes, moves: Moves
) -> int:
    """Play the edge's move into a new node and write its legal moves; return their number.

    0 where the game is over, a draw by the rules of repetition, clock and material included, or
    known from a table; the node is then proven.
    """
    child = tree.counters[NODES_USED]
    row = tree.rows[child]
    apply(tables, tree.rows[parent], np.int64(tree.edges[edge]["move"]), row)
    position_hash = hash_row(tables, row)
    tree.nodes[child]["hash"] = position_hash
    tree.edges[edge]["child"] = child
    clock = int(np.int64(row[tables[SQUARES] + CLOCK]))
    if clock > 0:
        count = count_repetitions(tree, parent, clock, position_hash, history)
        row[tables[SQUARES] + REPETITION] = min(count, LARGEST_REPETITION)
    move_count = generate(tables, row, moves)
    return move_count if add_node(tables, tree, parent, edge, move_count) else 0


@shared_kernel
def expand(tree: Tree, index: Int, moves: Moves, logits: npt.NDArray[np.float32]) -> None:
    """Give a node its edges, with the softmax of the logits as priors."""
    start = tree.counters[EDGES_USED]
    count = moves.shape[0]
    tree.nodes[index]["edge_start"] = start
    tree.nodes[index]["edge_count"] = count
    tree.counters[EDGES_USED] = start + count
    highest = logits[0]
    for place in range(1, count):
        highest = max(highest, logits[place])
    total = np.float32(0.0)
    for place in range(count):
        edge = tree.edges[start + place]
        weight = np.float32(math.exp(logits[place] - highest))
        total += weight
        edge["child"] = UNVISITED
        edge["visits"] = 0
        edge["value"] = 0.0
        edge["prior"] = weight
        edge["move"] = moves[place]
        edge["proven"] = UNPROVEN
        edge["pending"] = 0
    for place in range(start, start + count):
        tree.edges[place]["prior"] /= total


@internal_kernel
def prove(tree: Tree, index: int) -> bool:
    """Whether a node's edges decide its value; writes the value and the distance.

    Winands, Bjoernsson and Saito 2008, "Monte-Carlo Tree Search Solver", on back-propagation: one
    won move wins, all moves lost lose. Draws too: all moves proven, the best of them a draw.
    """
    best, shortest, longest = -1, 0, 0
    node = tree.nodes[index]
    start = node["edge_start"]
    for place in range(start, start + node["edge_count"]):
        edge = tree.edges[place]
        value = edge["proven"]
        if value == UNPROVEN:
            # A later edge may still win: a win does not need every edge.
            best = UNPROVEN if best < 1 else best
            continue
        distance = tree.nodes[edge["child"]]["distance"] + 1
        if value == 1:
            shortest = distance if best < 1 else min(shortest, distance)
            best = 1
        elif best != UNPROVEN and best < 1:
            best = max(best, value)
            longest = max(longest, distance)
    if best == UNPROVEN:
        return False
    node["proven"] = best
    if best != 0:
        node["distance"] = shortest if best == 1 else longest
    return True


@internal_kernel
def wdl_of(value: Int) -> tuple[float, float, float]:
    """A known value, -1, 0 or 1, as probabilities of win, draw and loss."""
    win = 1.0 if value == 1 else 0.0
    loss = 1.0 if value == -1 else 0.0
    return win, 1.0 - win - loss, loss


@shared_kernel
def backup(
    tree: Tree, index: Int, win: float, draw: float, loss: float, proofs: bool | np.bool_
) -> None:
    """Add an evaluation of a node (from its side to move) to it and to every node above.

    With `proofs`, a proven value is passed up to every node that it proves. At a proven node, and
    above it, the proven value replaces the evaluation.
    """
    while True:
        node = tree.nodes[index]
        value = node["proven"]
        known = proofs and value != UNPROVEN
        if known:
            win, draw, loss = wdl_of(np.int64(value))
        visits = node["visits"] + 1
        node["visits"] = visits
        node["win"] += (win - node["win"]) / visits
        node["draw"] += (draw - node["draw"]) / visits
        node["loss"] += (loss - node["loss"]) / visits
        parent = node["parent"]
        if parent == NO_PARENT:
            return
        win, loss = loss, win
        edge = tree.edges[node["parent_edge"]]
        passes = edge["visits"] + 1
        edge["visits"] = passes
        edge["value"] += (win - loss - edge["value"]) / passes
        if known and edge["proven"] == UNPROVEN:
            edge["proven"] = -value
            edge["value"] = -value
            prove(tree, parent)
        index = parent


@shared_kernel
def backup_proven(tree: Tree, index: Int, proofs: bool | np.bool_) -> None:
    """Add a visit to a node whose value is proven."""
    win, draw, loss = wdl_of(np.int64(tree.nodes[index]["proven"]))
    backup(tree, index, win, draw, loss, proofs)
