"""The interface between searches and what evaluates positions, for instance a network.

Only `evaluate` calls an evaluator: it refuses numbers that are not finite, once a batch, before a
kernel or an average sees them.
"""

from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import kernel
from engine.rules.compilation.signatures import Array2D, contiguous
from engine.rules.errors import require_finite

Rows = npt.NDArray[np.uint8]
Moves = npt.NDArray[np.uint16]
Offsets = npt.NDArray[np.int64]

WIN: Final = 0
DRAW: Final = 1
LOSS: Final = 2
"""Places in a WDL triple, seen from the side to move."""

_MAGNITUDE: Final = np.int32(0x7FFFFFFF)
_INFINITE: Final = np.int32(0x7F800000)
"""Bits of a float32: all but the sign, and those of infinity."""


class Evaluation(NamedTuple):
    """What an evaluator returns for B positions with M legal moves in all."""

    logits: npt.NDArray[np.float32]
    """[M] unnormalised log-probabilities of the moves, each position by itself."""
    wdl: npt.NDArray[np.float32]
    """[B, 3] probabilities of win, draw and loss for the side to move; each row sums to 1."""


class EvaluationLike(Protocol):
    """An `Evaluation`, or a class with its fields from `engine`, which cannot import it."""

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """[M], as in `Evaluation`."""

    @property
    def wdl(self) -> npt.NDArray[np.float32]:
        """[B, 3], as in `Evaluation`."""


class Evaluator(Protocol):
    """Evaluates positions in batches; a position has the same evaluation in every batch."""

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> EvaluationLike:
        """Evaluate `positions` uint8[B, R], B >= 1.

        `moves[offsets[i]:offsets[i + 1]]` (uint16[M], int64[B + 1]) are the legal moves of position
        i, at least one each. The caller overwrites the arrays afterwards: keep a copy.
        """
        ...


def evaluate(evaluator: Evaluator, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
    """The evaluation of a batch, as contiguous float32; see `Evaluator.evaluate` for the arguments.

    Raises NotFiniteError for logits or WDL with NaN or an infinity, ValueError for arrays of other
    shapes (kernels would read beyond them), and what the evaluator raises.
    """
    found = evaluator.evaluate(positions, moves, offsets)
    logits = contiguous(found.logits, np.float32)
    wdl = contiguous(found.wdl, np.float32)
    if logits.shape != moves.shape or wdl.shape != (positions.shape[0], 3):
        raise ValueError(
            f"an evaluator returned logits {list(logits.shape)} and WDL {list(wdl.shape)} for"
            f" {positions.shape[0]} positions with {moves.shape[0]} moves"
        )
    if not _are_finite(logits, wdl):
        for name, values in (("policy", logits), ("WDL", wdl)):
            require_finite(values, f"an evaluation of {positions.shape[0]} positions: the {name}")
    return Evaluation(logits, wdl)


@kernel
def _are_finite(logits: npt.NDArray[np.float32], wdl: Array2D[np.float32]) -> bool:
    """Whether all of logits [M] and WDL [B, 3] are finite.

    NaN and infinities are the numbers whose exponent bits are all set. The bits are compared as
    integers, which the compiler vectorises.
    """
    largest = np.int32(0)
    for bits in logits.view(np.int32):
        largest = max(largest, bits & _MAGNITUDE)
    for bits in wdl.view(np.int32).ravel():
        largest = max(largest, bits & _MAGNITUDE)
    return bool(largest < _INFINITE)


class UniformEvaluator:
    """All moves are equally likely and every position is a draw: WDL (0, 1, 0), value 0."""

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See `Evaluator`."""
        wdl = np.zeros((positions.shape[0], 3), dtype=np.float32)
        wdl[:, DRAW] = 1.0
        return Evaluation(np.zeros(moves.shape[0], dtype=np.float32), wdl)
