"""OpenVINO on the CPU: the network as a compiled graph (`graph.py`) of fixed batch sizes."""

from typing import Any, Final

import numpy as np

from engine.network.inference.backends.allocator import keep_freed_memory
from engine.network.inference.backends.protocol import (
    BackendName,
    Batch,
    FixedSizes,
    PrecisionName,
    empty_batch,
)
from engine.network.inference.backends.quantisation import best_range, calibration_sample
from engine.network.inference.openvino.core import compile_for_cpu, ov
from engine.network.inference.openvino.graph import OUTPUTS, build_graph, build_sites
from engine.network.model.compiled_encoder import CompiledEncoder, Rows
from engine.network.model.policy_value import PolicyValueNet

SIZES: Final = (1, 4, 16, 32, 64, 128, 256)
"""Batch sizes; each takes 0.1 s to compile. From 16 on, a position costs about the same in any."""
LARGEST_PADDING: Final = 1 / 8

_HINTS: Final = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}
"""With int8, all that is not quantised is computed in bfloat16 if the processor has it."""


class OpenVinoBackend:
    """Computes with compiled graphs, in `threads` threads."""

    name: BackendName = "openvino"

    def __init__(
        self,
        network: PolicyValueNet,
        *,
        precision: PrecisionName,
        max_batch: int,
        threads: int = 1,
        calibration: Rows | None = None,
    ) -> None:
        """int8 needs `calibration` uint8[N, R], the positions on which its ranges are found."""
        self.precision: PrecisionName = precision
        self._calibration = calibration if precision == "int8" else None
        self._load(network)
        self._settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # Pinning is up to the code that starts the process.
            "ENABLE_CPU_PINNING": False,
        }
        sizes = (*(size for size in SIZES if size < max_batch), max_batch)
        self._batches = FixedSizes(sizes, LARGEST_PADDING, self._compiled)
        keep_freed_memory()

    def batch(self, count: int) -> Batch:
        """See `Backend`."""
        return self._batches.batch(count)

    def update(self, network: PolicyValueNet) -> None:
        """See `Backend`."""
        self._load(network)
        self._batches.compile_again()

    def _load(self, network: PolicyValueNet) -> None:
        self._network = network
        rows = self._calibration
        self._ranges = None if rows is None else find_ranges(network, rows)

    def _compiled(self, size: int) -> Batch:
        graph = build_graph(self._network, size, self._ranges)
        request = compile_for_cpu(graph, self._settings).create_infer_request()
        batch = empty_batch(self._network.config, size, lambda: request.infer())
        request.set_input_tensor(0, _shared(batch.squares))
        request.set_input_tensor(1, _shared(batch.state))
        present = [name for name in OUTPUTS if getattr(batch, name).size]
        for index, name in enumerate(present):
            request.set_output_tensor(index, _shared(getattr(batch, name)))
        return batch


def _shared(array: "np.ndarray[Any, Any]") -> ov.Tensor:
    return ov.Tensor(array, shared_memory=True)


def find_ranges(network: PolicyValueNet, rows: Rows) -> dict[str, tuple[float, float]]:
    """The range of each site of the network's graph, on positions uint8[N, R], N >= 1."""
    sample = calibration_sample(rows)
    model, names = build_sites(network, len(sample))
    if not names:
        return {}
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = compile_for_cpu(model, settings).create_infer_request()
    inputs = [request.get_input_tensor(index).data for index in range(2)]
    CompiledEncoder(network.encoder).encode(sample, *inputs)
    request.infer()
    return {
        name: best_range(request.get_output_tensor(index).data) for index, name in enumerate(names)
    }
