"""The network as actors ask it: one evaluator for a whole run, with new weights at every order."""

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from engine.network.inference import BackendError, BackendEvaluator, make_evaluator
from engine.network.policy_value import PolicyValueNet
from engine.rules.variant import Variant
from search.cache import CachedEvaluator
from search.evaluator import Evaluator, Judgement, Moves, Offsets, Rows
from training.config import SelfPlayConfig


class ActingEvaluator:
    """Judges with the fastest backend that is allowed, remembers, and keeps accounts."""

    def __init__(
        self,
        variant: Variant,
        config: SelfPlayConfig,
        calibration: Callable[[], npt.NDArray[np.uint8]],
    ) -> None:
        """`calibration` gives positions uint8[N, R] on which int8 finds its scales."""
        self._config = config
        self._calibration = calibration
        self._backend: BackendEvaluator | None = None
        size = int(config.cache_megabytes * 2**20)
        self._cache = CachedEvaluator(_Judge(self), variant, size=size) if size else None
        self._asked: Evaluator = self._cache or _Judge(self)
        # Seconds in the network, and positions that it judged, since `account`.
        self._seconds, self._positions = 0.0, 0

    def update(self, network: PolicyValueNet) -> None:
        """Judge with these weights from now on; raises BackendError."""
        config = self._config
        if self._backend is None:
            calibration = self._calibration() if config.precision == "int8" else None
            self._backend = make_evaluator(
                network,
                backend=config.backend,
                precision=config.precision,
                max_batch=config.games,
                calibration=calibration,
            )
        else:
            try:
                self._backend.update(network)
            except BackendError:
                # What was precise enough for the first networks need not be for this one.
                self._backend = make_evaluator(network, max_batch=config.games)
        if self._cache is not None:
            self._cache.clear()

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Judgement:
        """See search.evaluator.Evaluator."""
        return self._asked.evaluate(positions, moves, offsets)

    def judge(self, positions: Rows, moves: Moves, offsets: Offsets) -> Judgement:
        """Ask the network itself, and count."""
        assert self._backend is not None
        begun = time.perf_counter()
        judgement = self._backend.evaluate(positions, moves, offsets)
        self._seconds += time.perf_counter() - begun
        self._positions += len(positions)
        return judgement

    def account(self) -> dict[str, float | str]:
        """What was spent since the last call, as it stands in a shard's header."""
        assert self._backend is not None
        spent: dict[str, float | str] = {
            "evaluator": f"{self._backend.backend} {self._backend.precision}",
            "evaluator_seconds": round(self._seconds, 4),
            "evaluations": self._positions,
        }
        self._seconds, self._positions = 0.0, 0
        return spent


class _Judge:
    """The network behind an ActingEvaluator, as an evaluator of its own."""

    def __init__(self, acting: ActingEvaluator) -> None:
        self._acting = acting

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Judgement:
        """See search.evaluator.Evaluator."""
        return self._acting.judge(positions, moves, offsets)
