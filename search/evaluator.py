"""What a search asks of the outside: a judgement of positions. A network is one of these.

Nothing but `judge` calls an evaluator: what is not finite is refused there, once a batch, before
any kernel or average sees it.
"""

from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.decorators import kernel
from engine.rules.compilation.signatures import Array2D, contiguous
from engine.rules.finite import require_finite
from search.exact.solution import Solution

Rows = npt.NDArray[np.uint8]
Moves = npt.NDArray[np.uint16]
Offsets = npt.NDArray[np.int64]

WIN: Final = 0
DRAW: Final = 1
LOSS: Final = 2
"""Places in a WDL triple, seen from the side to move."""

_VALUE_LOGIT: Final = 12.0
"""Logit of an immediate win; a draw has 0 and an immediate loss the opposite."""
_HASTE_LOGIT: Final = 10.0
"""Most that a long way takes from it: the slowest win still stands above every draw."""

_MAGNITUDE: Final = np.int32(0x7FFFFFFF)
_INFINITE: Final = np.int32(0x7F800000)
"""Bits of a float32: all but the sign, and those of infinity."""


class Evaluation(NamedTuple):
    """Judgements of B positions with M legal moves in all."""

    logits: npt.NDArray[np.float32]
    """[M] unnormalised log-probabilities of the moves, each position by itself."""
    wdl: npt.NDArray[np.float32]
    """[B, 3] probabilities of win, draw and loss for the side to move; each row sums to 1."""


class Judgement(Protocol):
    """An `Evaluation`, or a class with the same fields of someone who cannot import ours."""

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """[M], as in `Evaluation`."""

    @property
    def wdl(self) -> npt.NDArray[np.float32]:
        """[B, 3], as in `Evaluation`."""


class Evaluator(Protocol):
    """Judges positions in batches; the same position gets the same judgement in any batch."""

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Judgement:
        """Judge `positions` uint8[B, R], B >= 1.

        `moves[offsets[i]:offsets[i + 1]]` (uint16[M], int64[B + 1]) are the legal moves of position
        i, at least one each. The arrays are only lent: they are overwritten after the call.
        """
        ...


def judge(evaluator: Evaluator, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
    """The judgement of a batch, as contiguous float32; see `Evaluator.evaluate` for the arguments.

    Raises NotFiniteError for logits or WDL with NaN or an infinity, ValueError for arrays of other
    shapes (kernels would read beyond them), and what the evaluator raises.
    """
    judgement = evaluator.evaluate(positions, moves, offsets)
    logits = contiguous(judgement.logits, np.float32)
    wdl = contiguous(judgement.wdl, np.float32)
    if logits.shape != moves.shape or wdl.shape != (positions.shape[0], 3):
        raise ValueError(
            f"an evaluator of {positions.shape[0]} positions with {moves.shape[0]} moves answers"
            f" logits {list(logits.shape)} and WDL {list(wdl.shape)}"
        )
    if not _are_finite(logits, wdl):
        for name, values in (("policy", logits), ("WDL", wdl)):
            require_finite(values, f"a judgement of {positions.shape[0]} positions: the {name}")
    return Evaluation(logits, wdl)


@kernel
def _are_finite(logits: npt.NDArray[np.float32], wdl: Array2D[np.float32]) -> bool:
    """Whether all of logits [M] and WDL [B, 3] are: as whole numbers, which the compiler compares
    by the dozen. NaN and infinities are those whose exponent bits are all set."""
    largest = np.int32(0)
    for bits in logits.view(np.int32):
        largest = max(largest, bits & _MAGNITUDE)
    for bits in wdl.view(np.int32).ravel():
        largest = max(largest, bits & _MAGNITUDE)
    return bool(largest < _INFINITE)


class UniformEvaluator:
    """Knows nothing: all moves alike, every position a draw, WDL (0, 1, 0) and value 0."""

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """Judge; see `Evaluator`."""
        wdl = np.zeros((positions.shape[0], 3), dtype=np.float32)
        wdl[:, DRAW] = 1.0
        return Evaluation(np.zeros(moves.shape[0], dtype=np.float32), wdl)


class SolverEvaluator:
    """Knows the truth: the exact game value, and logits that favour the best moves.

    Moves that keep the value come first, among them the quickest wins and the longest losses.
    """

    def __init__(self, solution: Solution) -> None:
        self._solution = solution

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """Judge; see `Evaluator`. Raises UnreachablePositionError for one that was not solved."""
        values, _ = self._solution.lookup_batch(positions)
        gains, distances = self._solution.score_moves(positions, moves, offsets)
        haste = _HASTE_LOGIT * distances / (distances + 8.0)
        wdl = np.zeros((positions.shape[0], 3), dtype=np.float32)
        wdl[np.arange(positions.shape[0]), DRAW - values.astype(np.int64)] = 1.0
        return Evaluation((gains * (_VALUE_LOGIT - haste)).astype(np.float32), wdl)
