"""Torch on a GPU: one CUDA graph a batch size, from pinned memory to pinned memory.

A graph holds the copies to the GPU, the network and the copies back, at fixed addresses, so that a
step is one launch and one wait for its end, with nothing that the host decides in between.
"""

import copy

import torch

from engine.network.backends import TORCH_TYPES, BackendName, Batch, PrecisionName, fitting_size
from engine.network.policy_value import PolicyValueNet
from engine.network.tokens import STATE_FEATURES, Tokens

SIZES = (1, 8, 32, 128, 512)
_WARM_RUNS = 3
"""Before a capture, as torch asks: libraries choose their kernels and take their memory."""


class CudaBackend:
    """Computes on the current CUDA device."""

    name: BackendName = "torch"

    def __init__(
        self, network: PolicyValueNet, *, precision: PrecisionName, max_batch: int
    ) -> None:
        self.precision: PrecisionName = precision
        self._network = copy.deepcopy(network).to("cuda", TORCH_TYPES[precision])
        self._network.eval().requires_grad_(False)
        self._sizes = (*(size for size in SIZES if size < max_batch), max_batch)
        self._batches: dict[int, Batch] = {}

    def batch(self, count: int) -> Batch:
        """See `Backend`."""
        size = fitting_size(self._sizes, count)
        if size not in self._batches:
            self._batches[size] = self._captured(size)
        return self._batches[size]

    def update(self, network: PolicyValueNet) -> None:
        """See `Backend`: the weights change at their addresses, and the graphs stay."""
        self._network.load_state_dict(network.state_dict())

    @torch.inference_mode()
    def _captured(self, size: int) -> Batch:
        config = self._network.config
        squares, promotions = config.squares, len(config.promotion_types)
        inputs = (
            torch.zeros(size, squares, dtype=torch.int32).pin_memory(),
            torch.zeros(size, STATE_FEATURES).pin_memory(),
        )
        outputs = tuple(
            torch.zeros(size, *shape).pin_memory()
            for shape in ((squares, squares), (squares, promotions), (3,))
        )

        def step() -> None:
            tokens = Tokens(*(tensor.to("cuda", non_blocking=True) for tensor in inputs))
            features = self._network.trunk(self._network.embedding(tokens))
            wdl, _ = self._network.value(features)
            for host, said in zip(outputs, (*self._network.policy(features), wdl), strict=True):
                host.copy_(said.float(), non_blocking=True)

        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            for _ in range(_WARM_RUNS):
                step()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            step()

        def run() -> None:
            with torch.cuda.stream(stream):
                graph.replay()
            stream.synchronize()

        policy, promotion, wdl = (tensor.numpy() for tensor in outputs)
        return Batch(
            squares=inputs[0].numpy(),
            state=inputs[1].numpy(),
            policy=policy,
            promotion=promotion,
            wdl=wdl,
            run=run,
        )
