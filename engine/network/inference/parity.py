"""How far a backend is from torch in float32 on the parity positions, and how far it may be."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.network.inference.backends.protocol import PrecisionName
from engine.network.inference.network_evaluator import NetworkEvaluation
from engine.network.model.compiled_encoder import Floats, Moves, Offsets, Rows
from engine.rules.kernels import apply, generate, generate_batch
from engine.rules.outcome import termination
from engine.rules.tables import MAX_MOVES
from engine.rules.variant import Variant

MOST_POSITIONS: Final = 64
_LONGEST_GAME: Final = 40
_SEED: Final = 20250


class ParityPositions(NamedTuple):
    """Positions on which backends are compared; none is the end of a game."""

    positions: Rows
    """[B, R]."""
    moves: Moves
    """[M] legal moves."""
    offsets: Offsets
    """[B + 1]."""


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """How far two evaluations of the same positions are apart."""

    wdl: float
    """Largest difference of the probabilities of win, draw and loss."""
    wdl_mean: float
    """Mean difference of these probabilities."""
    policy: float
    """Kullback-Leibler divergence of the policy over the legal moves from the exact one, in nats,
    averaged over the positions."""

    def within(self, limit: "Disagreement") -> bool:
        """Whether no figure is larger than its limit; NaN never is within."""
        figures = zip(astuple(self), astuple(limit), strict=True)
        return all(figure <= most for figure, most in figures)

    def __str__(self) -> str:
        wdl = f"WDL by {self.wdl:.2g}, on average {self.wdl_mean:.2g}"
        return f"{wdl}, policy by {self.policy:.2g} nats"


TOLERANCES: Final[Mapping[PrecisionName, Disagreement]] = {
    "fp32": Disagreement(wdl=1e-3, wdl_mean=1e-4, policy=1e-5),
    "bf16": Disagreement(wdl=0.15, wdl_mean=0.01, policy=0.01),
    "int8": Disagreement(wdl=0.3, wdl_mean=0.03, policy=0.05),
}
"""How far a backend may be from torch in float32; beyond it the backend is refused."""


def parity_positions(variant: Variant, rows: Rows | None = None) -> ParityPositions:
    """Up to 64 of `rows` that have legal moves, evenly spread; 64 of random games if none has."""
    tables = variant.tables
    if rows is not None:
        candidates = rows[
            np.linspace(0, len(rows) - 1, min(len(rows), 4 * MOST_POSITIONS), dtype=int)
        ]
        _, offsets = generate_batch(tables, candidates)
        rows = candidates[np.diff(offsets) > 0][:MOST_POSITIONS]
    if rows is None or len(rows) == 0:
        rows = random_positions(variant, MOST_POSITIONS)
    return ParityPositions(rows, *generate_batch(tables, rows))


def random_positions(variant: Variant, count: int) -> Rows:
    """uint8[count, R] positions of random games, without the ends of games; always the same."""
    rng = np.random.default_rng(_SEED)
    scratch = np.empty(MAX_MOVES, np.uint16)
    rows: list[npt.NDArray[np.uint8]] = []
    while len(rows) < count:
        row = variant.start_row.copy()
        for _ in range(_LONGEST_GAME):
            moves = generate(variant.tables, row, scratch)
            if len(rows) == count or termination(variant.tables, row, moves):
                break
            rows.append(row)
            row = np.empty_like(row)
            apply(variant.tables, rows[-1], int(scratch[rng.integers(moves)]), row)
    return np.stack(rows)


def disagreement(
    exact: NetworkEvaluation, found: NetworkEvaluation, offsets: Offsets
) -> Disagreement:
    """How far `found` is from `exact`; NaN if it holds a NaN."""
    true, near = _log_softmax(exact.logits, offsets), _log_softmax(found.logits, offsets)
    divergence = np.add.reduceat(np.exp(true) * (true - near), offsets[:-1])
    wdl = np.abs(found.wdl.astype(np.float64) - exact.wdl)
    return Disagreement(
        wdl=float(wdl.max()), wdl_mean=float(wdl.mean()), policy=float(divergence.mean())
    )


def _log_softmax(logits: Floats, offsets: Offsets) -> npt.NDArray[np.float64]:
    starts, counts = offsets[:-1], np.diff(offsets)
    shifted = logits.astype(np.float64)
    shifted = shifted - np.repeat(np.maximum.reduceat(shifted, starts), counts)
    totals = np.add.reduceat(np.exp(shifted), starts)
    log_probabilities: npt.NDArray[np.float64] = shifted - np.repeat(np.log(totals), counts)
    return log_probabilities
