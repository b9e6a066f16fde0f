"""Small networks and random boards for the tests of engine/network."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engine.network.inference import evaluator as inference
from engine.network.inference.backends.protocol import BackendName, Batch, PrecisionName
from engine.network.inference.backends.torch_cpu import TorchBackend
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.moves import make_move
from engine.rules.tables import BLACK_BIT, CASTLING, CLOCK, EN_PASSANT, NO_SQUARE, REPETITION, SIDE
from engine.rules.variant import Variant, get_variant

# Small tensors gain nothing from a second thread, and wait for it where the machine is busy.
torch.set_num_threads(1)

Rows = npt.NDArray[np.uint8]

TRUNKS: dict[str, dict[str, object]] = {
    "geometric": {"trunk": "transformer", "position": "geometric"},
    "learned": {"trunk": "transformer", "position": "learned", "activation": "gelu"},
    "attention only": {"trunk": "transformer", "position": "none", "hidden": 0},
    "residual": {"trunk": "residual"},
    "plain": {"trunk": "residual", "norm": "none", "excitation": False},
}
SMALL: dict[str, object] = {
    "blocks": 2,
    "channels": 16,
    "heads": 2,
    "hidden": 24,
    "squeeze": 4,
    "policy_channels": 8,
    "value_channels": 8,
}


def small_config(variant: str, trunk: str, **settings: object) -> NetworkConfig:
    """A network that computes in a millisecond."""
    return NetworkConfig.for_variant(get_variant(variant), SMALL | TRUNKS[trunk] | settings)


def lively_network(variant: str, trunk: str, seed: int = 0, **settings: object) -> PolicyValueNet:
    """A network whose every parameter matters: nothing is left at its zero or one."""
    torch.manual_seed(seed)
    network = PolicyValueNet(small_config(variant, trunk, **settings))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return network.eval()


def with_torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No backend is compiled, compared and timed: a third of a second for each network loaded.

    For tests that do not depend on the backend; `test_backends.py` tests those.
    """
    monkeypatch.setattr(inference, "_COMPUTES", {"torch": ("fp32",)})


class SpoiltBackend:
    """Torch in float32, under any backend's name, whose answers `spoil` changes before anybody
    sees them."""

    def __init__(
        self, network: PolicyValueNet, spoil: Callable[[Batch], None], name: BackendName = "torch"
    ) -> None:
        self.name: BackendName = name
        self.precision: PrecisionName = "fp32"
        self._inner = TorchBackend(network, precision="fp32", max_batch=64)
        self._spoil = spoil

    def batch(self, count: int) -> Batch:
        """See Backend."""
        batch = self._inner.batch(count)

        def run() -> None:
            batch.run()
            self._spoil(batch)

        return replace(batch, run=run)

    def update(self, network: PolicyValueNet) -> None:
        """See Backend."""
        self._inner.update(network)


def random_rows(variant: Variant, count: int, seed: int = 0) -> Rows:
    """Boards with any pieces anywhere and any state: uint8[count, R], legal or not."""
    rng = np.random.default_rng(seed)
    squares = variant.squares
    types = np.array(variant.piece_types, np.uint8)
    rows = np.zeros((count, variant.row_size), np.uint8)
    pieces = rng.choice(types, (count, squares)) | BLACK_BIT * rng.integers(0, 2, (count, squares))
    rows[:, :squares] = pieces * (rng.random((count, squares)) < 0.5)
    rows[:, squares + SIDE] = rng.integers(0, 2, count)
    rows[:, squares + CASTLING] = rng.integers(0, 16, count)
    rows[:, squares + CLOCK] = rng.integers(0, 101, count)
    rows[:, squares + REPETITION] = rng.integers(0, 3, count)
    rows[:, squares + EN_PASSANT] = NO_SQUARE
    for row in rows[::2]:
        empty = np.flatnonzero(row[:squares] == 0)
        if len(empty):
            row[squares + EN_PASSANT] = rng.choice(empty)
    return rows


def random_moves(
    variant: Variant, positions: int, seed: int = 0
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """Any from-to pairs, some with promotions: moves uint16[M], offsets int64[positions + 1]."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 9, positions)
    promotions = (0, *variant.promotion_types)
    moves = [
        make_move(int(start), int(end), int(rng.choice(promotions)))
        for start, end in rng.integers(0, variant.squares, (counts.sum(), 2))
    ]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return np.array(moves, np.uint16), offsets


def mirrored_square(variant: Variant, square: int) -> int:
    """The square as the other side sees it: the same file, the rank counted from the top."""
    file, rank = square % variant.width, square // variant.width
    return (variant.height - 1 - rank) * variant.width + file


def mirrored_rows(variant: Variant, rows: Rows) -> Rows:
    """The same positions with colours and ranks exchanged, the other side to move."""
    squares = variant.squares
    twins = rows.copy()
    for twin, row in zip(twins, rows, strict=True):
        for square in range(squares):
            code = int(row[square])
            twin[mirrored_square(variant, square)] = code ^ BLACK_BIT if code else 0
        twin[squares + SIDE] = 1 - row[squares + SIDE]
        rights = int(row[squares + CASTLING])
        twin[squares + CASTLING] = (rights & 3) << 2 | rights >> 2
        if row[squares + EN_PASSANT] != NO_SQUARE:
            twin[squares + EN_PASSANT] = mirrored_square(variant, int(row[squares + EN_PASSANT]))
    return twins
