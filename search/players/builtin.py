"""All players, and how a person writes them."""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engine.player import Choice, Limits, Player, legal_moves
from engine.rules.errors import InputError
from engine.rules.kernels import generate_batch
from engine.rules.position import Position
from engine.rules.variant import Variant
from search.evaluator import Evaluator, evaluate
from search.exact.solution import Solution, UnreachablePositionError, rule_is_far
from search.limits import Deadline
from search.mcts.gumbel import GumbelConfig
from search.mcts.puct import PuctConfig
from search.mcts.roots import Roots
from search.mcts.uct import UctConfig, UctSearch
from search.minimax.alphabeta import MOST_DEPTH, AlphaBetaConfig, alphabeta
from search.minimax.material import score_to_value
from search.minimax.minimax import minimax
from search.minimax.search_stack import ScoredLine
from search.players.external import ExternalPlayer
from search.players.language import LanguagePlayer, MovePredictor
from search.players.network import (
    MOST_SIMULATIONS,
    GumbelPlayer,
    MctsPlayer,
    leaves_alone,
    searched_choice,
    wanted_simulations,
)


class RandomPlayer(Player):
    """Any legal move, all alike."""

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
    """The quickest win or the longest loss, at random among moves that are equally good."""

    name = "perfect"
    deterministic = False

    def __init__(self, solution: Solution, rng: np.random.Generator) -> None:
        self._solution = solution
        self._rng = rng

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player; raises UnreachablePositionError for what was not solved."""
        legal_moves(position)
        if not rule_is_far(position.variant, position.row):
            raise UnreachablePositionError(
                f"'{position.fen()}' cannot be reached from the start of {position.variant.name}"
                " at that clock, and the solution does not know the move rule"
            )
        value = self._solution.value(position.row)
        line: list[int] = []
        walk = position.copy()
        while walk.outcome() is None:
            best = self._solution.optimal_moves(walk.row)
            line.append(int(best[0] if line else self._rng.choice(best)))
            walk.push(line[-1])
        wdl = (float(value == 1), float(value == 0), float(value == -1))
        return Choice(
            move=line[0], value=float(value), wdl=wdl, principal_variation=tuple(line), nodes=1
        )


def _scored_choice(position: Position, found: ScoredLine) -> Choice:
    """The choice of a depth-first search; the first legal move where it had no time for one."""
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
    """Alpha-beta with material; limits of nodes or time alone let it go deeper than its depth."""

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
    """UCT with random rollouts: the move of the most visits."""

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


class PolicyPlayer(Player):
    """The raw evaluator: the move of the largest logit, no search."""

    name = "policy"
    deterministic = True

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def choose(self, position: Position, limits: Limits | None = None) -> Choice:
        """See Player; raises what the evaluator raises."""
        legal_moves(position)
        return self.choose_batch([position])[0]

    def choose_batch(self, positions: Sequence[Position]) -> list[Choice]:
        """As `choose`, for positions of one variant from games that are not over, all at once."""
        rows = np.stack([position.row for position in positions])
        moves, offsets = generate_batch(positions[0].variant.tables, rows)
        evaluation = evaluate(self._evaluator, rows, moves, offsets)
        choices = []
        for game, (start, stop) in enumerate(itertools.pairwise(offsets.tolist())):
            move = int(moves[start + np.argmax(evaluation.logits[start:stop])])
            win, draw, loss = (float(part) for part in evaluation.wdl[game])
            choices.append(
                Choice(
                    move=move,
                    value=win - loss,
                    wdl=(win, draw, loss),
                    principal_variation=(move,),
                    nodes=1,
                )
            )
        return choices


LoadEvaluator = Callable[[str | None, Variant], Evaluator]
"""From a checkpoint's file or run directory (None: the shipped one) and the variant."""
LoadSolution = Callable[[Variant], Solution]
LoadLanguage = Callable[[str | None, Variant], MovePredictor]
"""As LoadEvaluator, for move language models."""

PLAYER_FORMS: Final = (
    "random",
    "perfect",
    "minimax:DEPTH",
    "alphabeta:DEPTH",
    "uct:SIMULATIONS",
    "mcts:SIMULATIONS[:CHECKPOINT]",
    "gumbel:SIMULATIONS[:CHECKPOINT]",
    "policy[:CHECKPOINT]",
    "language[:CHECKPOINT]",
    "uci:COMMAND[:nodes=N|movetime=MS]",
)
_DETERMINISTIC: Final = ("minimax", "alphabeta", "mcts", "gumbel", "policy", "language")
"""Forms whose players `make_player` makes without chance: the searches of networks have no noise
there."""
_NUMBER: Final = re.compile(r"[1-9]\d{0,8}")


@dataclass(frozen=True)
class _Makers:
    """The builders of players that `make_player` chooses from, for one request."""

    spec: str
    variant: Variant
    rng: np.random.Generator
    load_evaluator: LoadEvaluator | None
    load_solution: LoadSolution | None
    load_language: LoadLanguage | None

    def error(self, reason: str) -> InputError:
        forms = ", ".join(PLAYER_FORMS)
        return InputError(f"player '{self.spec}': {reason}; a player is one of {forms}")

    def number(self, text: str, what: str, most: int) -> int:
        if not _NUMBER.fullmatch(text) or int(text) > most:
            raise self.error(f"{what} must be a whole number from 1 to {most}, not '{text}'")
        return int(text)

    def evaluator(self, checkpoint: str) -> Evaluator:
        if self.load_evaluator is None:
            raise self.error("no network can be loaded here")
        return self.load_evaluator(checkpoint or None, self.variant)

    def random(self, rest: str) -> Player:
        if rest:
            raise self.error(f"'{rest}' is too much")
        return RandomPlayer(self.rng)

    def perfect(self, rest: str) -> Player:
        if rest:
            raise self.error(f"'{rest}' is too much")
        if self.load_solution is None:
            raise self.error("no solution can be loaded here")
        return PerfectPlayer(self.load_solution(self.variant), self.rng)

    def minimax(self, rest: str) -> Player:
        return MinimaxPlayer(self.number(rest, "the depth", MOST_DEPTH))

    def alphabeta(self, rest: str) -> Player:
        depth = self.number(rest, "the depth", MOST_DEPTH)
        return AlphaBetaPlayer(AlphaBetaConfig(depth=depth))

    def uct(self, rest: str) -> Player:
        simulations = self.number(rest, "the number of simulations", MOST_SIMULATIONS)
        return UctPlayer(UctConfig(simulations=simulations), self.rng)

    def mcts(self, rest: str) -> Player:
        text, _, checkpoint = rest.partition(":")
        simulations = self.number(text, "the number of simulations", MOST_SIMULATIONS)
        config = PuctConfig(simulations=simulations, leaves=leaves_alone(simulations))
        return MctsPlayer(self.evaluator(checkpoint), config, self.rng)

    def gumbel(self, rest: str) -> Player:
        text, _, checkpoint = rest.partition(":")
        simulations = self.number(text, "the number of simulations", MOST_SIMULATIONS)
        # Without noise: a player plays the best that it finds.
        config = GumbelConfig(
            simulations=simulations, gumbel_scale=0.0, leaves=leaves_alone(simulations)
        )
        return GumbelPlayer(self.evaluator(checkpoint), config, self.rng)

    def policy(self, rest: str) -> Player:
        return PolicyPlayer(self.evaluator(rest))

    def language(self, rest: str) -> Player:
        if self.load_language is None:
            raise self.error("no language model can be loaded here")
        return LanguagePlayer(self.load_language(rest or None, self.variant))

    def uci(self, rest: str) -> Player:
        match = re.fullmatch(r"(.+?)(?::(nodes|movetime)=(\d+))?", rest)
        if match is None:
            raise self.error("the command is missing")
        command, unit, text = match.groups()
        if unit is None:
            return ExternalPlayer(command, self.variant)
        number = self.number(text, unit, 10**9)
        if unit == "nodes":
            return ExternalPlayer(command, self.variant, Limits(nodes=number))
        return ExternalPlayer(command, self.variant, Limits(movetime=number / 1000))


def is_deterministic(name: str) -> bool:
    """`Player.deterministic` of the player that `make_player` makes of such a name.

    For games that were kept with the names of those who played them. False for a name of no form.
    """
    return name.partition(":")[0] in _DETERMINISTIC


def make_player(
    spec: str,
    variant: Variant,
    *,
    rng: np.random.Generator,
    load_evaluator: LoadEvaluator | None = None,
    load_solution: LoadSolution | None = None,
    load_language: LoadLanguage | None = None,
) -> Player:
    """The player that a text describes (PLAYER_FORMS).

    Raises InputError that quotes the text and lists the forms, and whatever the loaders or the
    start of an external engine raise (InputError or OSError).
    """
    makers = _Makers(spec, variant, rng, load_evaluator, load_solution, load_language)
    kind, colon, rest = spec.partition(":")
    known = [form.partition(":")[0].partition("[")[0] for form in PLAYER_FORMS]
    if kind not in known:
        raise makers.error(f"nobody is called '{kind}'")
    if colon and not rest:
        raise makers.error("nothing follows the last colon")
    make: Callable[[str], Player] = getattr(makers, kind)
    player = make(rest)
    player.name = spec
    return player


__all__ = [
    "MOST_SIMULATIONS",
    "PLAYER_FORMS",
    "AlphaBetaPlayer",
    "Choice",
    "ExternalPlayer",
    "GumbelPlayer",
    "LanguagePlayer",
    "Limits",
    "LoadEvaluator",
    "LoadLanguage",
    "LoadSolution",
    "MctsPlayer",
    "MinimaxPlayer",
    "PerfectPlayer",
    "Player",
    "PolicyPlayer",
    "RandomPlayer",
    "UctPlayer",
    "is_deterministic",
    "make_player",
]
