"""Tree search of many games at once, with one or several leaves a game and step (see README.md).

A step is one call of `_advance`: expand and back up the leaves just evaluated, then simulate in
every game until its next leaves wait for the evaluator. Simulations that end in a finished or
proven position are backed up inside the kernel. One batch evaluates all leaves of all games.
`selection.py` chooses the moves that a simulation follows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import copy_into, internal_kernel, kernel, shared_kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.tables import MAX_MOVES, Int, Moves, Tables
from engine.rules.variant import Variant
from engine.settings import Natural, Range, Settings
from search.evaluator import Evaluator, evaluate
from search.mcts.result import SearchResult, collect, most_visited, principal_variation
from search.mcts.reuse import NO_MOVE, keep_lines, play_lines
from search.mcts.roots import Roots
from search.mcts.selection import ROOT_SCORE, BatchRootScores, RootScores, Rule, choose_edge
from search.mcts.tree import (
    EDGES_USED,
    NO_EDGE,
    NO_PARENT,
    NODES_USED,
    ROOT,
    ROUND_START,
    SIMULATIONS,
    UNVISITED,
    Hashes,
    Tree,
    Trees,
    add_child,
    add_root,
    allocate,
    backup,
    backup_proven,
    expand,
    reserve,
    tree_of,
)
from search.scores import UNPROVEN

MOST_LEAVES: Final = 255
"""An edge counts its pending simulations in one byte."""
_EDGES_A_NODE: Final = 24
"""First size of the pool of edges; it is enlarged when positions have more moves."""
_BACKED_UP: Final = 0
_BLOCKED: Final = -1
"""What a simulation returns without a leaf to evaluate: it was backed up at once, or it reached a
node that waits for its evaluation, and did not begin."""


@dataclass(frozen=True, kw_only=True)
class TreeSearchConfig(Settings):
    """What all tree searches with an evaluator share."""

    kind: ClassVar[int]
    """PUCT or GUMBEL."""

    # Simulations a game; the evaluation of the root is not counted.
    simulations: Natural = 64
    # Leaves of a tree that may wait for the evaluator at once; more than 1 makes the batches of a
    # single tree larger and each simulation a little less informed.
    leaves: Annotated[int, Range(1, MOST_LEAVES)] = 1
    # Proven wins, draws and losses are backed up and not searched again (Winands et al. 2008).
    proofs: bool = True


class Leaves(NamedTuple):
    """Up to L positions that wait for the evaluator."""

    games: npt.NDArray[np.int32]
    """[L] the game of each leaf, ascending."""
    nodes: npt.NDArray[np.int32]
    """[L] its node, ascending within a game."""
    positions: Array2D[np.uint8]
    """[L, R] its row."""
    moves: npt.NDArray[np.uint16]
    """[L * MAX_MOVES] the legal moves of all leaves, one leaf behind the other."""
    offsets: npt.NDArray[np.int64]
    """[L + 1] where each leaf's moves begin and end."""


def _make_leaves(count: int, row_size: int) -> Leaves:
    return Leaves(
        games=np.empty(count, dtype=np.int32),
        nodes=np.empty(count, dtype=np.int32),
        positions=np.empty((count, row_size), dtype=np.uint8),
        moves=np.empty(count * MAX_MOVES, dtype=np.uint16),
        offsets=np.zeros(count + 1, dtype=np.int64),
    )


@internal_kernel
def _add_leaf(tree: Tree, leaves: Leaves, index: Int, game: int, move_count: int) -> None:
    """Append the newest node as a leaf; its moves are in `leaves.moves` already."""
    node = tree.counters[NODES_USED] - 1
    leaves.games[index] = game
    leaves.nodes[index] = node
    copy_into(leaves.positions[index], tree.rows[node])
    leaves.offsets[index + 1] = leaves.offsets[index] + move_count


@kernel
def _init_roots(tables: Tables, trees: Trees, roots: Roots, leaves: Leaves) -> tuple[Int, int]:
    """Make the root of every empty tree; return the number of leaves and the edges needed."""
    pending, needed = np.int64(0), 0
    for game in range(roots.positions.shape[0]):
        tree = tree_of(trees, game)
        if tree.counters[NODES_USED] > 0:
            continue
        moves = leaves.moves[leaves.offsets[pending] :]
        history = roots.histories[game][: roots.history_lengths[game]]
        move_count = add_root(tables, tree, roots.positions[game], history, moves)
        if move_count > 0:
            _add_leaf(tree, leaves, pending, game, move_count)
            needed = max(needed, move_count)
            pending += 1
    return pending, needed


@internal_kernel
def _select(tree: Tree, rule: Rule, root_scores: RootScores, budget: Int) -> tuple[Int, int, bool]:
    """Descend to a node and its untried edge, or to a proven node (then the edge is NO_EDGE).

    The third is False where the descent ends at a node that waits for its evaluation.
    """
    index = np.int64(ROOT)
    while tree.nodes[index]["proven"] == UNPROVEN:
        if tree.nodes[index]["edge_count"] == 0:
            return index, NO_EDGE, False
        edge = choose_edge(tree, index, rule, root_scores, budget)
        child = tree.edges[edge]["child"]
        if child == UNVISITED:
            return index, edge, True
        index = np.int64(child)
    return index, NO_EDGE, True


@shared_kernel
def _simulate(
    tables: Tables,
    tree: Tree,
    history: Hashes,
    rule: Rule,
    root_scores: RootScores,
    budget: Int,
    moves: Moves,
) -> int:
    """One simulation; the number of legal moves of the leaf that waits, _BACKED_UP or _BLOCKED."""
    index, edge, free = _select(tree, rule, root_scores, budget)
    if not free:
        return _BLOCKED
    tree.counters[SIMULATIONS] += 1
    if edge != NO_EDGE:
        move_count = add_child(tables, tree, index, edge, history, moves)
        if move_count > 0:
            return move_count
        index = np.int64(tree.edges[edge]["child"])
    backup_proven(tree, index, rule.proofs)
    return _BACKED_UP


@internal_kernel
def _mark_pending(tree: Tree, index: Int, change: Int) -> None:
    """Add `change` to the pending simulations of all edges from the root to a node."""
    while tree.nodes[index]["parent"] != NO_PARENT:
        edge = tree.edges[tree.nodes[index]["parent_edge"]]
        edge["pending"] = np.int64(edge["pending"]) + change
        index = np.int64(tree.nodes[index]["parent"])


@shared_kernel
def _backup_leaf(
    tree: Tree,
    leaves: Leaves,
    place: Int,
    logits: npt.NDArray[np.float32],
    wdl: Array2D[np.float32],
    rule: Rule,
) -> None:
    """Expand and back up one evaluated leaf."""
    start, stop = leaves.offsets[place], leaves.offsets[place + 1]
    index = np.int64(leaves.nodes[place])
    expand(tree, index, leaves.moves[start:stop], logits[start:stop])
    win, draw = np.float64(wdl[place, 0]), np.float64(wdl[place, 1])
    loss = np.float64(wdl[place, 2])
    tree.nodes[index]["raw_value"] = win - loss
    if rule.leaves > 1:
        _mark_pending(tree, index, np.int64(-1))
    backup(tree, index, win, draw, loss, rule.proofs)


@kernel
def _advance(
    tables: Tables,
    trees: Trees,
    roots: Roots,
    rule: Rule,
    root_scores: BatchRootScores,
    limits: npt.NDArray[np.int32],
    evaluated: Leaves,
    evaluated_count: Int,
    logits: npt.NDArray[np.float32],
    wdl: Array2D[np.float32],
    waiting: Leaves,
) -> tuple[Int, int]:
    """Expand and back up the evaluated leaves, then simulate in every game up to its next leaves.

    Each game simulates until `rule.leaves` of its leaves wait for the evaluator, its root is
    proven, or it has begun `limits[game]` simulations. Returns the number of leaves in `waiting`
    and the edges that the largest tree needs. `root_scores` is ROOT_SCORE[B, A], empty for PUCT.
    """
    done, pending, needed = np.int64(0), np.int64(0), 0
    for game in range(limits.shape[0]):
        tree = tree_of(trees, game)
        while done < evaluated_count and evaluated.games[done] == game:
            _backup_leaf(tree, evaluated, done, logits, wdl, rule)
            done += 1
        history = roots.histories[game][: roots.history_lengths[game]]
        scores, budget = root_scores[game], np.int64(limits[game] - tree.counters[ROUND_START])
        first = pending
        while (
            pending - first < rule.leaves
            and tree.counters[SIMULATIONS] < limits[game]
            and tree.nodes[ROOT]["proven"] == UNPROVEN
        ):
            moves = waiting.moves[waiting.offsets[pending] :]
            move_count = _simulate(tables, tree, history, rule, scores, budget, moves)
            if move_count == _BLOCKED:
                break
            if move_count > 0:
                _add_leaf(tree, waiting, pending, game, move_count)
                pending += 1
                if rule.leaves > 1:
                    _mark_pending(tree, np.int64(tree.counters[NODES_USED] - 1), np.int64(1))
        new_edges = waiting.offsets[pending] - waiting.offsets[first]
        needed = max(needed, tree.counters[EDGES_USED] + new_edges)
    return pending, needed


class BatchSearch:
    """A search that can be run in parts, read in between, and stopped.

    Games do not influence each other: the search of a game depends on its position, its history and
    its place in the batch, and not on the other games.
    """

    def __init__(
        self,
        variant: Variant,
        roots: Roots,
        evaluator: Evaluator,
        config: TreeSearchConfig,
        rng: np.random.Generator,
    ) -> None:
        """Evaluate the roots and prepare them. A finished game is a root without moves."""
        self._variant = variant
        self._evaluator = evaluator
        self._config = config
        known = (name for name in Rule._fields if hasattr(config, name))
        self._rule = Rule(**{name: getattr(config, name) for name in known})
        self._rng = rng
        games, nodes = roots.positions.shape[0], config.simulations + 1
        self.trees = allocate(games, nodes, nodes * _EDGES_A_NODE, variant.row_size)
        self._make_room(games)
        self._evaluate(roots)

    def _prepare_roots(self) -> None:
        """Draw the noise of the roots, which are new."""

    def _begin(self, limits: npt.NDArray[np.int32]) -> None:
        """Prepare a run up to `limits` int32[B] simulations."""

    def _weights(self) -> npt.NDArray[np.float32] | None:
        """[B, A] what the policy is in proportion to; None for the visits."""
        return None

    def choices(self) -> npt.NDArray[np.int32]:
        """int32[B], see SearchResult."""
        return most_visited(self.trees)

    def result(self) -> SearchResult:
        """What the search knows now."""
        return collect(self.trees, self.choices(), self._weights())

    def _make_room(self, games: int) -> None:
        count = games * self._rule.leaves
        self._waiting = _make_leaves(count, self._variant.row_size)
        self._spare = _make_leaves(count, self._variant.row_size)
        self._root_scores = np.zeros((games, 0), dtype=ROOT_SCORE)

    def _evaluate(self, roots: Roots) -> None:
        """Take new roots, make and evaluate those of empty trees, and prepare all."""
        # A copy: the caller changes its arrays as the games continue.
        self.roots = Roots._make(array.copy() for array in roots)
        self._count, needed = _init_roots(
            self._variant.tables, self.trees, self.roots, self._waiting
        )
        self.trees = reserve(self.trees, edges=int(needed))
        self._step(np.zeros(len(roots.positions), dtype=np.int32))
        self._prepare_roots()

    def _step(self, limits: npt.NDArray[np.int32]) -> None:
        """Evaluate the waiting leaves and simulate up to the next ones; raises as `evaluate`."""
        waiting, count = self._waiting, self._count
        logits, wdl = np.empty(0, dtype=np.float32), np.empty((0, 3), dtype=np.float32)
        if count:
            logits, wdl = evaluate(
                self._evaluator,
                waiting.positions[:count],
                waiting.moves[: waiting.offsets[count]],
                waiting.offsets[: count + 1],
            )
        self._count, needed = _advance(
            self._variant.tables,
            self.trees,
            self.roots,
            self._rule,
            self._root_scores,
            limits,
            waiting,
            count,
            logits,
            wdl,
            self._spare,
        )
        self._waiting, self._spare = self._spare, self._waiting
        self.trees = reserve(self.trees, edges=needed)

    def run(
        self,
        simulations: int | npt.NDArray[np.integer] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        """Search until every game has begun this number of simulations at its root, in all runs.

        `simulations` is one number or [B], unless given the configuration's. `stop` is called
        before every step; once it returns True, only the waiting leaves are still evaluated.
        """
        counters = self.trees.counters
        limits = np.empty(counters.shape[0], dtype=np.int32)
        limits[:] = self._config.simulations if simulations is None else simulations
        wanted = counters[:, NODES_USED] + np.maximum(limits - counters[:, SIMULATIONS], 0)
        self.trees = reserve(self.trees, nodes=int(wanted.max(initial=0)))
        self._begin(limits)
        while True:
            if stop is not None and stop():
                limits[:] = 0
            self._step(limits)
            if self._count == 0:
                return

    def advance(
        self, moves: npt.NDArray[np.integer] | Sequence[int], roots: Roots | None = None
    ) -> None:
        """Make the positions after `moves` the roots, and keep their subtrees.

        `moves` is [B], or [B, K] for K plies at once; NO_MOVE ends a line early. `roots` are the
        new positions with their histories; without them the moves are played on the current roots
        (raises InputError for an illegal move). A game whose line is empty, or whose new position
        is not in its tree, starts with an empty tree. Noise is drawn again.
        """
        lines = np.asarray(moves, dtype=np.int64).reshape(self.trees.counters.shape[0], -1)
        if roots is None:
            roots = play_lines(self._variant.tables, self.roots, lines)
        keep_lines(self.trees, lines, roots.positions)
        self._evaluate(roots)

    def take(self, games: npt.NDArray[np.integer]) -> None:
        """Keep these games, in this order; `advance` must follow.

        -1 is the place of a game with an empty tree.
        """
        self.trees = Trees._make(array[games] for array in self.trees)
        self.trees.counters[games < 0] = 0
        self.roots = Roots._make(array[games] for array in self.roots)
        self._make_room(len(games))

    def principal_variation(self, game: int = 0) -> list[int]:
        """The best line for both sides from the root of one game."""
        return principal_variation(self.trees, game, int(self.choices()[game]))


__all__ = ["NO_MOVE", "BatchSearch", "TreeSearchConfig"]
