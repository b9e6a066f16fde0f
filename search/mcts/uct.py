"""UCT with random rollouts, as in the textbook.

Kocsis and Szepesvari 2006, "Bandit based Monte-Carlo Planning"; one node is added to the tree a
simulation, as in Coulom 2006.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.rules.compilation.decorators import copy_into, internal_kernel, kernel
from engine.rules.kernels import apply, generate
from engine.rules.outcome import ONGOING, terminal_value, termination
from engine.rules.tables import MAX_MOVES, Int, Moves, Row, Rows, Tables
from engine.rules.variant import Variant
from engine.settings import Count, Natural, NonNegative, Settings
from engine.system.interrupts import StopFlag, interruptible
from search.mcts.result import SearchResult, collect, most_visited, principal_variation
from search.mcts.roots import Roots
from search.mcts.tree import (
    EDGES_USED,
    NO_EDGE,
    NODES_USED,
    ROOT,
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
    wdl_of,
)
from search.randomness import States, random_below, seed_states
from search.scores import UNPROVEN

_UCB1: Final = math.sqrt(0.5)
"""The C_p with which UCT is UCB1 (Browne et al. 2012, section 3.3)."""


@dataclass(frozen=True, kw_only=True)
class UctConfig(Settings):
    """How one UCT search behaves."""

    # Simulations, each one a rollout or a visit to the end of the game.
    simulations: Count = 1000
    # C_p for rewards in [0, 1].
    exploration: NonNegative = _UCB1
    # Plies after which a rollout counts as a draw. Rollouts do not detect repetitions: the move
    # rule ends them.
    longest_rollout: Natural = 512


@kernel
def _choose_edge(tree: Tree, index: Int, exploration: float, state: States) -> int:
    """UCB1: any untried edge first, then the highest mean plus 2 C_p sqrt(ln N(s) / N(s, a)).

    Values lie in [-1, 1] and not in [0, 1], so that the second term counts twice.
    """
    node = tree.nodes[index]
    start, stop = node["edge_start"], node["edge_start"] + node["edge_count"]
    untried = np.int64(0)
    for place in range(start, stop):
        untried += tree.edges[place]["child"] == UNVISITED
    if untried > 0:
        skip = random_below(state, untried)
        for place in range(start, stop):
            if tree.edges[place]["child"] == UNVISITED:
                if skip == 0:
                    return place
                skip -= 1
    best: int = NO_EDGE
    best_score = -math.inf
    width = 4.0 * exploration * math.sqrt(math.log(node["visits"]))
    for place in range(start, stop):
        edge = tree.edges[place]
        score = edge["value"] + width / math.sqrt(edge["visits"])
        if score > best_score:
            best, best_score = place, score
    return best if best != NO_EDGE else start


@internal_kernel
def _rollout(
    tables: Tables, position: Row, longest: int, state: States, rows: Rows, moves: Moves
) -> int:
    """Play random moves to the end; the value for the side to move at first. `rows` is [2, R]."""
    copy_into(rows[0], position)
    for ply in range(longest):
        row = rows[ply & 1]
        count = generate(tables, row, moves)
        reason = termination(tables, row, count)
        if reason != ONGOING:
            value: int = terminal_value(tables, reason, row)
            return -value if ply & 1 else value
        apply(tables, row, np.int64(moves[random_below(state, count)]), rows[1 - (ply & 1)])
    return 0


@internal_kernel
def _simulate(
    tables: Tables,
    tree: Tree,
    history: Hashes,
    exploration: float,
    longest_rollout: int,
    state: States,
    moves: Moves,
    rows: Rows,
) -> None:
    """One simulation: select, expand, roll out, back up."""
    tree.counters[SIMULATIONS] += 1
    proofs = np.bool_(False)
    index, child = np.int64(ROOT), np.int64(ROOT)
    edge: Int = np.int64(NO_EDGE)
    while child != UNVISITED and tree.nodes[child]["proven"] == UNPROVEN:
        index = child
        edge = _choose_edge(tree, index, exploration, state)
        child = np.int64(tree.edges[edge]["child"])
    if child == UNVISITED:
        count = add_child(tables, tree, index, edge, history, moves)
        child = np.int64(tree.edges[edge]["child"])
        if count > 0:
            expand(tree, child, moves[:count], np.zeros(count, np.float32))
            value = _rollout(tables, tree.rows[child], longest_rollout, state, rows, moves)
            win, draw, loss = wdl_of(value)
            backup(tree, child, win, draw, loss, proofs)
            return
    backup_proven(tree, child, proofs)


@kernel
def _simulate_until(
    tables: Tables,
    trees: Trees,
    roots: Roots,
    limit: int,
    exploration: float,
    longest_rollout: int,
    state: States,
    stop: StopFlag,
) -> bool:
    """Simulate up to the limit or the stop; False where more room for edges is needed first."""
    tree = tree_of(trees, np.int64(0))
    history = roots.histories[0][: roots.history_lengths[0]]
    moves = np.empty(MAX_MOVES, np.uint16)
    rows = np.empty((2, tree.rows.shape[1]), np.uint8)
    if tree.counters[NODES_USED] == 0:
        count = add_root(tables, tree, roots.positions[0], history, moves)
        if count > 0:
            expand(tree, np.int64(ROOT), moves[:count], np.zeros(count, np.float32))
    while (
        tree.counters[SIMULATIONS] < limit
        and tree.nodes[ROOT]["proven"] == UNPROVEN
        and stop[0] == 0
    ):
        if tree.counters[EDGES_USED] + MAX_MOVES > tree.edges.shape[0]:
            return False
        _simulate(tables, tree, history, exploration, longest_rollout, state, moves, rows)
    return True


class UctSearch:
    """A UCT search of one position, which can be run in parts and stopped."""

    def __init__(
        self, variant: Variant, root: Roots, config: UctConfig, rng: np.random.Generator
    ) -> None:
        """`root` holds one position."""
        self._tables = variant.tables
        self._root = root
        self._config = config
        self._state = seed_states(rng, 1)[0]
        self.trees = allocate(1, config.simulations + 1, 2 * MAX_MOVES, variant.row_size)

    def run(self, simulations: int | None = None, stop: StopFlag | None = None) -> None:
        """Run up to this number of simulations in all, unless given the configuration's."""
        limit = self._config.simulations if simulations is None else simulations
        self.trees = reserve(self.trees, nodes=limit + 1)
        with interruptible(stop) as flag:
            while not _simulate_until(
                self._tables,
                self.trees,
                self._root,
                limit,
                self._config.exploration,
                self._config.longest_rollout,
                self._state,
                flag,
            ):
                self.trees = reserve(self.trees, edges=2 * self.trees.edges.shape[1])

    def result(self) -> SearchResult:
        """Visit counts and values; the policy is the share of visits."""
        return collect(self.trees, most_visited(self.trees))

    def principal_variation(self) -> list[int]:
        """The line of the most visits."""
        return principal_variation(self.trees, 0, int(most_visited(self.trees)[0]))
