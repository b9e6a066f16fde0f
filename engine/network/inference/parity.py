"""Whether a backend says what the network says, torch in float32, on probe positions."""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from engine.network.model.compiled_encoder import Floats, Moves, Offsets, Rows
from engine.rules.kernels import apply, generate, generate_batch, termination
from engine.rules.tables import MAX_MOVES
from engine.rules.variant import Variant

PROBE_POSITIONS: Final = 64
_LONGEST_WALK: Final = 40
_SEED: Final = 20250


class Judged(Protocol):
    """Logits [M] and WDL [B, 3], as `NetworkEvaluation` has them."""

    @property
    def logits(self) -> Floats:
        """[M]."""

    @property
    def wdl(self) -> Floats:
        """[B, 3]."""


@dataclass(frozen=True)
class Probe:
    """Positions to compare on, none of them over."""

    positions: Rows
    """[B, R]."""
    moves: Moves
    """[M] legal moves."""
    offsets: Offsets
    """[B + 1]."""


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """How far two judgements of the same positions are apart."""

    wdl: float
    """Difference of the probabilities of win, draw and loss: the largest,"""
    wdl_mean: float
    """and the mean."""
    policy: float
    """Kullback-Leibler divergence of the policy over the legal moves from the true one, in nats;
    the mean over the positions."""

    def within(self, limit: "Disagreement") -> bool:
        """Whether none is larger; a judgement that is not a number never is within."""
        return (
            self.wdl <= limit.wdl
            and self.wdl_mean <= limit.wdl_mean
            and self.policy <= limit.policy
        )

    def __str__(self) -> str:
        wdl = f"WDL by {self.wdl:.2g}, on average {self.wdl_mean:.2g}"
        return f"{wdl}, policy by {self.policy:.2g} nats"


def probe_of(variant: Variant, rows: Rows | None = None) -> Probe:
    """Up to 64 of `rows` that have legal moves, evenly spread, or 64 of random games."""
    tables = variant.tables
    if rows is not None:
        candidates = rows[
            np.linspace(0, len(rows) - 1, min(len(rows), 4 * PROBE_POSITIONS), dtype=int)
        ]
        _, offsets = generate_batch(tables, candidates)
        rows = candidates[np.diff(offsets) > 0][:PROBE_POSITIONS]
    if rows is None or len(rows) == 0:
        rows = random_positions(variant, PROBE_POSITIONS)
    return Probe(rows, *generate_batch(tables, rows))


def random_positions(variant: Variant, count: int) -> Rows:
    """uint8[count, R] positions of random games, none of them over; always the same."""
    rng = np.random.default_rng(_SEED)
    scratch = np.empty(MAX_MOVES, np.uint16)
    rows: list[npt.NDArray[np.uint8]] = []
    while len(rows) < count:
        row = variant.start_row.copy()
        for _ in range(_LONGEST_WALK):
            moves = generate(variant.tables, row, scratch)
            if len(rows) == count or termination(variant.tables, row, moves):
                break
            rows.append(row)
            row = np.empty_like(row)
            apply(variant.tables, rows[-1], int(scratch[rng.integers(moves)]), row)
    return np.stack(rows)


def disagreement(exact: Judged, judged: Judged, offsets: Offsets) -> Disagreement:
    """How far `judged` is from `exact`; not a number where it is not one."""
    true, near = _log_softmax(exact.logits, offsets), _log_softmax(judged.logits, offsets)
    divergence = np.add.reduceat(np.exp(true) * (true - near), offsets[:-1])
    wdl = np.abs(judged.wdl.astype(np.float64) - exact.wdl)
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
