"""PUCT search of many games at once, one leaf a game a step (README.md has the formulae).

A step is one call of `advance`: expand and back up the leaves just judged, then let every game
simulate until it stands at a leaf that the evaluator must judge; simulations that end in a finished
or proven position are settled inside the kernel. All leaves of all games are judged in one batch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation import kernel
from engine.rules.errors import InputError
from engine.rules.kernels import Int
from engine.rules.position import Position
from engine.rules.tables import MAX_MOVES, Tables
from engine.rules.variant import Variant
from search.evaluator import Evaluator
from search.randomness import random_gamma, seed_states
from search.result import SearchResult, collect, principal_variation
from search.tree import (
    EDGES_USED,
    NO_EDGE,
    NODES_USED,
    ROOT,
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

_EDGES_A_NODE: Final = 24
"""First guess of a pool's size; it grows when positions have more moves."""


@dataclass(frozen=True, kw_only=True)
class PuctConfig:
    """How one PUCT search behaves; the numbers published are the defaults."""

    # Simulations a game; the evaluation of the root is not counted.
    simulations: int = 64
    # c(s) = c_puct + log((1 + N(s) + c_base) / c_base) (Silver et al. 2018, supplement, "Search").
    c_puct: float = 1.25
    # The same; a larger base lets exploration grow later, math.inf never.
    c_base: float = 19652.0
    # An untried move counts as Q = V(s) - reduction * sqrt(prior of the tried moves)
    # (KataGo: Wu 2019, section 2; 0.2 there).
    fpu_reduction: float = 0.2
    # The same at the root (Wu 2019: 0 where noise is on, so that noise can pick any move).
    root_fpu_reduction: float = 0.0
    # Share of Dirichlet noise in the root's priors, 0 for none (AlphaZero: 0.25 in self-play).
    noise_fraction: float = 0.0
    # Sum of the Dirichlet parameters, shared by the legal moves (KataGo: 0.03 * 19 * 19 = 10.83).
    noise_total: float = 10.83
    # Proven wins, draws and losses climb the tree and are not searched again (Winands 2008).
    proofs: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing; raises InputError."""
        if self.simulations < 0:
            raise InputError(f"simulations must be at least 0, not {self.simulations}")
        if not 0.0 <= self.noise_fraction <= 1.0:
            raise InputError(f"noise_fraction must be between 0 and 1, not {self.noise_fraction}")
        for name in ("c_puct", "c_base", "noise_total"):
            if not getattr(self, name) > 0.0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}")


class Coefficients(NamedTuple):
    """What the kernels need of a PuctConfig."""

    c_puct: float
    c_base: float
    fpu_reduction: float
    root_fpu_reduction: float
    proofs: bool


class Roots(NamedTuple):
    """B positions to search, each with the game that led to it."""

    positions: npt.NDArray[np.uint8]
    """[B, R] rows."""
    histories: npt.NDArray[np.uint64]
    """[B, H] Zobrist hashes of the earlier positions, oldest first; the root's own is not there."""
    history_lengths: npt.NDArray[np.int64]
    """[B] how many of the H count."""

    @classmethod
    def from_positions(cls, positions: Sequence[Position]) -> "Roots":
        """Roots of games in progress; the positions share one variant."""
        lengths = np.array([len(position.hashes) for position in positions], dtype=np.int64)
        histories = np.zeros((len(positions), max(1, int(lengths.max()))), dtype=np.uint64)
        for history, position in zip(histories, positions, strict=True):
            history[: len(position.hashes)] = position.hashes
        return cls(np.stack([position.row for position in positions]), histories, lengths)


class Leaves(NamedTuple):
    """Up to B positions that wait for the evaluator, one of a game at most."""

    games: npt.NDArray[np.int32]
    """[B] the game of each leaf, ascending."""
    nodes: npt.NDArray[np.int32]
    """[B] its node."""
    positions: npt.NDArray[np.uint8]
    """[B, R] its row."""
    moves: npt.NDArray[np.uint16]
    """[B * MAX_MOVES] the legal moves of all leaves, one leaf behind the other."""
    offsets: npt.NDArray[np.int64]
    """[B + 1] where each leaf's moves begin and end."""


def _make_leaves(games: int, row_size: int) -> Leaves:
    return Leaves(
        games=np.empty(games, dtype=np.int32),
        nodes=np.empty(games, dtype=np.int32),
        positions=np.empty((games, row_size), dtype=np.uint8),
        moves=np.empty(games * MAX_MOVES, dtype=np.uint16),
        offsets=np.zeros(games + 1, dtype=np.int64),
    )


@kernel
def _add_leaf(tree: Tree, leaves: Leaves, index: Int, game: int, move_count: int) -> int:
    """Note the newest node, whose moves stand in place; return the edges its tree will hold."""
    node = tree.totals[NODES_USED] - 1
    leaves.games[index] = game
    leaves.nodes[index] = node
    for place in range(tree.rows.shape[1]):
        leaves.positions[index, place] = tree.rows[node, place]
    leaves.offsets[index + 1] = leaves.offsets[index] + move_count
    needed: int = tree.totals[EDGES_USED] + move_count
    return needed


@kernel
def _plant(
    tables: Tables, trees: Trees, positions: npt.NDArray[np.uint8], leaves: Leaves
) -> tuple[Int, int]:
    """Make the root nodes; return the number of leaves and the largest pool that they need."""
    pending, needed = np.int64(0), 0
    for game in range(positions.shape[0]):
        tree = tree_of(trees, game)
        moves = leaves.moves[leaves.offsets[pending] :]
        move_count = add_root(tables, tree, positions[game], moves)
        if move_count > 0:
            needed = max(needed, _add_leaf(tree, leaves, pending, game, move_count))
            pending += 1
    return pending, needed


@kernel
def _choose_edge(tree: Tree, index: Int, coefficients: Coefficients) -> int:
    """The edge of the highest Q + U; proven losses are passed over, ties go to the first edge.

    U = c(s) * P(s, a) * sqrt(N(s)) / (1 + N(s, a)). All untried edges share one Q, so that only
    the one of the highest prior competes.
    """
    node = tree.nodes[index]
    visits = node["visits"]
    growth = math.log((1.0 + visits + coefficients.c_base) / coefficients.c_base)
    scale = np.float32((coefficients.c_puct + growth) * math.sqrt(visits))
    best, best_score = NO_EDGE, np.float32(-math.inf)
    untried, untried_prior, tried_prior = NO_EDGE, np.float32(-1.0), np.float32(0.0)
    start = node["edge_start"]
    for place in range(start, start + node["edge_count"]):
        edge = tree.edges[place]
        prior, passes = edge["prior"], edge["visits"]
        if passes == 0:
            if prior > untried_prior:
                untried, untried_prior = place, prior
            continue
        tried_prior += prior
        if edge["proven"] == -1:
            continue
        score = edge["value"] + scale * prior / np.float32(1 + passes)
        if score > best_score:
            best, best_score = place, score
    if untried != NO_EDGE:
        at_root = index == ROOT
        reduction = coefficients.root_fpu_reduction if at_root else coefficients.fpu_reduction
        first_play = max(-1.0, node["win"] - node["loss"] - reduction * math.sqrt(tried_prior))
        if first_play + scale * untried_prior > best_score:
            best = untried
    return best


@kernel
def _descend(tree: Tree, coefficients: Coefficients) -> tuple[Int, int]:
    """Walk down to a node and its untried edge, or to a proven node (then the edge is NO_EDGE)."""
    index = np.int64(ROOT)
    while tree.nodes[index]["proven"] == UNPROVEN:
        edge = _choose_edge(tree, index, coefficients)
        child = tree.edges[edge]["child"]
        if child == UNVISITED:
            return index, edge
        index = child
    return index, NO_EDGE


@kernel
def _simulate(
    tables: Tables,
    tree: Tree,
    history: npt.NDArray[np.uint64],
    history_length: int,
    coefficients: Coefficients,
    moves: npt.NDArray[np.uint16],
) -> int:
    """One simulation; the number of legal moves of the leaf that waits, 0 if it is settled."""
    tree.totals[SIMULATIONS] += 1
    index, edge = _descend(tree, coefficients)
    if edge != NO_EDGE:
        move_count = add_child(tables, tree, index, edge, history, history_length, moves)
        if move_count > 0:
            return move_count
        index = tree.edges[edge]["child"]
    backup_proven(tree, index, coefficients.proofs)
    return 0


@kernel
def _advance(
    tables: Tables,
    trees: Trees,
    roots: Roots,
    coefficients: Coefficients,
    limits: npt.NDArray[np.int32],
    judged: Leaves,
    judged_count: Int,
    logits: npt.NDArray[np.float32],
    wdl: npt.NDArray[np.float32],
    ahead: Leaves,
) -> tuple[Int, int]:
    """Expand and back up the judged leaves, then walk every game to its next leaf.

    Each game simulates until it waits for the evaluator, is proven, or has begun `limits[game]`
    simulations. Returns the number of leaves in `ahead` and the largest pool that they need.
    """
    done, pending, needed = 0, np.int64(0), 0
    for game in range(limits.shape[0]):
        tree = tree_of(trees, game)
        if done < judged_count and judged.games[done] == game:
            start, stop = judged.offsets[done], judged.offsets[done + 1]
            index = np.int64(judged.nodes[done])
            expand(tree, index, judged.moves[start:stop], logits[start:stop])
            win, draw = np.float64(wdl[done, 0]), np.float64(wdl[done, 1])
            loss = np.float64(wdl[done, 2])
            backup(tree, index, win, draw, loss, coefficients.proofs)
            done += 1
        history, history_length = roots.histories[game], roots.history_lengths[game]
        moves = ahead.moves[ahead.offsets[pending] :]
        move_count = 0
        while (
            move_count == 0
            and tree.totals[SIMULATIONS] < limits[game]
            and tree.nodes[ROOT]["proven"] == UNPROVEN
        ):
            move_count = _simulate(tables, tree, history, history_length, coefficients, moves)
        if move_count > 0:
            needed = max(needed, _add_leaf(tree, ahead, pending, game, move_count))
            pending += 1
    return pending, needed


@kernel
def _mix_noise(trees: Trees, states: npt.NDArray[np.uint64], fraction: float, total: float) -> None:
    """Mix Dirichlet(total / moves) noise into the priors of every root."""
    for game in range(states.shape[0]):
        count = trees.nodes[game, ROOT]["edge_count"]
        noise = np.empty(count, np.float64)
        mass = 0.0
        for edge in range(count):
            noise[edge] = random_gamma(states[game], total / count)
            mass += noise[edge]
        if mass > 0.0:
            for edge in range(count):
                prior = trees.edges[game, edge]["prior"]
                trees.edges[game, edge]["prior"] = prior + fraction * (noise[edge] / mass - prior)


class PuctSearch:
    """A search that can be run on, looked at in between, and stopped.

    Games do not influence each other: with the same position, history and place in the batch, a
    game is searched in the same way whatever stands beside it.
    """

    def __init__(
        self,
        variant: Variant,
        roots: Roots,
        evaluator: Evaluator,
        config: PuctConfig,
        rng: np.random.Generator,
    ) -> None:
        """Judge the roots and mix in the noise. A finished game is a root without moves."""
        games = roots.positions.shape[0]
        self._tables = variant.tables
        self._roots = roots
        self._evaluator = evaluator
        self._config = config
        self._coefficients = Coefficients(
            config.c_puct,
            config.c_base,
            config.fpu_reduction,
            config.root_fpu_reduction,
            config.proofs,
        )
        nodes = config.simulations + 1
        self.trees = allocate(games, nodes, nodes * _EDGES_A_NODE, variant.row_size)
        self._waiting = _make_leaves(games, variant.row_size)
        self._spare = _make_leaves(games, variant.row_size)
        self._count, needed = _plant(self._tables, self.trees, roots.positions, self._waiting)
        self.trees = reserve(self.trees, edges=needed)
        self._step(np.zeros(games, dtype=np.int32))
        if config.noise_fraction > 0.0:
            states = seed_states(rng, games)
            _mix_noise(self.trees, states, config.noise_fraction, config.noise_total)

    def _step(self, limits: npt.NDArray[np.int32]) -> None:
        """Have the waiting leaves judged and walk on to the next ones."""
        waiting, count = self._waiting, self._count
        logits, wdl = np.empty(0, dtype=np.float32), np.empty((0, 3), dtype=np.float32)
        if count:
            evaluation = self._evaluator.evaluate(
                waiting.positions[:count],
                waiting.moves[: waiting.offsets[count]],
                waiting.offsets[: count + 1],
            )
            logits = np.ascontiguousarray(evaluation.logits, dtype=np.float32)
            wdl = np.ascontiguousarray(evaluation.wdl, dtype=np.float32)
        self._count, needed = _advance(
            self._tables,
            self.trees,
            self._roots,
            self._coefficients,
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
        """Go on until every game has begun so many simulations (all of them, not more).

        `simulations` is one number or [B], the configuration's where absent. `stop` is asked before
        every step; once it says so, the leaves under way are still judged.
        """
        wanted = self._config.simulations if simulations is None else simulations
        limits = np.empty(self.trees.totals.shape[0], dtype=np.int32)
        limits[:] = wanted
        self.trees = reserve(self.trees, nodes=int(limits.max(initial=0)) + 1)
        while True:
            if stop is not None and stop():
                limits[:] = 0
            self._step(limits)
            if self._count == 0:
                return

    def result(self) -> SearchResult:
        """What the search knows now."""
        return collect(self.trees)

    def principal_variation(self, game: int = 0) -> list[int]:
        """The line that the search holds best for both sides, from the root of one game."""
        return principal_variation(self.trees, game)


def puct_search(
    variant: Variant,
    roots: Roots,
    evaluator: Evaluator,
    config: PuctConfig,
    rng: np.random.Generator,
    simulations: npt.NDArray[np.integer] | None = None,
) -> SearchResult:
    """Search B games; `simulations` int[B] replaces the configuration's number game by game.

    The same generator state gives the same result; a game takes its noise by its place in the
    batch, not by what stands beside it. Raises what the evaluator raises.
    """
    search = PuctSearch(variant, roots, evaluator, config, rng)
    search.run(simulations)
    return search.result()


__all__ = ["PuctConfig", "PuctSearch", "Roots", "SearchResult", "puct_search"]
