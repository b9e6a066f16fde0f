"""Probes for a square (Jenner et al. 2024, section 4): which one, as seen from another?

    N  positions     S  squares     D  channels     k  rank

    bilinear   the logit of square s is x_s' A y, where x_s is the activation at s and y the one at
               a given square, such as the target of the best move: is the square that follows
               linked to it? A = U V' has rank k.
    linear     the logit of square s is linear in the activations of all squares, and has a constant
               for each given square: it knows as much, but cannot look up the given square.

A softmax over the squares gives the chances. Trained by Adam; the rows of the first fold stop the
training. One seed, one result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.probing.concepts.registry import Labels
from engine.probing.data.splits import Indices
from engine.rules.errors import InputError

Squares = npt.NDArray[np.float32]
"""[N, S, D]: activations of every square."""

RANK: Final = 32
_BATCH: Final = 256
_EPOCHS: Final = 60
_PATIENCE: Final = 6
_RATE: Final = 3e-3


SquareForm = Literal["linear", "bilinear"]


@dataclass(frozen=True, eq=False)
class SquareProbe:
    """Logits of all squares from standardised activations, (x - mean) / spread."""

    form: SquareForm
    # float32[D] over the training rows and all squares.
    mean: Tensor
    spread: Tensor
    # float32: U and V [D, k]; of the linear form [S D, S], and [S, S] by the given square.
    parameters: tuple[Tensor, ...]
    # Least mean cross-entropy on the rows that stopped the training, in nats.
    loss: float

    def outputs(self, features: Squares, given: Indices) -> npt.NDArray[np.float32]:
        """Logits [N, S] for features [N, S, D] and the given square [N] of each."""
        with torch.inference_mode():
            parts = []
            for start in range(0, len(features), 4 * _BATCH):
                rows = slice(start, start + 4 * _BATCH)
                standard = _standard(features[rows], self.mean, self.spread)
                at = torch.from_numpy(np.asarray(given[rows], np.int64))
                parts.append(_LOGITS[self.form](standard, at, self.parameters).numpy())
        return np.concatenate(parts)

    def predict(self, features: Squares, given: Indices) -> Labels:
        """The most likely square [N]."""
        squares: Labels = self.outputs(features, given).argmax(axis=1).astype(np.float64)
        return squares


def fit_square_probe(
    form: SquareForm,
    features: Squares,
    given: Indices,
    labels: Labels,
    train: Indices,
    folds: npt.NDArray[np.int64],
    *,
    rank: int = RANK,
    seed: int = 0,
) -> SquareProbe:
    """Of squares `labels` [N], 0 to S - 1, from features [N, S, D] and a given square [N] of each.

    Only training rows [M] are used whose label is not NaN and whose given square is not negative;
    those with the lowest of the fold numbers [M] stop the training. Raises InputError where one of
    the two parts is empty or a square is not on the board.
    """
    squares = features.shape[1]
    for name, numbers in (("label", labels[train]), ("given square", given[train])):
        wrong = (numbers >= squares) | ((numbers < 0) & (name == "label"))
        if wrong.any():
            raise InputError(f"a {name} is {numbers[wrong][0]:g}; there are {squares} squares")
    known = ~np.isnan(labels[train]) & (given[train] >= 0)
    is_validation = folds == folds.min()
    rows, validation = train[known & ~is_validation], train[known & is_validation]
    if not len(rows) or not len(validation):
        raise InputError(f"{len(rows)} rows to fit to, and {len(validation)} to stop the training")
    mean, spread = _moments(features, rows)
    rng = np.random.default_rng(seed)
    parameters = _initial(form, features, rank, rng)
    at = torch.from_numpy(np.asarray(given, np.int64))
    wanted = torch.from_numpy(np.where(np.isnan(labels), 0, labels).astype(np.int64))

    def loss(batch: Indices) -> Tensor:
        standard = _standard(features[batch], mean, spread)
        return F.cross_entropy(_LOGITS[form](standard, at[batch], parameters), wanted[batch])

    optimiser = torch.optim.Adam([part.requires_grad_() for part in parameters], lr=_RATE)
    best, waited = float("inf"), 0
    saved = [part.detach().clone() for part in parameters]
    for _ in range(_EPOCHS):
        order = rows[rng.permutation(len(rows))]
        for start in range(0, len(order), _BATCH):
            optimiser.zero_grad()
            torch.autograd.backward(loss(order[start : start + _BATCH]))
            optimiser.step()
        with torch.no_grad():
            parts = [validation[start : start + 1024] for start in range(0, len(validation), 1024)]
            found = sum(float(loss(part)) * len(part) for part in parts) / len(validation)
        waited += 1
        if found < best:
            best, waited = found, 0
            saved = [part.detach().clone() for part in parameters]
        if waited >= _PATIENCE:
            break
    return SquareProbe(form, mean, spread, tuple(saved), best)


def _moments(features: Squares, rows: Indices) -> tuple[Tensor, Tensor]:
    """Mean and spread [D] over some rows and all squares."""
    total, squares, count = 0.0, 0.0, len(rows) * features.shape[1]
    for start in range(0, len(rows), 1024):
        part = features[rows[start : start + 1024]].astype(np.float64)
        total, squares = total + part.sum(axis=(0, 1)), squares + (part**2).sum(axis=(0, 1))
    mean = np.asarray(total) / count
    spread = np.sqrt(np.maximum(np.asarray(squares) / count - mean**2, 0.0))
    spread[spread <= 1e-6 * spread.max(initial=0.0)] = np.inf
    return torch.from_numpy(mean).float(), torch.from_numpy(spread).float()


def _standard(features: Squares, mean: Tensor, spread: Tensor) -> Tensor:
    return (torch.from_numpy(np.ascontiguousarray(features, np.float32)) - mean) / spread


def _initial(
    form: SquareForm, features: Squares, rank: int, rng: np.random.Generator
) -> list[Tensor]:
    _, squares, channels = features.shape
    if form == "linear":
        return [torch.zeros(squares * channels, squares), torch.zeros(squares, squares)]
    size = (1.0 / channels) ** 0.5
    return [
        torch.from_numpy((rng.normal(size=(channels, rank)) * size).astype(np.float32))
        for _ in range(2)
    ]


def _bilinear(features: Tensor, given: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """[n, S] of standardised features [n, S, D]."""
    left, right = parameters
    at = features[torch.arange(len(given)), given.clamp_min(0)]
    return torch.einsum("nsd,dk,nk->ns", features, left, at @ right)


def _linear(features: Tensor, given: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The same."""
    weights, by_given = parameters
    return features.flatten(1) @ weights + by_given[given.clamp_min(0)]


_LOGITS: Final[dict[SquareForm, Callable[[Tensor, Tensor, Sequence[Tensor]], Tensor]]] = {
    "linear": _linear,
    "bilinear": _bilinear,
}
