"""The gate: a new network plays only if it scores half in games against the acting one.

AlphaGo Zero's (Silver et al. 2017, "Evaluator"; 55 % of 400 games there). Off by default, as in
AlphaZero: with enough games a step the newest network is nearly always as good.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.network.checkpoint import load_checkpoint
from engine.network.inference.network_evaluator import NetworkEvaluator
from engine.rules.tables import SIDE
from engine.rules.variant import Variant
from search.evaluator import Evaluator
from search.mcts.puct import PuctConfig
from search.mcts.roots import Roots
from search.mcts.search import tree_search
from training.config import SelfPlayConfig
from training.evaluation.truth import EvaluatorOf
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
    positions, histories, lengths = start_games(variant, config, pairs, rng)
    positions, histories = np.concatenate([positions] * 2), np.concatenate([histories] * 2)
    lengths = np.concatenate([lengths] * 2)
    side = positions[:, variant.squares + SIDE]
    # In the first of the two the challenger has the move.
    own = np.where(np.arange(2 * pairs) < pairs, side, 1 - side)
    points = np.full(2 * pairs, 0.5)
    unfinished = np.arange(2 * pairs)
    search = PuctConfig(simulations=config.simulations)
    for _ in range(config.longest_game):
        mover = positions[unfinished, variant.squares + SIDE]
        moves = np.empty(len(unfinished), np.uint16)
        for evaluator, turn in (
            (challenger, mover == own[unfinished]),
            (champion, mover != own[unfinished]),
        ):
            if turn.any():
                some = unfinished[turn]
                roots = Roots(positions[some], histories[some], lengths[some])
                moves[turn] = _best_moves(variant, roots, evaluator, search)
        here, before, length = positions[unfinished], histories[unfinished], lengths[unfinished]
        results = play_moves(variant, here, before, length, moves)
        positions[unfinished], histories[unfinished], lengths[unfinished] = here, before, length
        over = results != UNFINISHED
        # The result is for the side that did not move.
        won = np.where(mover == own[unfinished], -results, results)[over]
        points[unfinished[over]] = 0.5 + 0.5 * won
        unfinished = unfinished[~over]
        if not len(unfinished):
            break
    return float(points.mean())


def _best_moves(
    variant: Variant, roots: Roots, evaluator: Evaluator, search: PuctConfig
) -> npt.NDArray[np.uint16]:
    """The most likely move of each position after a search; ties fall to the first."""
    # Without noise the generator is not used.
    result = tree_search(variant, roots, evaluator, search, np.random.default_rng(0))
    best = [
        int(result.policy[start:end].argmax()) + int(start)
        for start, end in zip(result.offsets, result.offsets[1:], strict=False)
    ]
    moves: npt.NDArray[np.uint16] = result.moves[best]
    return moves


def mean_gate_score(
    variants: Sequence[Variant],
    challenger: EvaluatorOf,
    champion: Path,
    config: SelfPlayConfig,
    games: int,
    rng: np.random.Generator,
) -> float:
    """The mean of `gate_score` over the variants of a run, against the network of a checkpoint.

    Raises CheckpointError, OSError.
    """
    scores = []
    for variant in variants:
        theirs = NetworkEvaluator(load_checkpoint(champion, variant=variant).network)
        scores.append(gate_score(variant, challenger(variant.name), theirs, config, games, rng))
    return sum(scores) / len(scores)
