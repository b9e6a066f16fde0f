"""Scores on disk while a surface is measured, so that the same command continues it.

One file a network and layer, in a folder that names what was asked. Who writes the report removes
them afterwards: a disk may be full.
"""

import dataclasses
import hashlib
import shutil
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from engine.probing.surface.experiment import Experiment
from engine.probing.surface.layer_scores import LayerScores
from engine.system.files import replacing

FORMAT: Final = "pawnscope-probe-parts-3"


class Parts:
    """Scores of layers that are measured already."""

    def __init__(self, folder: Path | None, experiment: Experiment) -> None:
        """`folder` None keeps nothing. Raises OSError."""
        self._folder = None if folder is None else folder / _digest(experiment)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)

    def load(self, network: str, layer: str) -> LayerScores | None:
        """What was measured of a layer of a network, by the digest of its weights; else None."""
        if self._folder is None:
            return None
        try:
            with np.load(self._path(network, layer), allow_pickle=False) as arrays:
                return LayerScores(**{name: arrays[name] for name in arrays.files})
        except (OSError, ValueError, TypeError, EOFError, KeyError, BadZipFile):
            # Not there, or torn by a kill: it is measured again.
            return None

    def save(self, network: str, layer: str, scores: LayerScores) -> None:
        """Raises OSError."""
        if self._folder is None:
            return
        arrays: dict[str, Any] = {
            field.name: getattr(scores, field.name) for field in dataclasses.fields(scores)
        }
        with replacing(self._path(network, layer)) as path, path.open("wb") as file:
            np.savez(file, **arrays)

    def _path(self, network: str, layer: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{network}-{layer}.npz"


def remove_parts(folder: Path) -> None:
    """Remove all parts in a folder, those of other questions too."""
    shutil.rmtree(folder, ignore_errors=True)


def _digest(experiment: Experiment) -> str:
    """Of all that the scores depend on, the network and its layers apart."""
    config = dataclasses.replace(
        experiment.config,
        layers=(),
        random_networks=0,
        workers=1,
        memory=0,
        activations=None,
        details=True,
    )
    digest = hashlib.sha256(f"{FORMAT} {experiment.variant.name} {config}".encode())
    sample, settings = experiment.sample, [experiment.main]
    if experiment.harder is not None:
        settings.append(experiment.harder)
    arrays: list[npt.NDArray[Any]] = [sample.rows, sample.groups, experiment.squares]
    arrays += [each for each in (sample.games, sample.self_play) if each is not None]
    for setting in settings:
        arrays += [setting.rows.train, setting.rows.test, setting.folds]
    for target in experiment.targets:
        concept = target.concept
        digest.update(f"{concept.name} {concept.kind} {concept.per_square}".encode())
        arrays.append(target.labels)
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
