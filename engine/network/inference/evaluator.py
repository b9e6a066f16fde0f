"""`make_evaluator`: a network as an evaluator, by a named backend or by the fastest."""

from collections.abc import Mapping
from functools import partial
from typing import Final, get_args

import numpy as np
import numpy.typing as npt
import torch

from engine.network.inference.avx512 import backend as avx512
from engine.network.inference.backend_evaluator import BackendEvaluator, Candidate, Maker
from engine.network.inference.backends.protocol import (
    BackendError,
    BackendName,
    PrecisionName,
)
from engine.network.inference.backends.torch_cpu import TorchBackend
from engine.network.inference.parity import parity_positions
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.variant import get_variant
from engine.system.extras import missing_extra

DEFAULT_PRECISIONS: Final[tuple[PrecisionName, ...]] = ("fp32", "bf16")
"""What "auto" may choose: the precisions for which a match has shown no loss of strength."""

_COMPUTES: Final[Mapping[BackendName, tuple[PrecisionName, ...]]] = {
    "torch": ("fp32", "bf16"),
    "openvino": ("fp32", "bf16", "int8"),
    "native": ("int8", "bf16", "fp32"),
}


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
    """The fastest evaluator of a frozen copy of `network` among those that fit the arguments.

    `backend` is "auto", "torch", "openvino" or "native" (AVX-512 kernels). `precision` is "auto"
    (`DEFAULT_PRECISIONS`), "fp32", "bf16" or "int8". int8 needs `calibration`: some hundreds of
    positions uint8[N, R] like those that will be evaluated. At most `max_batch` positions are
    computed at a time. OpenVINO uses `threads` threads, the AVX-512 kernels one, torch as many as
    the process has given it. With `device` "auto" torch uses a GPU if there is one; "cuda" allows
    only the GPU, "cpu" only the CPU.

    Raises UnknownVariantError if the network's variant is not loaded, NotFiniteError if the
    network's evaluations are not finite, and BackendError for an argument that is unknown, not
    installed or in conflict with another, or if all backends are refused.
    """
    if device == "cuda" and backend in ("openvino", "native"):
        raise BackendError(f"device 'cuda': the backend '{backend}' computes on the CPU")
    if device == "cuda" and backend == "auto":
        backend = "torch"
    candidates = _candidates(network.config, backend, precision, calibrated=calibration is not None)
    on_gpu = _device(device) == "cuda"
    if max_batch < 1:
        raise BackendError(f"max_batch = {max_batch} is not a whole number from 1")
    variant = get_variant(network.config.variant)
    _check_calibration(calibration, variant.row_size, needed=precision == "int8")

    def maker(name: BackendName, numbers: PrecisionName) -> Maker:
        if name == "native":
            return partial(
                avx512.Avx512Backend,
                precision=numbers,
                max_batch=max_batch,
                calibration=calibration,
            )
        if name == "openvino":
            from engine.network.inference.openvino.backend import OpenVinoBackend

            return partial(
                OpenVinoBackend,
                precision=numbers,
                max_batch=max_batch,
                threads=threads,
                calibration=calibration,
            )
        if on_gpu:
            from engine.network.inference.backends.cuda import CudaBackend

            return partial(CudaBackend, precision=numbers, max_batch=max_batch)
        return partial(TorchBackend, precision=numbers, max_batch=max_batch)

    makers = {candidate: maker(*candidate) for candidate in candidates}
    return BackendEvaluator(network, makers, parity_positions(variant, calibration))


def openvino_installed() -> bool:
    """Whether the backend "openvino" is available."""
    return missing_extra("openvino", "openvino") is None


def _candidates(
    config: NetworkConfig, backend: str, precision: str, *, calibrated: bool
) -> list[Candidate]:
    """All available pairs that fit the arguments; raises BackendError if there is none.

    Without calibration, "auto" leaves out int8.
    """
    for kind, value, known in (
        ("backend", backend, get_args(BackendName)),
        ("precision", precision, get_args(PrecisionName)),
    ):
        if value not in ("auto", *known):
            raise BackendError(f"{kind} '{value}' is not one of auto, {', '.join(known)}")
    if backend == "openvino" and not openvino_installed():
        raise BackendError(f"backend 'openvino': {missing_extra('openvino', 'openvino')}")
    wanted: tuple[str, ...] = (precision,)
    if precision == "auto":
        wanted = tuple(name for name in DEFAULT_PRECISIONS if calibrated or name != "int8")
    found: list[Candidate] = [
        (name, numbers)
        for name, computes in _COMPUTES.items()
        for numbers in computes
        if backend in ("auto", name) and numbers in wanted
        if name != "openvino" or openvino_installed()
        if name != "native" or avx512.computes(config, numbers)
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
