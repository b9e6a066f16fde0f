"""A network as an evaluator by torch alone, with its hook points open to the caller.

This is the reference: every backend is compared with it in float32.
"""

import copy
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from engine.network.inference.backends.allocator import keep_freed_memory
from engine.network.model.policy_value import Outputs, PolicyValueNet

Precision = Literal["float32", "bfloat16"]


class NetworkEvaluation(NamedTuple):
    """Evaluations of B positions with M legal moves in all."""

    logits: npt.NDArray[np.float32]
    """[M] unnormalised log-probabilities of the moves, separate for each position."""
    wdl: npt.NDArray[np.float32]
    """[B, 3] probabilities of win, draw and loss for the side to move; each row sums to 1."""


def fastest_precision(device: str = "cpu") -> Precision:
    """bfloat16 if the hardware multiplies in it, else float32, because emulation is slow."""
    if torch.device(device).type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"


class NetworkEvaluator:
    """Evaluates with a frozen copy of a network, which later training does not change.

    The copy is `network`; callers may open its hook points. At most `max_batch` positions are
    computed at a time. On a CPU, the process's allocator is set to keep freed memory
    (`backends/allocator.py`); the number of threads is not changed.
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
        """Evaluate `positions` uint8[B, R].

        `moves[offsets[i]:offsets[i + 1]]` (uint16[M], int64[B + 1]) are the legal moves of position
        i, at least one each. The arrays returned are the caller's own.
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
