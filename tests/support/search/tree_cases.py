"""What the tests of the tree searches share: openings, planted values, comparisons."""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.rules.position import Position
from engine.rules.variant import get_variant
from search.evaluator import Evaluation
from search.mcts.batch import BatchSearch
from search.mcts.result import SearchResult
from search.mcts.tree import NO_PARENT, NODES_USED, ROOT, Trees
from search.scores import UNPROVEN
from tests.support.search.search_cases import Moves, Offsets, Rows, play_out

WINS_IN_ONE: Final = [
    ("gardner", "4k/5/3QK/5/5 w - - 0 1"),
    ("gardner", "5/5/3qk/5/4K b - - 0 1"),
    ("chess", "6k1/5ppp/8/8/8/8/8/R5K1 w - - 0 1"),
    ("breakthrough5", "5/1P3/5/p4/5 w - - 0 1"),
]


def generator(seed: int = 1) -> np.random.Generator:
    """A new random generator."""
    return np.random.default_rng(seed)


def openings(name: str, count: int) -> list[Position]:
    """Positions after 0, 1, 2 ... random plies."""
    rng = generator(7)
    return [play_out(Position(get_variant(name)), rng, plies) for plies in range(count)]


def assert_same(one: SearchResult, other: SearchResult) -> None:
    """Equal in every bit."""
    for name in vars(one):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


class PlantedBandit:
    """Every move of the root has one true value, and all that comes after it keeps that value.

    Positions alone do not tell by which move of the root they were reached, so this evaluator looks
    into the trees: the newest node of each tree that waits is the one that is asked about.
    """

    def __init__(self, logits: npt.NDArray[np.floating], values: npt.NDArray[np.floating]) -> None:
        """Logits and true values [A] of the moves, values in [-1, 1] and from the root's side."""
        self._logits = np.asarray(logits, dtype=np.float32)
        self._values = np.asarray(values, dtype=np.float64)
        self._trees: Callable[[], Trees] | None = None

    @property
    def priors(self) -> npt.NDArray[np.float64]:
        """[A], the softmax of the logits."""
        weights = np.exp(self._logits.astype(np.float64) - self._logits.max())
        priors: npt.NDArray[np.float64] = weights / weights.sum()
        return priors

    @property
    def root_value(self) -> float:
        """The expected value of the priors."""
        return float(self.priors @ self._values)

    def watch(self, search: BatchSearch) -> None:
        """Look into the trees of this search, whose roots have been evaluated, from now on."""
        self._trees = lambda: search.trees

    def forget(self) -> None:
        """The next search is a new one."""
        self._trees = None

    def _value_of(self, trees: Trees, game: int) -> float:
        """The value for the side to move in the newest node of a tree."""
        node, depth, edge = int(trees.counters[game, NODES_USED]) - 1, 0, 0
        while trees.nodes[game, node]["parent"] != NO_PARENT:
            edge = int(trees.nodes[game, node]["parent_edge"])
            node = int(trees.nodes[game, node]["parent"])
            depth += 1
        assert node == ROOT
        return float(self._values[edge]) * (-1 if depth % 2 else 1)

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See Evaluator."""
        if self._trees is None:
            values = np.full(len(positions), self.root_value)
            logits = np.tile(self._logits, len(positions))
        else:
            trees = self._trees()
            newest = trees.nodes[np.arange(len(trees.counters)), trees.counters[:, NODES_USED] - 1]
            waits = (newest["visits"] == 0) & (newest["proven"] == UNPROVEN)
            assert waits.sum() == len(positions)
            values = np.array(
                [self._value_of(trees, game) for game in np.flatnonzero(waits).tolist()]
            )
            logits = np.zeros(len(moves), dtype=np.float32)
        wdl = np.stack([(1 + values) / 2, np.zeros_like(values), (1 - values) / 2], axis=1)
        return Evaluation(logits, wdl.astype(np.float32))


class FromTable:
    """Judges a few positions of one game as a table says, and knows no others."""

    def __init__(self, start: Position) -> None:
        """Lines begin at this position."""
        self._start = start
        self._table: dict[bytes, tuple[list[float], float]] = {}

    def add(self, line: str, priors: dict[str, float], value: float) -> None:
        """What stands after the moves of `line`: priors by move (all 1 if empty), and the value."""
        position = self._start.copy()
        for text in line.split():
            position.push_uci(text)
        moves = [position.uci(move) for move in position.legal_moves]
        shares = [priors[move] if priors else 1.0 for move in moves]
        self._table[position.row.tobytes()] = (shares, value)

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See Evaluator."""
        logits: list[float] = []
        wdl = []
        for row in positions:
            priors, value = self._table[row.tobytes()]
            logits += np.log(priors).tolist()
            wdl.append(((1 + value) / 2, 0.0, (1 - value) / 2))
        return Evaluation(np.array(logits, dtype=np.float32), np.array(wdl, dtype=np.float32))
