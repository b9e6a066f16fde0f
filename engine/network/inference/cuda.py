"""Torch on a GPU: one CUDA graph a batch size, from pinned memory to pinned memory.

A graph holds the copies to the GPU, the network and the copies back, at fixed addresses, so that a
step is one launch and one wait for its end, with nothing that the host decides in between.
"""

import bisect
import copy
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor

from engine.network.inference.backends import TORCH_TYPES, BackendName, Batch, PrecisionName
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.tokens import STATE_FEATURES, Tokens

_SMALLEST: Final = 8
_HALVED_FROM: Final = 128
"""From here on there is a size halfway between two powers of two as well."""
_WARM_RUNS: Final = 3
"""Before a capture, as torch asks: libraries choose their kernels and take their memory."""
_ONE_CAPTURE: Final = threading.Lock()
"""Torch allows one capture at a time in a process, and its settings hold for the whole process."""


def batch_sizes(max_batch: int) -> tuple[int, ...]:
    """The sizes that are captured, each when it is first needed; they ascend to `max_batch`.

    1, powers of two from 8, and from 128 the sizes halfway. A small batch takes a GPU about as long
    as a single position, so positions that wait are computed at once in the next larger size, and
    only the sizes that fill a GPU lie closer.
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
    """Kernels chosen meanwhile compute float32 in float32, and the same bits every time.

    Torch rounds the inputs of float32 convolutions to TF32, with 10 bits behind the point, unless
    it is told otherwise.
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
    """Computes on the CUDA device that is current when it is made, on a stream of its own.

    A backend serves one thread at a time; several threads have one each. `network` is its copy, in
    its numbers.
    """

    name: BackendName = "torch"
    device = "cuda"

    def __init__(
        self, network: PolicyValueNet, *, precision: PrecisionName, max_batch: int
    ) -> None:
        self.precision: PrecisionName = precision
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        # Convolutions want channels last, and would bring their weights into that order every time.
        self.network = copy.deepcopy(network).to(self._stream.device, TORCH_TYPES[precision])
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.eval().requires_grad_(False)
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
        self._sizes = batch_sizes(max_batch)
        self._batches: dict[int, Batch] = {}
        self._finish_copies()

    def batch(self, count: int) -> Batch:
        """See `Backend`."""
        place = bisect.bisect_left(self._sizes, count)
        size = self._sizes[min(place, len(self._sizes) - 1)]
        if size not in self._batches:
            self._batches[size] = self._captured(size)
        return self._batches[size]

    def update(self, network: PolicyValueNet) -> None:
        """See `Backend`: the weights change at their addresses, and the graphs stay."""
        self.network.load_state_dict(network.state_dict())
        self._finish_copies()

    def _finish_copies(self) -> None:
        """Wait for weights under way: the graphs' stream does not wait for this one."""
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
            # The graph knows addresses only: with the step, what lies there stays.
            run=functools.partial(_replay, graph, self._stream, step),
        )


def _step(
    network: PolicyValueNet, inputs: tuple[Tensor, Tensor], outputs: tuple[Tensor, ...]
) -> None:
    """What a graph holds; on the current stream, and nothing in it waits."""
    device = network.embedding.token.weight.device
    tokens = Tokens(*(tensor.to(device, non_blocking=True) for tensor in inputs))
    features = network.trunk(network.embedding(tokens))
    wdl, _ = network.value(features)
    for host, said in zip(outputs, (*network.policy(features), wdl), strict=True):
        host.copy_(said.float(), non_blocking=True)


@torch.inference_mode()
def _capture(
    step: Callable[[], None], stream: torch.cuda.Stream, pool: Any
) -> torch.cuda.CUDAGraph:
    """The graph of a step. Graphs of one stream and pool share memory: they never run at once, and
    leave nothing there that a later run reads."""
    graph = torch.cuda.CUDAGraph()
    with _ONE_CAPTURE, exact_arithmetic():
        with torch.cuda.stream(stream):
            for _ in range(_WARM_RUNS):
                step()
        stream.synchronize()
        # By default whatever another thread asks of the GPU meanwhile would end the capture.
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            step()
    return graph


def _replay(graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream, _: Callable[[], None]) -> None:
    with torch.cuda.stream(stream):
        graph.replay()
    stream.synchronize()
