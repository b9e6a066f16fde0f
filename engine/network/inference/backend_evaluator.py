"""An evaluator that takes the fastest of several backends, if it agrees with torch in float32."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.network.inference.backends.protocol import (
    Backend,
    BackendName,
    PrecisionName,
    RefusedError,
)
from engine.network.inference.network_evaluator import NetworkEvaluation, NetworkEvaluator
from engine.network.inference.parity import TOLERANCES, ParityPositions, disagreement
from engine.network.model.compiled_encoder import CompiledEncoder
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.compilation.compile_time import working_time
from engine.rules.compilation.signatures import contiguous
from engine.rules.errors import InputError, require_finite

_TIMED_RUNS: Final = 3
_FULL_BATCH: Final = 1 << 30
"""More positions than any backend computes at once."""

Maker = Callable[[PolicyValueNet], Backend]
Candidate = tuple[BackendName, PrecisionName]


class BackendEvaluator:
    """Evaluates with the fastest candidate that agrees with the network.

    Each candidate is compared with torch in float32 on the parity positions, at construction and at
    every update, and refused if it is further away than `TOLERANCES` allow. If several agree, they
    are timed.
    """

    def __init__(
        self,
        network: PolicyValueNet,
        makers: Mapping[Candidate, Maker],
        parity: ParityPositions,
    ) -> None:
        """Raises RefusedError if every candidate is refused, and NotFiniteError if the network's
        evaluations in float32 are not finite."""
        self._makers, self._parity = dict(makers), parity
        self._config = network.config
        self._encoder = CompiledEncoder(network.encoder)
        self._notes: list[str] = []
        self._choose(network.frozen())

    @property
    def backend(self) -> BackendName:
        """The backend that was chosen."""
        return self._backend.name

    @property
    def precision(self) -> PrecisionName:
        """The precision that was chosen."""
        return self._backend.precision

    @property
    def choice(self) -> str:
        """Both, as "native bf16", and the device unless it is the CPU."""
        device = getattr(self._backend, "device", "cpu")
        return f"{self.backend} {self.precision}" + ("" if device == "cpu" else f" {device}")

    @property
    def notes(self) -> tuple[str, ...]:
        """What was refused and why, one line each, for a log."""
        return tuple(self._notes)

    def evaluate(
        self,
        positions: npt.NDArray[np.uint8],
        moves: npt.NDArray[np.uint16],
        offsets: npt.NDArray[np.int64],
    ) -> NetworkEvaluation:
        """Evaluate; see `NetworkEvaluator.evaluate`."""
        positions, moves = contiguous(positions, np.uint8), contiguous(moves, np.uint16)
        offsets = contiguous(offsets, np.int64)
        return _evaluate(self._encoder, self._backend, positions, moves, offsets)

    def update(self, network: PolicyValueNet) -> None:
        """Continue with the weights of another network of the same configuration.

        Raises InputError for another configuration, NotFiniteError as the constructor does, and
        RefusedError if neither this backend nor another candidate agrees. After the last two the
        old weights are gone.
        """
        if network.config != self._config:
            raise InputError(
                f"a network of another configuration ({network.config}), not {self._config}"
            )
        network = network.frozen()
        self._backend.update(network)
        objection = self._objection(self._backend, self._exact(network))
        if objection is not None:
            self._refuse((self._backend.name, self._backend.precision), objection)
            self._choose(network)

    def _choose(self, network: PolicyValueNet) -> None:
        exact = self._exact(network)
        agreeing: list[Backend] = []
        for candidate, make in list(self._makers.items()):
            # The first AVX-512 candidate has the smallest numbers and is the fastest of them.
            if candidate[0] == "native" and any(b.name == "native" for b in agreeing):
                continue
            try:
                backend = make(network)
                objection = self._objection(backend, exact)
            except RuntimeError as error:
                # Torch raises it when a GPU is full or its driver is too old.
                self._refuse(candidate, f"it failed ({str(error).strip().partition(chr(10))[0]})")
                continue
            if objection is None:
                agreeing.append(backend)
            else:
                self._refuse(candidate, objection)
        if not agreeing:
            raise RefusedError("; ".join(self._notes))
        self._backend = min(agreeing, key=_seconds) if len(agreeing) > 1 else agreeing[0]

    def _refuse(self, candidate: Candidate, objection: str) -> None:
        del self._makers[candidate]
        self._notes.append(f"refused {' '.join(candidate)}: {objection}")

    def _exact(self, network: PolicyValueNet) -> NetworkEvaluation:
        """The evaluation that every backend is compared with; raises NotFiniteError."""
        exact = NetworkEvaluator(network).evaluate(*self._parity)
        for name, values in (("policy", exact.logits), ("WDL", exact.wdl)):
            require_finite(values, f"evaluation by the network of {self._config.variant}: {name}")
        return exact

    def _objection(self, backend: Backend, exact: NetworkEvaluation) -> str | None:
        found = _evaluate(self._encoder, backend, *self._parity)
        difference = disagreement(exact, found, self._parity.offsets)
        limit = TOLERANCES[backend.precision]
        if difference.within(limit):
            return None
        return f"it differs from fp32 torch ({difference}) by more than is tolerated ({limit})"


def _seconds(backend: Backend) -> float:
    """Seconds per position in a full batch, the best of a few runs."""
    batch = backend.batch(_FULL_BATCH)
    best = np.inf
    for _ in range(1 + _TIMED_RUNS):
        start = working_time()
        batch.run()
        best = min(best, working_time() - start)
    return best / len(batch.wdl)


def _evaluate(
    encoder: CompiledEncoder,
    backend: Backend,
    positions: npt.NDArray[np.uint8],
    moves: npt.NDArray[np.uint16],
    offsets: npt.NDArray[np.int64],
) -> NetworkEvaluation:
    logits = np.empty(moves.shape[0], np.float32)
    wdl = np.empty((positions.shape[0], 3), np.float32)
    start, total = 0, positions.shape[0]
    while start < total:
        batch = backend.batch(total - start)
        end = min(start + len(batch.wdl), total)
        rows, part = positions[start:end], slice(offsets[start], offsets[end])
        encoder.encode(rows, batch.squares, batch.state)
        batch.run()
        encoder.choose(
            rows,
            moves[part],
            offsets[start : end + 1],
            batch.policy,
            batch.promotion,
            logits[part],
        )
        encoder.softmax(batch.wdl, wdl[start:end])
        start = end
    return NetworkEvaluation(logits, wdl)
