"""What a session of training finds out before its first round: who computes, plays and knows."""

import contextlib
import copy
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from engine.network.inference.evaluator import BackendError, RefusedError
from engine.rules.variant import Variant
from search.exact.solver import Solution
from search.exact.tablebase.tables import Tablebases
from training.config import ChosenConfig, LearningConfig, SelfPlayConfig, TrainingConfig
from training.data.index import Shard
from training.data.rescoring import Oracle, SolvedGame
from training.data.run_directory import RunError
from training.evaluation.truth import Truth, TruthCurve
from training.learner.losses import (
    FlatParameters,
    LocalGradients,
    faster_precision,
    seconds_a_batch,
)
from training.learner.networks import Network
from training.run.choices import Choices
from training.selfplay.acting_evaluator import fall_backs
from training.selfplay.actors.processes import WorkerPool
from training.selfplay.actors.protocol import Actors, Order
from training.selfplay.teacher import TeacherActor, divide

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


def choose_threads(config: TrainingConfig, choices: Choices) -> int:
    """Threads of the learner's process: as many as at the run's first start, if there are cores."""
    if config.learning.threads:
        return config.learning.threads
    cores, known = count_cores(), choices.known.threads
    if not known:
        choices.record(f"the learner has {cores} threads", threads=cores)
    elif known > cores:
        choices.change(
            f"the learner had {known} threads, there are {cores} cores here: {cores} threads from"
            " now on",
            threads=cores,
        )
    return choices.known.threads


def resolve_learning(
    variants: Sequence[Variant], network: Network, config: TrainingConfig, choices: Choices
) -> LearningConfig:
    """The settings of learning with a precision that is measured at the run's first start where
    "auto" asks for that."""
    learning = config.learning
    if learning.precision != "auto":
        return learning
    if choices.known.precision:
        return replace(learning, precision=choices.known.precision)
    share = -(-learning.batch // max(1, config.self_play.actors))
    largest = max(variants, key=lambda variant: variant.squares)
    precision = faster_precision(network, largest, share)
    choices.record(f"the learner computes in {precision}", precision=precision)
    return replace(learning, precision=precision)


def choose_hands(
    variants: Sequence[Variant],
    network: Network,
    learning: LearningConfig,
    pool: WorkerPool | None,
    choices: Choices,
) -> WorkerPool | None:
    """The workers where they compute gradients, else None; measured at the run's first start where
    "auto" asks for that."""
    split = choices.known.split if learning.split == "auto" else learning.split
    if pool is None or split:
        return None if split == "threads" else pool
    FlatParameters(copy.deepcopy(network), *pool.vectors)
    own = copy.deepcopy(network)
    flat = FlatParameters(own, *(torch.zeros(network.parameter_count) for _ in range(2)))
    local = LocalGradients(own, flat, learning)
    workers, threads = (
        seconds_a_batch(gradients, variants, learning.batch) for gradients in (pool, local)
    )
    faster = "workers" if workers < threads else "threads"
    choices.record(
        f"gradients by {faster}: a batch takes the workers {1000 * workers:.0f} ms,"
        f" {torch.get_num_threads()} threads {1000 * threads:.0f} ms",
        split=faster,
    )
    return pool if faster == "workers" else None


def prepare_actors(
    actors: Actors, orders: Sequence[Order], config: SelfPlayConfig, choices: Choices
) -> list[str]:
    """Make ready who plays, an order for each game; with what their networks are computed is chosen
    at the run's first start where "auto" asks for that, and comes back.

    Raises InputError, OSError.
    """
    settings = f"{config.backend} {config.precision}"
    measured = "auto" in settings.split()
    named = [] if measured else [f"{settings} auto"] * len(orders)
    known = choices.known.inference
    if not known:
        found = actors.prepare(orders, named)
        if measured and all(found):
            choices.record(
                f"self-play is computed by {', '.join(found)}",
                inference=tuple(found),
                inference_settings=settings,
            )
        return found
    if _is_for(choices.known, config, len(orders)):
        try:
            return actors.prepare(orders, known)
        except BackendError as problem:
            why = f"which cannot go on here ({problem})"
            found = [
                _in_its_place(actors, order, choice, named[:1])
                for order, choice in zip(orders, known, strict=True)
            ]
    else:
        why = f"which was not chosen for the settings '{settings}' of this run"
        found = actors.prepare(orders, named)
    if all(found):
        choices.change(
            f"self-play was computed by {', '.join(known)}, {why}: {', '.join(found)} from now on",
            inference=tuple(found),
            inference_settings=settings,
        )
    return found


def _is_for(known: ChosenConfig, config: SelfPlayConfig, games: int) -> bool:
    """Whether these settings are those for which a choice was made, for so many games."""
    if len(known.inference) != games or not all(known.inference):
        return False
    if known.inference_settings:
        return known.inference_settings == f"{config.backend} {config.precision}"
    # Older versions do not say. The backend stays when a network outgrows its precision, but for
    # the last resort.
    return all(
        config.backend == "auto" or choice.startswith((f"{config.backend} ", "torch fp32"))
        for choice in known.inference
    )


def _in_its_place(actors: Actors, order: Order, choice: str, named: Sequence[str]) -> str:
    """With what a game goes on whose `choice` may not: where the network has outgrown it, as in a
    session that plays on, else with what is `named` or fastest. Raises as `prepare_actors`."""
    others: Sequence[str] = ()
    try:
        return actors.prepare([order], [choice])[0]
    except RefusedError:
        others = fall_backs(choice)
    except BackendError:
        pass
    for other in others:
        with contextlib.suppress(BackendError):
            return actors.prepare([order], [other])[0]
    return actors.prepare([order], named)[0]


def follow_inference(
    variants: Sequence[Variant],
    shards: Sequence[Shard],
    known: list[str],
    config: SelfPlayConfig,
    choices: Choices,
) -> list[str]:
    """With what the networks of all games are computed after these shards; before it was `known`.

    A network can grow out of what was precise enough for the first ones; that is recorded.
    """
    used = {variant.name: choice for variant, choice in zip(variants, known, strict=True)}
    used |= {shard.variant: shard.source.get("evaluator", "") for shard in shards}
    found = list(used.values())
    if found != known:
        choices.change(
            f"self-play was computed by {', '.join(known)}, which no longer agrees with the"
            f" network: {', '.join(found)} from now on",
            inference=tuple(found),
            inference_settings=f"{config.backend} {config.precision}",
        )
    return found


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
