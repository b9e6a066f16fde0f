"""One probe shared by all squares: its rows are (position, square) pairs.

    N  positions     S  squares     D  channels

Row n * S + s is square s of position n. Rows of one position belong to one fold, one group, one
cluster and one side of a split, as the position does.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from engine.probing.activations.capture import Features
from engine.probing.data.splits import Indices
from engine.probing.probes.design import Design
from engine.probing.probes.tasks import Task
from engine.rules.errors import InputError

Numbers = npt.NDArray[np.int64]


def square_features(features: npt.NDArray[np.float32]) -> Features:
    """[N * S, D] of activations [N, S, D]; no copy where these are contiguous."""
    if features.ndim != 3:
        raise InputError(f"activations of shape {list(features.shape)}, not [N, S, D]")
    return features.reshape(-1, features.shape[2])


def square_rows(rows: Indices, squares: int) -> Indices:
    """[M * S] rows of the squares of positions [M]."""
    found: Indices = (rows[:, None] * squares + np.arange(squares)).ravel()
    return found


def square_task(task: Task, squares: int) -> Task:
    """Of labels [N, S]. Raises InputError for others."""
    if np.ndim(task.labels) != 2 or np.shape(task.labels)[1] != squares:
        shape = list(np.shape(task.labels))
        raise InputError(f"{task.name}: labels of shape {shape}, not [N, {squares}]")
    return replace(task, labels=task.labels.ravel())


def square_design(
    features: npt.NDArray[np.float32],
    train: Indices,
    folds: Numbers | None = None,
    groups: Numbers | None = None,
) -> Design:
    """Of activations [N, S, D]: `train`, `folds` and `groups` [M] are of positions.

    Fit it to `square_task`s; apply the probes to `square_features`.
    """
    squares = features.shape[1]
    # Positions that are not grouped are groups themselves: their squares are alike.
    groups = np.arange(len(train)) if groups is None else groups
    return Design(
        square_features(features),
        square_rows(train, squares),
        None if folds is None else np.repeat(folds, squares),
        np.repeat(groups, squares),
    )
