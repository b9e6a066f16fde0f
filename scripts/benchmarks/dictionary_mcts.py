"""What one writes first: nodes in dictionaries, one game, the network asked for one position.

Started by `bench` as a process of its own; prints a JSON object a row.
"""

import json
import math
import time
from dataclasses import dataclass, field

import numpy as np

from engine.rules.position import Position
from engine.rules.variant import get_variant
from scripts.benchmarks.network import GAME, network_evaluator, single_thread
from scripts.benchmarks.rows import SIMULATIONS
from search.evaluator import Evaluator, UniformEvaluator

_MOVES, _REPEATS = 2, 3


@dataclass
class Node:
    """A position of the tree."""

    prior: float
    visits: int = 0
    total: float = 0.0
    children: dict[int, "Node"] = field(default_factory=dict)


def search(position: Position, evaluator: Evaluator, simulations: int) -> int:
    """The most visited move after so many simulations of PUCT."""
    root = Node(1.0)
    expand(root, position, evaluator)
    for _ in range(simulations):
        node, walk, path = root, position.copy(), [root]
        while node.children:
            move, node = choose(node)
            walk.push(move)
            path.append(node)
        outcome = walk.outcome()
        if outcome is None:
            value = expand(node, walk, evaluator)
        else:
            value = 0.0 if outcome.winner is None else -1.0
        for seen in reversed(path):
            value = -value
            seen.visits += 1
            seen.total += value
    return max(root.children, key=lambda move: root.children[move].visits)


def choose(node: Node) -> tuple[int, Node]:
    """The move of the highest upper bound."""
    scale = 1.5 * math.sqrt(node.visits + 1)

    def score(child: Node) -> float:
        mean = child.total / child.visits if child.visits else 0.0
        return mean + scale * child.prior / (1 + child.visits)

    return max(node.children.items(), key=lambda item: score(item[1]))


def expand(node: Node, position: Position, evaluator: Evaluator) -> float:
    """Give the node its children; the value for the side to move."""
    moves = np.array(position.legal_moves, dtype=np.uint16)
    offsets = np.array([0, len(moves)], dtype=np.int64)
    logits, wdl = _judge(evaluator, position.row[None], moves, offsets)
    weights = np.exp(logits - logits.max())
    for move, prior in zip(moves, weights / weights.sum(), strict=True):
        node.children[int(move)] = Node(float(prior))
    return float(wdl[0, 0] - wdl[0, 2])


def _judge(
    evaluator: Evaluator, row: np.ndarray, moves: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    judgement = evaluator.evaluate(row, moves, offsets)
    return judgement.logits, judgement.wdl


def main() -> None:
    """Measure the first moves of a game, with a network and without."""
    single_thread()
    evaluators: dict[str, Evaluator] = {
        "transformer-4x64": network_evaluator("transformer-4x64", "fp32", "torch", 1),
        "uniform": UniformEvaluator(),
    }
    for name, evaluator in evaluators.items():
        rates = []
        for _ in range(_REPEATS):
            position = Position(get_variant(GAME))
            begun = time.perf_counter()
            for _ in range(_MOVES):
                position.push(search(position, evaluator, SIMULATIONS))
            rates.append(_MOVES * SIMULATIONS / (time.perf_counter() - begun))
        label = f"peers/{GAME}/dictionary-mcts/{name}"
        print(json.dumps({"name": label, "unit": "simulations/s", "rates": rates}))


if __name__ == "__main__":
    main()
