"""Opening a self-play training run: what must be there before its first round."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch

from engine.rules.variant import Variant
from training.config import TrainingConfig, Variants, merge, resolve, variants_of
from training.data.index import Index
from training.data.run_directory import RunDirectory, RunError, checkpoint_of, read_metrics
from training.evaluation.truth import TruthCurves, is_solvable
from training.learner import networks
from training.learner.learner import Learner
from training.run import choices
from training.run.monitor import Monitor, Outlook, lowest_raw
from training.run.rounds import TrainingRun
from training.run.state import Progress, read_state
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
    theirs = networks.checkpoint_settings(checkpoint)
    for name, asked in overrides.get("network", {}).items():
        if name in theirs and asked != theirs[name]:
            raise RunError(f"network.{name} = {asked!r}, but {checkpoint} has {theirs[name]!r}")
    overrides = merge(overrides, {"network": theirs})
    # Fail here, before a directory is made, where the weights do not serve.
    several = variants_of(variants)
    settings = networks.settings_of(several, resolve(several, overrides))
    networks.begun_network(checkpoint, several, settings)
    return overrides


def open_run(directory: RunDirectory, variants: Variants, monitor: Monitor) -> TrainingRun:
    """Restore the run from its files, or begin it; `close` it afterwards.

    Raises RunError, CheckpointError, SettingError, InputError, OSError.
    """
    config, variants = directory.config, variants_of(variants)
    kept = choices.Choices(directory, monitor)
    torch.set_num_threads(choices.choose_threads(config, kept))
    states = []
    for number, variant in enumerate(variants):
        if variant.irreversible:
            # Of a large one this takes seconds.
            monitor.step(f"estimating how many positions {variant.name} has")
        if is_solvable(variant):
            monitor.step(f"solving {variant.name}, for its truth curve")
        states.append(VariantState(variant, config, number=number, variants=len(variants)))
    with ExitStack() as resources:
        index = resources.enter_context(closing(Index(directory.path)))
        settings = networks.settings_of(variants, config)
        progress, header = read_state(directory, index, states, settings)
        monitor.session(_outlook(directory, progress, header, states))
        network = _first_network(config, variants, settings, progress, new=header is None)
        learning = choices.resolve_learning(variants, network, config, kept)
        keys: dict[str, Any] = {
            "seed": config.seed,
            "first_round": progress.round,
            # The shards of the next round that an earlier session has written.
            "first_parts": [
                len(index.shards_of(variant.name, range(progress.round + 1, progress.round + 2)))
                for variant in variants
            ],
        }
        pool = None
        if config.self_play.actors:
            pool = WorkerPool(variants, config.self_play, learning, network, **keys)
            resources.callback(pool.close)
        workers = choices.choose_gradient_workers(variants, network, learning, pool, kept)
        curves = {state.variant.name: state.curve for state in states if state.curve}
        actors: Actors
        if config.teacher == "solver":
            actors = _teachers(config, states, index)
        else:
            actors = pool or make_local_actors(variants, config.self_play, number=0, **keys)
        run = TrainingRun(
            directory=directory,
            index=index,
            states=states,
            learner=Learner(variants, network, learning, workers),
            progress=progress,
            monitor=monitor,
            choices=kept,
            curves=TruthCurves(curves, config.measure_seconds),
            actors=actors,
        )
        if header is not None:
            monitor.step("reading the games that are learned from")
        run.restore(header)
        if pool:
            # A worker that still starts would count as time of the first round.
            pool.await_start(monitor.step)
        requests = [run.request_for(state, 0) for state in states]
        run.inference = choices.prepare_actors(actors, requests, config.self_play, kept)
        for line in _settings(config, run.inference):
            monitor.detail(line)
        run.resources = resources.pop_all()
    return run


def _outlook(
    directory: RunDirectory,
    progress: Progress,
    header: dict[str, Any] | None,
    states: Sequence[VariantState],
) -> Outlook:
    """What is there of a run, and where it ends."""
    config = directory.config
    lines = read_metrics(directory.path) if directory.metrics.exists() else []
    # Later ones are made again.
    kept = [values for values in lines if values["round"] <= progress.round]
    points = [(values["seconds"], lowest_raw(values)) for values in kept]
    solved = all(state.curve for state in states)
    return Outlook(
        round=None if header is None else progress.round,
        games=sum(state.played["games"] for state in states),
        seconds=progress.seconds,
        limit=60.0 * config.minutes,
        stop_at_raw=config.stop_at_raw if solved and config.stop_at_raw <= 1.0 else None,
        curve=tuple((at, raw) for at, raw in points if raw is not None),
    )


def _settings(config: TrainingConfig, inference: Sequence[str]) -> Iterator[str]:
    """What was chosen and asked for, a line each, for a person who wants to know all."""
    self_play, learning, chosen = config.self_play, config.learning, config.chosen
    network = ", ".join(f"{name} {value}" for name, value in config.network.items())
    yield f"network: {network or 'of the default size'}"
    yield (
        f"self-play: {self_play.search}, {self_play.simulations} simulations,"
        f" {self_play.positions:,} positions a round, by {', '.join(inference) or 'the solver'}"
    )
    yield (
        f"learning: batches of {learning.batch}, a window of {learning.window:,} positions,"
        f" {chosen.precision or learning.precision}, threads: {chosen.threads or learning.threads},"
        f" gradients by {chosen.split or learning.split if self_play.actors else 'threads'}"
    )


def _first_network(
    config: TrainingConfig,
    variants: Sequence[Variant],
    settings: networks.Settings,
    progress: Progress,
    *,
    new: bool,
) -> networks.Network:
    """Fresh weights, or in a `new` run those of the checkpoint that it begins with; in another run
    the learner's state fills it. Raises CheckpointError, RunError, InputError, OSError."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.initial and new:
            path = checkpoint_of(Path(config.initial))
            progress.learned = networks.variants_learned(path)
            return networks.begun_network(path, variants, settings)
        return networks.build_network(settings)


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
            variant=variant,
            solution=solution,
            positions=shown,
            seed=config.seed,
            drawn=written,
            game=state.number,
        )
    return LocalActors(teachers)
