"""Players as a person writes them: `alphabeta:4`, `mcts:400:runs/gardner`, `uci:stockfish`."""

import re
from collections.abc import Callable
from typing import Final, TypeVar

import numpy as np

from engine.player import Limits, Player
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from search.evaluator import Evaluator
from search.exact.solution import Solution
from search.mcts.gumbel import GumbelConfig
from search.mcts.puct import PuctConfig
from search.mcts.search import SearchConfig
from search.mcts.uct import UctConfig
from search.minimax.alphabeta import MOST_DEPTH, AlphaBetaConfig
from search.players.builtin import (
    AlphaBetaPlayer,
    MinimaxPlayer,
    PerfectPlayer,
    RandomPlayer,
    UctPlayer,
)
from search.players.external import ExternalPlayer
from search.players.language import LanguagePlayer, MovePredictor
from search.players.network import MOST_SIMULATIONS, PolicyPlayer, TreePlayer, leaves_alone

LoadEvaluator = Callable[[str | None, Variant], Evaluator]
"""From a checkpoint's file or run directory (None: the default network) and the variant."""
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
"""Kinds whose players `make_player` makes without random numbers: their searches have no noise."""
_SIMULATIONS: Final = "the number of simulations"
_NUMBER: Final = re.compile(r"[1-9]\d{0,8}")
_Loader = TypeVar("_Loader")


class _FormError(ValueError):
    """What is wrong with the text of a player."""


def is_deterministic(name: str) -> bool:
    """`Player.deterministic` of the player that `make_player` makes of this text.

    For stored games, which have only the names of their players. False for an unknown text.
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

    Raises InputError, which quotes the text and lists the forms, and whatever the loaders or the
    start of an external engine raise (InputError or OSError).
    """
    try:
        player = _make(spec, variant, rng, load_evaluator, load_solution, load_language)
    except _FormError as problem:
        forms = ", ".join(PLAYER_FORMS)
        raise InputError(f"player '{spec}': {problem}; a player is one of {forms}") from None
    player.name = spec
    return player


def _make(
    spec: str,
    variant: Variant,
    rng: np.random.Generator,
    load_evaluator: LoadEvaluator | None,
    load_solution: LoadSolution | None,
    load_language: LoadLanguage | None,
) -> Player:
    kind, colon, rest = spec.partition(":")
    if colon and not rest:
        raise _FormError("nothing follows the last colon")
    text, _, checkpoint = rest.partition(":")
    match kind:
        case "random" | "perfect" if rest:
            raise _FormError(f"unexpected '{rest}'")
        case "random":
            return RandomPlayer(rng)
        case "perfect":
            return PerfectPlayer(_required(load_solution, "solution")(variant), rng)
        case "minimax":
            return MinimaxPlayer(_number(rest, "the depth", MOST_DEPTH))
        case "alphabeta":
            depth = _number(rest, "the depth", MOST_DEPTH)
            return AlphaBetaPlayer(AlphaBetaConfig(depth=depth))
        case "uct":
            count = _number(rest, _SIMULATIONS, MOST_SIMULATIONS)
            return UctPlayer(UctConfig(simulations=count), rng)
        case "mcts" | "gumbel":
            count = _number(text, _SIMULATIONS, MOST_SIMULATIONS)
            leaves = leaves_alone(count)
            config: SearchConfig = PuctConfig(simulations=count, leaves=leaves)
            if kind == "gumbel":
                # Without noise: a player makes the best move that it finds.
                config = GumbelConfig(simulations=count, gumbel_scale=0.0, leaves=leaves)
            evaluator = _required(load_evaluator, "network")(checkpoint or None, variant)
            return TreePlayer(evaluator, config, rng)
        case "policy":
            return PolicyPlayer(_required(load_evaluator, "network")(rest or None, variant))
        case "language":
            load = _required(load_language, "language model")
            return LanguagePlayer(load(rest or None, variant))
        case "uci":
            return _external(rest, variant)
    raise _FormError(f"unknown kind '{kind}'")


def _required(loader: _Loader | None, what: str) -> _Loader:
    if loader is None:
        raise _FormError(f"no {what} can be loaded here")
    return loader


def _number(text: str, what: str, most: int) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise _FormError(f"{what} must be a whole number from 1 to {most}, not '{text}'")
    return int(text)


def _external(rest: str, variant: Variant) -> Player:
    match = re.fullmatch(r"(.+?)(?::(nodes|movetime)=(\d+))?", rest)
    if match is None:
        raise _FormError("the command is missing")
    command, unit, text = match.groups()
    if unit is None:
        return ExternalPlayer(command, variant)
    number = _number(text, unit, 10**9)
    limits = Limits(nodes=number) if unit == "nodes" else Limits(movetime=number / 1000)
    return ExternalPlayer(command, variant, limits)
