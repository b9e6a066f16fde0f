"""The network as actors use it: one evaluator for a whole run, new weights at every request."""

import contextlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from engine.network.inference.backend_evaluator import BackendEvaluator
from engine.network.inference.backends.protocol import BackendError
from engine.network.inference.evaluator import make_evaluator
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.compilation.compile_time import not_counted, working_time
from engine.rules.variant import Variant
from search.cache import CachedEvaluator
from search.evaluator import EvaluationLike, Evaluator, Moves, Offsets, Rows
from training.config import SelfPlayConfig


def parts_of(choice: str) -> tuple[str, str, str]:
    """Backend, precision and device of a choice, as "native bf16" or "torch bf16 cuda"; raises
    BackendError, quoting it, for a text that is none."""
    words = choice.split()
    if len(words) not in (2, 3) or "auto" in words[:2]:
        raise BackendError(f"'{choice}' is not a backend and a precision, as 'torch fp32'")
    backend, precision, device = (*words, "cpu")[:3]
    return backend, precision, device


def fall_backs(choice: str) -> tuple[str, ...]:
    """The choices to try when a network no longer agrees with a backend at its precision: more
    precise ones on the same device, in a fixed order, so that runs follow from their seeds. Raises
    BackendError."""
    backend, _, device = parts_of(choice)
    place = "" if device == "cpu" else f" {device}"
    return f"{backend} bf16{place}", f"{backend} fp32{place}", "torch fp32"


class ActingEvaluator:
    """Evaluates with the fastest backend that is allowed, and counts the cost.

    Searches ask `cached`, the same evaluator behind the cache that the configuration asks for.
    """

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
        self.cached: Evaluator = CachedEvaluator(self, variant, size=size) if size else self
        # Seconds in the network, and positions that it evaluated, since `account`.
        self._seconds, self._positions = 0.0, 0

    def prepare(self, network: PolicyValueNet, chosen: str = "") -> str:
        """Get ready to evaluate with these weights; returns what computes them, as "native bf16".

        That is `chosen` (backend, precision and perhaps a device), or where it is empty what the
        configuration names, or the fastest that it allows. Raises BackendError.
        """
        config = self._config
        with not_counted():
            if not chosen:
                chosen = self._make(network, config.backend, config.precision).choice
            # Made anew without the other candidates, which would keep their memory.
            self._backend = self._make(network, *parts_of(chosen))
        return self._backend.choice

    def _make(
        self, network: PolicyValueNet, backend: str, precision: str, device: str = "auto"
    ) -> BackendEvaluator:
        return make_evaluator(
            network,
            backend=backend,
            precision=precision,
            max_batch=self._config.games,
            calibration=self._calibration() if precision == "int8" else None,
            device=device,
        )

    def update(self, network: PolicyValueNet) -> None:
        """Evaluate with these weights from now on; raises BackendError."""
        if self._backend is None:
            self.prepare(network)
        else:
            try:
                self._backend.update(network)
            except BackendError:
                # This network may need a higher precision than the first ones.
                self._fall_back(network, self._backend.choice)
        if isinstance(self.cached, CachedEvaluator):
            self.cached.clear()

    def _fall_back(self, network: PolicyValueNet, refused: str) -> None:
        *others, last = fall_backs(refused)
        for choice in others:
            with contextlib.suppress(BackendError):
                self.prepare(network, choice)
                return
        self.prepare(network, last)

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> EvaluationLike:
        """See search.evaluator.Evaluator."""
        assert self._backend is not None
        begun = working_time()
        evaluation = self._backend.evaluate(positions, moves, offsets)
        self._seconds += working_time() - begun
        self._positions += len(positions)
        return evaluation

    def account(self) -> dict[str, float | str]:
        """The cost since the last call, for a shard's header."""
        assert self._backend is not None
        spent: dict[str, float | str] = {
            "evaluator": self._backend.choice,
            "evaluator_seconds": round(self._seconds, 4),
            "evaluations": self._positions,
        }
        self._seconds, self._positions = 0.0, 0
        return spent
