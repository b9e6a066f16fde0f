"""OpenSpiel's Python MCTS, the one of its AlphaZero, on 5x5 Breakthrough without a network.

Run by the environment that has it; prints a JSON object a row. OpenSpiel knows no Gardner chess.
"""

import json
import time
from typing import Any

import numpy as np
import pyspiel
from open_spiel.python.algorithms import mcts

SIMULATIONS, MOVES, REPEATS = 64, 4, 5


class Uniform(mcts.Evaluator):  # type: ignore[misc]
    """Knows nothing: the tree alone is measured."""

    def evaluate(self, state: Any) -> np.ndarray:
        """A draw."""
        return np.zeros(2)

    def prior(self, state: Any) -> list[tuple[int, float]]:
        """All moves alike."""
        actions = state.legal_actions()
        return [(action, 1.0 / len(actions)) for action in actions]


def main() -> None:
    """Measure the first moves of a game; proofs are off, since they would end searches early."""
    game = pyspiel.load_game("breakthrough(rows=5,columns=5)")
    bot = mcts.MCTSBot(
        game,
        1.5,
        SIMULATIONS,
        Uniform(),
        solve=False,
        child_selection_fn=mcts.SearchNode.puct_value,
    )
    rates = []
    for _ in range(REPEATS):
        state = game.new_initial_state()
        begun = time.perf_counter()
        for _ in range(MOVES):
            state.apply_action(bot.step(state))
        rates.append(MOVES * SIMULATIONS / (time.perf_counter() - begun))
    name = "peers/breakthrough5/open-spiel/uniform"
    print(json.dumps({"name": name, "unit": "simulations/s", "rates": rates}))


if __name__ == "__main__":
    main()
