"""Probes with one hidden layer (MLP), of many tasks at once: what is there in any form?

    N  rows    W  width    H  hidden units    T  tasks    P = tasks x seeds    C  most outputs

Each task has a network of its own for each seed: W -> H, ReLU, H -> one output for a number, else
one a class. All take the same batches. The rows of the first fold judge the training: of each
network those weights are kept, of all epochs, that had the least loss there. Everything follows
from the seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.probing.activations.capture import Features
from engine.probing.concepts.registry import Kind, Labels
from engine.probing.probes.design import Design
from engine.probing.probes.tasks import Array, Task
from engine.rules.errors import InputError

HIDDEN: Final = 64
SEEDS: Final = (0, 1, 2)
_BATCH: Final = 64
_EPOCHS: Final = 16
_FEWEST_STEPS: Final = 200
"""Of few rows there are more epochs. Small batches and a rate that falls to zero reach a lower loss
in half the time than three times as many epochs of large batches at one rate."""
_JUDGED: Final = 2_048
"""Rows that are computed at a time where nothing is trained."""
_RATE: Final = 1e-2
"""Of learning, at the beginning; it falls along a cosine."""
_DECAY: Final = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkProbes:
    """The probes of T tasks, for each of several seeds."""

    kinds: tuple[Kind, ...]
    # The labels of each task's classes, ascending; (0.0,) for a number.
    classes: tuple[tuple[float, ...], ...]
    seeds: tuple[int, ...]
    # Mean and inverse spread of the training rows, float64[W].
    mean: Array
    inverse_spread: Array
    # Middle and unit of the labels of numbers, float64[T].
    middle: Array
    unit: Array
    # float32[P, W, H], [P, 1, H], [P, H, C], [P, 1, C]; networks of one seed stand together.
    parameters: tuple[Tensor, ...]
    # float64[seeds, T]: least loss on the rows that judge the training.
    losses: Array

    def seed_predictions(self, features: Features) -> Array:
        """Labels [seeds, T, N] of features [N, W]."""
        with torch.inference_mode():
            standard = _standard(features, self.mean, self.inverse_spread)
            parts = [
                _forward(self.parameters, part).numpy().astype(np.float64)
                for part in _split(standard, _JUDGED)
            ]
        outputs = np.concatenate(parts, axis=1)
        tasks = len(self.kinds)
        outputs = outputs.reshape(len(self.seeds), tasks, *outputs.shape[1:])
        found = np.empty(outputs.shape[:3])
        for index, classes in enumerate(self.classes):
            own = outputs[:, index]
            if self.kinds[index] in ("count", "real"):
                found[:, index] = own[..., 0] * self.unit[index] + self.middle[index]
            else:
                found[:, index] = np.array(classes)[own[..., : len(classes)].argmax(axis=-1)]
        return found

    def predictions(self, features: Features) -> Labels:
        """Labels [T, N]: of each task by the seed of least loss."""
        every, best = self.seed_predictions(features), self.losses.argmin(axis=0)
        labels: Labels = every[best, np.arange(len(best))]
        return labels


@dataclass(frozen=True, eq=False)
class _Targets:
    """What P networks are trained to, on M rows."""

    # float32[M, T] of numbers; int64[M, T] of classes, 0 where there is none.
    numbers: Tensor
    classes: Tensor
    # float32[M, T]: a row's weight in a task, 0 where it has no label. Those of a task have mean 1.
    weights: Tensor
    # bool[T], and bool[T, C] the outputs that a task has.
    is_number: Tensor
    has: Tensor

    def losses(self, outputs: Tensor, rows: Tensor, seeds: int) -> tuple[Tensor, Tensor]:
        """Sums of losses [P] of outputs [P, n, C] for some rows [n], and of the rows' weights."""
        is_number, has = self.is_number.repeat(seeds), self.has.repeat(seeds, 1)
        weights = self.weights[rows].T.repeat(seeds, 1)
        wanted = self.numbers[rows].T.repeat(seeds, 1)
        classes = self.classes[rows].T.repeat(seeds, 1)
        squared = 0.5 * (outputs[..., 0] - wanted) ** 2
        logits = outputs.masked_fill(~has[:, None], -1e9)
        entropy = torch.logsumexp(logits, 2) - logits.gather(2, classes[..., None])[..., 0]
        each = torch.where(is_number[:, None], squared, entropy) * weights
        return each.sum(1), weights.sum(1)


def fit_networks(
    design: Design, tasks: Sequence[Task], seeds: Sequence[int] = SEEDS, hidden: int = HIDDEN
) -> NetworkProbes:
    """Of every task; raises InputError for no tasks or folds, and as `Design.fit` does."""
    if not tasks or not design.folds:
        raise InputError("networks need tasks, and folds of which the first judges the training")
    labels = design.labels([Task(name=t.name, kind=t.kind, labels=t.labels) for t in tasks])
    middle, unit = np.zeros(len(tasks)), np.ones(len(tasks))
    classes: list[tuple[float, ...]] = []
    for index, (task, own) in enumerate(zip(tasks, labels, strict=True)):
        known = own[~np.isnan(own)]
        classes.append((0.0,) if task.is_number else tuple(np.unique(known).tolist()))
        if task.is_number:
            middle[index], unit[index] = known.mean(), known.std() or 1.0
    targets = _targets(tasks, labels, classes, middle, unit)
    kept = np.ones(len(design.train), np.bool_)
    kept[design.folds[0]] = False
    standard = _standard(design.features[design.train], design.mean, design.inverse_spread)
    outputs = max(map(len, classes))
    parameters, losses = _train(
        standard, targets, torch.from_numpy(kept), tuple(seeds), (hidden, outputs)
    )
    return NetworkProbes(
        kinds=tuple(task.kind for task in tasks),
        classes=tuple(classes),
        seeds=tuple(seeds),
        mean=design.mean,
        inverse_spread=design.inverse_spread,
        middle=middle,
        unit=unit,
        parameters=parameters,
        losses=losses,
    )


def _standard(features: Features, mean: Array, inverse_spread: Array) -> Tensor:
    standard = torch.from_numpy(np.ascontiguousarray(features, np.float32))
    standard = standard - torch.from_numpy(mean).float()
    return standard * torch.from_numpy(inverse_spread).float()


def _split(rows: Tensor, size: int) -> list[Tensor]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _forward(parameters: Sequence[Tensor], features: Tensor) -> Tensor:
    """[P, n, C] of features [n, W]."""
    into, into_bias, out, out_bias = parameters
    return torch.relu(torch.matmul(features, into) + into_bias).bmm(out) + out_bias


def _targets(
    tasks: Sequence[Task],
    labels: Labels,
    classes: Sequence[tuple[float, ...]],
    middle: Array,
    unit: Array,
) -> _Targets:
    outputs = max(map(len, classes))
    numbers, codes = np.zeros(labels.shape, np.float32), np.zeros(labels.shape, np.int64)
    weights = (~np.isnan(labels)).astype(np.float32)
    for index, task in enumerate(tasks):
        known = weights[index] > 0
        if task.is_number:
            numbers[index, known] = (labels[index, known] - middle[index]) / unit[index]
            continue
        own = np.searchsorted(classes[index], labels[index, known])
        codes[index, known] = own
        counts = np.bincount(own)
        weights[index, known] = known.sum() / len(counts) / counts[own]
    weights /= np.maximum(weights.mean(axis=1, keepdims=True), 1e-6)
    return _Targets(
        torch.from_numpy(numbers.T.copy()),
        torch.from_numpy(codes.T.copy()),
        torch.from_numpy(weights.T.copy()),
        torch.tensor([task.is_number for task in tasks]),
        torch.tensor([[place < len(own) for place in range(outputs)] for own in classes]),
    )


def _train(
    features: Tensor,
    targets: _Targets,
    kept: Tensor,
    seeds: tuple[int, ...],
    sizes: tuple[int, int],
) -> tuple[tuple[Tensor, ...], Array]:
    """Parameters of the least loss on the rows that are not kept, and that loss [seeds, T]."""
    tasks = len(targets.is_number)
    parameters = _initial(features.shape[1], sizes, seeds, tasks)
    for part in parameters:
        part.requires_grad_()
    optimiser = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=_DECAY)
    rows, validation = torch.nonzero(kept)[:, 0], torch.nonzero(~kept)[:, 0]
    order = np.random.default_rng(seeds[0])
    each = -(-len(rows) // _BATCH)
    epochs = max(_EPOCHS, -(-_FEWEST_STEPS // each))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * each)
    best = torch.full((len(seeds) * tasks,), float("inf"))
    saved = [part.detach().clone() for part in parameters]
    for _ in range(epochs):
        shuffled = rows[torch.from_numpy(order.permutation(len(rows)))]
        for batch in _split(shuffled, _BATCH):
            optimiser.zero_grad()
            losses, _ = targets.losses(_forward(parameters, features[batch]), batch, len(seeds))
            # Not by the weights of the batch: few batches have a rare class, which would count
            # for less.
            torch.autograd.backward(losses.sum() / len(batch))
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            losses = _validation_losses(parameters, features, targets, validation, len(seeds))
            better = losses < best
            best = torch.where(better, losses, best)
            for own, part in zip(saved, parameters, strict=True):
                own[better] = part[better]
    return tuple(saved), best.numpy().astype(np.float64).reshape(len(seeds), tasks)


def _validation_losses(
    parameters: Sequence[Tensor], features: Tensor, targets: _Targets, rows: Tensor, seeds: int
) -> Tensor:
    """[P] losses on some rows, with weights as they are there."""
    total = torch.zeros(len(parameters[0]))
    count = torch.zeros(len(parameters[0]))
    for part in _split(rows, _JUDGED):
        losses, weights = targets.losses(_forward(parameters, features[part]), part, seeds)
        total += losses
        count += weights
    return total / count.clamp_min(1e-6)


def _initial(width: int, sizes: tuple[int, int], seeds: Sequence[int], tasks: int) -> list[Tensor]:
    """He's initialisation; networks of one seed start alike."""
    hidden, outputs = sizes
    into, out = [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        first = rng.normal(size=(1, width, hidden)) * (2.0 / width) ** 0.5
        last = rng.normal(size=(1, hidden, outputs)) * (1.0 / hidden) ** 0.5
        into.append(np.repeat(first, tasks, axis=0))
        out.append(np.repeat(last, tasks, axis=0))
    count = len(seeds) * tasks
    arrays: list[npt.NDArray[np.float64]] = [
        np.concatenate(into),
        np.zeros((count, 1, hidden)),
        np.concatenate(out),
        np.zeros((count, 1, outputs)),
    ]
    return [torch.from_numpy(array.astype(np.float32)) for array in arrays]
