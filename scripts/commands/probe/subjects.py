"""Which networks of which runs are probed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.network.checkpoint import load_checkpoint, variant_of
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.probing.report.results import CheckpointSummary
from engine.probing.surface.measure import Subject
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from training.data.run_directory import run_checkpoints


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint file of a run."""

    path: Path
    config: NetworkConfig
    # Learning steps taken; None where the file does not say.
    step: int | None


def variant_of_all(runs: Sequence[Path], game: str | None) -> Variant:
    """The variant that all of the runs play; raises InputError where they differ."""
    variants = {run: variant_of(paths_of(run)[-1], game) for run in runs}
    first = variants[runs[0]]
    for run, variant in variants.items():
        if variant.name != first.name:
            raise InputError(f"{runs[0]} plays {first.name} and {run} plays {variant.name}")
    return first


def paths_of(run: Path) -> list[Path]:
    """The checkpoints of a run, first to last, or a single file."""
    return run_checkpoints(run) if run.is_dir() else [run]


def choose_subjects(
    runs: Sequence[Path], variant: Variant, count: int
) -> list[tuple[str, list[Subject]]]:
    """Of each run as many checkpoints, at most `count`, at like steps: first and last always.

    Raises InputError for networks of different builds, OSError.
    """
    found = [_checkpoints(run, variant) for run in runs]
    first = found[0][0]
    for checkpoint in (each for run in found for each in run):
        if checkpoint.config != first.config:
            raise InputError(f"{first.path} and {checkpoint.path} are networks of different builds")
    subjects = [
        (
            str(run),
            [_subject(each, index, len(chosen), variant) for index, each in enumerate(chosen)],
        )
        for run, chosen in zip(runs, _alike(found, count), strict=True)
    ]
    known: dict[str, str] = {}
    for name, of_run in subjects:
        other = known.setdefault(of_run[-1].digest, name)
        if other is not name:
            raise InputError(f"{other} and {name} are one network: they are no two training seeds")
    return subjects


def _checkpoints(run: Path, variant: Variant) -> list[Checkpoint]:
    found = []
    for path in paths_of(run):
        network, metadata = load_checkpoint(path, variant=variant)
        step = metadata.get("step")
        step = step if isinstance(step, int) else None
        found.append(Checkpoint(path=path, config=network.config, step=step))
    return found


def _alike(found: list[list[Checkpoint]], count: int) -> list[list[Checkpoint]]:
    """The same number of checkpoints of every run, at about the same steps.

    They are spread evenly over those of the run that has the fewest; the last one before the first.
    """
    fewest = min(found, key=len)
    places = np.unique(np.linspace(len(fewest) - 1, 0, min(count, len(fewest))).round())
    wanted = [fewest[int(place)] for place in places]
    return [
        wanted if run is fewest else [_nearest(run, each, wanted) for each in wanted]
        for run in found
    ]


def _nearest(run: list[Checkpoint], like: Checkpoint, wanted: list[Checkpoint]) -> Checkpoint:
    if like is wanted[-1] or like.step is None:
        return run[-1]
    step = like.step
    return min(run[:-1] or run, key=lambda each: abs((each.step or 0) - step))


def _subject(checkpoint: Checkpoint, index: int, count: int, variant: Variant) -> Subject:
    role = "only" if count == 1 else {0: "first", count - 1: "last"}.get(index, "")

    def load() -> PolicyValueNet:
        return load_checkpoint(checkpoint.path, variant=variant)[0]

    return Subject(
        summary=CheckpointSummary(name=checkpoint.path.stem, role=role, step=checkpoint.step),
        load=load,
        digest=hashlib.sha256(checkpoint.path.read_bytes()).hexdigest()[:16],
    )
