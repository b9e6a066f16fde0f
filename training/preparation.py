"""What a session of training finds out before its first round: who computes, plays and knows."""

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from engine.rules.variant import Variant
from search.solver import Solution
from search.tablebase import Tablebases
from training.actors import WorkerPool
from training.config import LearningConfig, TrainingConfig
from training.directory import RunError
from training.losses import FlatParameters, LocalGradients, faster_precision, seconds_a_batch
from training.networks import Network
from training.rescoring import Oracle, SolvedGame
from training.teacher import TeacherActor, divide
from training.truth import Truth, TruthCurve

LEARNING: Final = 0
SAMPLING: Final = 1
WARMING: Final = 2
GATING: Final = 3
"""Keys that set these random numbers apart from each other, and from the actors'."""


def generator_of(seed: int, *key: int) -> np.random.Generator:
    """The random numbers of one purpose."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def count_cores() -> int:
    """Cores that this process may use; not every system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve_learning(
    variants: Sequence[Variant],
    network: Network,
    config: TrainingConfig,
    log: Callable[[str], None],
) -> LearningConfig:
    """The settings of learning with a precision that is measured where "auto" asks for that."""
    learning = config.learning
    if learning.precision != "auto":
        return learning
    share = -(-learning.batch // max(1, config.self_play.actors))
    largest = max(variants, key=lambda variant: variant.squares)
    precision = faster_precision(network, largest, share)
    log(f"the learner computes in {precision}")
    return replace(learning, precision=precision)


def choose_hands(
    variants: Sequence[Variant],
    network: Network,
    learning: LearningConfig,
    pool: WorkerPool | None,
    log: Callable[[str], None],
) -> WorkerPool | None:
    """The workers where they compute gradients, measured where "auto" asks for that; else None."""
    if pool is None or learning.split != "auto":
        return None if learning.split == "threads" else pool
    FlatParameters(copy.deepcopy(network), *pool.vectors)
    own = copy.deepcopy(network)
    flat = FlatParameters(own, *(torch.zeros(network.parameter_count) for _ in range(2)))
    local = LocalGradients(own, flat, learning)
    workers, threads = (
        seconds_a_batch(gradients, variants, learning.batch) for gradients in (pool, local)
    )
    log(
        f"gradients by {'workers' if workers < threads else 'threads'}: a batch takes the"
        f" workers {1000 * workers:.0f} ms, {torch.get_num_threads()} threads"
        f" {1000 * threads:.0f} ms"
    )
    return pool if workers < threads else None


def make_teacher(
    variant: Variant,
    solution: Solution | None,
    config: TrainingConfig,
    dealt: int,
    game: int | None,
) -> TeacherActor:
    """Who deals the solver's positions, `dealt` of them already; raises RunError.

    `game` is the number of the game in a run of several.
    """
    if solution is None:
        raise RunError(f"{variant.name}: too large to be solved, no teacher for it")
    positions = solution.unfinished_positions()
    lessons, _ = divide(variant, positions, config.held_out, config.seed)
    return TeacherActor(variant, solution, lessons, config.seed, dealt, game)


def find_oracle(
    variant: Variant, solution: Solution | None, config: TrainingConfig
) -> Oracle | None:
    """Who knows the truth for rescoring; None where it is not asked for.

    Raises RunError where it is and nobody knows; InputError, OSError for unusable tablebases.
    """
    if config.learning.rescore == "none":
        return None
    if solution is not None:
        return SolvedGame(solution)
    if config.self_play.tablebases:
        return Tablebases.load(Path(config.self_play.tablebases), variant)
    raise RunError(
        f"rescore = {config.learning.rescore!r}: {variant.name} is too large to be solved, and"
        " there are no tablebases"
    )


def make_curve(
    variant: Variant, solution: Solution | None, config: TrainingConfig, games: int
) -> TruthCurve | None:
    """The truth curve of one of so many games, which share the samples' sizes.

    None where the game is not solved, or where no position asks for a decision.
    """
    if solution is None:
        return None
    truth = Truth.of(variant, solution)
    if not len(truth):
        return None
    generator = generator_of(config.seed, SAMPLING)
    raw, search = (-(-size // games) for size in (config.raw_sample, config.search_sample))
    curve = TruthCurve(
        truth,
        search=truth.sample(search, generator),
        raw=truth.sample(raw, generator),
        simulations=config.search_simulations,
    )
    if config.teacher != "none" and config.held_out > 0.0:
        _, tests = divide(variant, solution.unfinished_positions(), config.held_out, config.seed)
        decisions = truth.among(tests)
        if len(decisions):
            curve.held_out = decisions.sample(raw, generator)
    return curve
