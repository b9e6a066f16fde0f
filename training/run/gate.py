"""The gate: a new network plays only if it scores half in games against the acting one.

AlphaGo Zero's (Silver et al. 2017, "Evaluator"; 55 % of 400 games there). Off by default, as in
AlphaZero: with enough games a step the newest network is nearly always as good.
"""

import itertools

import numpy as np
import numpy.typing as npt

from engine.rules.tables import SIDE
from engine.rules.variant import Variant
from search.evaluator import Evaluator
from search.mcts.puct import PuctConfig
from search.mcts.roots import Roots
from search.mcts.search import tree_search
from training.config import SelfPlayConfig
from training.selfplay.games import UNFINISHED, play_moves, start_games


def gate_score(
    variant: Variant,
    challenger: Evaluator,
    champion: Evaluator,
    config: SelfPlayConfig,
    games: int,
    rng: np.random.Generator,
) -> float:
    """Points a game in [0, 1] of the challenger in `games` games; an odd number is rounded up.

    Each start, from self-play's own distribution, is played twice with the sides changed. Moves are
    the best of PUCT without noise, so that only the starts are random.
    """
    pairs = -(-games // 2)
    started = start_games(variant, config, pairs, rng)
    positions, histories, lengths = (np.concatenate([array] * 2) for array in started)
    # In the first game of a pair the challenger has the move.
    side = positions[:, variant.squares + SIDE]
    own = np.where(np.arange(2 * pairs) < pairs, side, 1 - side)
    points = np.full(2 * pairs, 0.5)
    # The numbers of the games in progress, to which all arrays but `points` belong.
    games_left = np.arange(2 * pairs)
    search = PuctConfig(simulations=config.simulations)
    for _ in range(config.longest_game):
        challenging = positions[:, variant.squares + SIDE] == own
        moves = np.empty(len(games_left), np.uint16)
        for evaluator, turn in ((challenger, challenging), (champion, ~challenging)):
            if turn.any():
                roots = Roots(positions[turn], histories[turn], lengths[turn])
                moves[turn] = _best_moves(variant, roots, evaluator, search)
        results = play_moves(variant.tables, positions, histories, lengths, moves)
        over = results != UNFINISHED
        # The result is for the side that did not move.
        points[games_left[over]] = 0.5 + 0.5 * np.where(challenging, -results, results)[over]
        if over.all():
            break
        positions, histories, lengths, own, games_left = (
            array[~over] for array in (positions, histories, lengths, own, games_left)
        )
    return float(points.mean())


def _best_moves(
    variant: Variant, roots: Roots, evaluator: Evaluator, search: PuctConfig
) -> npt.NDArray[np.uint16]:
    """The most likely move of each position after a search; ties fall to the first."""
    # Without noise the generator is not used.
    result = tree_search(variant, roots, evaluator, search, np.random.default_rng(0))
    best = [
        int(result.policy[start:end].argmax()) + int(start)
        for start, end in itertools.pairwise(result.offsets)
    ]
    moves: npt.NDArray[np.uint16] = result.moves[best]
    return moves
