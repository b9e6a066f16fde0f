"""Logistic regression for many tasks on the same rows at once: truncated Newton steps in a batch.

    N  rows     A  features and a last one that is 1, for the bias     P  problems
    K  columns of all problems: one for two classes (a sigmoid), else one a class (a softmax)

A problem minimises the mean of its rows' cross-entropies, by weights that sum to 1, plus half its
penalty times its squared weights without the bias. A Newton step is solved by conjugate gradients
(Nocedal and Wright 2006, algorithm 7.1), which need products with the Hessian only: two products of
matrices [K, A] and [A, N] serve all problems. A Hessian for each would need N A² operations.

The features are principal axes, whose curvature is about diagonal: a few steps of conjugate
gradients are enough when they are scaled by it. What is done here is single precision, except
`refine`: it computes gradients in double precision and so is exact to about 1e-9.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.probing.probes.preconditioning import Dense, Diagonal, data_hessians, dense

Single = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

ABSENT: Final = -30.0
"""Bias of a class that has no rows: it is taken for impossible."""
NEWTON_STEPS: Final = 60
CONJUGATE_STEPS: Final = 200
_CACHED: Final = 2**17
"""Elements of an array that stays in the processor's cache."""
_FEWEST_ROWS: Final = 1_024
_LINE_STEPS: Final = 12
_SLOPE: Final = 0.5
"""A step is right once the slope along it is at most this share of the slope at its beginning."""


@dataclass(frozen=True, eq=False)
class Problems:
    """P logistic regressions on N rows; problems with equally many columns stand together."""

    # float32[K, N]: 1 where a row is of the column's class.
    targets: Single
    # float32[P, N]: how much a row counts; 0 where it is left out. They sum to 1 for each problem.
    weights: Single
    # intp[P] columns of each problem.
    columns: Numbers
    # float64[P]
    penalties: Array

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def starts(self) -> Numbers:
        """[P] the first column of each problem."""
        return np.cumsum(self.columns) - self.columns

    def spread(self, figures: Array) -> Array:
        """A figure of each problem [P] for each of its columns [K]."""
        return np.repeat(figures, self.columns)

    def total(self, figures: Array) -> Array:
        """Sums [P] of a figure of each column [K]."""
        totals: Array = np.add.reduceat(figures, self.starts)
        return totals

    def penalised_by(self, penalty: float) -> "Problems":
        """The same with another penalty for all."""
        return Problems(
            self.targets, self.weights, self.columns, np.full(len(self.columns), penalty)
        )

    def take(self, kept: Flags) -> "Problems":
        """Only some of the problems [P]."""
        if kept.all():
            return self
        return Problems(
            self.targets[np.repeat(kept, self.columns)],
            self.weights[kept],
            self.columns[kept],
            self.penalties[kept],
        )

    def blocks(self) -> Iterator[tuple[slice, slice, tuple[int, int]]]:
        """Problems with equally many columns: their columns, themselves, and the shape (P, C)."""
        changes = np.flatnonzero(np.diff(self.columns)) + 1
        first_column = 0
        for part in np.split(np.arange(len(self.columns)), changes):
            problems, columns = len(part), int(self.columns[part[0]])
            last_column = first_column + problems * columns
            yield (
                slice(first_column, last_column),
                slice(int(part[0]), int(part[-1]) + 1),
                (problems, columns),
            )
            first_column = last_column

    def probabilities(self, logits: npt.NDArray[np.floating]) -> None:
        """Turn logits [K, n] of any rows into probabilities, in place."""
        for columns, _, (problems, classes) in self.blocks():
            own = logits[columns]
            if classes == 1:
                np.negative(own, out=own)
                np.clip(own, None, 80.0, out=own)
                np.exp(own, out=own)
                own += 1.0
                np.reciprocal(own, out=own)
            else:
                cube = own.reshape(problems, classes, -1)
                cube -= cube.max(axis=1, keepdims=True)
                np.exp(cube, out=cube)
                cube /= cube.sum(axis=1, keepdims=True)

    def weighted(self, figures: npt.NDArray[np.floating], rows: slice = slice(None)) -> None:
        """Multiply figures [K, n] of some rows by the rows' weights, in place."""
        for columns, problems, (count, classes) in self.blocks():
            cube = figures[columns].reshape(count, classes, -1)
            cube *= self.weights[problems, None, rows]

    def curvature(self, probabilities: Single) -> Single:
        """[K, N]: for a sigmoid its weighted derivative, for a softmax the probabilities."""
        curvature = probabilities.copy()
        for columns, problems, (_, classes) in self.blocks():
            if classes == 1:
                own = curvature[columns]
                np.subtract(1.0, own, out=own)
                own *= probabilities[columns]
                own *= self.weights[problems]
        return curvature

    def bend(self, curvature: Single, change: Single, rows: slice) -> None:
        """Turn a change of logits [K, n] of some rows into that of the residuals, in place."""
        for columns, problems, (count, classes) in self.blocks():
            own = change[columns]
            own *= curvature[columns, rows]
            if classes > 1:
                cube = own.reshape(count, classes, -1)
                chances = curvature[columns, rows].reshape(count, classes, -1)
                cube -= chances * cube.sum(axis=1, keepdims=True)
                cube *= self.weights[problems, None, rows]

    def centre(self, figures: npt.NDArray[np.floating]) -> None:
        """Subtract the mean over the classes of each softmax from figures [K, A], in place.

        Logits that all move together change nothing: the loss is flat in that direction, but for
        its penalty, and is least where the weights sum to zero.
        """
        for columns, _, (count, classes) in self.blocks():
            if classes > 1:
                cube = figures[columns].reshape(count, classes, -1)
                cube -= cube.mean(axis=1, keepdims=True)

    def own_curvature(self, curvature: Single) -> Single:
        """[K, N] of the loss by a column's logit alone."""
        found = curvature
        for columns, problems, (count, classes) in self.blocks():
            if classes > 1:
                found = curvature.copy() if found is curvature else found
                own = found[columns]
                own -= own * own
                cube = own.reshape(count, classes, -1)
                cube *= self.weights[problems, None]
        return found

    def losses(self, logits: Single) -> Array:
        """[P] weighted sums of the rows' cross-entropies; logits [K, N]."""
        found = np.empty(len(self))
        for columns, problems, (count, classes) in self.blocks():
            cube = logits[columns].reshape(count, classes, -1)
            targets = self.targets[columns].reshape(cube.shape)
            own = (cube * targets).sum(axis=1)
            if classes == 1:
                each = np.logaddexp(0.0, cube[:, 0]) - own
            else:
                top = cube.max(axis=1)
                each = np.log(np.exp(cube - top[:, None]).sum(axis=1)) + top - own
            found[problems] = np.einsum("pn,pn->p", each, self.weights[problems])
        return found


def diagonal(problems: Problems, variances: Array, curvature: Single) -> Diagonal:
    """From `curvature` [K, N]; `variances` [A] of the axes and the bias."""
    means = np.maximum(problems.own_curvature(curvature).sum(axis=1), 1e-6)
    hessian = means[:, None] * variances + penalty_diagonals(problems, len(variances))
    return Diagonal((1.0 / hessian).astype(np.float32))


def penalty_diagonals(problems: Problems, width: int) -> Array:
    """[K, A]: of the Hessian, without the rows' part."""
    diagonals: Array = problems.spread(problems.penalties)[:, None] * penalised(width)
    return diagonals


def penalised(width: int) -> Array:
    """[A]: 1 for features, 0 for the bias."""
    flags = np.ones(width)
    flags[-1] = 0.0
    return flags


def _dot(left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> Array:
    """Of each column: sums [K] over the second axis."""
    sums: Array = np.einsum("ka,ka->k", left, right).astype(np.float64)
    return sums


@dataclass(frozen=True, eq=False)
class Newton:
    """Solves problems on features [A, N], of which the last is 1; `variances` [A] of the others."""

    features: Single
    variances: Array

    def solve(
        self,
        problems: Problems,
        start: Single,
        tolerance: float,
        logits: Single | None = None,
        preconditioner: Dense | None = None,
    ) -> tuple[Single, Single]:
        """Weights [K, A] and logits [K, N].

        `tolerance` is of the Newton decrement: about how much the loss is above its least.
        `logits` are those of `start`, if they are known; they are overwritten. The preconditioner
        is diagonal unless one is given.
        """
        weights = start.copy()
        if logits is None:
            logits = weights @ self.features
        active = np.ones(len(problems), np.bool_)
        for _ in range(NEWTON_STEPS):
            rows = np.repeat(active, problems.columns)
            part = problems.take(active)
            chances = logits[rows]
            part.probabilities(chances)
            gradient = self._gradient(part, chances, weights[rows])
            curvature = part.curvature(chances)
            inverse: Diagonal | Dense = (
                diagonal(part, self.variances, curvature)
                if preconditioner is None
                else preconditioner.take(rows)
            )
            decrement = part.total(_dot(gradient, inverse(gradient)))
            far = decrement > tolerance
            if not far.any():
                break
            active[active] = far
            near, kept = part.take(far), np.repeat(far, part.columns)
            rows = np.repeat(active, problems.columns)
            forcing = np.clip(np.sqrt(decrement[far]), 0.1, 0.7)
            step = self.direction(
                near, curvature[kept], inverse.take(kept), gradient[kept], forcing
            )
            change: Single = np.matmul(step, self.features)
            first = near.total(_dot(gradient[kept], step))
            length = self._line(near, first, logits[rows], change, weights[rows], step)
            spread = near.spread(length).astype(np.float32)[:, None]
            weights[rows] += spread * step
            logits[rows] += spread * change
        return weights, logits

    def dense(
        self,
        problems: Problems,
        curvature: Single,
    ) -> Dense:
        """A preconditioner for `curvature` [K, N]."""
        own = problems.own_curvature(curvature)
        hessians = data_hessians(self.features, self.variances, own)
        return dense(hessians, penalty_diagonals(problems, len(self.features)))

    def _gradient(self, problems: Problems, chances: Single, weights: Single) -> Single:
        """[K, A] at weights [K, A] with probabilities [K, N]."""
        residuals = chances - problems.targets
        problems.weighted(residuals)
        gradient: Single = np.matmul(residuals, self.features.T)
        return gradient + self._pull(problems, weights)

    def _pull(self, problems: Problems, weights: Single) -> Single:
        penalty = problems.spread(problems.penalties)[:, None] * penalised(weights.shape[1])
        pull: Single = penalty.astype(np.float32) * weights
        return pull

    def direction(
        self,
        problems: Problems,
        curvature: Single,
        inverse: Diagonal | Dense,
        gradient: Single,
        forcing: Array,
    ) -> Single:
        """A Newton step [K, A] from where the gradient is so.

        Conjugate gradients stop once the residual is `forcing` [P] times what it was.
        """
        step = np.zeros_like(gradient)
        residual = -gradient
        scaled = inverse(residual)
        problems.centre(scaled)
        search = scaled
        size = problems.total(_dot(residual, scaled))
        goal = forcing**2 * size
        columns = np.arange(len(gradient))
        for _ in range(CONJUGATE_STEPS):
            product = self._product(problems, curvature, search)
            bend = np.maximum(problems.total(_dot(search, product)), 1e-300)
            length = problems.spread(size / bend).astype(np.float32)[:, None]
            step[columns] += length * search
            residual = residual - length * product
            scaled = inverse(residual)
            problems.centre(scaled)
            size, before = problems.total(_dot(residual, scaled)), size
            far = size > goal
            if not far.any():
                break
            ratio = problems.spread(size / before).astype(np.float32)[:, None]
            search = scaled + ratio * search
            if not far.all():
                kept = np.repeat(far, problems.columns)
                problems, curvature = problems.take(far), curvature[kept]
                inverse = inverse.take(kept)
                residual, search, columns = residual[kept], search[kept], columns[kept]
                size, goal = size[far], goal[far]
        return step

    def _product(self, problems: Problems, curvature: Single, search: Single) -> Single:
        """The Hessian times `search` [K, A], some rows at a time so that they stay in the cache."""
        product = self._pull(problems, search)
        count = self.features.shape[1]
        size = max(_CACHED // len(search), _FEWEST_ROWS)
        for start in range(0, count, size):
            rows = slice(start, min(start + size, count))
            change: Single = np.matmul(search, self.features[:, rows])
            problems.bend(curvature, change, rows)
            product += np.matmul(change, self.features[:, rows].T)
        return product

    def _line(
        self,
        problems: Problems,
        first: Array,
        logits: Single,
        change: Single,
        weights: Single,
        step: Single,
    ) -> Array:
        """[P] how far to go along a step: to where the slope, `first` at its beginning, is small.

        The losses are convex, so slopes rise along a step.
        """
        ahead = _dot(self._pull(problems, weights), step)
        bend = _dot(self._pull(problems, step), step)
        length, low, high = np.ones(len(first)), np.zeros(len(first)), np.ones(len(first))
        active = np.ones(len(first), np.bool_)
        for _ in range(_LINE_STEPS):
            part, rows = problems.take(active), np.repeat(active, problems.columns)
            there = part.spread(length[active])
            chances = logits[rows] + there.astype(np.float32)[:, None] * change[rows]
            part.probabilities(chances)
            chances -= part.targets
            part.weighted(chances)
            slope = part.total(_dot(chances, change[rows]) + ahead[rows] + there * bend[rows])
            long = slope > _SLOPE * np.abs(first[active])
            active[active] = long
            if not long.any():
                break
            # The slope is zero between the beginning and here.
            high[active] = length[active]
            secant = length[active] * first[active] / (first[active] - slope[long])
            length[active] = np.clip(secant, low[active] + 0.05 * high[active], 0.9 * high[active])
        return length


Chunks = Callable[[], Iterable[tuple[slice, Array]]]
"""Makes an iterator over the features in double precision: some rows, and float64[A, n] of them."""


def refine(
    newton: Newton, chunks: Chunks, problems: Problems, start: Single, *, precision: float = 1e-7
) -> Array:
    """Weights float64[K, A] near `start` where the gradient, in double precision, vanishes.

    The steps are solved in single precision, and are so small that this is enough: each leaves
    about a thousandth of the error. The last one is `precision` times the largest weight at most.
    """
    weights = start.astype(np.float64)
    problems.centre(weights[:, :-1])
    active = np.ones(len(problems), np.bool_)
    step, before = np.zeros_like(weights), np.zeros_like(weights)
    inverse: Dense | None = None
    for _ in range(NEWTON_STEPS):
        rows = np.repeat(active, problems.columns)
        part = problems.take(active)
        gradient, curvature = _exact_gradient(part, chunks, weights[rows])
        if inverse is None:
            inverse = newton.dense(problems, curvature)
        # A step after which the loss rises steeply was too long: half of it is taken back.
        slope = part.total(_dot(gradient, step[rows]))
        long = slope > _SLOPE * np.abs(part.total(_dot(before[rows], step[rows])))
        if long.any():
            step[rows] *= part.spread(np.where(long, 0.5, 1.0))[:, None]
            weights[rows] -= part.spread(np.where(long, 1.0, 0.0))[:, None] * step[rows]
            continue
        before[rows] = gradient
        step[rows] = _exact_step(newton, part, curvature, inverse.take(rows), gradient)
        weights[rows] += step[rows]
        reach = np.maximum.reduceat(np.abs(step[rows]).max(axis=1), part.starts)
        scale = np.maximum.reduceat(np.abs(weights[rows]).max(axis=1), part.starts)
        active[active] = reach > precision * np.maximum(scale, 1e-12)
        if not active.any():
            break
    return weights


def _exact_step(
    newton: Newton, problems: Problems, curvature: Single, inverse: Dense, gradient: Array
) -> Array:
    """[K, A] in single precision, of a gradient that may be too small for it."""
    largest = np.maximum(np.abs(gradient).max(axis=1), 1e-300)
    unit = problems.spread(np.maximum.reduceat(largest, problems.starts))[:, None]
    forcing = np.full(len(problems), 1e-3)
    scaled = (gradient / unit).astype(np.float32)
    step = newton.direction(problems, curvature, inverse, scaled, forcing)
    return step * unit


def _exact_gradient(problems: Problems, chunks: Chunks, weights: Array) -> tuple[Array, Single]:
    """[K, A] in double precision, and the curvature float32[K, N]."""
    chances = np.empty(problems.targets.shape, np.float32)
    width = weights.shape[1]
    gradient = problems.spread(problems.penalties)[:, None] * penalised(width) * weights
    for rows, features in chunks():
        residuals = weights @ features
        problems.probabilities(residuals)
        chances[:, rows] = residuals
        residuals -= problems.targets[:, rows]
        problems.weighted(residuals, rows)
        gradient += residuals @ features.T
    return gradient, problems.curvature(chances)
