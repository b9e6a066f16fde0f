"""Minimum description length by the online code (Voita and Titov 2020, section 3.2).

The training rows are coded in blocks, each as long as all before it together: a probe fitted to the
rows so far predicts the next block, whose labels are coded with its probabilities. A concept that
is easy to read off needs few bits from the first blocks on, while a probe that only memorises pays
for every block. Blocks end between groups (canonical positions or games), so that no probe codes
rows of a group it was fitted to.

Classes: the probe is fitted to the classes as frequent as they are. Of t rows fitted to and C
classes, chances p become (t p + 1) / (t + C): a class that was never seen is not impossible. Rows
of the first block cost log2 C.

Numbers: a normal distribution around the prediction, with the spread of the errors in the block
before. Densities have no bits of their own; what counts is the difference from a normal
distribution with the mean and spread of the rows so far. A spread below a thousandth of the labels'
own is taken for that.

The penalty is of the sum of the losses, not of their mean: it weighs the same for all blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from engine.probing.concepts.registry import Labels
from engine.probing.data.splits import Indices
from engine.probing.probes.classes import ClassTask, batches, first_bias
from engine.probing.probes.logistic import Newton, Problems, Single
from engine.probing.probes.numbers import Sums, same_rows
from engine.probing.probes.tasks import Array, Task
from engine.probing.probes.training_features import TrainingFeatures

FIRST_BLOCK: Final = 16
"""Rows that are coded without a probe, at least."""
_TOLERANCE: Final = 1e-4
"""How far above its least the loss of a fit may be, in nats a row."""
_SMALLEST_SPREAD: Final = 1e-3


@dataclass(frozen=True)
class DescriptionLength:
    """How long the labels of the training rows are when they are coded, in bits a row."""

    # With the features. For a number the difference from `without`: negative where they help.
    bits: float
    # Without features: classes by their frequencies (a uniform prior over them). 0 for a number.
    without: float


@dataclass(frozen=True, eq=False)
class Blocks:
    """The order in which M training rows are coded."""

    # int64[M]
    order: Indices
    # Rows before each block but the first, ascending; and M.
    ends: tuple[int, ...]

    @classmethod
    def of(cls, groups: npt.NDArray[np.int64], seed: int = 0) -> "Blocks":
        """Groups [M] in random order, their rows together."""
        numbers = np.unique(groups, return_inverse=True)[1].ravel()
        places = np.random.default_rng(seed).permutation(int(numbers.max()) + 1)[numbers]
        order = np.argsort(places, kind="stable")
        borders = np.append(np.flatnonzero(np.diff(places[order])) + 1, len(order))
        sizes = [len(order)]
        while sizes[-1] // 2 >= FIRST_BLOCK:
            sizes.append(sizes[-1] // 2)
        ends = {int(borders[np.searchsorted(borders, size)]) for size in sizes}
        return cls(order, tuple(sorted(ends | {len(order)})))


def description_lengths(
    features: TrainingFeatures,
    tasks: Sequence[Task],
    labels: Labels,
    penalties: Sequence[float],
) -> list[DescriptionLength]:
    """Of labels [T, M] of the training rows, by probes with these penalties."""
    groups = np.arange(len(features.train)) if features.groups is None else features.groups
    blocks = Blocks.of(groups)
    found: dict[int, DescriptionLength] = {}
    numbers = [index for index, task in enumerate(tasks) if task.is_number]
    for members in same_rows(labels[numbers]):
        chosen = [numbers[member] for member in members]
        bits = _number_bits(features, blocks, labels[chosen], np.array(penalties)[chosen])
        found.update(
            (index, DescriptionLength(own, 0.0))
            for index, own in zip(chosen, bits.tolist(), strict=True)
        )
    classes = [
        ClassTask.of(index, task, own)
        for index, (task, own) in enumerate(zip(tasks, labels, strict=True))
        if not task.is_number
    ]
    if classes:
        ordered = features.newton.features[:, blocks.order]
        newton = Newton(ordered, features.newton.variances)
        for batch in batches(classes, 1, features.width, len(features.train)):
            chosen_penalties = np.array([penalties[task.index] for task in batch])
            bits = _class_bits(newton, blocks, batch, chosen_penalties)
            for task, own in zip(batch, bits.tolist(), strict=True):
                found[task.index] = DescriptionLength(own, frequency_bits(task))
    return [found[index] for index in range(len(tasks))]


def frequency_bits(task: ClassTask) -> float:
    """Bits a row of a code that learns the frequencies of the classes, all equally likely at first.

    Of n rows, n_k of each of C classes: log2 of (n + C - 1)! / ((C - 1)! times the n_k!).
    """
    counts = np.bincount(task.codes[task.codes >= 0], minlength=len(task.classes))
    total = int(counts.sum())
    nats = gammaln(total + len(counts)) - gammaln(len(counts)) - gammaln(counts + 1.0).sum()
    return float(nats / np.log(2.0) / total)


def _class_bits(
    newton: Newton, blocks: Blocks, tasks: Sequence[ClassTask], penalties: Array
) -> Array:
    """[T] bits a row; the newton's features are in the order of coding."""
    codes = np.stack([task.codes[blocks.order] for task in tasks])
    known = codes >= 0
    targets = np.concatenate([task.targets()[:, blocks.order] for task in tasks])
    columns = np.array([task.columns for task in tasks])
    sizes = np.array([len(task.classes) for task in tasks])
    bits = known[:, : blocks.ends[0]].sum(axis=1) * np.log2(sizes)
    for begin, end in zip(blocks.ends[:-1], blocks.ends[1:], strict=True):
        counts = known[:, :begin].sum(axis=1)
        least = np.maximum(counts, 1)
        problems = Problems(
            targets[:, :begin].astype(np.float32),
            (known[:, :begin] / least[:, None]).astype(np.float32),
            columns,
            penalties * known.sum(axis=1) / least,
        )
        seen = codes[:, :begin]
        start = np.zeros((len(targets), len(newton.features)), np.float32)
        start[:, -1] = np.concatenate(
            [first_bias(own, len(task.classes)) for task, own in zip(tasks, seen, strict=True)]
        )
        part = Newton(newton.features[:, :begin], newton.variances)
        weights, _ = part.solve(problems, start, _TOLERANCE)
        logits: Single = weights @ newton.features[:, begin:end]
        problems.probabilities(logits)
        starts = problems.starts
        for index, own in enumerate(codes[:, begin:end]):
            rows = np.flatnonzero(own >= 0)
            if sizes[index] == 1:
                continue
            chances = logits[starts[index] : starts[index] + columns[index], rows]
            if columns[index] == 1:
                chances = np.concatenate([1.0 - chances, chances])[: sizes[index]]
            given = chances[own[rows], np.arange(len(rows))].astype(np.float64)
            given = (counts[index] * given + 1.0) / (counts[index] + sizes[index])
            bits[index] -= np.log2(given).sum()
    return np.asarray(bits / known.sum(axis=1))


def _number_bits(
    features: TrainingFeatures, blocks: Blocks, labels: Labels, penalties: Array
) -> Array:
    """[T] bits a row more than without features, of labels [T, M] missing in the same rows."""
    known = ~np.isnan(labels[0])
    middle, unit = np.nanmean(labels, axis=1), np.nanstd(labels, axis=1)
    targets = (labels - middle[:, None]) / np.where(unit > 0.0, unit, 1.0)[:, None]
    nats, spread = np.zeros(len(labels)), None
    total = int(known.sum())
    sums: Sums | None = None
    begin = 0
    for end in blocks.ends:
        rows = blocks.order[begin:end]
        rows = rows[known[rows]]
        begin = end
        block = _block_sums(features, targets, rows)
        if sums is not None and sums.count and block.count:
            mean = sums.targets / sums.count
            usual = np.sqrt(np.maximum(sums.squares / sums.count - mean**2, 0.0))
            errors = np.empty(len(labels))
            for penalty in np.unique(penalties):
                chosen = np.flatnonzero(penalties == penalty)
                weights, bias = sums.ridge(float(penalty) * total / sums.count, chosen)
                errors[chosen] = block.only(chosen).squared_errors(weights, bias)
            marginal = block.squares - 2.0 * mean * block.targets + block.count * mean**2
            nats += _normal_nats(errors, usual if spread is None else spread, block.count)
            nats -= _normal_nats(marginal, usual, block.count)
            spread = np.sqrt(errors / block.count)
        sums = block if sums is None else sums + block
    return np.asarray(nats / np.log(2.0) / total)


def _normal_nats(squared_errors: Array, spread: Array, count: int) -> Array:
    """Of a normal distribution, without the constant that all have."""
    least = np.maximum(spread, _SMALLEST_SPREAD)
    nats: Array = count * np.log(least) + 0.5 * squared_errors / least**2
    return nats


def _block_sums(features: TrainingFeatures, targets: Array, rows: Indices) -> Sums:
    width = features.width
    gram, products, total = (
        np.zeros((width, width)),
        np.zeros((width, len(targets))),
        np.zeros(width),
    )
    for chunk in features.chunks(slice(0, len(rows))):
        part = features.standard(rows[chunk])
        gram += part.T @ part
        products += part.T @ targets[:, rows[chunk]].T
        total += part.sum(axis=0)
    own = targets[:, rows]
    return Sums(len(rows), total, own.sum(1), gram, products, (own**2).sum(1))
