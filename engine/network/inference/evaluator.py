"""A network as an evaluator of batches: rows and legal moves in, logits and WDL out, in numpy.

`make_evaluator` finds the fastest backend that says what the network says; `NetworkEvaluator` is
torch alone, with the network's points open to whoever wants to look inside.
"""

import copy
import functools
import importlib.util
import sys
from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch

from engine.network.inference.allocator import keep_freed_memory
from engine.network.inference.avx512 import backend as native_backend
from engine.network.inference.backends import Backend, BackendName, PrecisionName, TorchBackend
from engine.network.inference.parity import Disagreement, Probe, disagreement, probe_of
from engine.network.model.compiled_encoder import CompiledEncoder
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import Outputs, PolicyValueNet
from engine.rules.compilation.compile_time import working_time
from engine.rules.compilation.signatures import contiguous
from engine.rules.errors import InputError
from engine.rules.finite import require_finite
from engine.rules.variant import get_variant

Precision = Literal["float32", "bfloat16"]

DEFAULT_PRECISIONS: Final[tuple[PrecisionName, ...]] = ("fp32", "bf16")
"""What "auto" may choose: precisions that a match has shown to cost no strength."""

TOLERANCES: Final[Mapping[PrecisionName, Disagreement]] = {
    "fp32": Disagreement(wdl=1e-3, wdl_mean=1e-4, policy=1e-5),
    "bf16": Disagreement(wdl=0.15, wdl_mean=0.01, policy=0.01),
    "int8": Disagreement(wdl=0.3, wdl_mean=0.03, policy=0.05),
}
"""How far a backend may be from torch in float32 on the probe positions before it is refused."""

_TIMED_RUNS: Final = 3


class BackendError(InputError):
    """A backend that is unknown, missing, or refused because it disagrees with the network."""


class RefusedError(BackendError):
    """Every backend that is asked for failed, or disagrees with the network."""


class NetworkEvaluation(NamedTuple):
    """Judgements of B positions with M legal moves in all."""

    logits: npt.NDArray[np.float32]
    """[M] unnormalised log-probabilities of the moves, each position by itself."""
    wdl: npt.NDArray[np.float32]
    """[B, 3] probabilities of win, draw and loss for the side to move; each row sums to 1."""


def fastest_precision(device: str = "cpu") -> Precision:
    """bfloat16 where the machine multiplies in it, else float32: emulation is slow."""
    if torch.device(device).type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"


class NetworkEvaluator:
    """Evaluates with a frozen copy of a network, which training cannot change under a search.

    The copy is `network`, whose points callers may open. At most `max_batch` positions are
    evaluated at a time. On a CPU it sets the process's allocator to keep memory (`allocator.py`);
    the number of threads is left as it is.
    """

    def __init__(
        self,
        network: PolicyValueNet,
        *,
        precision: Precision = "float32",
        max_batch: int = 256,
        device: str = "cpu",
    ) -> None:
        dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
        self.network = copy.deepcopy(network).to(device, dtype).eval().requires_grad_(False)
        self.max_batch = max_batch
        self.device = torch.device(device)
        if self.device.type == "cpu":
            keep_freed_memory()

    def evaluate(
        self,
        positions: npt.NDArray[np.uint8],
        moves: npt.NDArray[np.uint16],
        offsets: npt.NDArray[np.int64],
    ) -> NetworkEvaluation:
        """Judge `positions` uint8[B, R], B >= 1.

        `moves[offsets[i]:offsets[i + 1]]` (uint16[M], int64[B + 1]) are the legal moves of position
        i, at least one each. The arrays that come back are the caller's own.
        """
        logits = np.empty(moves.shape[0], np.float32)
        wdl = np.empty((positions.shape[0], 3), np.float32)
        for start in range(0, positions.shape[0], self.max_batch):
            end = min(start + self.max_batch, positions.shape[0])
            part = slice(offsets[start], offsets[end])
            rows = np.repeat(np.arange(end - start), np.diff(offsets[start : end + 1]))
            logits[part], wdl[start:end] = self._evaluate(
                positions[start:end], moves[part].astype(np.int64), rows
            )
        return NetworkEvaluation(logits, wdl)

    @torch.inference_mode()
    def _evaluate(
        self,
        positions: npt.NDArray[np.uint8],
        moves: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        boards, played, indices = (
            torch.from_numpy(array).to(self.device) for array in (positions, moves, rows)
        )
        outputs: Outputs = self.network(boards)
        logits = self.network.move_logits(outputs, boards, played, indices)
        wdl = outputs.wdl.float().softmax(-1)
        return logits.float().cpu().numpy(), wdl.cpu().numpy()


Maker = Callable[[PolicyValueNet], Backend]
Candidate = tuple[BackendName, PrecisionName]


class BackendEvaluator:
    """Evaluates with the fastest of the candidates that agree with the network.

    Each is compared with torch in float32 on probe positions, now and at every update, and refused
    where it is further from it than `TOLERANCES` allow. Several that agree are timed.
    """

    def __init__(
        self,
        network: PolicyValueNet,
        makers: Mapping[Candidate, Maker],
        probe: Probe,
    ) -> None:
        """Raises RefusedError where every candidate is refused, and NotFiniteError for a network
        whose judgement in float32 is none."""
        self._makers, self._probe = dict(makers), probe
        self._config = network.config
        self._encoder = CompiledEncoder(network.encoder)
        self._notes: list[str] = []
        self._choose(_frozen(network))

    @property
    def backend(self) -> BackendName:
        """What it computes with."""
        return self._backend.name

    @property
    def precision(self) -> PrecisionName:
        """In what numbers."""
        return self._backend.precision

    @property
    def choice(self) -> str:
        """Both, as "native bf16", and the device where it is not the processor."""
        device = getattr(self._backend, "device", "cpu")
        return f"{self.backend} {self.precision}" + ("" if device == "cpu" else f" {device}")

    @property
    def notes(self) -> tuple[str, ...]:
        """For a log: what was refused and why, one line each."""
        return tuple(self._notes)

    def evaluate(
        self,
        positions: npt.NDArray[np.uint8],
        moves: npt.NDArray[np.uint16],
        offsets: npt.NDArray[np.int64],
    ) -> NetworkEvaluation:
        """Judge; as `NetworkEvaluator.evaluate`."""
        positions, moves = contiguous(positions, np.uint8), contiguous(moves, np.uint16)
        offsets = contiguous(offsets, np.int64)
        return _evaluate(self._encoder, self._backend, positions, moves, offsets)

    def update(self, network: PolicyValueNet) -> None:
        """Go on with the weights of another network of the same configuration.

        Raises InputError for another configuration, and RefusedError where the backend no longer
        agrees and no other candidate does, or NotFiniteError; the old weights are then gone.
        """
        if network.config != self._config:
            raise InputError(
                f"a network of another configuration ({network.config}), not {self._config}"
            )
        network = _frozen(network)
        self._backend.update(network)
        objection = self._objection(self._backend, self._exact(network))
        if objection is not None:
            self._refuse((self._backend.name, self._backend.precision), objection)
            self._choose(network)

    def _choose(self, network: PolicyValueNet) -> None:
        exact = self._exact(network)
        agreeing: list[Backend] = []
        for candidate, make in list(self._makers.items()):
            # Of native kernels the first, with the smallest numbers, is the fastest.
            if candidate[0] == "native" and any(b.name == "native" for b in agreeing):
                continue
            try:
                backend = make(network)
                objection = self._objection(backend, exact)
            except RuntimeError as error:
                # As torch says that a GPU is full, or that its driver is too old.
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
        """What every backend is compared with; raises NotFiniteError."""
        probe = self._probe
        exact = NetworkEvaluator(network).evaluate(probe.positions, probe.moves, probe.offsets)
        for name, values in (("policy", exact.logits), ("WDL", exact.wdl)):
            require_finite(values, f"the network of {self._config.variant}, judging: the {name}")
        return exact

    def _objection(self, backend: Backend, exact: NetworkEvaluation) -> str | None:
        probe, limit = self._probe, TOLERANCES[backend.precision]
        said = _evaluate(self._encoder, backend, probe.positions, probe.moves, probe.offsets)
        found = disagreement(exact, said, probe.offsets)
        if found.within(limit):
            return None
        return f"it differs from fp32 torch ({found}) by more than is tolerated ({limit})"


def make_evaluator(
    network: PolicyValueNet,
    *,
    backend: str = "auto",
    precision: str = "auto",
    max_batch: int = 128,
    calibration: npt.NDArray[np.uint8] | None = None,
    threads: int = 1,
    device: str = "auto",
) -> BackendEvaluator:
    """The fastest evaluator of a frozen copy of `network` among those asked for, or that one.

    `backend` is "auto", "torch", "openvino" or "native"; `precision` is "auto" (those of
    `DEFAULT_PRECISIONS`), "fp32", "bf16" or "int8", which needs `calibration`: some hundreds of
    positions uint8[N, R] such as will be evaluated. At most `max_batch` positions are computed at a
    time. OpenVINO computes with `threads` threads, native kernels with one, torch with those that
    the process has given it, or where `device` is "auto" and there is a GPU, on that; "cuda" is the
    GPU and nothing else, "cpu" never it.

    Raises UnknownVariantError where the network's variant is not loaded, and BackendError for what
    is unknown, not installed, not to be had together, or refused because it disagrees.
    """
    calibrated = calibration is not None
    if device == "cuda" and backend in ("openvino", "native"):
        raise BackendError(f"device 'cuda': the backend '{backend}' computes on the CPU")
    if device == "cuda" and backend == "auto":
        backend = "torch"
    candidates = _candidates(network.config, backend, precision, calibrated=calibrated)
    device = _device(device)
    if max_batch < 1:
        raise BackendError(f"max_batch = {max_batch} is not a whole number from 1")
    variant = get_variant(network.config.variant)
    _check_calibration(calibration, variant.row_size, needed=precision == "int8")
    makers: dict[Candidate, Maker] = {}
    for name, numbers in candidates:
        if name == "torch" and device == "cuda":
            from engine.network.inference.cuda import CudaBackend

            makers[name, numbers] = functools.partial(
                CudaBackend, precision=numbers, max_batch=max_batch
            )
        elif name == "torch":
            makers[name, numbers] = functools.partial(
                TorchBackend, precision=numbers, max_batch=max_batch
            )
        elif name == "native":
            makers[name, numbers] = functools.partial(
                native_backend.NativeBackend,
                precision=numbers,
                max_batch=max_batch,
                calibration=calibration,
            )
        else:
            from engine.network.inference.openvino.backend import OpenVinoBackend

            makers[name, numbers] = functools.partial(
                OpenVinoBackend,
                precision=numbers,
                max_batch=max_batch,
                threads=threads,
                calibration=calibration,
            )
    probe = probe_of(variant, calibration)
    return BackendEvaluator(network, makers, probe)


_COMPUTES: Final[Mapping[BackendName, tuple[PrecisionName, ...]]] = {
    "torch": ("fp32", "bf16"),
    "openvino": ("fp32", "bf16", "int8"),
    "native": ("int8", "bf16", "fp32"),
}


def _candidates(
    config: NetworkConfig, backend: str, precision: str, *, calibrated: bool
) -> list[Candidate]:
    """All pairs that are asked for and can be had; raises BackendError where there is none.

    "auto" does without int8 where it cannot be calibrated.
    """
    for kind, value, known in (
        ("backend", backend, get_args(BackendName)),
        ("precision", precision, get_args(PrecisionName)),
    ):
        if value not in ("auto", *known):
            raise BackendError(f"{kind} '{value}' is not one of auto, {', '.join(known)}")
    if backend == "openvino" and not openvino_installed():
        install = f"{sys.executable} -m pip install openvino"
        raise BackendError(f"the backend 'openvino' is not installed ({install})")
    wanted: tuple[str, ...] = (precision,)
    if precision == "auto":
        wanted = tuple(name for name in DEFAULT_PRECISIONS if calibrated or name != "int8")
    found: list[Candidate] = [
        (name, numbers)
        for name, computes in _COMPUTES.items()
        for numbers in computes
        if backend in ("auto", name) and numbers in wanted
        if name != "openvino" or openvino_installed()
        if name != "native" or native_backend.computes(config, numbers)
    ]
    if not found:
        raise BackendError(f"no backend here computes this network with {backend} in {precision}")
    return found


def _device(device: str) -> str:
    if device not in ("auto", "cpu", "cuda"):
        raise BackendError(f"device '{device}' is not one of auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError("device 'cuda': torch finds no such device here")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def _check_calibration(
    calibration: npt.NDArray[np.uint8] | None, row_size: int, *, needed: bool
) -> None:
    if calibration is None:
        if needed:
            raise BackendError("int8 needs positions to calibrate it with (calibration=...)")
    elif calibration.dtype != np.uint8 or calibration.shape[1:] != (row_size,):
        raise BackendError(
            f"calibration is {calibration.dtype}{list(calibration.shape)}, not uint8[N, {row_size}]"
        )
    elif len(calibration) == 0:
        raise BackendError("calibration holds no position")


def openvino_installed() -> bool:
    """Whether the backend "openvino" can be had."""
    return importlib.util.find_spec("openvino") is not None


def _frozen(network: PolicyValueNet) -> PolicyValueNet:
    return copy.deepcopy(network).to("cpu", torch.float32).eval().requires_grad_(False)


def _seconds(backend: Backend) -> float:
    """Seconds that a position takes in a full batch, the best of a few runs."""
    batch = backend.batch(1 << 30)
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
