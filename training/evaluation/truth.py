"""The truth curve: how often the network, and search with it, keep the exact value.

Only decision positions count: those where some legal moves keep the value and others lose it. A
variant that is not solved has no such curve.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.rules.compilation.compile_time import working_time
from engine.rules.kernels import generate_batch
from engine.rules.variant import Variant
from search.evaluator import Evaluator, evaluate
from search.exact.solution import Solution
from search.exact.solver import estimate_positions, solve
from search.mcts.gumbel import GumbelConfig
from search.mcts.puct import PuctConfig
from search.mcts.roots import Roots
from search.mcts.search import SearchConfig, tree_search
from training.data.shards import select_moves

LARGEST_SOLVED: Final = 3_000_000
"""Most positions of a variant that is solved for the truth curve: ten seconds, Hexapawn 5x5."""
_SEARCHED_AT_ONCE: Final = 256
"""Positions in one batch of searches: enough to fill the network, with little memory."""
_MEASURE_SHARE: Final = 0.1
"""Share of the time that measuring may take, beside play and learning."""
_LONGEST_PAUSE: Final = 10
"""Longest pause after one slow measurement, in multiples of the pause asked for."""
SEARCHES: Final[dict[str, SearchConfig]] = {
    "puct": PuctConfig(),
    "gumbel": GumbelConfig(gumbel_scale=0.0),
}
"""The searches without noise: their generators are never used."""

EvaluatorOf = Callable[[str], Evaluator]
"""The evaluator of the variant of that name."""


@functools.cache
def is_solvable(variant: Variant) -> bool:
    """Whether solving the variant takes seconds and not longer."""
    return variant.irreversible and estimate_positions(variant).positions <= LARGEST_SOLVED


def load_solution(variant: Variant) -> Solution | None:
    """The solution of the variant; None where solving takes too long."""
    return solve(variant) if is_solvable(variant) else None


class Searched(NamedTuple):
    """The result of a search of B positions with M legal moves in all."""

    places: npt.NDArray[np.int64]
    """[B] the move that it plays, by its index among the M."""
    policy: npt.NDArray[np.float32]
    """[M] its improved policy, which sums to 1 over a position."""
    scores: npt.NDArray[np.float64]
    """[M] the policy, its ties broken by mean value, then by prior, as in play."""


def search_positions(
    variant: Variant,
    rows: npt.NDArray[np.uint8],
    evaluator: Evaluator,
    search: str,
    simulations: int,
) -> Searched:
    """Search positions [B, R] of games that cannot repeat and are not over, by one of SEARCHES."""
    config = replace(SEARCHES[search], simulations=simulations)
    parts, before = [], 0
    for start in range(0, len(rows), _SEARCHED_AT_ONCE):
        part = rows[start : start + _SEARCHED_AT_ONCE]
        roots = Roots(part, np.zeros((len(part), 1), np.uint64), np.zeros(len(part), np.int64))
        found = tree_search(variant, roots, evaluator, config, np.random.default_rng(0))
        policy = found.policy.astype(np.float64)
        scores = policy + 1e-4 * found.q_values + 1e-7 * found.priors
        parts.append((before + found.offsets[:-1] + found.choices, found.policy, scores))
        before += len(found.moves)
    return Searched(*map(np.concatenate, zip(*parts, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Truth:
    """D decision positions of a solved variant and their M legal moves."""

    variant: Variant
    # [D, R] uint8.
    positions: npt.NDArray[np.uint8]
    # [M] uint16 and [D + 1] int64.
    moves: npt.NDArray[np.uint16]
    offsets: npt.NDArray[np.int64]
    # [M] int8: the value that the move loses; a win and a loss are 2 apart.
    regrets: npt.NDArray[np.int8]

    @classmethod
    def of(cls, variant: Variant, solution: Solution) -> "Truth":
        """All decision positions of the solution."""
        positions = solution.decision_positions()
        moves, offsets = generate_batch(variant.tables, positions)
        values, _ = solution.score_moves(positions, moves, offsets)
        best = np.repeat(np.maximum.reduceat(values, offsets[:-1]), np.diff(offsets))
        return cls(
            variant=variant,
            positions=positions,
            moves=moves,
            offsets=offsets,
            regrets=best - values,
        )

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def keeps(self) -> npt.NDArray[np.bool_]:
        """[M]: whether the move keeps the exact value."""
        keeps: npt.NDArray[np.bool_] = self.regrets == 0
        return keeps

    def sample(self, size: int, rng: np.random.Generator) -> "Truth":
        """A fixed random sample; all positions where there are no more."""
        if size >= len(self):
            return self
        return self._select(np.sort(rng.choice(len(self), size=size, replace=False)))

    def _select(self, chosen: npt.NDArray[np.int64]) -> "Truth":
        """The positions of these indices, in ascending order."""
        offsets, places = select_moves(self.offsets, chosen)
        return replace(
            self,
            positions=self.positions[chosen],
            moves=self.moves[places],
            offsets=offsets,
            regrets=self.regrets[places],
        )

    def among(self, positions: npt.NDArray[np.uint8]) -> "Truth":
        """The decision positions among these positions [N, R]."""
        wanted = {row.tobytes() for row in positions}
        chosen = [index for index, row in enumerate(self.positions) if row.tobytes() in wanted]
        return self._select(np.array(chosen, dtype=np.int64))

    def share_kept(self, scores: npt.NDArray[np.floating]) -> float:
        """Share of positions in which the move with the highest score [M] keeps the value.

        Of equal scores the worst move counts, so that a player without preference gains nothing.
        """
        highest = np.maximum.reduceat(scores, self.offsets[:-1])
        is_best = scores == np.repeat(highest, np.diff(self.offsets))
        kept = np.logical_and.reduceat(self.keeps | ~is_best, self.offsets[:-1])
        return float(kept.mean())

    def raw(self, evaluator: Evaluator) -> float:
        """The share kept by the network's likeliest move, without search; raises as `evaluate`."""
        return self.share_kept(evaluate(evaluator, self.positions, self.moves, self.offsets).logits)

    def search(self, evaluator: Evaluator, simulations: int) -> float:
        """The share kept by PUCT with so many simulations, without noise."""
        found = search_positions(self.variant, self.positions, evaluator, "puct", simulations)
        return self.share_kept(found.scores)


@dataclass(frozen=True, kw_only=True)
class TruthShares:
    """Shares of decision positions in which the value is kept."""

    # Decision positions of the variant.
    decision_positions: int
    # Of `raw_positions` of them, by the raw network's most likely move.
    raw: float
    # Positions on which the raw network was measured: all, or a sample of very many.
    raw_positions: int
    # Of `searched` of them, by search.
    search: float
    # Positions on which the search was measured.
    searched: int


@dataclass(frozen=True, kw_only=True)
class Reached:
    """The last measured share of the raw network during training, for one variant."""

    # Share of the decision positions in which it keeps the value.
    raw: float
    # Decision positions that were measured, and those of the variant.
    measured: int
    decision_positions: int

    @property
    def perfect(self) -> bool:
        """Whether it keeps the value in every decision position."""
        return self.raw == 1.0 and self.measured == self.decision_positions


@dataclass(kw_only=True)
class TruthCurve:
    """The points of one variant's truth curve."""

    truth: Truth
    # The parts of `truth` that are measured during the run.
    raw: Truth
    search: Truth
    simulations: int
    # Decision positions that the teacher holds out; None where there are none.
    held_out: Truth | None = None
    # The last share of the raw network; None before the first measurement.
    reached: Reached | None = None

    def measure_raw(self, evaluator: Evaluator) -> float:
        """The share that the raw network keeps; recorded in `reached`."""
        share = self.raw.raw(evaluator)
        self.reached = Reached(
            raw=share, measured=len(self.raw), decision_positions=len(self.truth)
        )
        return share

    def measure(self, evaluator: Evaluator) -> dict[str, float]:
        """A point: the shares kept by the raw network and by search."""
        search = self.search.search(evaluator, self.simulations)
        point = {"raw": self.measure_raw(evaluator), "search": search}
        if self.held_out is not None:
            point["held_out"] = self.held_out.raw(evaluator)
        return point

    def conclude(self, evaluator: Evaluator, *, raw: int, search: int, seed: int) -> TruthShares:
        """The final measurement, on up to so many positions for the raw network and for search."""
        generator = np.random.default_rng(seed)
        searched = self.truth.sample(search, generator)
        measured = self.truth.sample(raw, generator)
        return TruthShares(
            decision_positions=len(self.truth),
            raw=measured.raw(evaluator),
            raw_positions=len(measured),
            search=searched.search(evaluator, self.simulations),
            searched=len(searched),
        )


class TruthCurves:
    """The curves of all solved variants of a run, measured together."""

    def __init__(self, curves: Mapping[str, TruthCurve], pause: float) -> None:
        """Points are at least `pause` seconds apart."""
        self._curves = curves
        self._pause = pause
        # Start of the last measurement, in seconds of the run; seconds of the fastest measurement.
        self._measured_at, self._quickest = -math.inf, math.inf
        # Measurements of this session.
        self._points = 0

    def __len__(self) -> int:
        return len(self._curves)

    @property
    def raw(self) -> float | None:
        """The lowest of the raw networks' last shares; None before the first measurement."""
        return min((reached.raw for reached in self.reached.values()), default=None)

    @property
    def reached(self) -> dict[str, Reached]:
        """The last measured shares of the raw networks, by variant."""
        return {name: curve.reached for name, curve in self._curves.items() if curve.reached}

    def is_due(self, seconds: float) -> bool:
        """Whether a point is due, `seconds` into the run.

        The pause grows where measuring is costly: with the fastest measurement so far, because a
        slow one may be due to other load. After a single measurement the pause is at most
        `_LONGEST_PAUSE` pauses. A pause of 0 stays 0.
        """
        pause = self._pause
        if self._points and pause:
            grown = self._quickest / _MEASURE_SHARE
            pause = max(pause, min(grown, _LONGEST_PAUSE * pause) if self._points == 1 else grown)
        return seconds - self._measured_at >= pause

    def measure_raw(self, evaluator_of: EvaluatorOf) -> None:
        """Measure and record the shares of the raw networks."""
        for name, curve in self._curves.items():
            curve.measure_raw(evaluator_of(name))

    def measure(self, evaluator_of: EvaluatorOf, seconds: float) -> dict[str, dict[str, float]]:
        """A point of every curve, `seconds` into the run."""
        begun = working_time()
        points = {name: curve.measure(evaluator_of(name)) for name, curve in self._curves.items()}
        self._measured_at = seconds
        self._quickest = min(self._quickest, working_time() - begun)
        self._points += 1
        return points

    def conclude(
        self, evaluator_of: EvaluatorOf, *, raw: int, search: int, seed: int
    ) -> dict[str, TruthShares]:
        """The final measurements; the numbers of positions are those of all variants together."""
        games = max(1, len(self._curves))
        return {
            name: curve.conclude(
                evaluator_of(name), raw=-(-raw // games), search=-(-search // games), seed=seed
            )
            for name, curve in self._curves.items()
        }
