"""What "auto" means in a run: measured at its first start, recorded in `config.toml` and kept.

The same seed gives the same run only where the same things compute it. Where a machine cannot keep
a choice, another is made, recorded and reported.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from engine.network.inference.backends.protocol import BackendError, RefusedError
from engine.rules.variant import Variant
from engine.system.processes import usable_cores
from training.config import ChosenConfig, LearningConfig, SelfPlayConfig, TrainingConfig
from training.data.index import Shard
from training.data.run_directory import RunDirectory
from training.learner.losses import LocalGradients, faster_precision, flatten, seconds_a_batch
from training.learner.networks import Network
from training.run.monitor import Monitor
from training.selfplay.acting_evaluator import fall_backs
from training.selfplay.actors.processes import WorkerPool
from training.selfplay.actors.protocol import Actors, SelfPlayRequest


class Choices:
    """The choices of a run: kept in its configuration, reported in its log."""

    def __init__(self, directory: RunDirectory, monitor: Monitor) -> None:
        """`monitor` is told of the measurements, of what was chosen, and of every later change."""
        self._directory = directory
        self.monitor = monitor

    @property
    def known(self) -> ChosenConfig:
        """What was chosen so far."""
        return self._directory.config.chosen

    def record(self, text: str, shown: str = "", **values: Any) -> None:
        """Write fields of ChosenConfig, and `text` to the log; `shown` is the same as the result of
        a step. Raises OSError."""
        self._write(text, **values)
        if shown:
            self.monitor.result(shown)
        else:
            self.monitor.detail(text)

    def change(self, text: str, **values: Any) -> None:
        """`record` a choice that replaces another, of which a person should know."""
        self._write(text, **values)
        self.monitor.note(text)

    def _write(self, text: str, **values: Any) -> None:
        self._directory.choose(dataclasses.replace(self.known, **values))
        self._directory.log(text)

    def change_inference(self, known: Sequence[str], why: str, found: Sequence[str]) -> None:
        """`change` what computes the networks in self-play."""
        self.change(
            f"self-play was computed by {', '.join(known)}, {why}: {', '.join(found)} from now on",
            inference=tuple(found),
            inference_settings=_inference_settings(self._directory.config.self_play),
        )


def choose_threads(config: TrainingConfig, choices: Choices) -> int:
    """Threads of the learner: as many as at the run's first start, at most one for each core."""
    if config.learning.threads:
        return config.learning.threads
    cores, known = len(usable_cores()), choices.known.threads
    if not known:
        choices.record(f"the learner has {cores} threads", threads=cores)
    elif known > cores:
        choices.change(
            f"the learner had {known} threads, there are {cores} cores here: {cores} threads from"
            " now on",
            threads=cores,
        )
    return choices.known.threads


def _inference_settings(config: SelfPlayConfig) -> str:
    return f"{config.backend} {config.precision}"


def resolve_learning(
    variants: Sequence[Variant], network: Network, config: TrainingConfig, choices: Choices
) -> LearningConfig:
    """The settings of learning, with the precision that "auto" came to at the run's first start."""
    learning = config.learning
    if learning.precision != "auto":
        return learning
    precision = choices.known.precision
    if not precision:
        share = -(-learning.batch // max(1, config.self_play.actors))
        largest = max(variants, key=lambda variant: variant.squares)
        choices.monitor.step("measuring precisions")
        precision = faster_precision(network, largest, share)
        choices.record(
            f"the learner computes in {precision}",
            f"{precision} for the learner",
            precision=precision,
        )
    return dataclasses.replace(learning, precision=precision)


def choose_gradient_workers(
    variants: Sequence[Variant],
    network: Network,
    learning: LearningConfig,
    pool: WorkerPool | None,
    choices: Choices,
) -> WorkerPool | None:
    """The workers where they compute gradients, else None; "auto" is measured at the run's first
    start."""
    split = choices.known.split if learning.split == "auto" else learning.split
    if pool is None or split:
        return None if split == "threads" else pool
    # A worker that still starts would be slow.
    pool.await_start(choices.monitor.step)
    choices.monitor.step("measuring gradients")
    flatten(copy.deepcopy(network), *pool.vectors)
    local = LocalGradients(copy.deepcopy(network), variants, learning)
    workers, threads = (
        seconds_a_batch(gradients, variants, learning.batch) for gradients in (pool, local)
    )
    faster = "workers" if workers < threads else "threads"
    taken = {"workers": f"{1000 * workers:.0f} ms", "threads": f"{1000 * threads:.0f} ms"}
    other = "threads" if faster == "workers" else "workers"
    choices.record(
        f"gradients by {faster}: a batch takes the workers {taken['workers']},"
        f" {torch.get_num_threads()} threads {taken['threads']}",
        f"by {faster} ({taken[faster]} a batch, by {other} {taken[other]})",
        split=faster,
    )
    return pool if faster == "workers" else None


def prepare_actors(
    actors: Actors, requests: Sequence[SelfPlayRequest], config: SelfPlayConfig, choices: Choices
) -> list[str]:
    """Get the actors ready, with a request for each variant; returns what computes their networks.
    "auto" is chosen at the run's first start.

    Raises InputError, OSError.
    """
    settings = _inference_settings(config)
    measured = "auto" in settings.split()
    named = [] if measured else [f"{settings} auto"] * len(requests)
    known = choices.known.inference
    is_measured = measured and not known
    choices.monitor.step(
        "measuring backends of self-play" if is_measured else "getting self-play ready"
    )
    if not known:
        found = actors.prepare(requests, named)
        if measured and all(found):
            choices.record(
                f"self-play is computed by {', '.join(found)}",
                ", ".join(found),
                inference=tuple(found),
                inference_settings=settings,
            )
        return found
    if _is_for(choices.known, config, len(requests)):
        try:
            return actors.prepare(requests, known)
        except BackendError as problem:
            why = f"which cannot be used here ({problem})"
            found = [
                _in_its_place(actors, request, choice, named[:1])
                for request, choice in zip(requests, known, strict=True)
            ]
    else:
        why = f"which was not chosen for the settings '{settings}' of this run"
        found = actors.prepare(requests, named)
    if all(found):
        choices.change_inference(known, why, found)
    return found


def _is_for(known: ChosenConfig, config: SelfPlayConfig, variants: int) -> bool:
    """Whether a choice was made for these settings and for so many variants."""
    if len(known.inference) != variants or not all(known.inference):
        return False
    if known.inference_settings:
        return known.inference_settings == _inference_settings(config)
    # Runs of older versions have no settings. A fall-back keeps the backend, but for the last one.
    return all(
        config.backend == "auto" or choice.startswith((f"{config.backend} ", "torch fp32"))
        for choice in known.inference
    )


def _in_its_place(
    actors: Actors, request: SelfPlayRequest, choice: str, named: Sequence[str]
) -> str:
    """The choice that replaces one that fails: where the network no longer agrees with it, the
    fall-backs of self-play, else what is `named` or fastest. Raises as `prepare_actors`."""
    others: Sequence[str] = ()
    try:
        return actors.prepare([request], [choice])[0]
    except RefusedError:
        others = fall_backs(choice)
    except BackendError:
        pass
    for other in others:
        with contextlib.suppress(BackendError):
            return actors.prepare([request], [other])[0]
    return actors.prepare([request], named)[0]


def follow_inference(
    variants: Sequence[Variant], shards: Sequence[Shard], known: list[str], choices: Choices
) -> list[str]:
    """What computes the networks of all variants after these shards; before them it was `known`.

    A later network may need a higher precision than the first ones; the change is recorded.
    """
    used = {variant.name: choice for variant, choice in zip(variants, known, strict=True)}
    used |= {shard.variant: shard.source.get("evaluator", "") for shard in shards}
    found = list(used.values())
    if found != known:
        choices.change_inference(known, "which no longer agrees with the network", found)
    return found
