"""Torch on a GPU: one CUDA graph per batch size, from pinned memory to pinned memory.

A graph holds the copies to the GPU, the network and the copies back, at fixed addresses. A step is
then one launch and one wait for its end; the host decides nothing in between.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor

from engine.network.inference.backends.protocol import (
    TORCH_TYPES,
    BackendName,
    Batch,
    FixedSizes,
    PrecisionName,
)
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.tokens import STATE_FEATURES, Tokens

_SMALLEST: Final = 8
_HALVED_FROM: Final = 128
"""From here on there is also a size halfway between two powers of two."""
_WARM_RUNS: Final = 3
"""Before a capture, as torch requires: libraries choose kernels and allocate memory."""
_ONE_CAPTURE: Final = threading.Lock()
"""Torch allows one capture at a time in a process, and its settings are those of the process."""
_LARGEST_PADDING: Final = 1.0
"""All waiting positions are computed at once: a small batch takes about as long as one position."""


def batch_sizes(max_batch: int) -> tuple[int, ...]:
    """The sizes that are captured, ascending to `max_batch`.

    1, powers of two from 8, and from 128 also the sizes halfway: there the GPU is full, and a
    larger batch takes longer.
    """
    sizes, power = [1], _SMALLEST
    while power < max_batch:
        sizes.append(power)
        if power >= _HALVED_FROM:
            sizes.append(power * 3 // 2)
        power *= 2
    return (*(size for size in sizes if size < max_batch), max_batch)


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Within it, torch chooses kernels that compute float32 in float32, deterministically.

    By default torch rounds the inputs of float32 convolutions to TF32, with a mantissa of 10 bits.
    """
    convolutions = torch.backends.cudnn
    before = convolutions.allow_tf32, convolutions.deterministic, convolutions.benchmark
    matmul = torch.get_float32_matmul_precision()
    try:
        convolutions.allow_tf32, convolutions.deterministic = False, True
        convolutions.benchmark = False
        torch.set_float32_matmul_precision("highest")
        yield
    finally:
        convolutions.allow_tf32, convolutions.deterministic, convolutions.benchmark = before
        torch.set_float32_matmul_precision(matmul)


class CudaBackend:
    """Computes on the CUDA device that is current at construction, on a stream of its own.

    One thread at a time may use it; several threads need one each. `network` is its own copy, in
    its precision.
    """

    name: BackendName = "torch"
    device = "cuda"

    def __init__(
        self, network: PolicyValueNet, *, precision: PrecisionName, max_batch: int
    ) -> None:
        self.precision: PrecisionName = precision
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        # Convolutions use channels last; other weights would be reordered in every step.
        self.network = network.frozen(TORCH_TYPES[precision], self._stream.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._pool = torch.cuda.graph_pool_handle()
        config = network.config
        squares, promotions = config.squares, len(config.promotion_types)
        self._inputs = (
            torch.zeros(max_batch, squares, dtype=torch.int32, pin_memory=True),
            torch.zeros(max_batch, STATE_FEATURES, pin_memory=True),
        )
        self._outputs = tuple(
            torch.zeros(max_batch, *shape, pin_memory=True)
            for shape in ((squares, squares), (squares, promotions), (3,))
        )
        self._batches = FixedSizes(batch_sizes(max_batch), _LARGEST_PADDING, self._captured)
        self._finish_copies()

    def batch(self, count: int) -> Batch:
        """See `Backend`."""
        return self._batches.batch(count)

    def update(self, network: PolicyValueNet) -> None:
        """See `Backend`. The weights keep their addresses, so the graphs stay valid."""
        self.network.load_state_dict(network.state_dict())
        self._finish_copies()

    def _finish_copies(self) -> None:
        """Wait for the copy of the weights: the graphs' stream does not wait for this one."""
        torch.cuda.current_stream(self._stream.device).synchronize()

    def _captured(self, size: int) -> Batch:
        squares, state = (tensor[:size] for tensor in self._inputs)
        outputs = tuple(tensor[:size] for tensor in self._outputs)
        step = functools.partial(_step, self.network, (squares, state), outputs)
        graph = _capture(step, self._stream, self._pool)
        policy, promotion, wdl = (tensor.numpy() for tensor in outputs)
        return Batch(
            squares=squares.numpy(),
            state=state.numpy(),
            policy=policy,
            promotion=promotion,
            wdl=wdl,
            # The graph holds addresses only; a reference to the step keeps their memory alive.
            run=functools.partial(_replay, graph, self._stream, step),
        )


def _step(
    network: PolicyValueNet, inputs: tuple[Tensor, Tensor], outputs: tuple[Tensor, ...]
) -> None:
    """What a graph holds. It runs on the current stream, and nothing in it waits."""
    device = network.embedding.token.weight.device
    tokens = Tokens(*(tensor.to(device, non_blocking=True) for tensor in inputs))
    policy, promotion, wdl, _ = network.outputs(network.trunk(network.embedding(tokens)))
    for host, output in zip(outputs, (policy, promotion, wdl), strict=True):
        host.copy_(output.float(), non_blocking=True)


@torch.inference_mode()
def _capture(
    step: Callable[[], None], stream: torch.cuda.Stream, pool: Any
) -> torch.cuda.CUDAGraph:
    """The graph of a step. Graphs of one stream and pool share memory: they never run at the same
    time, and none reads what another left there."""
    graph = torch.cuda.CUDAGraph()
    with _ONE_CAPTURE, exact_arithmetic():
        with torch.cuda.stream(stream):
            for _ in range(_WARM_RUNS):
                step()
        stream.synchronize()
        # By default, a call to the GPU from another thread would end the capture.
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            step()
    return graph


def _replay(graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream, _: Callable[[], None]) -> None:
    with torch.cuda.stream(stream):
        graph.replay()
    stream.synchronize()
