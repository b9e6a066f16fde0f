"""Torch on the CPU, with as many threads as the process has given torch."""

import torch

from engine.network.inference.backends.allocator import keep_freed_memory
from engine.network.inference.backends.protocol import (
    TORCH_TYPES,
    BackendName,
    Batch,
    PrecisionName,
    empty_batch,
)
from engine.network.model.policy_value import PolicyValueNet
from engine.network.model.tokens import Tokens


class TorchBackend:
    """Computes with torch's own kernels."""

    name: BackendName = "torch"

    def __init__(
        self, network: PolicyValueNet, *, precision: PrecisionName, max_batch: int
    ) -> None:
        self.precision: PrecisionName = precision
        self._network = network.frozen(TORCH_TYPES[precision])
        self._batch = empty_batch(network.config, max_batch)
        keep_freed_memory()

    def batch(self, count: int) -> Batch:
        """See `Backend`."""
        return self._batch.first(count, self._run)

    @torch.inference_mode()
    def _run(self, size: int) -> None:
        batch, network = self._batch, self._network
        tokens = Tokens(
            torch.from_numpy(batch.squares[:size]), torch.from_numpy(batch.state[:size])
        )
        outputs = network.outputs(network.trunk(network.embedding(tokens)))
        batch.policy[:size] = outputs.policy.float().numpy()
        batch.promotion[:size] = outputs.promotion.float().numpy()
        batch.wdl[:size] = outputs.wdl.float().numpy()

    def update(self, network: PolicyValueNet) -> None:
        """See `Backend`."""
        self._network.load_state_dict(network.state_dict())
