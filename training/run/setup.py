"""Opening a self-play training run: what must be there before its first round."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from engine.rules.variant import Variant
from search.exact.solver import Solution
from training.config import TrainingConfig, Variants, merge, resolve, variants_of
from training.data.index import Index
from training.data.rescoring import Oracle
from training.data.run_directory import RunDirectory, RunError, checkpoint_of
from training.evaluation.truth import TruthCurves
from training.learner.learner import Learner
from training.learner.networks import (
    Network,
    Settings,
    begun_network,
    build_network,
    checkpoint_settings,
    settings_of,
    variants_learned,
)
from training.run.choices import (
    Choices,
    choose_gradient_workers,
    choose_threads,
    prepare_actors,
    resolve_learning,
)
from training.run.monitor import Monitor
from training.run.parts import Progress, RunParts
from training.run.rounds import TrainingRun, request_for
from training.run.state import read_state, restore, restore_progress
from training.run.variant_state import VariantState
from training.selfplay.actors.local import LocalActors, make_local_actors
from training.selfplay.actors.processes import WorkerPool
from training.selfplay.actors.protocol import Actors
from training.selfplay.teacher import TeacherActor, divide


def open_directory(path: Path, variants: Variants, overrides: dict[str, Any]) -> RunDirectory:
    """Open a run's directory, or begin one; a new run that begins with a checkpoint takes over the
    settings of its network.

    Raises RunError, SettingError, CheckpointError, OSError, and then nothing has been changed.
    """
    if not (path / "config.toml").exists():
        overrides = _with_initial(variants, overrides)
    return RunDirectory(path, variants, overrides)


def _with_initial(variants: Variants, overrides: dict[str, Any]) -> dict[str, Any]:
    """The overrides of a new run with the settings of the network that it begins with."""
    config = resolve(variants, overrides)
    if not config.initial:
        return overrides
    checkpoint = checkpoint_of(Path(config.initial))
    theirs = checkpoint_settings(checkpoint)
    for name, asked in overrides.get("network", {}).items():
        if name in theirs and asked != theirs[name]:
            raise RunError(f"network.{name} = {asked!r}, but {checkpoint} has {theirs[name]!r}")
    overrides = merge(overrides, {"network": theirs})
    # Fail here, before a directory is made, where the weights do not serve.
    several = variants_of(variants)
    begun_network(checkpoint, several, settings_of(several, resolve(several, overrides)))
    return overrides


def open_run(
    directory: RunDirectory,
    variants: Variants,
    monitor: Monitor,
    *,
    solution: Solution | None = None,
    oracle: Oracle | None = None,
) -> TrainingRun:
    """Restore the run from its files, or begin it; `close` it afterwards.

    Of a run of one variant, `solution` spares the solving, and `oracle` knows values for `rescore`;
    without one it is the run's tablebases or the solution, if there are any. Raises RunError,
    CheckpointError, SettingError, InputError, OSError.
    """
    several = variants_of(variants)
    states = tuple(
        VariantState(
            variant,
            directory.config,
            number=number,
            variants=len(several),
            solution=solution,
            oracle=oracle,
        )
        for number, variant in enumerate(several)
    )
    with ExitStack() as opened:
        run, header = _open_parts(directory, monitor, states, opened)
        restore(run, header)
        if run.pool:
            # A worker that still starts would count as time of the first round.
            run.pool.prepare([], [])
        requests = [request_for(run, state, 0) for state in states]
        inference = prepare_actors(run.actors, requests, run.config.self_play, run.choices)
        opened.pop_all()
    return TrainingRun(run, inference)


def _open_parts(
    directory: RunDirectory,
    monitor: Monitor,
    states: tuple[VariantState, ...],
    opened: ExitStack,
) -> tuple[RunParts, dict[str, Any] | None]:
    """The parts of a run, with a learner that is not restored yet, and the header of its state;
    `opened` closes them."""
    config, variants = directory.config, [state.variant for state in states]
    choices = Choices(directory, monitor.note)
    settings = settings_of(variants, config)
    torch.set_num_threads(choose_threads(config, choices))
    index = Index(directory.path)
    opened.callback(index.close)
    header = read_state(directory, index, states, settings)
    progress = restore_progress(header, states)
    network = _first_network(config, variants, settings, progress, new=header is None)
    learning = resolve_learning(variants, network, config, choices)
    keys: dict[str, Any] = {
        "seed": config.seed,
        "first_round": progress.round,
        # The shards of the next round that an earlier session has written.
        "first_parts": [
            len(index.shards_of_round(variant.name, progress.round + 1)) for variant in variants
        ],
    }
    pool = None
    if config.self_play.actors:
        pool = WorkerPool(variants, config.self_play, learning, network, **keys)
        opened.callback(pool.close)
    workers = choose_gradient_workers(variants, network, learning, pool, choices)
    curves = {state.variant.name: state.curve for state in states if state.curve}
    actors: Actors
    if config.teacher == "solver":
        actors = _teachers(config, states, index)
    else:
        actors = pool or make_local_actors(variants, config.self_play, number=0, **keys)
    parts = RunParts(
        directory=directory,
        monitor=monitor,
        choices=choices,
        index=index,
        states=states,
        settings=settings,
        curves=TruthCurves(curves, config.measure_seconds),
        learning=learning,
        learner=Learner(variants, network, learning, workers.vectors if workers else None, workers),
        pool=pool,
        actors=actors,
        progress=progress,
    )
    return parts, header


def _first_network(
    config: TrainingConfig,
    variants: Sequence[Variant],
    settings: Settings,
    progress: Progress,
    *,
    new: bool,
) -> Network:
    """Fresh weights, or in a `new` run those of the checkpoint that it begins with; in another run
    the learner's state fills it. Raises CheckpointError, RunError, InputError, OSError."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.initial and new:
            path = checkpoint_of(Path(config.initial))
            progress.learned = variants_learned(path)
            return begun_network(path, variants, settings)
        return build_network(settings)


def _teachers(config: TrainingConfig, states: Sequence[VariantState], index: Index) -> LocalActors:
    """The solver in the place of self-play; raises RunError for a variant that is not solved."""
    teachers = {}
    for state in states:
        variant, solution = state.variant, state.solution
        if solution is None:
            raise RunError(f"{variant.name}: too large to be solved, no teacher for it")
        positions = solution.unfinished_positions()
        shown, _ = divide(variant, positions, config.held_out, config.seed)
        written = sum(shard.positions for shard in index.shards_of(variant.name))
        teachers[variant.name] = TeacherActor(
            variant, solution, shown, config.seed, written, state.number
        )
    return LocalActors(teachers)
