"""Players that need no network: random, perfect, minimax, alpha-beta, UCT."""

from dataclasses import replace

import numpy as np

from engine.player import Choice, Limits, Player, legal_moves
from engine.rules.position import Position
from search.exact.solution import Solution, UnreachablePositionError, rule_is_far
from search.limits import Deadline
from search.mcts.roots import Roots
from search.mcts.uct import UctConfig, UctSearch
from search.minimax.alphabeta import MOST_DEPTH, AlphaBetaConfig, alphabeta
from search.minimax.material import score_to_value
from search.minimax.minimax import minimax
from search.minimax.search_stack import ScoredLine
from search.players.network import searched_choice, wanted_simulations


class RandomPlayer(Player):
    """A legal move, all equally likely."""

    name = "random"
    deterministic = False

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player."""
        moves = legal_moves(position)
        move = moves[int(self._rng.integers(len(moves)))]
        return Choice(move=move, principal_variation=(move,))


class PerfectPlayer(Player):
    """The quickest win or the longest loss, at random among equally good moves."""

    name = "perfect"
    deterministic = False

    def __init__(self, solution: Solution, rng: np.random.Generator) -> None:
        self._solution = solution
        self._rng = rng

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player; raises UnreachablePositionError for a position that was not solved."""
        legal_moves(position)
        if not rule_is_far(position.variant, position.row):
            raise UnreachablePositionError(
                f"'{position.fen()}' cannot be reached from the start of {position.variant.name}"
                " at that clock, and the solution does not know the move rule"
            )
        value = self._solution.value(position.row)
        line: list[int] = []
        current = position.copy()
        while current.outcome() is None:
            best = self._solution.optimal_moves(current.row)
            line.append(int(best[0] if line else self._rng.choice(best)))
            current.push(line[-1])
        wdl = (float(value == 1), float(value == 0), float(value == -1))
        return Choice(
            move=line[0], value=float(value), wdl=wdl, principal_variation=tuple(line), nodes=1
        )


def _scored_choice(position: Position, found: ScoredLine) -> Choice:
    """The choice of a depth-first search; the first legal move where it found none in time."""
    if not found.moves:
        return Choice(move=legal_moves(position)[0], nodes=found.nodes)
    return Choice(
        move=found.moves[0],
        value=score_to_value(found.score),
        principal_variation=found.moves,
        nodes=found.nodes,
    )


class MinimaxPlayer(Player):
    """Plain minimax with material, to a fixed depth."""

    deterministic = True

    def __init__(self, depth: int) -> None:
        self.name = f"minimax:{depth}"
        self._depth = depth

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player."""
        legal_moves(position)
        limits = limits or Limits()
        with Deadline(limits) as deadline:
            depth = limits.depth or self._depth
            found = minimax(position, depth, stop=deadline.flag, node_limit=limits.nodes)
        return _scored_choice(position, found)


class AlphaBetaPlayer(Player):
    """Alpha-beta with material. Limits of nodes or time without a depth replace its own depth."""

    # Every search begins with an empty transposition table.
    deterministic = True

    def __init__(self, config: AlphaBetaConfig) -> None:
        self.name = f"alphabeta:{config.depth}"
        self._config = config

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player."""
        legal_moves(position)
        limits = limits or Limits()
        depth = self._config.depth
        if limits.depth is not None:
            depth = min(limits.depth, MOST_DEPTH)
        elif limits.nodes is not None or limits.timed:
            depth = MOST_DEPTH
        with Deadline(limits) as deadline:
            found = alphabeta(
                position,
                replace(self._config, depth=depth),
                stop=deadline.flag,
                node_limit=limits.nodes,
            )
        return _scored_choice(position, found)


class UctPlayer(Player):
    """UCT with random rollouts: the move with the most visits."""

    deterministic = False

    def __init__(self, config: UctConfig, rng: np.random.Generator) -> None:
        self.name = f"uct:{config.simulations}"
        self._config = config
        self._rng = rng

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player."""
        legal_moves(position)
        limits = limits or Limits()
        search = UctSearch(
            position.variant, Roots.from_positions([position]), self._config, self._rng
        )
        with Deadline(limits) as deadline:
            search.run(wanted_simulations(limits, self._config.simulations), deadline.flag)
        return searched_choice(search.result(), search.principal_variation())
