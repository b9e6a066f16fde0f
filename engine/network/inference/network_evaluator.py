"""A network as an evaluator by torch alone, with its hook points open to the caller.

This is the reference: every backend is compared with it in float32.
"""

from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from engine.network.inference.backends.allocator import keep_freed_memory
from engine.network.model.policy_value import VariantNetwork

BATCH: Final = 256
"""Positions that are computed at a time, at most."""


class NetworkEvaluation(NamedTuple):
    """Evaluations of B positions with M legal moves in all."""

    logits: npt.NDArray[np.float32]
    """[M] unnormalised log-probabilities of the moves, separate for each position."""
    wdl: npt.NDArray[np.float32]
    """[B, 3] probabilities of win, draw and loss for the side to move; each row sums to 1."""


def fastest_precision() -> Literal["float32", "bfloat16"]:
    """bfloat16 if the processor multiplies in it, else float32, because emulation is slow."""
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"


class NetworkEvaluator:
    """Evaluates in float32 on the CPU with a frozen copy of a network.

    The copy is `network`; callers may open its hook points. The process's allocator is set to keep
    freed memory (`backends/allocator.py`); the number of threads is not changed.
    """

    def __init__(self, network: VariantNetwork, *, copy: bool = True) -> None:
        """Without a `copy` the network itself computes, as it then is: its open hook points count
        and later changes of its weights, too."""
        self.network = network.frozen() if copy else network
        keep_freed_memory()

    @torch.inference_mode()
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
        for start in range(0, positions.shape[0], BATCH):
            end = min(start + BATCH, positions.shape[0])
            part = slice(offsets[start], offsets[end])
            counts = np.diff(offsets[start : end + 1])
            boards = torch.from_numpy(positions[start:end])
            played = torch.from_numpy(moves[part].astype(np.int64))
            rows = torch.from_numpy(np.repeat(np.arange(end - start), counts))
            outputs = self.network(boards)
            logits[part] = self.network.move_logits(outputs, boards, played, rows).numpy()
            wdl[start:end] = outputs.wdl.softmax(-1).numpy()
        return NetworkEvaluation(logits, wdl)
