"""Tree search of many games at once, several leaves a game a step if wanted (see README.md).

A step is one call of `_advance`: expand and back up the leaves just judged, then let every game
simulate until it stands at the leaves that the evaluator must judge; simulations that end in a
finished or proven position are settled inside the kernel. All leaves of all games are judged in one
batch. Which move a simulation follows is the business of `selection.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import internal_kernel, kernel, shared_kernel
from engine.rules.compilation.signatures import Array2D
from engine.rules.kernels import Int
from engine.rules.tables import MAX_MOVES, Tables
from engine.rules.variant import Variant
from search.evaluator import Evaluator, judge
from search.mcts.result import SearchResult, principal_variation
from search.mcts.reuse import NO_MOVE, continued, keep_lines
from search.mcts.roots import Roots
from search.mcts.selection import MARK, Marks, RootMarks, Rule, choose_edge
from search.mcts.tree import (
    EDGES_USED,
    NO_EDGE,
    NO_PARENT,
    NODES_USED,
    ROOT,
    ROUND_START,
    SIMULATIONS,
    UNPROVEN,
    UNVISITED,
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

MOST_LEAVES: Final = 255
"""An edge counts its pending simulations in one byte."""
_EDGES_A_NODE: Final = 24
"""First guess of a pool's size; it grows when positions have more moves."""
_SETTLED: Final = 0
_BLOCKED: Final = -1
"""What a simulation returns where there is no leaf to judge: it was backed up at once, or it met a
node that is itself being judged and did not begin."""


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
    """Note the newest node, whose moves stand in place."""
    node = tree.totals[NODES_USED] - 1
    leaves.games[index] = game
    leaves.nodes[index] = node
    for place in range(tree.rows.shape[1]):
        leaves.positions[index, place] = tree.rows[node, place]
    leaves.offsets[index + 1] = leaves.offsets[index] + move_count


@kernel
def _plant(tables: Tables, trees: Trees, roots: Roots, leaves: Leaves) -> tuple[Int, int]:
    """Make the root of every empty tree; return the leaves and the largest pool that they need."""
    pending, needed = np.int64(0), 0
    for game in range(roots.positions.shape[0]):
        tree = tree_of(trees, game)
        if tree.totals[NODES_USED] > 0:
            continue
        moves = leaves.moves[leaves.offsets[pending] :]
        history, length = roots.histories[game], roots.history_lengths[game]
        move_count = add_root(tables, tree, roots.positions[game], history, length, moves)
        if move_count > 0:
            _add_leaf(tree, leaves, pending, game, move_count)
            needed = max(needed, move_count)
            pending += 1
    return pending, needed


@internal_kernel
def _descend(tree: Tree, rule: Rule, marks: RootMarks, budget: Int) -> tuple[Int, int, bool]:
    """Walk down to a node and its untried edge, or to a proven node (then the edge is NO_EDGE).

    The last is whether the way is free: it is not where it ends at a node that is being judged.
    """
    index = np.int64(ROOT)
    while tree.nodes[index]["proven"] == UNPROVEN:
        if tree.nodes[index]["edge_count"] == 0:
            return index, NO_EDGE, False
        edge = choose_edge(tree, index, rule, marks, budget)
        child = tree.edges[edge]["child"]
        if child == UNVISITED:
            return index, edge, True
        index = np.int64(child)
    return index, NO_EDGE, True


@shared_kernel
def _simulate(
    tables: Tables,
    tree: Tree,
    history: npt.NDArray[np.uint64],
    history_length: int,
    rule: Rule,
    marks: RootMarks,
    budget: Int,
    moves: npt.NDArray[np.uint16],
) -> int:
    """One simulation; the number of legal moves of the leaf that waits, _SETTLED or _BLOCKED."""
    index, edge, free = _descend(tree, rule, marks, budget)
    if not free:
        return _BLOCKED
    tree.totals[SIMULATIONS] += 1
    if edge != NO_EDGE:
        move_count = add_child(tables, tree, index, edge, history, history_length, moves)
        if move_count > 0:
            return move_count
        index = np.int64(tree.edges[edge]["child"])
    backup_proven(tree, index, rule.proofs)
    return _SETTLED


@internal_kernel
def _mark_pending(tree: Tree, index: Int, change: Int) -> None:
    """Count a simulation that waits at a node in, or out, on the whole way from the root."""
    while tree.nodes[index]["parent"] != NO_PARENT:
        edge = tree.edges[tree.nodes[index]["parent_edge"]]
        edge["pending"] = np.int64(edge["pending"]) + change
        index = np.int64(tree.nodes[index]["parent"])


@shared_kernel
def _settle(
    tree: Tree,
    judged: Leaves,
    place: Int,
    logits: npt.NDArray[np.float32],
    wdl: Array2D[np.float32],
    rule: Rule,
) -> None:
    """Expand and back up one judged leaf."""
    start, stop = judged.offsets[place], judged.offsets[place + 1]
    index = np.int64(judged.nodes[place])
    expand(tree, index, judged.moves[start:stop], logits[start:stop])
    win, draw = np.float64(wdl[place, 0]), np.float64(wdl[place, 1])
    loss = np.float64(wdl[place, 2])
    tree.nodes[index]["judged"] = win - loss
    if rule.leaves > 1:
        _mark_pending(tree, index, np.int64(-1))
    backup(tree, index, win, draw, loss, rule.proofs)


@kernel
def _advance(
    tables: Tables,
    trees: Trees,
    roots: Roots,
    rule: Rule,
    marks: Marks,
    limits: npt.NDArray[np.int32],
    judged: Leaves,
    judged_count: Int,
    logits: npt.NDArray[np.float32],
    wdl: Array2D[np.float32],
    ahead: Leaves,
) -> tuple[Int, int]:
    """Expand and back up the judged leaves, then walk every game to its next leaves.

    Each game simulates until `rule.leaves` of its leaves wait for the evaluator, it is proven, or
    has begun `limits[game]` simulations. Returns the number of leaves in `ahead` and the largest
    pool that they need. `marks` is MARK[B, A], empty for PUCT.
    """
    done, pending, needed = np.int64(0), np.int64(0), 0
    for game in range(limits.shape[0]):
        tree = tree_of(trees, game)
        while done < judged_count and judged.games[done] == game:
            _settle(tree, judged, done, logits, wdl, rule)
            done += 1
        history, history_length = roots.histories[game], roots.history_lengths[game]
        notes, budget = marks[game], np.int64(limits[game] - tree.totals[ROUND_START])
        first, move_count = pending, 0
        while (
            pending - first < rule.leaves
            and tree.totals[SIMULATIONS] < limits[game]
            and tree.nodes[ROOT]["proven"] == UNPROVEN
        ):
            moves = ahead.moves[ahead.offsets[pending] :]
            move_count = _simulate(
                tables, tree, history, history_length, rule, notes, budget, moves
            )
            if move_count == _BLOCKED:
                break
            if move_count > 0:
                _add_leaf(tree, ahead, pending, game, move_count)
                pending += 1
                if rule.leaves > 1:
                    _mark_pending(tree, np.int64(tree.totals[NODES_USED] - 1), np.int64(1))
        waiting = ahead.offsets[pending] - ahead.offsets[first]
        needed = max(needed, tree.totals[EDGES_USED] + waiting)
    return pending, needed


def _copied(roots: Roots) -> Roots:
    """Roots of our own: the caller's arrays go on with the games."""
    return Roots(roots.positions.copy(), roots.histories.copy(), roots.history_lengths.copy())


class BatchSearch(ABC):
    """A search that can be run on, looked at in between, and stopped.

    Games do not influence each other: with the same position, history and place in the batch, a
    game is searched in the same way whatever stands beside it.
    """

    def __init__(
        self,
        variant: Variant,
        roots: Roots,
        evaluator: Evaluator,
        rule: Rule,
        simulations: int,
        rng: np.random.Generator,
    ) -> None:
        """Judge the roots and prepare them. A finished game is a root without moves."""
        games = roots.positions.shape[0]
        self._variant = variant
        self._roots = _copied(roots)
        # Who judges; may be replaced between runs by one of newer weights.
        self.evaluator = evaluator
        self._rule = rule
        self._simulations = simulations
        self._rng = rng
        nodes = simulations + 1
        self.trees = allocate(games, nodes, nodes * _EDGES_A_NODE, variant.row_size)
        self._marks = np.zeros((games, 0), dtype=MARK)
        self._waiting = _make_leaves(games * rule.leaves, variant.row_size)
        self._spare = _make_leaves(games * rule.leaves, variant.row_size)
        self._count: Int = 0
        self._judge_roots()

    @abstractmethod
    def _prepare_roots(self) -> None:
        """Draw what is random at the roots; they have just been judged or become roots."""

    @abstractmethod
    def _begin(self, limits: npt.NDArray[np.int32]) -> None:
        """A run up to `limits` int32[B] simulations is about to begin."""

    @abstractmethod
    def choices(self) -> npt.NDArray[np.int32]:
        """int32[B], see SearchResult."""

    @abstractmethod
    def result(self) -> SearchResult:
        """What the search knows now."""

    def _judge_roots(self) -> None:
        """Plant the trees that are empty, have their roots judged, and prepare all roots."""
        self._count, needed = _plant(self._variant.tables, self.trees, self._roots, self._waiting)
        self.trees = reserve(self.trees, edges=needed)
        self._step(np.zeros(self._roots.positions.shape[0], dtype=np.int32))
        self._prepare_roots()

    def _step(self, limits: npt.NDArray[np.int32]) -> None:
        """Have the waiting leaves judged and walk on to the next ones; raises as `judge`."""
        waiting, count = self._waiting, self._count
        logits, wdl = np.empty(0, dtype=np.float32), np.empty((0, 3), dtype=np.float32)
        if count:
            logits, wdl = judge(
                self.evaluator,
                waiting.positions[:count],
                waiting.moves[: waiting.offsets[count]],
                waiting.offsets[: count + 1],
            )
        self._count, needed = _advance(
            self._variant.tables,
            self.trees,
            self._roots,
            self._rule,
            self._marks,
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
        """Go on until every game has begun so many simulations at its root (all of them, not more).

        `simulations` is one number or [B], the configuration's where absent. `stop` is asked before
        every step; once it says so, the leaves under way are still judged.
        """
        totals = self.trees.totals
        limits = np.empty(totals.shape[0], dtype=np.int32)
        limits[:] = self._simulations if simulations is None else simulations
        wanted = totals[:, NODES_USED] + np.maximum(limits - totals[:, SIMULATIONS], 0)
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
        """Search from the positions after `moves` next, and keep what is known below them.

        `moves` is [B], or [B, K] for K plies at once; NO_MOVE ends a line early, and a game whose
        line is empty begins afresh. `roots` are the new positions with their histories; where they
        are left out, the moves are played on the present ones (raises InputError for an illegal
        move). A game whose new position its tree does not know begins afresh. Noise is drawn anew.
        """
        lines = np.asarray(moves, dtype=np.int64).reshape(self.trees.totals.shape[0], -1)
        if roots is None:
            roots = continued(self._variant.tables, self._roots, lines)
        self._roots = _copied(roots)
        keep_lines(self.trees, lines, roots.positions)
        self._judge_roots()

    def take(self, games: npt.NDArray[np.integer]) -> None:
        """Go on with these of the games, in this order; `advance` must follow.

        -1 makes room for a game that begins afresh.
        """
        self.trees = Trees(*(array[games] for array in self.trees))
        self.trees.totals[games < 0] = 0
        self._roots = Roots(*(array[games] for array in self._roots))
        self._marks = np.zeros((len(games), 0), dtype=MARK)
        leaves = len(games) * self._rule.leaves
        self._waiting = _make_leaves(leaves, self._variant.row_size)
        self._spare = _make_leaves(leaves, self._variant.row_size)

    def simulations(self, game: int = 0) -> int:
        """Simulations begun at the present root of a game."""
        return int(self.trees.totals[game, SIMULATIONS])

    @property
    def roots(self) -> Roots:
        """What is being searched."""
        return self._roots

    def principal_variation(self, game: int = 0) -> list[int]:
        """The line that the search holds best for both sides, from the root of one game."""
        return principal_variation(self.trees, game, int(self.choices()[game]))


__all__ = ["MOST_LEAVES", "NO_MOVE", "BatchSearch", "Leaves", "Roots"]
