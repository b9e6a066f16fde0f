"""OpenVINO on the CPU: the network as a compiled graph (`graph.py`), fixed batch sizes."""

from typing import Any, Final

import numpy as np

from engine.network.inference.allocator import keep_freed_memory
from engine.network.inference.backends import (
    BackendName,
    Batch,
    PrecisionName,
    empty_batch,
    fitting_size,
)
from engine.network.inference.openvino.core import compile_for_cpu, ov
from engine.network.inference.openvino.graph import OUTPUTS, build_graph, build_sites
from engine.network.inference.quantisation import best_range, chosen_rows
from engine.network.model.compiled_encoder import CompiledEncoder, Rows
from engine.network.model.policy_value import PolicyValueNet

SIZES: Final = (1, 4, 16, 32, 64, 128, 256)
"""Batch sizes that are compiled, each when it is first needed (0.1 s). From 16 on a position costs
much the same in any of them."""

_HINTS: Final = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}
"""What is not computed in 8 bits is computed in bfloat16, where the processor has it."""


class OpenVinoBackend:
    """Computes with compiled graphs; one batch size after the other is compiled as it is needed."""

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
        """`calibration` uint8[N, R] is needed for int8: its ranges are found on these positions."""
        self.precision: PrecisionName = precision
        self._calibration = calibration if precision == "int8" else None
        self._load(network)
        self._sizes = (*(size for size in SIZES if size < max_batch), max_batch)
        self._settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # The process is pinned by whoever started it, or not at all.
            "ENABLE_CPU_PINNING": False,
        }
        self._batches: dict[int, Batch] = {}
        keep_freed_memory()

    def batch(self, count: int) -> Batch:
        """See `Backend`."""
        size = fitting_size(self._sizes, count)
        if size not in self._batches:
            self._batches[size] = self._compiled(size)
        return self._batches[size]

    def update(self, network: PolicyValueNet) -> None:
        """See `Backend`."""
        self._load(network)
        used = list(self._batches)
        self._batches = {size: self._compiled(size) for size in used}

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
    chosen = chosen_rows(rows)
    model, names = build_sites(network, len(chosen))
    if not names:
        return {}
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = compile_for_cpu(model, settings).create_infer_request()
    inputs = [request.get_input_tensor(index).data for index in range(2)]
    CompiledEncoder(network.encoder).encode(chosen, *inputs)
    request.infer()
    return {
        name: best_range(request.get_output_tensor(index).data) for index, name in enumerate(names)
    }
