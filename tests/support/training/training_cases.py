"""Games made by hand and by small runs, for the tests of training."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.player import Player
from engine.rules.kernels import generate_batch
from engine.rules.variant import Registry, Variant, get_variant
from search.evaluator import UniformEvaluator
from search.exact.solution import Solution
from search.exact.solver import solve
from search.scores import UNPROVEN
from training.config import SelfPlayConfig
from training.data.shards import NO_REPLY, GameRows, select
from training.evaluation.games.game import LONGEST_GAME, GameInProgress, PlayedGame
from training.evaluation.games.sides import Side
from training.evaluation.openings import Opening
from training.selfplay.games import SelfPlay

SMALL_NETWORK: dict[str, Any] = {
    "blocks": 1,
    "channels": 16,
    "heads": 2,
    "hidden": 32,
    "policy_channels": 16,
}
"""Enough for Hexapawn on 3x3."""


def child_of(parent: str, name: str, **keys: str) -> Variant:
    """A variant of our own that the other tests do not see."""
    registry = Registry()
    section = "\n".join(f"{key} = {value}" for key, value in keys.items())
    registry.add_text(get_variant(parent).ini() + f"[{name}:{parent}]\n{section}\n", name)
    return registry.get(name)


def rook_ending() -> Variant:
    """White wins, or nobody: positions come back, moves run out, the rook is lost."""
    return child_of("gardner", "rookending", startFen="3k1/5/5/5/K3R w - - 0 1", nMoveRule="12")


def self_play_config(**changes: Any) -> SelfPlayConfig:
    """A few games from the start position, without noise, with few simulations."""
    fields: dict[str, Any] = {
        "games": 4,
        "simulations": 8,
        "noise_fraction": 0.0,
        "varied_starts": 0.0,
        "backend": "torch",
        "precision": "fp32",
    }
    return SelfPlayConfig(**(fields | changes))


def random_rows(variant: Variant, counts: list[int], seed: int = 0) -> GameRows:
    """A row for each count, with so many moves, and nothing in it that means anything."""
    rng = np.random.default_rng(seed)
    size, total = len(counts), sum(counts)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    policy = rng.random(total)
    for start, end in itertools.pairwise(offsets):
        policy[start:end] /= policy[start:end].sum()
    wdl = rng.random((size, 3))
    return GameRows(
        positions=rng.integers(0, 255, (size, variant.row_size), dtype=np.uint8),
        offsets=offsets,
        moves=rng.integers(0, 1 << 16, total, dtype=np.uint16),
        policy=policy.astype(np.float32),
        search_wdl=(wdl / wdl.sum(1, keepdims=True)).astype(np.float32),
        proven=rng.choice([UNPROVEN, -1, 0, 1], size).astype(np.int8),
        outcomes=rng.integers(-1, 2, size).astype(np.int8),
        moves_left=rng.integers(1, 99, size).astype(np.int16),
        replies=rng.integers(0, 1 << 12, size, dtype=np.uint16),
        surprise=rng.random(size).astype(np.float32),
        endings=rng.integers(0, 32, (size, variant.squares), dtype=np.uint8),
        games=np.arange(size, dtype=np.int32) // 2,
    )


def perfect_rows(variant: Variant, solution: Solution) -> GameRows:
    """Every unfinished position of a solved game, labelled by the truth."""
    positions = solution.unfinished_positions()
    moves, offsets = generate_batch(variant.tables, positions)
    values, distances = solution.lookup_batch(positions)
    policy = np.zeros(len(moves), np.float32)
    for index, row in enumerate(positions):
        part = slice(offsets[index], offsets[index + 1])
        good = np.isin(moves[part], solution.value_preserving_moves(row))
        policy[part] = good / good.sum()
    return GameRows(
        positions=positions,
        offsets=offsets,
        moves=moves,
        policy=policy,
        search_wdl=np.eye(3, dtype=np.float32)[1 - values],
        proven=np.full(len(positions), UNPROVEN, np.int8),
        outcomes=values,
        moves_left=distances,
        replies=np.full(len(positions), NO_REPLY, np.uint16),
        surprise=np.zeros(len(positions), np.float32),
        endings=positions[:, : variant.squares],
        games=np.zeros(len(positions), np.int32),
    )


def played_rows(variant: Variant, count: int, seed: int = 3) -> GameRows:
    """The first `count` rows of games that know nothing: such as a file may hold."""
    games = SelfPlay(variant, self_play_config(), np.random.default_rng(seed))
    rows = games.play(UniformEvaluator(), count)
    return select(rows, np.arange(count))


def hexapawn() -> tuple[Variant, Solution]:
    """3x3 and its solution."""
    variant = get_variant("hexapawn")
    return variant, solve(variant)


def rows_of_game(rows: GameRows, game: int) -> npt.NDArray[np.int64]:
    """The places of one game's rows."""
    return np.flatnonzero(rows.games == game)


def play_game(
    white: Player,
    black: Player,
    variant: Variant,
    opening: Sequence[int] = (),
    longest_game: int = LONGEST_GAME,
) -> PlayedGame:
    """One game, White being A; forfeits as in a match."""
    names = white.name, black.name
    game = GameInProgress(0, 0, names, variant, Opening(tuple(opening)), longest_game)
    sides = Side(0, white, None), Side(1, black, None)
    while not game.over:
        sides[game.mover].ask([game], None)
    return game.finished()
